// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the shell server does outside of messages: root does it for the task.

use alloc::vec::Vec;

/// How a node stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// For good.
    Halt,
    /// And starts again.
    Reboot,
}

/// The node as the shell server can change it.
pub trait Machine {
    /// Stops the node. On a real node it does not return.
    fn stop(&mut self, how: Stop);

    /// The newest `bytes_max` bytes, at most, of what the servers logged: whole lines.
    fn log(&mut self, bytes_max: usize) -> Vec<u8>;
}
