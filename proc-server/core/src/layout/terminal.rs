// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures of terminal requests, ioctl_tty(2).

use super::layouts;

layouts! {
    /// The kernel's `struct termios` (TCGETS); the C library's is longer.
    Termios = 36 {
        input: u32,
        output: u32,
        control: u32,
        local: u32,
        line: u8,
        characters: [u8; 19],
    }
    /// `struct winsize`.
    Winsize = 8 { rows: u16, columns: u16, width_pixels: u16, height_pixels: u16 }
}
