// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal's settings, as programs set them.
//!
//! # Source
//! termios(3), ioctl_tty(2), the kernel's `struct termios` and `struct termios2` for x86-64.

use abi::Errno;
use abi::linux::general::{
    B38400, CREAD, CS8, ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ICANON, ICRNL, IEXTEN, ISIG, IXON,
    ONLCR, OPOST, VDISCARD, VEOF, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VREPRINT, VSTART,
    VSTOP, VSUSP, VWERASE,
};
use alloc::vec::Vec;

/// Bytes of `struct termios`.
pub(crate) const TERMIOS_BYTES: usize = 36;
/// Bytes of `struct termios2`: two speeds more.
pub(crate) const TERMIOS2_BYTES: usize = 44;
const CHARACTERS: usize = 19;
/// Speed that is shown; the console's real speed is the driver's business.
const SPEED: u32 = 38400;

/// The settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Termios {
    iflag: u32,
    oflag: u32,
    cflag: u32,
    lflag: u32,
    line: u8,
    cc: [u8; CHARACTERS],
}

impl Default for Termios {
    fn default() -> Self {
        let mut cc = [0; CHARACTERS];
        for (index, byte) in [
            (VINTR, 0x03),
            (VQUIT, 0x1c),
            (VERASE, 0x7f),
            (VKILL, 0x15),
            (VEOF, 0x04),
            (VMIN, 1),
            (VSTART, 0x11),
            (VSTOP, 0x13),
            (VSUSP, 0x1a),
            (VREPRINT, 0x12),
            (VDISCARD, 0x0f),
            (VWERASE, 0x17),
            (VLNEXT, 0x16),
        ] {
            cc[index as usize] = byte;
        }
        Self {
            iflag: ICRNL | IXON,
            oflag: OPOST | ONLCR,
            cflag: B38400 | CS8 | CREAD,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc,
        }
    }
}

impl Termios {
    /// Whether this input flag is set.
    pub(crate) fn input(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }

    /// Whether all bits of this output flag are set.
    pub(crate) fn output(&self, flag: u32) -> bool {
        self.oflag & flag == flag
    }

    /// Whether this local flag is set.
    pub(crate) fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }

    /// The value of a control character or of VMIN and VTIME.
    pub(crate) fn character(&self, index: u32) -> u8 {
        self.cc[index as usize]
    }

    /// Whether `byte` is the control character `index`; 0 is none.
    pub(crate) fn is(&self, index: u32, byte: u8) -> bool {
        byte != 0 && self.cc[index as usize] == byte
    }

    /// `struct termios`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TERMIOS2_BYTES);
        for flags in [self.iflag, self.oflag, self.cflag, self.lflag] {
            out.extend_from_slice(&flags.to_le_bytes());
        }
        out.push(self.line);
        out.extend_from_slice(&self.cc);
        out
    }

    /// `struct termios2`.
    pub(crate) fn encode2(&self) -> Vec<u8> {
        let mut out = self.encode();
        out.extend_from_slice(&SPEED.to_le_bytes());
        out.extend_from_slice(&SPEED.to_le_bytes());
        out
    }

    /// Reads `struct termios` or `struct termios2`.
    pub(crate) fn decode(data: &[u8]) -> Result<Self, Errno> {
        let data: &[u8; TERMIOS_BYTES] = data.first_chunk().ok_or(Errno::EINVAL)?;
        let flags =
            |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        let mut cc = [0; CHARACTERS];
        cc.copy_from_slice(&data[17..]);
        Ok(Self {
            iflag: flags(0),
            oflag: flags(4),
            cflag: flags(8),
            lflag: flags(12),
            line: data[16],
            cc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn termios_encoded_and_decoded_is_the_same() {
        let termios = Termios::default();
        assert_eq!(termios.encode().len(), TERMIOS_BYTES);
        assert_eq!(termios.encode2().len(), TERMIOS2_BYTES);
        assert_eq!(Termios::decode(&termios.encode2()), Ok(termios));
    }

    #[test]
    fn termios_too_short_is_refused() {
        assert_eq!(Termios::decode(&[0; TERMIOS_BYTES - 1]), Err(Errno::EINVAL));
    }
}
