// SPDX-License-Identifier: MIT OR Apache-2.0
//! CRC-32C (Castagnoli), which finds every burst of up to 32 wrong bits.
//!
//! # Source
//! RFC 3720, section 12.1 and appendix B.4.

use crc::{CRC_32_ISCSI, Crc};

static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The checksum of `parts`, one after the other.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC_32C.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, B.4.
    #[test]
    fn checksum_of_the_standards_examples() {
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[&[0xff; 30], &[0xff; 2]]), 0x62a8_ab43);
    }
}
