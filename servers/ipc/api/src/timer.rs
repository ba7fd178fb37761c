// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers that are files, timerfd_create(2).
//!
//! # Model
//! A timer is an open file description with a home, which counts on its node's clock. Times come and go as distances from
//! the present, as nodes count from when they were booted; who asks knows which clock the program means.

use abi::{FileId, ServerId};
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

hot! {
    /// timerfd_create(2); `flags`: O_NONBLOCK. The calling node holds it.
    pub struct TimerCreate { pub flags: u32 }
}
hot! {
    /// A timer.
    pub struct TimerMade { pub file: FileId }
}
/// timerfd_settime(2). The answer is what it was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimerSet {
    /// The timer.
    pub file: FileId,
    /// Nanoseconds until it runs out, below 0 if that was before; `None` disarms it.
    pub first_ns: Option<i64>,
    /// Nanoseconds from one time to the next; 0: it runs out once.
    pub interval_ns: u64,
}
hot! {
    /// timerfd_gettime(2).
    pub struct TimerGet { pub file: FileId }
}
hot! {
    /// Nanoseconds until it runs out, 0 if it does not; from one time to the next.
    pub struct TimerValue { pub left_ns: u64, pub interval_ns: u64 }
}

cold!(TimerSet);

operations! {
    ServerId::Ipc;
    120, slow, once: TimerCreate => TimerMade;
    121, slow, once: TimerSet => TimerValue;
    122, slow, repeat: TimerGet => TimerValue;
}
