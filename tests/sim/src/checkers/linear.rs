// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linearizability of the operations on one object.
//!
//! # Model
//! Wing and Gong's search with Lowe's memory: of the operations that are not yet placed, any one that
//! began before all of the others ended may be next, if its result is what the object would answer. A
//! set of placed operations together with the object's state is tried once. An operation that never
//! ended may be placed or left out.
//!
//! # Source
//! Lowe, Testing for linearizability, 2017.
//!
//! # Limits
//! At most [`OPERATIONS_MAX`] operations a history.

use std::collections::HashSet;
use std::hash::Hash;

/// Operations of one history: the bits of the placed ones.
pub const OPERATIONS_MAX: usize = 128;

/// A sequential object.
pub trait Model {
    /// Its state.
    type State: Clone + Eq + Hash;
    /// An operation with its result; `None`: it never ended, and may answer anything.
    type Operation;

    /// The state at first.
    fn initial() -> Self::State;

    /// The state behind an operation; `None`: the object would not answer so.
    fn apply(state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation with its interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timed<O> {
    /// When it began.
    pub began: usize,
    /// When it ended; `usize::MAX`: never.
    pub ended: usize,
    /// What it was and got.
    pub operation: O,
}

/// Whether some order of the operations, each between its beginning and its end, explains the results.
///
/// # Panics
/// The history is longer than [`OPERATIONS_MAX`].
pub fn is_linearizable<M: Model>(history: &[Timed<M::Operation>]) -> bool {
    assert!(history.len() <= OPERATIONS_MAX, "histories are kept short");
    let must: u128 = mask(history, |timed| timed.ended != usize::MAX);
    let mut tried = HashSet::new();
    let mut stack = vec![(0u128, M::initial())];
    while let Some((placed, state)) = stack.pop() {
        if placed & must == must {
            return true;
        }
        let open = |at: usize| placed & (1 << at) == 0;
        let ends = history.iter().enumerate().filter(|(at, _)| open(*at));
        let first_end = ends.map(|(_, timed)| timed.ended).min().unwrap_or(usize::MAX);
        for (at, timed) in history.iter().enumerate() {
            if !open(at) || timed.began > first_end {
                continue;
            }
            if let Some(next) = M::apply(&state, &timed.operation) {
                let next = (placed | 1 << at, next);
                if tried.insert(next.clone()) {
                    stack.push(next);
                }
            }
        }
    }
    false
}

fn mask<O>(history: &[Timed<O>], holds: impl Fn(&Timed<O>) -> bool) -> u128 {
    let bits = history.iter().enumerate().filter(|(_, timed)| holds(timed));
    bits.fold(0, |mask, (at, _)| mask | 1 << at)
}

/// A word of a file that is written and read.
pub struct Register;

/// What is done to a [`Register`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterOperation {
    /// Wrote this.
    Write(u64),
    /// Read this.
    Read(Option<u64>),
}

impl Model for Register {
    type State = u64;
    type Operation = RegisterOperation;

    fn initial() -> u64 {
        0
    }

    fn apply(state: &u64, operation: &RegisterOperation) -> Option<u64> {
        match *operation {
            RegisterOperation::Write(value) => Some(value),
            RegisterOperation::Read(None) => Some(*state),
            RegisterOperation::Read(Some(value)) => (value == *state).then_some(*state),
        }
    }
}

/// Names of a directory that are created exclusively, renamed and removed: a set of bits.
pub struct Names;

/// What is done to [`Names`], and whether it succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameOperation {
    /// open(O_CREAT | O_EXCL).
    Create(u8, Option<bool>),
    /// unlink.
    Remove(u8, Option<bool>),
    /// rename, from and to.
    Rename(u8, u8, Option<bool>),
}

impl Model for Names {
    type State = u64;
    type Operation = NameOperation;

    fn initial() -> u64 {
        0
    }

    fn apply(names: &u64, operation: &NameOperation) -> Option<u64> {
        let exists = |name: u8| names & 1 << name != 0;
        let (possible, after, success) = match *operation {
            NameOperation::Create(name, success) => (!exists(name), names | 1 << name, success),
            NameOperation::Remove(name, success) => (exists(name), names & !(1 << name), success),
            NameOperation::Rename(from, to, success) => {
                (exists(from), names & !(1 << from) | 1 << to, success)
            }
        };
        // One that never ended may have failed.
        let after = if possible { after } else { *names };
        (success.is_none() || success == Some(possible)).then_some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameOperation::{Create, Remove, Rename};
    use RegisterOperation::{Read, Write};

    fn timed<O>(began: usize, ended: usize, operation: O) -> Timed<O> {
        Timed { began, ended, operation }
    }

    #[test]
    fn read_of_the_last_write_is_linearizable_and_of_an_older_one_is_not() {
        let writes = [timed(0, 1, Write(1)), timed(2, 3, Write(2))];
        let with = |value| [&writes[..], &[timed(4, 5, Read(Some(value)))]].concat();
        assert!(is_linearizable::<Register>(&with(2)));
        assert!(!is_linearizable::<Register>(&with(1)), "a stale read");
    }

    #[test]
    fn reads_beside_a_write_see_it_or_not_but_not_in_turn() {
        let write = timed(0, 9, Write(1));
        let reads = |first, second| {
            [write, timed(1, 2, Read(Some(first))), timed(3, 4, Read(Some(second)))]
        };
        assert!(is_linearizable::<Register>(&reads(0, 1)));
        assert!(is_linearizable::<Register>(&reads(1, 1)));
        assert!(!is_linearizable::<Register>(&reads(1, 0)), "what a read showed has vanished");
    }

    #[test]
    fn write_that_never_ended_may_have_happened_or_not() {
        let write = timed(0, usize::MAX, Write(1));
        for value in [0, 1] {
            assert!(is_linearizable::<Register>(&[write, timed(5, 6, Read(Some(value)))]));
        }
    }

    #[test]
    fn name_that_two_created_without_a_removal_is_found() {
        let twice = [timed(0, 3, Create(0, Some(true))), timed(1, 2, Create(0, Some(true)))];
        assert!(!is_linearizable::<Names>(&twice));
        let between = [twice[0], twice[1], timed(0, 3, Remove(0, Some(true)))];
        assert!(is_linearizable::<Names>(&between));
    }

    #[test]
    fn removal_that_failed_though_the_name_was_there_is_found() {
        let history = [timed(0, 1, Create(0, Some(true))), timed(2, 3, Remove(0, Some(false)))];
        assert!(!is_linearizable::<Names>(&history));
    }

    #[test]
    fn rename_moves_the_name_and_fails_without_it() {
        let history = |second| {
            [timed(0, 1, Create(0, Some(true))), timed(2, 3, Rename(0, 1, Some(true))), second]
        };
        assert!(is_linearizable::<Names>(&history(timed(4, 5, Rename(0, 1, Some(false))))));
        assert!(is_linearizable::<Names>(&history(timed(4, 5, Remove(1, Some(true))))));
        assert!(!is_linearizable::<Names>(&history(timed(4, 5, Remove(0, Some(true))))));
    }
}
