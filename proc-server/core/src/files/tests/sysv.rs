// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects against a scripted ipc server.

use super::failed;
use super::world::{BASE, World};
use crate::layout::IntoBytes;
use crate::layout::sysv::{Sembuf, ShmInfo, ShmidDs};
use crate::layout::time::Timespec;
use crate::process::ProcessNo;
use crate::signal::{Action, Info};
use abi::linux::general::*;
use abi::{Errno, FileId, ServerId};
use fs_api::file::Moved;
use ipc_api::sysv::{
    GetStatus, Ids, List, Operate, Receive, Remove, Send, Status, UndoOpen, UndoOpened,
};
use std::vec::Vec;

const UNDO: u16 = 0x1000;
const SET: u64 = 1024;
const USR1: u32 = 10;

fn put_op(world: &mut World, value: i16, flags: u16) {
    world.put(BASE, Sembuf { number: 2, value, flags }.as_bytes());
}

#[test]
fn semop_with_undo_has_one_list_for_each_set() {
    let mut world = World::new();
    put_op(&mut world, -1, UNDO);
    let file = FileId::from_raw(77);
    world.expect_later::<UndoOpen>(Ok(UndoOpened { file }));
    world.expect::<Operate>(Ok(()));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 1]), None);
    assert_eq!(world.end_one(), Some(0));
    let op = world.last::<Operate>();
    assert_eq!((op.id, op.undo, op.ops.len(), op.ops[0].value), (1024, Some(file), 1, -1));
    assert_eq!(op.by.now_s, 1_700_000_000);
    world.expect::<Operate>(Ok(()));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 1]), Some(0));
    assert_eq!(world.held(), 1);
    // Without SEM_UNDO nothing is written down.
    put_op(&mut world, -1, 0);
    world.expect::<Operate>(Ok(()));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 1]), Some(0));
    assert_eq!(world.last::<Operate>().undo, None);
    // Of a set that is gone there is nothing to undo.
    world.expect::<Remove>(Ok(()));
    assert_eq!(world.call(__NR_semctl, &[SET, 0, 0, 0]), Some(0));
    assert_eq!(world.held(), 0);
}

#[test]
fn wrong_arguments_of_semop_are_refused_here() {
    let mut world = World::new();
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 65]), failed(Errno::E2BIG));
    assert_eq!(world.call(__NR_semop, &[u64::MAX, BASE, 1]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_semop, &[SET, 8, 1]), failed(Errno::EFAULT));
    let wrong = Timespec { seconds: 0, nanoseconds: -1 };
    world.put(BASE + 64, wrong.as_bytes());
    assert_eq!(world.call(__NR_semtimedop, &[SET, BASE, 1, BASE + 64]), failed(Errno::EINVAL));
}

#[test]
fn handler_ends_a_blocked_semop_whatever_its_flags() {
    let mut world = World::new();
    let flags = u64::from(SA_RESTORER | SA_RESTART);
    let action = Action { handler: 0x1234, flags, restorer: 0x5678, ..Action::default() };
    let thread = world.thread;
    put_op(&mut world, -1, 0);
    world.expect_later::<Operate>(Ok(()));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 1]), None);
    world.host.step(&mut world.node, |core, cx| {
        core.processes.get_mut(ProcessNo(0)).expect("it lives").own.actions.set(USR1, action);
        core.signal_thread(cx, thread, Info::kernel(USR1));
    });
    world.end_one();
    let frame = world.state.borrow().registers;
    assert_eq!((frame.rip, frame.rdi), (0x1234, USR1.into()), "the handler runs");
    let saved: crate::layout::signal::SignalFrame = world.read(frame.rsp);
    let rax = saved.context.registers.rax.cast_signed();
    assert_eq!(Some(rax), failed(Errno::EINTR));
}

#[test]
fn object_that_is_lost_with_its_home_is_removed() {
    let mut world = World::new();
    put_op(&mut world, -1, 0);
    world.expect_later::<Operate>(Err(Errno::EIO));
    assert_eq!(world.call(__NR_semop, &[SET, BASE, 1]), None);
    assert_eq!(world.end_one(), failed(Errno::EIDRM));
}

#[test]
fn messages_are_sent_and_received() {
    let mut world = World::new();
    world.put(BASE, &5i64.to_le_bytes());
    world.expect::<Send>(Ok(()));
    assert_eq!(world.call(__NR_msgsnd, &[7, BASE, 100, 0]), Some(0));
    let send = world.last::<Send>();
    assert_eq!((send.id, send.kind, send.addr, send.len), (7, 5, BASE + 8, 100));
    world.expect_later::<Receive>(Ok(Moved { bytes: 33 }));
    let minus_two = (-2i64).cast_unsigned();
    assert_eq!(world.call(__NR_msgrcv, &[7, BASE, 100, minus_two, 0]), None);
    assert_eq!(world.end_one(), Some(33));
    assert_eq!(world.last::<Receive>().wanted.kind, -2);
    world.put(BASE, &0i64.to_le_bytes());
    assert_eq!(world.call(__NR_msgsnd, &[7, BASE, 1, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_msgsnd, &[7, BASE, 8193, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_msgrcv, &[7, BASE, u64::MAX, 0, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_msgrcv, &[7, BASE, 1, 0, 0o40_000]), failed(Errno::ENOSYS));
}

#[test]
fn objects_are_found_by_their_index_among_all() {
    let mut world = World::new();
    let first: Vec<u32> = (1..=128).map(|at| at * 1024).collect();
    let second = Ids([200 * 1024, 201 * 1024].into());
    let (stat, info) = (13, 14);
    world.expect::<List>(Ok(Ids(first.clone())));
    world.expect::<List>(Ok(second.clone()));
    world.expect::<GetStatus>(Ok(Status { key: 9, ..Status::default() }));
    assert_eq!(world.call(__NR_shmctl, &[129, stat, BASE]), Some(201 * 1024));
    assert_eq!(world.read::<ShmidDs>(BASE).permissions.key, 9);
    world.expect::<List>(Ok(Ids(first)));
    world.expect::<List>(Ok(second));
    world.expect::<List>(Ok(Ids::default()));
    assert_eq!(world.call(__NR_shmctl, &[0, info, BASE]), Some(129));
    assert_eq!(world.read::<ShmInfo>(BASE).objects, 130);
    world.expect::<List>(Ok(Ids::default()));
    assert_eq!(world.call(__NR_shmctl, &[0, stat, BASE]), failed(Errno::EINVAL));
}

#[test]
fn semtimedop_ends_when_its_time_is_over() {
    let mut world = World::new();
    put_op(&mut world, -1, 0);
    world.put(BASE + 64, Timespec { seconds: 0, nanoseconds: 5_000_000 }.as_bytes());
    world.expect_later::<Operate>(Ok(()));
    assert_eq!(world.call(__NR_semtimedop, &[SET, BASE, 1, BASE + 64]), None);
    assert_eq!(world.node.armed_ns, Some(5_000_000));
    world.node.now_ns = 5_000_000;
    world.host.collect(&mut world.node, ServerId::Timer);
    assert_eq!(world.state.borrow().cancelled.len(), 1);
    assert_eq!(world.end_one(), failed(Errno::EAGAIN));
}
