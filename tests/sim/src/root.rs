// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of the simulated nodes.

use abi::image::{RootEntry, RootKind};
use abi::limits::PAGE_BYTES;

/// An image: what the host tool would pack.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The files.
    pub entries: Vec<RootEntry>,
    /// Their bytes; each begins on a page.
    pub data: Vec<u8>,
}

impl Image {
    /// Directories only.
    pub fn new() -> Self {
        let mut image = Self::default();
        for path in ["bin", "dev", "proc", "root", "sys", "tmp"] {
            image.entry(path, 0o755, RootKind::Directory);
        }
        image
    }

    fn entry(&mut self, path: &str, mode: u16, kind: RootKind) {
        self.entries.push(RootEntry { path: path.to_string(), mode, mtime_s: 0, kind });
    }

    /// Adds a program to /bin.
    pub fn program(mut self, name: &str, elf: &[u8]) -> Self {
        let (offset, len) = (self.data.len() as u64, elf.len() as u64);
        self.data.extend_from_slice(elf);
        self.data.resize(self.data.len().next_multiple_of(PAGE_BYTES), 0);
        self.entry(&format!("bin/{name}"), 0o755, RootKind::File { offset, len });
        self
    }
}
