// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks between the threads of a program: spin briefly, then yield.
//!
//! All server threads share one priority, so a holder that was interrupted on this core runs again when
//! the waiter yields; a holder on another core is done within the spin.

use core::sync::atomic::{AtomicBool, Ordering};

use lock_api::{GuardSend, RawMutex};
use microkernel_sys::yield_now;

/// How often a waiter looks at the lock before it yields: more than a short critical section takes.
const SPINS_MAX: u32 = 1000;

/// The lock itself.
#[derive(Debug)]
pub struct SpinThenYield(AtomicBool);

/// A mutual exclusion lock for data.
pub type Mutex<T> = lock_api::Mutex<SpinThenYield, T>;
/// What a locked [`Mutex`] yields.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, SpinThenYield, T>;

// SAFETY: `lock` and `try_lock` succeed only for the one that changed the flag from free to taken, and
// with acquire order; `unlock` frees it with release order. So there is one holder at a time.
unsafe impl RawMutex for SpinThenYield {
    // Each use of the constant is a lock of its own, as `lock_api` wants it.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            self.wait();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl SpinThenYield {
    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS_MAX {
            if !self.is_locked() {
                return;
            }
            // Not the pause instruction: where QEMU translates, it costs QEMU's global lock, for which
            // the holder of this one may wait.
            core::hint::black_box(());
        }
        yield_now();
    }
}
