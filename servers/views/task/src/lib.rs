// SPDX-License-Identifier: MIT OR Apache-2.0
//! The views server on seL4: what its core wants of the node, it asks of root.

#![no_std]
#![forbid(unsafe_code)]

use abi::startup::{Startup, root_call};
use microkernel_sys::{Cap, Endpoint};
use views_core::server::Machine;

/// Root, as the views server can use it.
pub struct Sel4Machine {
    root: Cap<Endpoint>,
    say: fn(&str),
    alarm: fn(&str),
}

impl Sel4Machine {
    /// The machine of the domain with this startup; `say` puts a line into the log,
    /// `alarm` on the console too.
    pub fn new(startup: &Startup, say: fn(&str), alarm: fn(&str)) -> Self {
        Self { root: Cap::new(startup.root_slot), say, alarm }
    }
}

impl Machine for Sel4Machine {
    fn say(&mut self, line: &str) {
        (self.say)(line);
    }

    fn alarm(&mut self, line: &str) {
        (self.alarm)(line);
    }

    fn restart(&mut self) {
        const REBOOT: u64 = 1;
        self.root.call4(root_call::HALT, [REBOOT, 0, 0, 0]);
    }
}
