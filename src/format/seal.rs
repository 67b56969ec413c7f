//! The one place that turns plain bytes into stored frames and back. Encryption will change this file and no other.

use super::FormatError;

/// What a frame is, so that none can be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A blob's stored bytes.
    Blob = 0,
    /// A pack's table.
    PackTable = 1,
    /// A page of index records.
    IndexPage = 2,
    /// An index file's directory of pages.
    IndexDirectory = 3,
    /// An index file's list of packs and of the files it replaces.
    IndexPacks = 4,
}

/// Where a frame stands: what its bytes are bound to.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// What it is.
    pub kind: FrameKind,
    /// The nonce in the file's header.
    pub nonce: [u8; 16],
    /// Its first byte's position in the file.
    pub offset: u64,
}

/// How the frames of one store are sealed.
#[derive(Debug, Clone, Default)]
pub enum Sealer {
    /// Not encrypted: a check sum finds accidents.
    #[default]
    Plain,
}

const CHECK: usize = 16;

impl Sealer {
    /// How many bytes a frame is longer than what it holds.
    pub const fn overhead(&self, kind: FrameKind) -> usize {
        match (self, kind) {
            // A blob's BLAKE3 stands in the table; a second one would only cost time.
            (Self::Plain, FrameKind::Blob) => 0,
            (Self::Plain, _) => CHECK,
        }
    }

    /// Appends the frame that holds `plain` to `out`.
    pub fn seal(&self, place: Place, plain: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(plain);
        if self.overhead(place.kind) > 0 {
            out.extend_from_slice(&check(place, plain));
        }
    }

    /// What a frame holds.
    ///
    /// # Errors
    /// The frame is not what was sealed for this place.
    pub fn open<'a>(&self, place: Place, frame: &'a [u8]) -> Result<&'a [u8], FormatError> {
        if self.overhead(place.kind) == 0 {
            return Ok(frame);
        }
        match frame.split_last_chunk::<CHECK>() {
            Some((plain, sum)) if *sum == check(place, plain) => Ok(plain),
            _ => Err(FormatError::damaged(format!("its {} does not match its check sum", place.kind.name()))),
        }
    }
}

impl FrameKind {
    fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::PackTable => "table",
            Self::IndexPage => "page of records",
            Self::IndexDirectory => "directory",
            Self::IndexPacks => "list of packs",
        }
    }
}

fn check(place: Place, plain: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[place.kind as u8]).update(&place.nonce).update(&place.offset.to_le_bytes()).update(plain);
    let mut out = [0; CHECK];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    out
}

/// The 32-byte check of a file's header and footer, which no frame covers.
pub(crate) fn edges(header: &[u8], footer: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(footer);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_bound_to_their_place() {
        let place = Place { kind: FrameKind::PackTable, nonce: [7; 16], offset: 32 };
        let mut frame = Vec::new();
        Sealer::Plain.seal(place, b"table", &mut frame);
        assert_eq!(Sealer::Plain.open(place, &frame).unwrap(), b"table");
        for other in [
            Place { kind: FrameKind::IndexPage, ..place },
            Place { nonce: [8; 16], ..place },
            Place { offset: 33, ..place },
        ] {
            assert!(Sealer::Plain.open(other, &frame).is_err());
        }
        for i in 0..frame.len() {
            let mut bad = frame.clone();
            bad[i] ^= 1;
            assert!(Sealer::Plain.open(place, &bad).is_err(), "flip at {i}");
            assert!(Sealer::Plain.open(place, &frame[..i]).is_err(), "cut at {i}");
        }
    }
}
