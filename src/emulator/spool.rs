//! Bytes on their way into the bucket: written once, hashed in passing, kept in memory or in a temporary file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use md5::{Digest as _, Md5};
use tempfile::{NamedTempFile, TempPath};

use super::catalog::Data;
use super::etag::Blocks;
use crate::model::id::BlobId;

/// Finished bytes that no object owns yet; a temporary file is deleted with it.
#[derive(Debug)]
pub enum Content {
    /// In memory.
    Memory(Bytes),
    /// In a temporary file of the catalog's own folder; closed, because an upload may leave thousands of them.
    File(TempPath),
}

/// Finished bytes and what was learnt while they were written.
#[derive(Debug)]
pub struct Stored {
    /// The bytes.
    pub content: Content,
    /// How many there are.
    pub size: u64,
    /// The SHA-1 of each 4 MiB block.
    pub blocks: Vec<BlobId>,
    /// The MD5 of all.
    pub md5: [u8; 16],
    /// The CRC-32 of all.
    pub crc32: u32,
    /// The first bytes, to tell the content type by.
    pub head: Vec<u8>,
}

/// Takes bytes as they come.
pub struct Spool {
    content: Sink,
    blocks: Blocks,
    md5: Md5,
    crc32: crc32fast::Hasher,
    head: Vec<u8>,
    size: u64,
}

enum Sink {
    Memory(BytesMut),
    File(NamedTempFile),
    Nothing,
}

const HEAD: usize = 512;

impl Spool {
    /// Into memory.
    pub fn memory() -> Self {
        Self::new(Sink::Memory(BytesMut::new()))
    }

    /// Into a temporary file in `folder`.
    pub fn file(folder: &Path) -> io::Result<Self> {
        Ok(Self::new(Sink::File(NamedTempFile::new_in(folder)?)))
    }

    /// Only hashes.
    pub(super) fn hash_only() -> Self {
        Self::new(Sink::Nothing)
    }

    fn new(content: Sink) -> Self {
        Self {
            content,
            blocks: Blocks::default(),
            md5: Md5::new(),
            crc32: crc32fast::Hasher::new(),
            head: Vec::new(),
            size: 0,
        }
    }

    /// How many bytes came so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.content {
            Sink::Memory(buffer) => buffer.extend_from_slice(bytes),
            Sink::File(file) => file.write_all(bytes)?,
            Sink::Nothing => {}
        }
        self.blocks.update(bytes);
        self.md5.update(bytes);
        self.crc32.update(bytes);
        self.size += bytes.len() as u64;
        let room = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        Ok(())
    }

    /// Takes all of another content.
    pub fn append(&mut self, content: &Content) -> io::Result<()> {
        match content {
            Content::Memory(bytes) => self.write(bytes),
            Content::File(path) => self.copy(&mut File::open(path)?),
        }
    }

    /// Takes all of an object's bytes.
    pub fn append_data(&mut self, data: Data) -> io::Result<()> {
        match data {
            Data::Bytes(bytes) => self.write(&bytes),
            Data::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                self.copy(&mut file)
            }
        }
    }

    fn copy(&mut self, file: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.write(&buffer[..n])?,
            }
        }
    }

    /// The end of the bytes.
    pub fn finish(self) -> io::Result<Stored> {
        let content = match self.content {
            Sink::Memory(buffer) => Content::Memory(buffer.freeze()),
            Sink::Nothing => Content::Memory(Bytes::new()),
            Sink::File(mut file) => {
                file.flush()?;
                Content::File(file.into_temp_path())
            }
        };
        Ok(Stored {
            content,
            size: self.size,
            blocks: self.blocks.finish(),
            md5: self.md5.finalize().into(),
            crc32: self.crc32.finalize(),
            head: self.head,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sinks_learn_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..(4 << 20) + 1).map(|i| (i % 251) as u8).collect();
        for mut spool in [Spool::memory(), Spool::file(folder.path()).unwrap()] {
            for piece in bytes.chunks(70_001) {
                spool.write(piece).unwrap();
            }
            let stored = spool.finish().unwrap();
            assert_eq!(hex::encode(stored.md5), "31244b258b16e75cdf5fd63f0c98f8c6");
            assert_eq!((stored.crc32, stored.size), (1_101_668_447, (4 << 20) + 1));
            let id = crate::model::content::content_id(&stored.blocks);
            assert_eq!(id.to_string(), "lgV4TNEnA2AXSRVyDqVW4bohMKad");
            let mut again = Spool::memory();
            again.append(&stored.content).unwrap();
            assert_eq!(again.finish().unwrap().blocks, stored.blocks);
        }
    }

    /// The published table: byte i is i mod 251.
    #[test]
    fn published_etags_md5_and_crc32() {
        let m = 1usize << 20;
        for (size, etag, md5, crc32) in [
            (0, "Fto5o-5ea0sNMlW_75VgGJCv2AcJ", "d41d8cd98f00b204e9800998ecf8427e", 0u32),
            (1, "FlupPJ2wz_k_UrUh10IOQ_btonhP", "93b885adfe0da089cdf634904fd59f71", 3_523_407_757),
            (m, "FsL8TLIPEwGmsN0hHBnmmhOSXb5A", "8f293a2f6c19b345152f7a49bb4c643c", 4_010_696_788),
            (4 * m - 1, "Fn9tkLHM2wFqBpgIZJ4NMMYVKZLl", "d14c5acea679625f1111e902d00b0ae0", 4_004_961_754),
            (4 * m, "Fgd8eREZ4FXnoK5eUHCJo_kRSDb1", "aad8b8e4d120d0df7a7fda991d5dab03", 2_704_297_939),
            (4 * m + 1, "lgV4TNEnA2AXSRVyDqVW4bohMKad", "31244b258b16e75cdf5fd63f0c98f8c6", 1_101_668_447),
            (8 * m, "lhZWuy7H6BDwRPEg8SCwWrzJuMmX", "727943cf3cd0ed31e7fbe1bab434d5eb", 2_142_621_045),
            (8 * m + 1, "lpRzEFZm74e2PCP5AZHpXD7HEH-Z", "551614bf9fa16f183f9d4e9bdcca0bf3", 818_225_236),
            (10 * m + 7, "lstfskeYVVVtRQ2itANuz8O4aUqn", "f1e452cb95b71abd0bd4b07de46cecf4", 3_088_768_148),
        ] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut spool = Spool::hash_only();
            // Pieces of an odd size: nothing may hang on where they end.
            bytes.chunks(1_000_003).for_each(|piece| spool.write(piece).unwrap());
            let stored = spool.finish().unwrap();
            assert_eq!(super::super::etag::plain(&stored.blocks), etag, "{size}");
            assert_eq!((hex::encode(stored.md5).as_str(), stored.crc32), (md5, crc32), "{size}");
        }
    }
}
