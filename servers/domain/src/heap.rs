// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells how full the domain's heap is: to root at the start, and in the log whenever another quarter
//! of it is used. A heap that runs out ends the domain, so that its owner should hear of it before.

use abi::ServerId;
use abi::startup::Startup;
use core::sync::atomic::{AtomicUsize, Ordering};
use microkernel_rt::heap::{Usage, usage};
use microkernel_rt::println;

/// Quarters of the heap that were used and told.
static TOLD: AtomicUsize = AtomicUsize::new(0);
const QUARTERS: usize = 4;

/// Bytes in use, and bytes that there are.
pub fn bytes() -> (usize, usize) {
    let Usage { allocated_bytes, claimed_bytes, .. } = usage();
    (allocated_bytes, claimed_bytes)
}

/// Logs it if another quarter is used.
pub fn watch(startup: &Startup) {
    let (used, all) = bytes();
    let quarters = used * QUARTERS / all.max(1);
    if quarters > TOLD.fetch_max(quarters, Ordering::Relaxed) {
        let domain = startup.config.domains.get(startup.domain as usize);
        let first = domain.and_then(|domain| domain.servers.first().copied());
        let name = first.and_then(ServerId::from_number).map_or("domain", ServerId::name);
        println!("{name}: {} of {} KiB of the heap are in use", used / 1024, all / 1024);
    }
}
