// SPDX-License-Identifier: MIT OR Apache-2.0
//! The heap of the program: regions handed over by whoever owns the memory.

use core::fmt;

use talc::TalcLock;
use talc::source::Manual;

use crate::sync::SpinThenYield;

#[cfg_attr(not(test), global_allocator)]
static HEAP: TalcLock<SpinThenYield, Manual> = TalcLock::new(Manual);

/// The region was too small to hold the heap's bookkeeping (about 4 KiB for the first one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall;

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "heap region too small")
    }
}

impl core::error::Error for TooSmall {}

/// How much of the heap is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes handed out.
    pub allocated_bytes: usize,
    /// Number of allocations alive.
    pub allocations: usize,
    /// Bytes of all regions.
    pub claimed_bytes: usize,
}

/// Gives a region to the heap; more may follow at any time. May be called by any thread.
///
/// # Safety
/// `start..start + bytes` is mapped, readable and writable, used by nobody else, and stays so for as
/// long as the program runs.
///
/// # Errors
/// [`TooSmall`].
pub unsafe fn init(start: *mut u8, bytes: usize) -> Result<(), TooSmall> {
    // SAFETY: the caller gives the region away; `Manual` allows it.
    unsafe { HEAP.lock().claim(start, bytes) }.map(|_| ()).ok_or(TooSmall)
}

/// What is in use now.
#[must_use]
pub fn usage() -> Usage {
    let heap = HEAP.lock();
    let counters = heap.counters();
    Usage {
        allocated_bytes: counters.allocated_bytes,
        allocations: counters.allocation_count,
        claimed_bytes: counters.claimed_bytes,
    }
}
