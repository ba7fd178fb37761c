// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memcpy` and its family, which compiled code calls by name.

use core::arch::global_asm;

// The names belong into the same piece of assembly: an alias needs its target there.
#[cfg(not(test))]
global_asm!(
    include_str!("mem.s"),
    ".globl memcpy, memmove, memset, memcmp, bcmp, strlen",
    ".set memcpy, kr_memmove",
    ".set memmove, kr_memmove",
    ".set memset, kr_memset",
    ".set memcmp, kr_memcmp",
    ".set bcmp, kr_memcmp",
    ".set strlen, kr_strlen",
);

// Under `cargo test` the host's C library has those names.
#[cfg(test)]
global_asm!(include_str!("mem.s"));

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    unsafe extern "C" {
        fn kr_memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn kr_memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8;
        fn kr_memcmp(a: *const u8, b: *const u8, bytes: usize) -> i32;
        fn kr_strlen(s: *const u8) -> usize;
    }

    const SIZES: core::ops::Range<usize> = 0..150;

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 + 3) as u8).collect()
    }

    #[test]
    fn memmove_any_overlap_matches_copy_within() {
        for bytes in SIZES {
            for from in 0..20 {
                for to in 0..40 {
                    let mut ours = pattern(200);
                    let mut theirs = ours.clone();
                    theirs.copy_within(from..from + bytes, to);
                    let base = ours.as_mut_ptr();
                    // SAFETY: at most 40 + 150 of the 200 bytes are touched.
                    let back = unsafe {
                        kr_memmove(base.wrapping_add(to), base.wrapping_add(from), bytes)
                    };
                    assert_eq!(back as usize, base as usize + to);
                    assert_eq!(ours, theirs, "{bytes} bytes from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn memset_fills_exactly_the_range() {
        for bytes in SIZES {
            for to in 0..9 {
                let mut ours = pattern(200);
                let mut theirs = ours.clone();
                theirs[to..to + bytes].fill(0xa5);
                // SAFETY: at most 9 + 150 of the 200 bytes are touched.
                unsafe { kr_memset(ours.as_mut_ptr().wrapping_add(to), 0x1a5, bytes) };
                assert_eq!(ours, theirs, "{bytes} bytes to {to}");
            }
        }
    }

    #[test]
    fn memcmp_first_difference_decides() {
        for bytes in SIZES {
            let a = pattern(bytes);
            // SAFETY: both have `bytes` bytes.
            assert_eq!(unsafe { kr_memcmp(a.as_ptr(), a.clone().as_ptr(), bytes) }, 0);
            for at in 0..bytes {
                let mut b = a.clone();
                b[at] = b[at].wrapping_add(1);
                if let Some(last) = b.last_mut().filter(|_| at + 1 < bytes) {
                    *last = 0;
                }
                // SAFETY: both have `bytes` bytes.
                let order = unsafe { kr_memcmp(a.as_ptr(), b.as_ptr(), bytes) };
                assert_eq!(order.signum(), a.cmp(&b) as i32, "{bytes} bytes, differ at {at}");
            }
        }
    }

    #[test]
    fn strlen_stops_at_the_zero() {
        // SAFETY: the string ends with a zero.
        assert_eq!(unsafe { kr_strlen(c"korrigan".as_ptr().cast()) }, 8);
    }
}
