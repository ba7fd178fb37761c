// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node's clock: it starts at the node's boot, and runs a little too fast or too slow.

const MILLION: i64 = 1_000_000;

/// The clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    booted_ns: u64,
    /// Ticks in a million nanoseconds of the world.
    rate: u128,
}

impl Clock {
    /// A clock that starts now and gains so many parts of a million.
    pub fn new(now_ns: u64, drift_ppm: i64) -> Self {
        let rate = u128::try_from(MILLION + drift_ppm).expect("no clock runs backwards");
        assert!(rate > 0, "no clock stands still");
        Self { booted_ns: now_ns, rate }
    }

    /// What the clock shows at this time of the world.
    pub fn local_ns(self, now_ns: u64) -> u64 {
        let since = u128::from(now_ns.saturating_sub(self.booted_ns));
        u64::try_from(since * self.rate / MILLION as u128).expect("runs are short")
    }

    /// When the clock shows this: the world's first such nanosecond.
    pub fn world_ns(self, local_ns: u64) -> u64 {
        let since = (u128::from(local_ns) * MILLION as u128).div_ceil(self.rate);
        self.booted_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_of_a_fast_and_a_slow_clock_has_come_at_its_time_and_not_before() {
        for ppm in [-500, -1, 0, 3, 200_000] {
            let clock = Clock::new(1000, ppm);
            for local in [0, 1, 999, 1_000_003, 86_400_000_000_000] {
                let world = clock.world_ns(local);
                assert!(clock.local_ns(world) >= local, "{ppm} {local}");
                assert!(local == 0 || clock.local_ns(world - 1) < local, "{ppm} {local}");
            }
        }
    }
}
