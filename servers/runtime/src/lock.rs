// SPDX-License-Identifier: MIT OR Apache-2.0
//! The servers' lock: spins briefly, then yields.
//!
//! All servers share one priority, so the holder of a lock may wait for the spinner's time slice to
//! end. Yielding gives it the core at once.

use spin::{Once, RelaxStrategy};

/// A mutual exclusion lock for data that several workers of a server share.
pub type Lock<T> = spin::mutex::Mutex<T, SpinThenYield>;

/// Turns of an empty loop before yielding: longer than a short critical section on another core.
const SPINS_BEFORE_YIELD: u32 = 1000;

static YIELD: Once<fn()> = Once::new();

/// Names the call that gives the core to another thread. The first caller wins; without it locks
/// spin only, which is right on the host.
pub fn set_yield(yield_now: fn()) {
    YIELD.call_once(|| yield_now);
}

/// How a waiter passes the time.
pub struct SpinThenYield;

impl RelaxStrategy for SpinThenYield {
    fn relax() {
        // Not the pause instruction: where QEMU translates, it costs QEMU's global lock, for which the
        // holder of this one may wait.
        for turn in 0..SPINS_BEFORE_YIELD {
            core::hint::black_box(turn);
        }
        if let Some(yield_now) = YIELD.get() {
            yield_now();
        }
    }
}
