// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of `/dev` that fs-server has itself.

use abi::Errno;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// A device, null(4), full(4) and random(4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    /// Reads nothing, takes everything.
    Null,
    /// Reads zeroes.
    Zero,
    /// Reads zeroes, has no room.
    Full,
    /// Reads random bytes.
    Random,
    /// The same.
    Urandom,
}

impl Device {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Null, Self::Zero, Self::Full, Self::Random, Self::Urandom];

    /// Where it is, without the leading slash.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Null => "dev/null",
            Self::Zero => "dev/zero",
            Self::Full => "dev/full",
            Self::Random => "dev/random",
            Self::Urandom => "dev/urandom",
        }
    }

    /// Its device number as `st_rdev` has it: major 1.
    pub const fn number(self) -> u64 {
        let minor = match self {
            Self::Null => 3,
            Self::Zero => 5,
            Self::Full => 7,
            Self::Random => 8,
            Self::Urandom => 9,
        };
        1 << 8 | minor
    }

    /// Fills `buf` with what a read gives; says how many bytes.
    pub fn read(self, random: &mut ChaCha20Rng, buf: &mut [u8]) -> usize {
        match self {
            Self::Null => return 0,
            Self::Zero | Self::Full => buf.fill(0),
            Self::Random | Self::Urandom => random.fill_bytes(buf),
        }
        buf.len()
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn write(self, len: u64) -> Result<u64, Errno> {
        match self {
            Self::Full if len > 0 => Err(Errno::ENOSPC),
            Self::Full | Self::Null | Self::Zero | Self::Random | Self::Urandom => Ok(len),
        }
    }
}
