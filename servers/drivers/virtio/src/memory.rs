// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device registers and memory that the device reaches: all access is volatile and bounded here.

/// Registers from an address on.
#[derive(Clone, Copy)]
pub struct Registers {
    base: u64,
}

macro_rules! access {
    ($($read:ident $write:ident $t:ty;)*) => {$(
        #[doc = "Reads a register at this offset."]
        pub fn $read(&self, offset: u64) -> $t {
            // SAFETY: the registers are mapped, as `new`'s caller says, and a read of them is an
            // ordinary access to the device.
            unsafe { core::ptr::read_volatile((self.base + offset) as *const $t) }
        }

        #[doc = "Writes a register at this offset."]
        pub fn $write(&self, offset: u64, value: $t) {
            // SAFETY: as for reading.
            unsafe { core::ptr::write_volatile((self.base + offset) as *mut $t, value) }
        }
    )*};
}

impl Registers {
    /// The registers at `base`.
    ///
    /// # Safety
    /// They are mapped there for good, and the offsets used lie inside.
    pub unsafe fn new(base: u64) -> Self {
        Self { base }
    }

    /// Those that begin `offset` bytes further on.
    pub fn at(&self, offset: u64) -> Self {
        Self { base: self.base + offset }
    }

    access! {
        read8 write8 u8;
        read16 write16 u16;
        read32 write32 u32;
    }

    /// Writes a 64-bit register as its two halves, as virtio wants it.
    pub fn write64(&self, offset: u64, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset + 4, (value >> 32) as u32);
    }
}

/// Physically consecutive memory that the device reads and writes.
pub struct Dma {
    base: u64,
    physical: u64,
    bytes: usize,
}

impl Dma {
    /// Memory mapped at the first number, with the second as physical address, of so many bytes.
    ///
    /// # Safety
    /// That is true, for good, and nobody else uses it.
    pub unsafe fn new((base, physical, bytes): (u64, u64, u64)) -> Self {
        Self { base, physical, bytes: bytes as usize }
    }

    /// What is before byte `at`, and the rest.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn cut(self, at: usize) -> (Self, Self) {
        let bytes = self.bytes.checked_sub(at).expect("a byte inside");
        let (base, physical) = (self.base + at as u64, self.physical + at as u64);
        (Self { bytes: at, ..self }, Self { base, physical, bytes })
    }

    /// Bytes of it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its physical address.
    pub fn physical(&self) -> u64 {
        self.physical
    }

    /// Reads a byte.
    pub fn read8(&self, at: usize) -> u8 {
        assert!(at < self.bytes, "inside");
        // SAFETY: checked just now; volatile, as the device may write it at any time.
        unsafe { core::ptr::read_volatile((self.base + at as u64) as *const u8) }
    }

    /// Reads two bytes.
    pub fn read16(&self, at: usize) -> u16 {
        assert!(at + 2 <= self.bytes && at.is_multiple_of(2), "inside, aligned");
        // SAFETY: checked just now; volatile, as the device may write it at any time.
        unsafe { core::ptr::read_volatile((self.base + at as u64) as *const u16) }
    }

    /// Reads four bytes.
    pub fn read32(&self, at: usize) -> u32 {
        assert!(at + 4 <= self.bytes && at.is_multiple_of(4), "inside, aligned");
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile((self.base + at as u64) as *const u32) }
    }

    /// Writes two bytes.
    pub fn write16(&mut self, at: usize, value: u16) {
        assert!(at + 2 <= self.bytes && at.is_multiple_of(2), "inside, aligned");
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile((self.base + at as u64) as *mut u16, value) }
    }

    /// Writes eight bytes.
    pub fn write64(&mut self, at: usize, value: u64) {
        assert!(at + 8 <= self.bytes && at.is_multiple_of(8), "inside, aligned");
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile((self.base + at as u64) as *mut u64, value) }
    }

    /// Copies bytes in.
    pub fn copy_in(&mut self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.bytes, "inside");
        let to = (self.base + at as u64) as *mut u8;
        // SAFETY: checked just now; the device does not touch a buffer that it was not offered.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) }
    }

    /// Copies bytes out.
    pub fn copy_out(&self, at: usize, data: &mut [u8]) {
        assert!(at + data.len() <= self.bytes, "inside");
        let from = (self.base + at as u64) as *const u8;
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(from, data.as_mut_ptr(), data.len()) }
    }
}
