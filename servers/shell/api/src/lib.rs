// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the shell server between nodes: an administrator's command is run where it must be.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::ServerId;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::{cold, operations};
use serde::{Deserialize, Serialize};

/// Runs a command on the node that receives it; the answer is its output in the bulk data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunCommand {
    /// The command's words.
    pub words: Vec<String>,
}
/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandEnd {
    /// Exit status.
    pub status: u8,
}

cold!(RunCommand, CommandEnd);

operations! {
    ServerId::Shell;
    1, slow, once: RunCommand => CommandEnd;
}
