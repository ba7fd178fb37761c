// SPDX-License-Identifier: MIT OR Apache-2.0
//! The format of the cluster tests, `tests/cluster/*.test`: read, and compared with what a cluster
//! printed. The host tool's `test` command boots the clusters; README.md beside this crate explains
//! the format.
//!
//! # Model
//! A [`Scenario`] is a header (which clusters it runs on) and steps. There is no I/O here, so that
//! the format itself is tested without a cluster.

#![forbid(unsafe_code)]

mod compare;
mod header;
mod order;
mod parse;
mod trouble;

pub use compare::{Difference, compare, compare_exactly};
pub use header::{Header, Variant};
pub use order::{Between, Fault, ONE_WAY, Order, SLOW_MS_MAX};
pub use parse::{Mistake, parse};
pub use trouble::{Trouble, Troublemaker};

/// One file of tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Which clusters it runs on.
    pub header: Header,
    /// What happens there, in order.
    pub steps: Vec<Step>,
}

/// One step and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Line of the file, from 1.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Types a command at node 1's login shell and checks what it prints.
    Command {
        /// The command; its lines are joined by line feeds.
        text: String,
        /// Lines it must print; see [`compare`].
        output: Vec<String>,
        /// How it must end.
        status: Status,
    },
    /// Types a command there and in busybox's shell on this machine: both must print the same and
    /// end the same way.
    AsOnLinux {
        /// The command; its lines are joined by line feeds.
        text: String,
    },
    /// Types bytes on a node's console.
    Type {
        /// The node's number.
        node: u16,
        /// What is typed.
        bytes: Vec<u8>,
    },
    /// Waits until a node's console shows a text after the last wait or command.
    Wait {
        /// The node's number.
        node: u16,
        /// What it must show.
        text: Vec<u8>,
    },
    /// Does something to a node or a link, as `./korrigan ctl` does.
    Order(Order),
    /// Lets one thing after the other go wrong at random, and waits at last until all is well.
    Disturb {
        /// How long.
        seconds: u64,
        /// Names the trouble; another one in each run if there is none.
        seed: Option<u64>,
    },
}

/// How a command must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// With this exit status.
    Is(u8),
    /// With any but 0.
    Failure,
    /// Any way.
    Any,
}

impl Status {
    /// True if `status` is one of those.
    pub fn admits(self, status: u8) -> bool {
        match self {
            Self::Is(wanted) => status == wanted,
            Self::Failure => status != 0,
            Self::Any => true,
        }
    }
}
