// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits for what time.

use abi::{CoreId, ServerId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Counts of the PIT per second.
const PIT_HZ: u64 = 1_193_182;
/// The longest shot: the counter has 16 bits.
const COUNT_MAX: u64 = 0xffff;
/// The shortest: writing the counter takes about as long.
const COUNT_MIN: u64 = 2;

/// The earliest deadline of each client and core. At most one per server and core exists.
#[derive(Debug, Default)]
pub struct Deadlines {
    by_client: BTreeMap<(u8, CoreId), u64>,
}

impl Deadlines {
    /// Arms; an earlier deadline of the same client and core stays. Whether it is now the earliest of
    /// all.
    pub fn arm(&mut self, client: ServerId, core: CoreId, deadline_ns: u64) -> bool {
        let before = self.earliest();
        let entry = self.by_client.entry((client as u8, core)).or_insert(deadline_ns);
        *entry = deadline_ns.min(*entry);
        before.is_none_or(|before| deadline_ns < before)
    }

    /// Removes the clients whose time has come.
    pub fn expired(&mut self, now_ns: u64) -> Vec<(ServerId, CoreId)> {
        let due = |(&(client, core), &deadline): (&(u8, CoreId), &u64)| {
            let server = ServerId::from_number(client)?;
            (deadline <= now_ns).then_some((server, core))
        };
        let expired: Vec<_> = self.by_client.iter().filter_map(due).collect();
        self.by_client.retain(|_, deadline| *deadline > now_ns);
        expired
    }

    /// Removes a client that died.
    pub fn forget(&mut self, client: ServerId) {
        self.by_client.retain(|(number, _), _| *number != client as u8);
    }

    /// The next deadline.
    pub fn earliest(&self) -> Option<u64> {
        self.by_client.values().min().copied()
    }
}

/// The counts of a shot that ends at or after `deadline_ns`, or as near before it as a shot reaches.
pub fn shot(now_ns: u64, deadline_ns: u64) -> u16 {
    let left_ns = u128::from(deadline_ns.saturating_sub(now_ns));
    let counts = (left_ns * u128::from(PIT_HZ)).div_ceil(1_000_000_000);
    let counts = u64::try_from(counts).unwrap_or(COUNT_MAX);
    counts.clamp(COUNT_MIN, COUNT_MAX) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: CoreId = CoreId(0);

    #[test]
    fn arm_later_than_armed_keeps_the_earlier() {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.arm(ServerId::Proc, CORE, 100));
        assert!(!deadlines.arm(ServerId::Proc, CORE, 200));
        assert_eq!(deadlines.earliest(), Some(100));
    }

    #[test]
    fn expired_yields_each_client_once_and_not_before_its_time() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(ServerId::Proc, CORE, 100);
        deadlines.arm(ServerId::Net, CoreId(1), 150);
        assert_eq!(deadlines.expired(99), []);
        assert_eq!(deadlines.expired(100), [(ServerId::Proc, CORE)]);
        assert_eq!(deadlines.expired(100), []);
        assert_eq!(deadlines.earliest(), Some(150));
    }

    #[test]
    fn forgotten_client_is_not_due_any_more() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(ServerId::Proc, CORE, 100);
        deadlines.arm(ServerId::Net, CORE, 150);
        deadlines.forget(ServerId::Proc);
        assert_eq!(deadlines.expired(200), [(ServerId::Net, CORE)]);
    }

    #[test]
    fn shot_is_bounded_and_never_ends_early() {
        assert_eq!(shot(0, u64::MAX), 0xffff);
        assert_eq!(shot(5, 5), 2);
        assert_eq!(shot(10, 5), 2);
        assert_eq!(shot(0, 1_000_000), 1194);
    }
}
