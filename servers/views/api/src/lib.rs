// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the views server. No server asks it anything: it pushes views and leases to all others
//! ([`runtime::Lease`], [`runtime::Give`], `Cx::push_view`), and hears by upcalls what they wish.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::limits::MESSAGE_BYTES;
use abi::{Errno, ServerId};
use alloc::vec::Vec;
use runtime::{Msg, Wire};

/// What one views server tells another: bytes that `views-core` reads. It may be lost, as every
/// message of theirs is made up for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agree {
    /// The message, if it is short; else it is the bulk data, and this is empty.
    pub bytes: Vec<u8>,
}

impl Agree {
    /// The message and its bulk data.
    pub fn of(bytes: Vec<u8>) -> (Self, Vec<u8>) {
        if bytes.len() <= MESSAGE_BYTES {
            (Self { bytes }, Vec::new())
        } else {
            (Self { bytes: Vec::new() }, bytes)
        }
    }
}

impl Wire for Agree {
    fn put(&self, msg: &mut Msg) -> Result<(), Errno> {
        if self.bytes.len() > MESSAGE_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        msg.bytes.clone_from(&self.bytes);
        Ok(())
    }

    fn get(msg: &Msg) -> Result<Self, Errno> {
        Ok(Self { bytes: msg.bytes.clone() })
    }
}

runtime::operations! {
    ServerId::Views;
    1, leaf, repeat: Agree => ();
}
