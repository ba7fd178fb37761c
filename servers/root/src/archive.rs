// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that the host tool appended to this program.

use abi::image::{ArchiveHeader, Entry, HEADER_BYTES, KEY_BYTES, NodeConfig};
use alloc::string::{String, ToString};
use microkernel_sys::{BootInfo, Cap, Frame, PAGE_BYTES};

unsafe extern "C" {
    /// First byte of the image.
    static __executable_start: u8;
    /// First byte behind the program; the archive starts on the next page.
    static _end: u8;
}

/// The archive: its entries as memory, and the capabilities of its pages.
pub struct Archive {
    base: u64,
    first_frame: u64,
    header: ArchiveHeader,
}

impl Archive {
    /// Finds and checks the archive.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the image.
    pub fn find(boot: &BootInfo<'_>) -> Result<Self, String> {
        let start = (&raw const __executable_start) as u64 & !(PAGE_BYTES - 1);
        let base = ((&raw const _end) as u64).next_multiple_of(PAGE_BYTES);
        let frames = boot.image_frames();
        let pages = (base - start) / PAGE_BYTES;
        if pages >= frames.count() {
            return Err("the boot image carries no archive: build it with `korrigan image`".into());
        }
        // SAFETY: the image has a page there, loaded by the kernel, and nobody writes it.
        let first = unsafe { core::slice::from_raw_parts(base as *const u8, HEADER_BYTES) };
        let header = ArchiveHeader::decode(first)?;
        if header.total > (frames.count() - pages) * PAGE_BYTES {
            return Err("the boot image ends inside the archive".to_string());
        }
        Ok(Self { base, first_frame: frames.start + pages, header })
    }

    /// The bytes of an entry.
    pub fn bytes(&self, entry: Entry) -> &'static [u8] {
        let (offset, len) = self.header.entries[entry as usize];
        // SAFETY: `find` checked that the archive lies in the image, the header's decoder that the
        // entry lies in the archive; nobody writes it.
        unsafe { core::slice::from_raw_parts((self.base + offset) as *const u8, len as usize) }
    }

    /// The node's private key, if the image holds one.
    pub fn link_key(&self) -> Option<[u8; KEY_BYTES]> {
        self.bytes(Entry::LinkKey).try_into().ok()
    }

    /// The frame of page `page` of an entry, mapped in root's own space.
    pub fn frame(&self, entry: Entry, page: u64) -> Cap<Frame> {
        let (offset, _) = self.header.entries[entry as usize];
        Cap::new(self.first_frame + offset / PAGE_BYTES + page)
    }

    /// The node's configuration.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the image.
    pub fn config(&self) -> Result<NodeConfig, String> {
        postcard::from_bytes(self.bytes(Entry::Config))
            .map_err(|error| alloc::format!("the boot image's configuration is damaged: {error}"))
    }
}
