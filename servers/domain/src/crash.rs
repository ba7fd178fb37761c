// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults on purpose: how an administrator shows what becomes of a node when a server dies.

use abi::{Errno, ServerId};
use runtime::{Status, system};

/// An address in the first page, which is never mapped.
const NOWHERE: u64 = 0x8;

/// Makes the calling worker fault if `op` says so and `client` may; `None` if `op` is another one.
pub fn asked(client: ServerId, op: u16) -> Option<Status> {
    if op != system::CRASH {
        return None;
    }
    if !system::may_crash(client) {
        return Some(Status::Failed(Errno::EPERM));
    }
    // SAFETY: root maps nothing in the first page of any domain, so the store changes nothing: the
    // worker faults and does not go on.
    unsafe { core::ptr::write_volatile(NOWHERE as *mut u64, 0) };
    Some(Status::Failed(Errno::EIO))
}
