// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals that wait to be delivered.

use super::{SignalSet, number};
use crate::layout::signal::SigInfo;
use crate::limits::QUEUED_SIGNALS_MAX;
use abi::Errno;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Who sent a signal and why: what siginfo_t tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Info {
    /// The signal.
    pub signal: u32,
    /// SI_ or other code.
    pub code: i32,
    /// The four words behind the head of siginfo_t that are in use.
    pub words: [u64; 3],
}

/// si_code of kill(2).
pub const SI_USER: i32 = 0;
/// si_code of what the system sends.
pub const SI_KERNEL: i32 = 0x80;
/// si_code of a POSIX timer.
pub const SI_TIMER: i32 = -2;
/// si_code of tgkill(2).
pub const SI_TKILL: i32 = -6;

impl Info {
    /// Sent by a process.
    pub fn sent(signal: u32, code: i32, pid: u32, uid: u32) -> Self {
        let info = SigInfo::sent(signal.cast_signed(), code, pid, uid);
        Self { signal, code, words: [info.fields[0], 0, 0] }
    }

    /// Sent by the system.
    pub fn kernel(signal: u32) -> Self {
        Self { signal, code: SI_KERNEL, words: [0; 3] }
    }

    /// SIGCHLD.
    pub fn child(signal: u32, code: i32, pid: u32, uid: u32, status: i32) -> Self {
        let info = SigInfo::child(signal.cast_signed(), code, pid, uid, status);
        Self { signal, code, words: [info.fields[0], info.fields[1], 0] }
    }

    /// Raised by a fault at `addr`.
    pub fn fault(signal: u32, code: i32, addr: u64) -> Self {
        Self { signal, code, words: [addr, 0, 0] }
    }

    /// As programs see it.
    pub fn layout(&self) -> SigInfo {
        let mut info =
            SigInfo { signal: self.signal.cast_signed(), code: self.code, ..SigInfo::default() };
        info.fields[..3].copy_from_slice(&self.words);
        info
    }
}

/// The signals that wait for one thread or process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    set: SignalSet,
    queue: Vec<Info>,
}

impl Pending {
    /// Which signals wait.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// Adds a signal; a standard one that waits already is lost, as on Linux.
    ///
    /// # Errors
    /// EAGAIN: a real-time signal, and the queue is full.
    pub fn add(&mut self, info: Info) -> Result<(), Errno> {
        let known = self.set.has(info.signal);
        if info.signal < number::REAL_TIME && known {
            return Ok(());
        }
        if self.queue.len() >= QUEUED_SIGNALS_MAX {
            if info.signal >= number::REAL_TIME {
                return Err(Errno::EAGAIN);
            }
            // The signal comes, without its information.
            self.set = self.set.with(info.signal);
            return Ok(());
        }
        self.set = self.set.with(info.signal);
        self.queue.push(info);
        Ok(())
    }

    /// Takes the oldest `signal` out.
    pub fn take(&mut self, signal: u32) -> Option<Info> {
        if !self.set.has(signal) {
            return None;
        }
        let at = self.queue.iter().position(|info| info.signal == signal);
        let info = at.map(|at| self.queue.remove(at));
        if !self.queue.iter().any(|info| info.signal == signal) {
            self.set = self.set.without(signal);
        }
        Some(info.unwrap_or(Info::kernel(signal)))
    }

    /// Gives back what [`Self::take`] took just now: it comes first again.
    pub fn put_back(&mut self, info: Info) {
        self.set = self.set.with(info.signal);
        self.queue.insert(0, info);
        // What was taken may have waited without its information, so that it had no place here.
        if self.queue.len() > QUEUED_SIGNALS_MAX {
            self.queue.remove(0);
        }
    }

    /// Forgets all of these.
    pub fn remove(&mut self, signals: SignalSet) {
        self.set = self.set.minus(signals);
        self.queue.retain(|info| !signals.has(info.signal));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The signals that wait with information, oldest first.
    pub fn queue_mut(&mut self) -> impl Iterator<Item = &mut Info> {
        self.queue.iter_mut()
    }

    /// Checks a value that came from another node.
    pub fn is_well_formed(&self) -> bool {
        self.queue.len() <= QUEUED_SIGNALS_MAX
            && self.queue.iter().all(|info| (1..=number::MAX).contains(&info.signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_that_is_put_back_comes_first() {
        let mut pending = Pending::default();
        for word in 0..3 {
            pending.add(Info { words: [word, 0, 0], ..Info::kernel(40) }).unwrap();
        }
        let first = pending.take(40).unwrap();
        pending.put_back(first);
        let order = [0; 3].map(|_| pending.take(40).unwrap().words[0]);
        assert_eq!(order, [0, 1, 2]);
        pending.put_back(first);
        assert!(pending.set().has(40));
    }

    #[test]
    fn pending_standard_signal_comes_once_and_real_time_as_often_as_sent() {
        let mut pending = Pending::default();
        for signal in [15, 15, 40, 40] {
            pending.add(Info::kernel(signal)).unwrap();
        }
        assert!(pending.take(15).is_some());
        assert!(pending.take(15).is_none());
        assert!(pending.take(40).is_some());
        assert!(pending.set().has(40));
        assert!(pending.take(40).is_some());
        assert!(pending.set().is_empty());
    }

    #[test]
    fn pending_full_queue_refuses_real_time_and_keeps_standard() {
        let mut pending = Pending::default();
        for _ in 0..QUEUED_SIGNALS_MAX {
            pending.add(Info::kernel(50)).unwrap();
        }
        assert_eq!(pending.add(Info::kernel(50)), Err(Errno::EAGAIN));
        pending.add(Info::kernel(15)).unwrap();
        assert_eq!(pending.take(15), Some(Info::kernel(15)));
    }
}
