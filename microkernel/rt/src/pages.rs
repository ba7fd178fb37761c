// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run of pages of this program's address space that is reached by page number.
//!
//! Why here: it is the one place where mem-server's frames become memory of its own. Everything that
//! could be wrong with an access is checked against the number of pages that were mapped.

use microkernel_sys::{Caching, Cap, Frame, MapError, PAGE_BYTES, Rights, VSpace};

const BYTES: usize = PAGE_BYTES as usize;

/// Pages `0..count()` at consecutive addresses.
#[derive(Debug)]
pub struct Pages {
    base: u64,
    count: u64,
    writable: bool,
}

impl Pages {
    /// Pages that are mapped already.
    ///
    /// # Safety
    /// `count` pages from `base` on are mapped for good, and nobody else writes them or, where
    /// `writable`, uses them while a reference from here lives.
    #[must_use]
    pub const unsafe fn mapped(base: u64, count: u64, writable: bool) -> Self {
        Self { base, count, writable }
    }

    /// How many pages there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The address where the next page would be mapped.
    #[must_use]
    pub const fn next_address(&self) -> u64 {
        self.base + self.count * PAGE_BYTES
    }

    /// Maps `frame` as the next page. The frame must be memory of the caller's own: programs may share
    /// it, and the caller copies in and out by bytes only.
    ///
    /// # Errors
    /// As for mapping a frame: the table that is missing.
    pub fn push(&mut self, frame: Cap<Frame>, space: Cap<VSpace>) -> Result<(), MapError> {
        let caching = Caching::WriteBack;
        frame.map(space, self.next_address(), Rights::READ_WRITE, caching)?;
        self.count += 1;
        Ok(())
    }

    /// The bytes of a page.
    ///
    /// # Panics
    /// If there is no such page.
    #[must_use]
    pub fn page(&self, index: u64) -> &[u8; BYTES] {
        assert!(index < self.count, "page out of range");
        // SAFETY: the page is mapped, and `&self` keeps it from being written here. A program that
        // shares the frame may write it meanwhile: the bytes are then any, never invalid.
        unsafe { &*((self.base + index * PAGE_BYTES) as *const [u8; BYTES]) }
    }

    /// The bytes of a page, to be written.
    ///
    /// # Panics
    /// If there is no such page, or the pages are read-only.
    pub fn page_mut(&mut self, index: u64) -> &mut [u8; BYTES] {
        assert!(self.writable && index < self.count, "page out of range or read-only");
        // SAFETY: as for `page`, and `&mut self` makes it the only reference here.
        unsafe { &mut *((self.base + index * PAGE_BYTES) as *mut [u8; BYTES]) }
    }

    /// Copies `len` bytes from one page to another or within one.
    ///
    /// # Panics
    /// If a page does not exist, or a range does not end in its page.
    pub fn copy(&mut self, from: (u64, usize), to: (u64, usize), len: usize) {
        let target = self.page_mut(to.0)[to.1..to.1 + len].as_mut_ptr();
        let source = self.page(from.0)[from.1..from.1 + len].as_ptr();
        // SAFETY: both ranges were checked; `copy` allows them to overlap.
        unsafe { core::ptr::copy(source, target, len) }
    }
}
