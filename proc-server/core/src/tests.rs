// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts of system calls and signals for one process.

use crate::files::tests::world::{BASE, World, pipe};
use crate::layout::signal::{SigAction, SignalFrame, StackT};
use crate::layout::time::Timespec;
use crate::layout::{IntoBytes, Layout};
use crate::machine::{FaultAnswer, Fpu, Registers, UserFault};
use crate::migrate::{Image, ThreadImage};
use crate::process::{Phase, ProcessNo};
use crate::signal::{Info, Target, number};
use crate::thread::{Progress, Run};
use abi::Errno;
use abi::linux::general::*;
use alloc::vec;
use fs_api::file::{Moved, Read};

const HANDLER: u64 = 0x40_1000;
const RESTORER: u64 = 0x40_2000;
const RIP: u64 = 0x40_5002;
const STACK: u64 = BASE + 0x20000;

/// Gives a signal a handler.
fn handle(world: &mut World, signal: u32, flags: u32, mask: u64) {
    let flags = u64::from(flags | SA_RESTORER);
    let action = SigAction { handler: HANDLER, flags, restorer: RESTORER, mask };
    world.put(BASE, action.as_bytes());
    let args = [u64::from(signal), BASE, 0, 8];
    assert_eq!(world.call(__NR_rt_sigaction, &args), Some(0));
}

/// Makes a call with the thread's program counter known.
fn call_at(world: &mut World, number: u32, args: &[u64]) -> Option<FaultAnswer> {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let [rdi, rsi, rdx, r10, r8, r9] = all;
    let (rax, rbx) = (u64::from(number), 0xb0b);
    let registers = Registers {
        rip: RIP,
        rsp: STACK,
        rax,
        rbx,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        ..Registers::default()
    };
    let thread = world.thread;
    {
        let mut state = world.state.borrow_mut();
        state.resumed.clear();
        state.registers = Registers { rip: RIP, rsp: STACK, ..Registers::default() };
    }
    let answer = world.host.step(&mut world.node, |core, cx| {
        core.fault(cx, thread, UserFault::SystemCall(&registers))
    });
    (answer != FaultAnswer::Silent).then_some(answer)
}

fn send(world: &mut World, signal: u32) {
    world.host.step(&mut world.node, |core, cx| {
        core.signal_here(cx, Target::Process(1), Info::kernel(signal));
    });
    // The worker's next message is its own kick.
    world.host.step(&mut world.node, |core, cx| core.kicked(cx));
}

fn resumed(world: &World) -> Option<Registers> {
    world.state.borrow().resumed.last().copied()
}

fn frame(world: &World, registers: &Registers) -> SignalFrame {
    world.read(registers.rsp)
}

fn is_waiting(world: &mut World) -> bool {
    let thread = world.thread;
    world.host.step(&mut world.node, |core, _| {
        matches!(core.threads.get(thread).map(|t| &t.run), Some(Run::Waiting(_)))
    })
}

/// Blocks the thread in read(2) of a pipe that stays empty.
fn block_in_read(world: &mut World) {
    let fd = world.open(pipe(3));
    world.expect_later::<Read>(Ok(Moved { bytes: 5 }));
    assert_eq!(call_at(world, __NR_read, &[fd, BASE + 64, 16]), None);
    assert!(is_waiting(world));
}

#[test]
fn handler_gets_a_frame_and_returns_to_where_it_was() {
    let mut world = World::new();
    handle(&mut world, number::CHLD, 0, 1 << 3);
    let me = 1;
    let fpu = Fpu([3; 512]);
    world.state.borrow_mut().fpu = Some(fpu);
    assert_eq!(call_at(&mut world, __NR_kill, &[me, u64::from(number::CHLD)]), None);
    assert_eq!(world.state.borrow().fpu, Some(Fpu::INITIAL), "a handler has a fresh FPU");
    let started = resumed(&world).expect("the handler runs");
    assert_eq!((started.rip, started.rdi), (HANDLER, u64::from(number::CHLD)));
    assert_eq!(started.rsp % 16, 8);
    let frame = frame(&world, &started);
    assert_eq!(frame.return_address, RESTORER);
    let saved = frame.context.registers;
    assert_eq!((saved.rip, saved.rax, saved.rbx, saved.rsp), (RIP, 0, 0xb0b, STACK));
    assert_eq!((frame.info.signal, frame.info.pid()), (number::CHLD as i32, 1));
    // As the handler's `ret` and the restorer leave it.
    let back = Registers {
        rsp: started.rsp + 8,
        rax: u64::from(__NR_rt_sigreturn),
        ..Registers::default()
    };
    let thread = world.thread;
    world.host.step(&mut world.node, |core, cx| {
        let mask = core.threads.get(thread).expect("it lives").own.mask;
        assert_eq!(mask.0, 1 << 3 | 1 << (number::CHLD - 1));
        let answer = core.fault(cx, thread, UserFault::SystemCall(&back));
        assert_eq!(answer, FaultAnswer::Silent);
        assert!(core.threads.get(thread).expect("it lives").own.mask.is_empty());
    });
    let after = resumed(&world).expect("it goes on");
    assert_eq!((after.rip, after.rsp, after.rbx, after.rax), (RIP, STACK, 0xb0b, 0));
    let fpu = world.state.borrow().fpu.expect("it comes back").0;
    assert_eq!((fpu[0], fpu[511]), (3, 3), "with what it had before");
}

#[test]
fn interrupted_read_restarts_behind_a_handler_that_wants_it() {
    for (flags, rip, rax) in
        [(SA_RESTART, RIP - 2, u64::from(__NR_read)), (0, RIP, Errno::EINTR.as_return_value())]
    {
        let mut world = World::new();
        handle(&mut world, 15, flags, 0);
        block_in_read(&mut world);
        send(&mut world, 15);
        // The call was cancelled; its end lets the handler run.
        world.end_one();
        let started = resumed(&world).expect("the handler runs");
        assert_eq!(started.rip, HANDLER);
        let saved = frame(&world, &started).context.registers;
        assert_eq!((saved.rip, saved.rax), (rip, rax));
    }
}

#[test]
fn read_that_ended_before_its_cancel_keeps_its_result() {
    let mut world = World::new();
    handle(&mut world, 15, 0, 0);
    block_in_read(&mut world);
    world.state.borrow_mut().refuse_cancel = true;
    send(&mut world, 15);
    world.end_one();
    let saved = frame(&world, &resumed(&world).expect("the handler runs")).context.registers;
    assert_eq!((saved.rip, saved.rax), (RIP, 5));
}

#[test]
fn stopped_read_runs_again_when_it_is_continued() {
    let mut world = World::new();
    block_in_read(&mut world);
    send(&mut world, number::STOP);
    world.end_one();
    assert_eq!(resumed(&world), None);
    send(&mut world, number::CONT);
    let after = resumed(&world).expect("it goes on");
    assert_eq!((after.rip, after.rax), (RIP - 2, u64::from(__NR_read)));
}

#[test]
fn blocked_signal_comes_when_it_is_let_through() {
    let mut world = World::new();
    handle(&mut world, 10, 0, 0);
    world.put(BASE, &(1u64 << 9).to_le_bytes());
    let args = [u64::from(SIG_BLOCK), BASE, 0, 8];
    assert!(call_at(&mut world, __NR_rt_sigprocmask, &args).is_some());
    send(&mut world, 10);
    assert!(call_at(&mut world, __NR_getpid, &[]).is_some());
    let args = [u64::from(SIG_UNBLOCK), BASE, 0, 8];
    assert_eq!(call_at(&mut world, __NR_rt_sigprocmask, &args), None);
    assert_eq!(resumed(&world).map(|r| r.rip), Some(HANDLER));
}

#[test]
fn sigsuspend_ends_with_eintr_and_the_former_mask() {
    let mut world = World::new();
    handle(&mut world, 10, 0, 0);
    world.put(BASE, &(1u64 << 9).to_le_bytes());
    let args = [u64::from(SIG_BLOCK), BASE, 0, 8];
    assert!(call_at(&mut world, __NR_rt_sigprocmask, &args).is_some());
    world.put(BASE, &0u64.to_le_bytes());
    assert_eq!(call_at(&mut world, __NR_rt_sigsuspend, &[BASE, 8]), None);
    assert!(is_waiting(&mut world));
    send(&mut world, 10);
    let started = resumed(&world).expect("the handler runs");
    let frame = frame(&world, &started);
    assert_eq!(frame.context.mask, 1 << 9);
    assert_eq!(frame.context.registers.rax, Errno::EINTR.as_return_value());
}

#[test]
fn sleep_goes_on_after_a_signal_without_handler() {
    let mut world = World::new();
    let time = Timespec { seconds: 5, nanoseconds: 0 };
    world.put(BASE, time.as_bytes());
    assert_eq!(call_at(&mut world, __NR_nanosleep, &[BASE, BASE + 64]), None);
    world.node.now_ns = 2_000_000_000;
    send(&mut world, number::STOP);
    send(&mut world, number::CONT);
    let again = resumed(&world).expect("it goes on");
    assert_eq!(again.rip, RIP - 2);
    let thread = world.thread;
    world.host.step(&mut world.node, |core, cx| {
        let own = &core.threads.get(thread).expect("it lives").own;
        assert_eq!(own.progress, Some(Progress::Deadline(5_000_000_000)));
        core.fault(cx, thread, UserFault::SystemCall(&Registers { rip: RIP, ..again }));
    });
    assert_eq!(world.node.armed_ns, Some(5_000_000_000));
}

#[test]
fn frame_that_cannot_be_written_ends_the_process() {
    let mut world = World::new();
    handle(&mut world, 10, SA_ONSTACK, 0);
    let stack = StackT { sp: 0xdead_0000, flags: 0, pad: 0, size: 8192 };
    world.put(BASE, stack.as_bytes());
    assert!(call_at(&mut world, __NR_sigaltstack, &[BASE, 0]).is_some());
    send(&mut world, 10);
    let gone = world.host.step(&mut world.node, |core, _| core.processes.is_empty());
    assert!(gone);
}

#[test]
fn ended_child_is_waited_for_once() {
    let mut world = World::new();
    world.set_parent_in_session();
    world.host.step(&mut world.node, |core, cx| {
        let parent = core.processes.get(ProcessNo(0)).expect("it lives").own.parent;
        let no = core.pids.process(parent).expect("the parent");
        let child = crate::process::Child {
            group: 1,
            state: crate::process::ChildState::Running,
            node: core.node,
            exit_signal: number::CHLD,
            uid: 0,
        };
        core.processes.get_mut(no).expect("the parent").own.children.insert(1, child);
        core.end_process(cx, ProcessNo(0), 3 << 8);
        let zombie = core.processes.get(ProcessNo(0)).expect("a zombie");
        assert_eq!(zombie.phase, Phase::Zombie(3 << 8));
        assert!(core.threads.is_empty());
        let node = core.node;
        core.reap_child(cx, 1, node);
        assert!(core.processes.get(ProcessNo(0)).is_none());
    });
}

/// On another core it would run on before the signal's kick reached it.
#[test]
fn wait_returns_with_the_handler_of_its_childs_end_behind_it() {
    use crate::process::{Child, ChildState};
    const CHILD: u32 = 7;
    let mut world = World::new();
    handle(&mut world, number::CHLD, 0, 0);
    world.host.step(&mut world.node, |core, _| {
        let state = ChildState::Running;
        let child = Child { group: 1, state, node: core.node, exit_signal: number::CHLD, uid: 0 };
        let own = &mut core.processes.get_mut(ProcessNo(0)).expect("it lives").own;
        own.children.insert(CHILD, child);
    });
    assert_eq!(call_at(&mut world, __NR_wait4, &[u64::MAX, 0, 0, 0]), None);
    assert!(is_waiting(&mut world));
    world.host.step(&mut world.node, |core, cx| {
        let node = core.node;
        core.child_changed(cx, ProcessNo(0), CHILD, node, ChildState::Ended(3 << 8));
    });
    let first = world.state.borrow().resumed.first().copied().expect("it goes on");
    assert_eq!((first.rip, first.rdi), (HANDLER, u64::from(number::CHLD)));
    assert_eq!(frame(&world, &first).context.registers.rax, u64::from(CHILD));
}

#[test]
fn storm_of_signals_never_loses_the_thread() {
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut world = World::new();
    world.set_parent_in_session();
    for signal in [10, 12, number::CHLD, 40] {
        handle(&mut world, signal, if signal == 12 { SA_RESTART } else { 0 }, 0);
    }
    let fd = world.open(pipe(3));
    for _ in 0..2000 {
        let signals = [10, 12, number::CHLD, 40, number::STOP, number::CONT, number::CONT];
        match next(4) {
            0 | 1 => send(&mut world, signals[next(signals.len() as u64) as usize]),
            2 if world.has_open_asks() => drop(world.end_one()),
            _ => step_thread(&mut world, fd, next(3)),
        }
    }
    let thread = world.thread;
    world.host.step(&mut world.node, |core, _| assert!(core.threads.get(thread).is_some()));
}

/// If the thread is in user mode: it returns from a handler, or makes a call.
fn step_thread(world: &mut World, fd: u64, what: u64) {
    let thread = world.thread;
    let user = world.host.step(&mut world.node, |core, _| {
        matches!(core.threads.get(thread).map(|t| &t.run), Some(Run::User))
    });
    if !user {
        return;
    }
    let in_handler = resumed(world).filter(|registers| registers.rip == HANDLER);
    if let Some(registers) = in_handler {
        let back = Registers {
            rsp: registers.rsp + 8,
            rax: u64::from(__NR_rt_sigreturn),
            ..Registers::default()
        };
        world.state.borrow_mut().resumed.clear();
        world.host.step(&mut world.node, |core, cx| {
            core.fault(cx, thread, UserFault::SystemCall(&back));
        });
        return;
    }
    match what {
        0 => drop(call_at(world, __NR_getpid, &[])),
        1 => {
            world.expect_later::<Read>(Ok(Moved { bytes: 5 }));
            call_at(world, __NR_read, &[fd, BASE + 0x1000, 16]);
        }
        _ => drop(call_at(world, __NR_pause, &[])),
    }
}

#[test]
fn image_round_trips_and_keeps_its_clock() {
    let mut world = World::new();
    handle(&mut world, 10, 0, 0);
    world.open(pipe(3));
    let thread = world.thread;
    let (process, mut own) = world.host.step(&mut world.node, |core, _| {
        let process = core.processes.get(ProcessNo(0)).expect("it lives").own.clone();
        (process, core.threads.get(thread).expect("it lives").own.clone())
    });
    own.progress = Some(Progress::Deadline(9_000));
    let threads = vec![ThreadImage { own, fpu: vec![1; 512] }];
    let image = Image::new(process, threads, vec![1, 2, 3], 5_000);
    let mut back = Image::decode(&image.encode().unwrap()).unwrap();
    back.arrive(100);
    assert_eq!(back.threads[0].own.progress, Some(Progress::Deadline(4_100)));
    assert_eq!(100u64.saturating_add_signed(back.process.clock_offset_ns), 5_000);
    assert_eq!(back.distinct_files(), [pipe(3)]);
    assert_eq!(back.process.actions, image.process.actions);
    assert_eq!(SigAction::BYTES, 32);
}

#[test]
fn image_that_is_none_is_refused() {
    assert_eq!(Image::decode(&[]).unwrap_err(), Errno::EPROTO);
    assert_eq!(Image::decode(&[0xff; 300]).unwrap_err(), Errno::EPROTO);
}
