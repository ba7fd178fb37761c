// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot image's archive: what the host tool appends to the root program, and root reads.
//!
//! # Model
//! The kernel loads one module, the root program. The host tool adds one segment to that ELF file,
//! at the first page boundary at or above the linker's symbol `_end`: the archive.
//!
//! ```text
//! page 0      ArchiveHeader: magic, version, total bytes, entries (offset and length in bytes from
//!             the archive's first byte; each offset is a multiple of the page size)
//! entry 0     Config: a NodeConfig in postcard
//! entry 1     Domain: the ELF file of the program that every domain runs
//! entry 2     RootIndex: the root file system's files, a Vec<RootEntry> in postcard
//! entry 3     RootData: the files' bytes; each file begins on a page, so that its pages can be
//!             mapped as they are
//! entry 4     LinkKey: the node's private key for its links, KEY_BYTES, or nothing
//! ```
//!
//! # Failure
//! Root checks magic, version and every range, and refuses the image with a sentence.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// First bytes of the archive.
pub const MAGIC: [u8; 8] = *b"KORRIGAN";
/// Version of this format; root refuses others.
pub const VERSION: u32 = 4;
/// Number of entries in [`ArchiveHeader::entries`].
pub const ENTRIES: usize = 5;
/// Bytes of an encoded [`ArchiveHeader`].
pub const HEADER_BYTES: usize = 24 + ENTRIES * 16;

/// Bytes of a private or public key of a node (X25519).
pub const KEY_BYTES: usize = 32;

/// What an entry of the archive holds; the discriminant is its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A [`NodeConfig`] in postcard.
    Config = 0,
    /// The domain program, an ELF file.
    Domain = 1,
    /// The root file system's index, a `Vec<RootEntry>` in postcard.
    RootIndex = 2,
    /// The root file system's data.
    RootData = 3,
    /// The node's private key, [`KEY_BYTES`], or nothing.
    LinkKey = 4,
}

/// The first page of the archive, little-endian: magic (8), version (4), zero (4), total bytes
/// (8), then offset (8) and length (8) of each entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveHeader {
    /// Bytes of the whole archive, a multiple of the page size.
    pub total: u64,
    /// Offset and length of each [`Entry`], in bytes from the archive's start.
    pub entries: [(u64, u64); ENTRIES],
}

impl ArchiveHeader {
    /// The bytes as they stand in the image.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.total.to_le_bytes());
        for (i, (offset, len)) in self.entries.iter().enumerate() {
            let at = 24 + i * 16;
            out[at..at + 8].copy_from_slice(&offset.to_le_bytes());
            out[at + 8..at + 16].copy_from_slice(&len.to_le_bytes());
        }
        out
    }

    /// Reads and checks the header.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the image.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or("the boot image ends inside the archive's header")?;
        if bytes[..8] != MAGIC {
            return Err("the boot image carries no archive: build it with `korrigan image`");
        }
        if word(bytes, 8) as u32 != VERSION {
            return Err("the boot image's archive has another version than this root program");
        }
        let total = word(bytes, 16);
        let mut entries = [(0, 0); ENTRIES];
        for (i, entry) in entries.iter_mut().enumerate() {
            let (offset, len) = (word(bytes, 24 + i * 16), word(bytes, 32 + i * 16));
            let end = offset.checked_add(len).ok_or("an entry of the archive wraps around")?;
            if end > total || offset % 4096 != 0 {
                return Err("an entry of the archive lies outside of it or off a page boundary");
            }
            *entry = (offset, len);
        }
        Ok(Self { total, entries })
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// What one node must know at boot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The cluster's name.
    pub cluster: String,
    /// This node's number.
    pub node: u16,
    /// All nodes of the cluster, this one too, in ascending order of id.
    pub nodes: Vec<NodeEntry>,
    /// Those of them that join a cluster which runs, and never found one, ascending: the others' images need
    /// not name them. The same on all nodes, as far as their images name them.
    pub joining: Vec<u16>,
    /// Public keys of the cluster's members, in ascending order of node. A node that has none here, nor in
    /// the agreed view, is no member: its frames are dropped.
    pub keys: Vec<MemberKey>,
    /// The domains to start, in order.
    pub domains: Vec<DomainEntry>,
    /// Bytes of an Ethernet frame's payload between nodes, 1,500 to 9,000.
    pub mtu: u16,
    /// How many times longer nodes wait for each other than fast machines would: at least 1, and the
    /// same on all nodes of a cluster.
    pub patience: u8,
    /// Command that the console's login runs, with its arguments.
    pub login: Vec<String>,
}

/// A node as cluster.toml names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its number, 1 to 1,024.
    pub id: u16,
    /// CPU cores.
    pub cores: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in MiB; 0 is none.
    pub disk_mib: u32,
    /// Ethernet address.
    pub mac: [u8; 6],
}

/// The public key of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberKey {
    /// Its number.
    pub node: u16,
    /// The key.
    pub key: [u8; KEY_BYTES],
}

/// One domain: a protection domain that hosts one server or several.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DomainEntry {
    /// Its name on the console.
    pub name: String,
    /// The servers it hosts, by [`crate::ServerId`] number.
    pub servers: Vec<u8>,
    /// Heap in KiB.
    pub heap_kib: u32,
}

/// One file of the root file system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootEntry {
    /// Path without a leading slash; parents come before their children.
    pub path: String,
    /// Permission bits, as in `st_mode & 07777`.
    pub mode: u16,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// What it is.
    pub kind: RootKind,
}

/// The kind of a [`RootEntry`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RootKind {
    /// A directory.
    Directory,
    /// A regular file: `offset` from the start of RootData, a multiple of the page size.
    File {
        /// Bytes from the start of RootData.
        offset: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// A symbolic link and where it points.
    Symlink(String),
    /// Another name of the file at this path, which stands earlier in the index.
    HardLink(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_header_round_trips() {
        let header = ArchiveHeader {
            total: 0x10000,
            entries: [(0x1000, 10), (0x2000, 0x1000), (0x3000, 5), (0x4000, 0xb000), (0xf000, 32)],
        };
        assert_eq!(ArchiveHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn archive_header_with_entry_outside_is_refused() {
        let header = ArchiveHeader { total: 0x1000, entries: [(0x1000, 1); ENTRIES] };
        assert!(ArchiveHeader::decode(&header.encode()).is_err());
    }
}
