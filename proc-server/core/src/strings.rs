// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments and environment of a program: many short strings, kept as they will stand in its memory.
//!
//! # Limits
//! All that calls of execve(2) hold at a time is bounded by [`EXEC_BYTES_MAX`]: they wait for files, and those may be
//! on a node that does not answer.

use crate::limits::EXEC_BYTES_MAX;
use abi::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Strings without zeroes, one after the other, each with a zero at its end.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Strings {
    bytes: Vec<u8>,
    count: usize,
}

impl Strings {
    /// Adds one, up to its first zero.
    pub fn push(&mut self, string: &[u8]) {
        let string = string.split(|byte| *byte == 0).next().unwrap_or(string);
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
        self.count += 1;
    }

    /// Puts others in the place of the first one.
    pub fn replace_first<'a>(&mut self, front: impl IntoIterator<Item = &'a [u8]>) {
        let old = core::mem::take(self);
        front.into_iter().for_each(|string| self.push(string));
        old.iter().skip(1).for_each(|string| self.push(string));
    }

    /// Each, without its zero.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == 0).take(self.count)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all, with their zeroes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Gives back what is not needed.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    fn from_iter<T: IntoIterator<Item = S>>(strings: T) -> Self {
        let mut out = Self::default();
        strings.into_iter().for_each(|string| out.push(string.as_ref()));
        out
    }
}

/// What calls of execve(2) hold together.
#[derive(Clone, Default, Debug)]
pub struct ExecRoom(Arc<AtomicUsize>);

/// A part of it, until this is dropped.
#[derive(Debug)]
pub struct ExecClaim {
    room: ExecRoom,
    bytes: usize,
}

impl ExecRoom {
    /// Takes room.
    ///
    /// # Errors
    /// ENOMEM: others hold too much.
    pub fn claim(&self, bytes: usize) -> Result<ExecClaim, Errno> {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= EXEC_BYTES_MAX);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Errno::ENOMEM)?;
        Ok(ExecClaim { room: self.clone(), bytes })
    }
}

impl Drop for ExecClaim {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_kept_in_order_and_take_no_more_than_they_need() {
        let mut strings: Strings = ["sh", "", "-c"].into_iter().collect();
        assert_eq!((strings.len(), strings.bytes()), (3, 7));
        strings.replace_first([&b"/bin/sh"[..], b"script\0junk"]);
        strings.shrink();
        let all: Vec<&[u8]> = strings.iter().collect();
        assert_eq!(all, [&b"/bin/sh"[..], b"script", b"", b"-c"]);
        assert_eq!(strings.bytes.capacity(), strings.bytes());
    }

    #[test]
    fn room_is_given_back_and_never_more_than_there_is() {
        let room = ExecRoom::default();
        let first = room.claim(EXEC_BYTES_MAX - 10).expect("it is free");
        assert_eq!(room.claim(11).map(drop), Err(Errno::ENOMEM));
        assert_eq!(room.claim(usize::MAX).map(drop), Err(Errno::ENOMEM));
        let second = room.claim(10).expect("it fits");
        drop((first, second));
        assert!(room.claim(EXEC_BYTES_MAX).is_ok());
    }
}
