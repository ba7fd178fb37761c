// SPDX-License-Identifier: MIT OR Apache-2.0
//! Invocations: calls whose receiver is the kernel. The methods are generated.

use crate::cap::*;
use crate::error::{Error, MapError};
use crate::ipc;
use crate::labels as label;
use crate::message::{MessageInfo, REGISTER_WORDS};
use crate::object::{Caching, CapData, ObjectType, Priorities, Rights};
use crate::syscall::{Number, enter};

/// Invokes the object at `cap`. Yields the first four words of the answer.
#[inline(always)]
pub(crate) fn invoke<const CAPS: usize, const WORDS: usize>(
    cap: u64,
    label: u64,
    caps: [u64; CAPS],
    words: [u64; WORDS],
) -> Result<[u64; REGISTER_WORDS], Error> {
    for (i, cap) in caps.into_iter().enumerate() {
        ipc::set_cap(i, cap);
    }
    let mut first = [0; REGISTER_WORDS];
    for (i, word) in words.into_iter().enumerate() {
        match first.get_mut(i) {
            Some(slot) => *slot = word,
            None => ipc::set_word(i, word),
        }
    }
    let info = MessageInfo::new(label, WORDS).with_caps(CAPS);
    let answer = enter(Number::Call, cap, info, first);
    match Error::decode(answer.info.label(), answer.words) {
        None => Ok(answer.words),
        Some(error) => Err(error),
    }
}

include!(concat!(env!("OUT_DIR"), "/invocations.rs"));
