// SPDX-License-Identifier: MIT OR Apache-2.0
//! CRC-32C (Castagnoli), RFC 3720, 12.1: it finds every burst of up to 32 wrong bits.

use crc::{CRC_32_ISCSI, Crc};

static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The checksum of `parts`, one after the other.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC_32C.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}
