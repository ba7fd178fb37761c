// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the paths cost that the edits touch, so that an edit does not make them slower unnoticed.
//!
//! In ticks of the time stamp counter, which are instructions with `-icount shift=0 -smp 1`.

use microkernel_rt::println;
use microkernel_sys::{Caching, MessageInfo, Rights};

use crate::env::{DATA, Env, Process, ticks};
use crate::programs;

const ROUNDS: u64 = 1000;
const ANSWER: MessageInfo = MessageInfo::new(0, 1);

/// Prints a line for each.
pub fn all(env: &mut Env) {
    let caller = env.process(programs::caller(), 0);
    println!("TICKS null_system_call_of_process {}", system_calls(&caller));
    env.stop_threads();
    let toucher = env.process(programs::writer(), 0);
    println!("TICKS page_fault_map_unmap {}", page_faults(&toucher));
    println!("TICKS page_remap {}", remaps(&toucher));
    env.stop_threads();
}

/// A system call of a process, answered at once.
fn system_calls(process: &Process) -> u64 {
    process.start();
    let _ = process.endpoint.recv();
    let start = ticks();
    for _ in 0..ROUNDS {
        let _ = process.endpoint.reply_recv(ANSWER, [0; 4]);
    }
    (ticks() - start) / ROUNDS
}

/// A page fault, answered by mapping the page; then unmapped for the next.
fn page_faults(process: &Process) -> u64 {
    let vspace = process.vspace;
    process.data_frame.unmap().expect("the page is mapped");
    process.start();
    let _ = process.endpoint.recv();
    let start = ticks();
    for _ in 0..ROUNDS {
        process
            .data_frame
            .map(vspace, DATA, Rights::READ_WRITE, Caching::WriteBack)
            .expect("the table is there");
        process.data_frame.unmap().expect("the page is mapped");
        let _ = process.endpoint.reply_recv(ANSWER, [0; 4]);
    }
    (ticks() - start) / ROUNDS
}

/// A change of a page's rights.
fn remaps(process: &Process) -> u64 {
    let vspace = process.vspace;
    process
        .data_frame
        .map(vspace, DATA, Rights::READ_WRITE, Caching::WriteBack)
        .expect("the table is there");
    let start = ticks();
    for _ in 0..ROUNDS {
        process
            .data_frame
            .remap(vspace, Rights::READ, Caching::WriteBack)
            .expect("the page is mapped");
    }
    (ticks() - start) / ROUNDS
}
