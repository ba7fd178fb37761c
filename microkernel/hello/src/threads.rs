// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two threads, on two cores where there are, use one heap and one lock at once.

use alloc::collections::VecDeque;
use alloc::{boxed::Box, vec};

use microkernel_rt::sync::Mutex;
use microkernel_rt::{heap, println, thread};
use microkernel_sys::{Cap, Notification, yield_now};

use crate::machine::Region;
use crate::resources::Resources;

const ROUNDS: u64 = 5000;
/// Allocations that a thread keeps at a time.
const KEPT_MAX: usize = 32;
const BADGE: u64 = 1;

static STACK: Region<16384> = Region::new();
static TOTAL: Mutex<u64> = Mutex::new(0);

pub fn check(resources: &mut Resources, cores: u64) {
    let done: Cap<Notification> = resources.create(0);
    let badged = resources.badged(done, BADGE);
    let other = resources.thread(Cap::NULL);
    other.set_affinity(cores - 1).expect("the last core is there");
    let allocated_before = heap::usage();
    let registers = thread::start_registers(run, STACK.top(), badged.bits(), 0);
    other.write_registers(true, &registers).expect("the thread is stopped");
    work(7);
    assert_eq!(done.wait(), BADGE);
    other.suspend().expect("the thread is there");
    assert_eq!(*TOTAL.lock(), 2 * ROUNDS);
    let usage = heap::usage();
    assert_eq!(usage.allocations, allocated_before.allocations);
    println!("one heap, two threads: ok");
}

extern "C" fn run(done: u64, _: u64) -> ! {
    work(11);
    Cap::<Notification>::new(done).signal();
    loop {
        yield_now();
    }
}

/// Allocates blocks of many sizes filled with `mark`, and frees them in order: each must be intact.
fn work(mark: u8) {
    let mut kept: VecDeque<Box<[u8]>> = VecDeque::with_capacity(KEPT_MAX);
    for round in 0..ROUNDS {
        if kept.len() == KEPT_MAX {
            let oldest = kept.pop_front().expect("it is full");
            assert!(oldest.iter().all(|b| *b == mark), "a block was changed by somebody else");
        }
        kept.push_back(vec![mark; 1 + (round * 37 % 900) as usize].into());
        *TOTAL.lock() += 1;
    }
}
