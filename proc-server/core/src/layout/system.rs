// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures about the system: uname(2), sysinfo(2).

use super::layouts;

/// Bytes of each text in [`Utsname`], with its end.
pub const UTSNAME_TEXT_BYTES: usize = 65;

layouts! {
    /// `struct new_utsname`: sysname, nodename, release, version, machine, domainname.
    Utsname = 390 { texts: [[u8; UTSNAME_TEXT_BYTES]; 6] }
    /// `struct sysinfo`.
    Sysinfo = 112 {
        uptime_s: i64,
        loads: [u64; 3],
        total_ram: u64,
        free_ram: u64,
        shared_ram: u64,
        buffer_ram: u64,
        total_swap: u64,
        free_swap: u64,
        processes: u16,
        pad: [u8; 6],
        total_high: u64,
        free_high: u64,
        unit_bytes: u32,
        pad2: u32,
    }
}

impl Utsname {
    /// The structure with these texts, in its order; longer ones are cut.
    pub fn of(texts: [&str; 6]) -> Self {
        let mut out = Self::default();
        for (to, text) in out.texts.iter_mut().zip(texts) {
            let len = text.len().min(UTSNAME_TEXT_BYTES - 1);
            to[..len].copy_from_slice(&text.as_bytes()[..len]);
        }
        out
    }
}
