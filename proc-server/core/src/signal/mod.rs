// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: numbers, sets, queues, actions, frames and delivery.

mod calls;
mod deliver;
mod frame;
mod queue;
mod send;
mod set;

pub(crate) use calls::*;
pub(crate) use deliver::Settled;
pub use queue::{Info, Pending, SI_KERNEL, SI_TIMER};
pub(crate) use send::Target;
pub use set::{Action, Actions, DEFAULT, Default, IGNORE, SignalSet};

#[allow(missing_docs, reason = "names of signal(7)")]
pub mod number {
    pub const HUP: u32 = 1;
    pub const INT: u32 = 2;
    pub const QUIT: u32 = 3;
    pub const ILL: u32 = 4;
    pub const TRAP: u32 = 5;
    pub const BUS: u32 = 7;
    pub const FPE: u32 = 8;
    pub const KILL: u32 = 9;
    pub const SEGV: u32 = 11;
    pub const PIPE: u32 = 13;
    pub const ALRM: u32 = 14;
    pub const CHLD: u32 = 17;
    pub const CONT: u32 = 18;
    pub const STOP: u32 = 19;
    pub const TSTP: u32 = 20;
    pub const TTIN: u32 = 21;
    pub const TTOU: u32 = 22;
    pub const URG: u32 = 23;
    pub const XFSZ: u32 = 25;
    pub const WINCH: u32 = 28;
    /// The first real-time signal: from here on each one sent is queued.
    pub const REAL_TIME: u32 = 32;
    /// The last.
    pub const MAX: u32 = 64;
}
