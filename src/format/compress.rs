//! zstd where it pays, decided cheaply; and a decoder that gives exactly the declared size or an error.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::FormatError;
use crate::control::{Control, off};

/// How a blob's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// From its number in a table.
    pub fn from_number(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// zstd's level: 3 is where its curve of speed against size bends.
const LEVEL: i32 = 3;
/// Below this many bytes a frame's own header eats the gain.
const SMALLEST: usize = 64;
/// A sample of this many bytes decides about anything four times as long.
const SAMPLE: usize = 16 << 10;

thread_local! {
    // A context costs a megabyte to set up; tens of thousands of small blobs share one a thread.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The compressed bytes, if compression saves at least one part in 32.
pub fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < SMALLEST {
        return None;
    }
    if plain.len() >= 4 * SAMPLE {
        // The middle: heads and tails of media files hold text that the rest does not.
        let at = (plain.len() - SAMPLE) / 2;
        let sample = plain.get(at..at + SAMPLE)?;
        pays(sample.len(), frame(sample)?.len()).then_some(())?;
    }
    frame(plain).filter(|packed| pays(plain.len(), packed.len()))
}

fn pays(plain: usize, packed: usize) -> bool {
    packed + plain / 32 < plain
}

fn frame(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(c) => c,
            None => slot.insert(Compressor::new(LEVEL).ok()?),
        };
        compressor.compress(plain).ok()
    })
}

/// Decodes `stored` to exactly `length` bytes.
///
/// # Errors
/// The bytes are no such frame. Nothing larger than `length` is ever allocated; the caller has bounded `length`.
pub fn decompress(codec: Codec, stored: &[u8], length: usize) -> Result<Vec<u8>, FormatError> {
    match codec {
        Codec::Raw if stored.len() == length => Ok(stored.to_vec()),
        Codec::Raw => Err(FormatError::damaged("its stored length is not its length")),
        Codec::Zstd => {
            if off(Control::NoFrameBound) {
                return zstd::decode_all(stored).map_err(|e| FormatError::damaged(e.to_string()));
            }
            if !matches!(zstd_safe::get_frame_content_size(stored), Ok(Some(n)) if n == length as u64) {
                return Err(FormatError::damaged("its zstd frame does not declare its length"));
            }
            let plain = DECOMPRESSOR
                .with_borrow_mut(|slot| -> io::Result<Vec<u8>> {
                    let decompressor = match slot {
                        Some(d) => d,
                        None => slot.insert(Decompressor::new()?),
                    };
                    decompressor.decompress(stored, length)
                })
                .map_err(|e| FormatError::damaged(format!("zstd cannot decode it: {e}")))?;
            if plain.len() == length {
                Ok(plain)
            } else {
                Err(FormatError::damaged("zstd decodes it to another length"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pays_or_not() {
        let text = b"a time machine for buckets; ".repeat(10_000);
        let packed = compress(&text).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(decompress(Codec::Zstd, &packed, text.len()).unwrap(), text);
        let mut noise = vec![0u8; 200_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(compress(&noise).is_none());
        assert!(compress(&noise[..1000]).is_none());
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let packed = compress(&[7u8; 5000]).unwrap();
        for length in [0, 4999, 5001, 1 << 40] {
            assert!(decompress(Codec::Zstd, &packed, length).is_err());
        }
        assert!(decompress(Codec::Zstd, &packed[..packed.len() - 1], 5000).is_err());
        assert!(decompress(Codec::Zstd, b"", 0).is_err());
        assert!(decompress(Codec::Raw, b"abc", 2).is_err());
    }

    /// A frame as nobody compresses: its window's size as a power of two, the length it declares, and a row of blocks that
    /// each repeat one byte 128 KiB long.
    fn frame_of(window: u8, declared: u64, blocks: usize) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, (window - 10) << 3];
        frame.extend_from_slice(&declared.to_le_bytes());
        for n in 1..=blocks {
            let header = (128u32 << 10 << 3) | (1 << 1) | u32::from(n == blocks);
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(7);
        }
        frame
    }

    #[test]
    fn bombs_are_refused_before_memory_is_taken() {
        const WHOLE: usize = 4 << 20;
        let honest = frame_of(22, WHOLE as u64, 32);
        assert_eq!(decompress(Codec::Zstd, &honest, WHOLE).unwrap(), vec![7; WHOLE]);
        // A tebibyte is declared; what the record says is all that is ever made.
        assert!(decompress(Codec::Zstd, &frame_of(22, 1 << 40, 32), WHOLE).is_err());
        assert!(decompress(Codec::Zstd, &frame_of(22, u64::MAX, 32), WHOLE).is_err());
        // Ten kilobytes that come to 320 MB, declared to be four.
        let bomb = frame_of(22, WHOLE as u64, 2_500);
        assert!(bomb.len() < 10_100 && decompress(Codec::Zstd, &bomb, WHOLE).is_err());
        // A window of two gibibytes: nothing is made for it, since all is decoded at once.
        let wide = decompress(Codec::Zstd, &frame_of(31, WHOLE as u64, 32), WHOLE);
        assert!(wide.is_err() || wide.is_ok_and(|plain| plain.len() == WHOLE));
    }
}
