// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stopping and starting threads (edits 09, 10, 20, 22, 27, 29).

use microkernel_sys::{
    Cap, CapData, Endpoint, Fault, MessageInfo, Registers, Rights, State, Tcb, ThreadState, init,
    reply, reply_with, yield_now,
};

use crate::ensure;
use crate::env::{Env, Outcome, PRIORITY, Page, fault_of_same_core, slot_of, start, wait_for};
use crate::programs;

const SYSCALL_LABEL: u64 = 2;
/// `syscall` is two bytes long.
const SYSCALL_BYTES: u64 = 2;

pub fn suspend_after_reply_keeps_pc(env: &mut Env) -> Outcome {
    let endpoint: Cap<Endpoint> = env.create();
    let thread = env.native_thread();
    start(thread, programs::call_twice, endpoint.bits());
    ensure!(endpoint.recv().info.label() == 1, "no first call");
    // Root has the higher priority: the thread is ready, but has not run since.
    const ANSWER: MessageInfo = MessageInfo::new(5, 0);
    reply(ANSWER, [0; 4]);
    thread.suspend().map_err(|_| "cannot suspend")?;
    thread.resume().map_err(|_| "cannot resume")?;
    let second = endpoint.recv();
    ensure!(second.info.label() == 2, "no second call");
    // Made again, the call would have the answer's registers, and fail.
    ensure!(second.words[0] == ANSWER.bits(), "the first call was made again");
    Ok(())
}

pub fn cancelled_send_repeats_foreign_call(env: &mut Env) -> Outcome {
    let endpoint: Cap<Endpoint> = env.create();
    let badged = env.slot();
    badged
        .mint_from(slot_of(endpoint), Rights::ALL, CapData::badge(9))
        .map_err(|_| "cannot mint")?;
    let heard = env.create();
    start(env.foreign_thread(heard), programs::call_with_rdx, 0);
    start(env.foreign_thread(Cap::new(badged.index)), programs::show_registers, 0);
    let _ = fault_of_same_core(heard)?;
    badged.cancel_badged_sends().map_err(|_| "cannot cancel")?;
    let Fault::UnknownSyscall(call) = fault_of_same_core(endpoint)? else {
        return Err("no system call");
    };
    ensure!(call.number == 39, "the call was skipped");
    Ok(())
}

pub fn suspend_reports_queued_call(env: &mut Env) -> Outcome {
    let (unheard, heard) = (env.create(), env.create());
    let thread = env.foreign_thread(unheard);
    // What becomes ready last runs first; the other when that has made its call.
    start(env.foreign_thread(heard), programs::call_with_rdx, 0);
    start(thread, programs::call_with_rdx, 0);
    let _ = fault_of_same_core(heard)?;
    let (_, state) = thread.read_state(true).map_err(|_| "cannot read")?;
    ensure!(state.thread() == ThreadState::BlockedOnSend, "not seen as queued");
    ensure!(state.fault_label() == SYSCALL_LABEL, "not seen as a system call");
    let (_, state) = thread.read_state(false).map_err(|_| "cannot read")?;
    ensure!(state == State(0), "something is left after it");
    Ok(())
}

pub fn suspend_reports_received_call(env: &mut Env) -> Outcome {
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    start(thread, programs::call_with_rdx, 0);
    let _ = fault_of_same_core(endpoint)?;
    let (_, state) = thread.read_state(true).map_err(|_| "cannot read")?;
    ensure!(state.thread() == ThreadState::BlockedOnReply, "not seen as received");
    ensure!(state.fault_label() == SYSCALL_LABEL, "not seen as a system call");
    Ok(())
}

pub fn set_priority_runs_higher_thread(env: &mut Env) -> Outcome {
    let page = env.page();
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    thread.set_priority(PRIORITY / 2).map_err(|_| "cannot lower")?;
    start(thread, programs::write, page.address);
    init::TCB.set_priority(PRIORITY).map_err(|_| "cannot lower root")?;
    let before = page.word(0);
    let raised = thread.set_priority(PRIORITY * 2);
    let after = page.word(0);
    init::TCB.set_priority(255).map_err(|_| "cannot raise root")?;
    ensure!(raised.is_ok() && before == 0, "ran too early");
    ensure!(after == 1, "did not run at once");
    Ok(())
}

/// A thread on another core makes numbered system calls while this core stops it, looks, and lets it go on: no
/// number is missing, and none comes twice.
pub fn stall_while_entering_keeps_pc(env: &mut Env) -> Outcome {
    const CALLS: u64 = 1000;
    let endpoint = env.create();
    let thread = env.foreign_thread(endpoint);
    thread.set_affinity(1).map_err(|_| "cannot move")?;
    start(thread, programs::call_for_ever, 0);
    let mut last = 0;
    let mut turn = 0u64;
    while last < CALLS {
        let before = last;
        let step = wait_for(|| {
            turn += 1;
            let step = match turn % 3 {
                0 => stop_and_resume(thread, endpoint, &mut last),
                _ => serve(endpoint, &mut last),
            };
            (step.is_err() || last > before).then_some(step)
        });
        step.ok_or("the calls stopped coming")??;
    }
    Ok(())
}

/// An idle core runs what becomes ready on it, lets threads of one priority take turns, and idles again.
pub fn idle_cores_wake_and_preempt(env: &mut Env) -> Outcome {
    let counts = [env.page(), env.page()];
    let moves_on = |page: Page| {
        let before = page.word(0);
        wait_for(|| (page.word(0) != before).then_some(()))
    };
    let mut threads = [Cap::<Tcb>::NULL; 2];
    for (thread, page) in threads.iter_mut().zip(counts) {
        *thread = env.foreign_thread(Cap::NULL);
        thread.set_affinity(1).map_err(|_| "cannot move")?;
        start(*thread, programs::count_for_ever, page.address);
        moves_on(page).ok_or("a thread of an idle core does not run")?;
    }
    for _ in 0..10 {
        for page in counts {
            moves_on(page).ok_or("a thread is not preempted for another")?;
        }
    }
    for _ in 0..10 {
        for thread in threads {
            thread.suspend().map_err(|_| "cannot suspend")?;
        }
        for (thread, page) in threads.into_iter().zip(counts) {
            thread.resume().map_err(|_| "cannot resume")?;
            moves_on(page).ok_or("a thread does not run after its core was idle")?;
        }
    }
    Ok(())
}

/// Two cores that want nothing but the kernel both get it.
pub fn kernel_lock_starves_no_core(env: &mut Env) -> Outcome {
    const ENTRIES: u64 = 20_000;
    let count = env.page();
    let thread = env.native_thread();
    thread.set_affinity(1).map_err(|_| "cannot move")?;
    start(thread, programs::yield_for_ever, count.address);
    let mut own = 0;
    let done = wait_for(|| {
        yield_now();
        own += 1;
        (own >= ENTRIES && count.word(0) >= ENTRIES).then_some(())
    });
    done.ok_or("a core did not get the kernel often enough")
}

/// Answers a call if one waits.
fn serve(endpoint: Cap<Endpoint>, last: &mut u64) -> Outcome {
    if let Some(Fault::UnknownSyscall(call)) = Fault::decode(&endpoint.nb_recv()) {
        count(last, &call.registers)?;
        reply_with(0);
    }
    Ok(())
}

fn count(last: &mut u64, registers: &Registers) -> Outcome {
    ensure!(registers.rbx != *last, "a call came twice");
    ensure!(registers.rbx == *last + 1, "a call is missing");
    *last += 1;
    Ok(())
}

/// Stops the thread wherever it is, and sends it on as what it was stopped in demands.
fn stop_and_resume(thread: Cap<Tcb>, endpoint: Cap<Endpoint>, last: &mut u64) -> Outcome {
    let (mut registers, state) = thread.read_state(true).map_err(|_| "cannot read")?;
    match state.thread() {
        // Queued and not seen by anybody: make the call again.
        ThreadState::BlockedOnSend => registers.rip -= SYSCALL_BYTES,
        ThreadState::Running | ThreadState::Restart => {}
        _ => return Err("found in a state that it cannot be in"),
    }
    thread.write_registers(true, &registers).map_err(|_| "cannot write")?;
    yield_now();
    serve(endpoint, last)
}
