// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of signals, and what signals do.

use super::number;
use serde::{Deserialize, Serialize};

/// A set of signals: bit n-1 is signal n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Those that nobody can block, catch or ignore.
    pub const UNSTOPPABLE: Self = Self::of(&[number::KILL, number::STOP]);
    /// Those that stop a process by default.
    pub const STOPPING: Self = Self::of(&[number::STOP, number::TSTP, number::TTIN, number::TTOU]);
    /// Those that a fault raises: they come before others.
    pub const SYNCHRONOUS: Self =
        Self::of(&[number::ILL, number::TRAP, number::BUS, number::FPE, number::SEGV]);

    /// The set of these.
    pub const fn of(signals: &[u32]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << (signals[i] - 1);
            i += 1;
        }
        Self(bits)
    }

    /// A set that a program gave: without those that cannot be blocked.
    pub const fn from_program(bits: u64) -> Self {
        Self(bits & !Self::UNSTOPPABLE.0)
    }

    /// Whether `signal` (1 to 64) is in it.
    pub const fn has(self, signal: u32) -> bool {
        self.0 & (1 << (signal - 1)) != 0
    }

    /// With `signal`.
    pub const fn with(self, signal: u32) -> Self {
        Self(self.0 | 1 << (signal - 1))
    }

    /// Without `signal`.
    pub const fn without(self, signal: u32) -> Self {
        Self(self.0 & !(1 << (signal - 1)))
    }

    /// Those of this set that are not in `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub const fn meet(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signal to look at first: one that a fault raised, else the lowest.
    pub const fn first(self) -> Option<u32> {
        let faults = self.0 & Self::SYNCHRONOUS.0;
        let bits = if faults != 0 { faults } else { self.0 };
        if bits == 0 { None } else { Some(bits.trailing_zeros() + 1) }
    }
}

/// What a signal does where the program has no handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// Nothing.
    Ignore,
    /// Ends the process; `core`: it would leave a core dump.
    End {
        /// With a core dump, on Linux.
        core: bool,
    },
    /// Stops the process.
    Stop,
    /// Continues it.
    Continue,
}

impl Default {
    /// What `signal` does, signal(7).
    pub const fn of(signal: u32) -> Self {
        match signal {
            number::CHLD | number::URG | number::WINCH => Self::Ignore,
            number::CONT => Self::Continue,
            number::STOP | number::TSTP | number::TTIN | number::TTOU => Self::Stop,
            3..=8 | number::SEGV | 24 | number::XFSZ | 31 => Self::End { core: true },
            _ => Self::End { core: false },
        }
    }
}

/// What a program wants a signal to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, core::default::Default, Serialize, Deserialize)]
pub struct Action {
    /// SIG_DFL (0), SIG_IGN (1) or the handler's address.
    pub handler: u64,
    /// SA_ flags.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals that are blocked while it runs.
    pub mask: SignalSet,
}

/// SIG_DFL.
pub const DEFAULT: u64 = 0;
/// SIG_IGN.
pub const IGNORE: u64 = 1;

/// The actions of all 64 signals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actions(alloc::vec::Vec<Action>);

impl core::default::Default for Actions {
    fn default() -> Self {
        Self(alloc::vec![Action::default(); number::MAX as usize])
    }
}

impl Actions {
    /// What `signal` (1 to 64) does.
    pub fn get(&self, signal: u32) -> Action {
        self.0.get(signal as usize - 1).copied().unwrap_or_default()
    }

    /// Sets what `signal` does.
    pub fn set(&mut self, signal: u32, action: Action) {
        if let Some(row) = self.0.get_mut(signal as usize - 1) {
            *row = action;
        }
    }

    /// What execve(2) leaves: handlers are gone, what is ignored stays so.
    pub fn reset_for_exec(&mut self) {
        for action in &mut self.0 {
            if action.handler != IGNORE {
                *action = Action::default();
            }
        }
    }

    /// Whether `signal` does nothing here.
    pub fn ignores(&self, signal: u32) -> bool {
        match self.get(signal).handler {
            IGNORE => !SignalSet::UNSTOPPABLE.has(signal),
            // Continuing happens when the signal is sent.
            DEFAULT => matches!(Default::of(signal), Default::Ignore | Default::Continue),
            _ => false,
        }
    }

    /// The sets that are ignored and caught, for /proc/PID/status.
    pub fn sets(&self) -> (SignalSet, SignalSet) {
        let mut sets = (SignalSet::EMPTY, SignalSet::EMPTY);
        for (signal, action) in (1..).zip(&self.0) {
            match action.handler {
                DEFAULT => {}
                IGNORE => sets.0 = sets.0.with(signal),
                _ => sets.1 = sets.1.with(signal),
            }
        }
        sets
    }

    /// Checks a value that came from another node.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() == number::MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_looks_at_faults_first() {
        assert_eq!(SignalSet::of(&[number::HUP, number::SEGV]).first(), Some(number::SEGV));
        assert_eq!(SignalSet::of(&[64, 15]).first(), Some(15));
        assert_eq!(SignalSet::EMPTY.first(), None);
    }

    #[test]
    fn set_of_a_program_cannot_block_kill_and_stop() {
        let set = SignalSet::from_program(u64::MAX);
        assert!(!set.has(number::KILL) && !set.has(number::STOP) && set.has(64));
    }
}
