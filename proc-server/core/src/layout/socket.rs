// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures of sockets.

use super::layouts;

layouts! {
    /// `struct msghdr`.
    Msghdr = 56 {
        name: u64,
        name_len: u32,
        pad: u32,
        ranges: u64,
        range_count: u64,
        control: u64,
        control_len: u64,
        flags: u32,
        pad2: u32,
    }
    /// `struct cmsghdr`: what stands before a control message's data.
    Cmsghdr = 16 { len: u64, level: u32, kind: u32 }
    /// `struct ucred`.
    Ucred = 12 { pid: u32, uid: u32, gid: u32 }
}
