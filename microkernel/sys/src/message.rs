// SPDX-License-Identifier: MIT OR Apache-2.0
//! Message descriptors: label, length, capabilities.

/// How many words travel in CPU registers.
pub const REGISTER_WORDS: usize = 4;
/// How many words a message has at most.
pub const WORDS_MAX: usize = 120;

/// Describes a message: bits 0..7 length in words, 7..9 extra capabilities, 9..12 which of them were
/// unwrapped, 12..64 label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MessageInfo(u64);

impl MessageInfo {
    /// A message of `length` words (at most 120; the kernel cuts the rest) with a label of 52 bits.
    #[must_use]
    #[inline]
    pub const fn new(label: u64, length: usize) -> Self {
        debug_assert!(length <= WORDS_MAX);
        Self(label << 12 | (length as u64 & 0x7f))
    }

    /// The same with `count` capabilities (at most 3), set by [`ipc::set_cap`](crate::ipc::set_cap).
    #[must_use]
    #[inline]
    pub const fn with_caps(self, count: usize) -> Self {
        debug_assert!(count <= 3);
        Self(self.0 & !(3 << 7) | (count as u64 & 3) << 7)
    }

    /// From the word that the kernel passes.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word that the kernel passes.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The sender's label: an operation, a fault type, or 0 for a signal.
    #[must_use]
    #[inline]
    pub const fn label(self) -> u64 {
        self.0 >> 12
    }

    /// Number of words, 0..=120.
    #[must_use]
    #[inline]
    pub const fn length(self) -> usize {
        let length = (self.0 & 0x7f) as usize;
        if length > WORDS_MAX { WORDS_MAX } else { length }
    }

    /// Number of capabilities that came along, 0..=3.
    #[must_use]
    #[inline]
    pub const fn extra_caps(self) -> usize {
        (self.0 >> 7 & 3) as usize
    }

    /// Whether capability `index` names the endpoint received on, and arrived as its badge only.
    #[must_use]
    #[inline]
    pub const fn is_unwrapped(self, index: usize) -> bool {
        self.0 >> 9 & 7 & (1 << index) != 0
    }
}

/// What a call answers: the descriptor and the first four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Label and length.
    pub info: MessageInfo,
    /// Words 0..4; those at or beyond the length mean nothing.
    pub words: [u64; REGISTER_WORDS],
}

/// What a receive yields: a message or a signal, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The badge of the capability that was used to send (28 bits), or the bound notification's word.
    pub badge: u64,
    /// Label and length. The kernel does not set it for a signal: after an answer it is that answer's
    /// own descriptor, so a receiver must tell the two apart by what it sends.
    pub info: MessageInfo,
    /// Words 0..4; those at or beyond the length mean nothing.
    pub words: [u64; REGISTER_WORDS],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_fields_read_back() {
        let info = MessageInfo::new(0xabc, 17).with_caps(2);
        assert_eq!((info.label(), info.length(), info.extra_caps()), (0xabc, 17, 2));
        assert_eq!(info.bits(), 0xabc << 12 | 2 << 7 | 17);
    }

    #[test]
    fn info_length_above_the_maximum_is_cut() {
        assert_eq!(MessageInfo::from_bits(127).length(), 120);
    }
}
