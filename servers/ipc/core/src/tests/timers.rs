// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers that are files.

use super::epoll::{add, epoll, now, wait};
use super::{ended, failed, moved, pending, read};
use crate::testing::{Later, Node, Now, Pair, node_id, single};
use abi::linux::general::*;
use abi::{Errno, FileId, SlotNo};
use cluster::View;
use ipc_api::file::{Hold, PollWait, Ready, Release, SetFlags};
use ipc_api::timer::{TimerCreate, TimerGet, TimerSet, TimerValue};
use runtime::testing::views;
use runtime::{Msg, Status};

fn timer(node: &mut Node) -> FileId {
    match node.call(&TimerCreate { flags: 0 }) {
        Now::Done(made) => made.file,
        other => panic!("no timer: {other:?}"),
    }
}

fn set(node: &mut Node, file: FileId, first_ns: Option<i64>, interval_ns: u64) -> TimerValue {
    match node.call(&TimerSet { file, first_ns, interval_ns }) {
        Now::Done(before) => before,
        other => panic!("not set: {other:?}"),
    }
}

fn get(node: &mut Node, file: FileId) -> (u64, u64) {
    match node.call(&TimerGet { file }) {
        Now::Done(TimerValue { left_ns, interval_ns }) => (left_ns, interval_ns),
        other => panic!("no value: {other:?}"),
    }
}

fn count(node: &mut Node, file: FileId) -> u64 {
    assert_eq!(read(node, file, 100, 8), moved(8));
    u64::from_le_bytes(*node.world.memory[100..].first_chunk().expect("eight bytes"))
}

#[test]
fn timer_runs_out_once() {
    let node = &mut single();
    let file = timer(node);
    assert_eq!(read(node, file, 100, 7), Now::Failed(Errno::EINVAL));
    set(node, file, Some(50), 0);
    let reader = pending(read(node, file, 100, 8));
    let poller = pending(node.call(&PollWait { file, events: POLLIN }));
    node.pass(49);
    assert_eq!(get(node, file), (1, 0));
    assert_eq!(node.take(), []);
    node.pass(1);
    assert_eq!(node.take(), [ended(reader, 8)], "who polls finds nothing any more");
    node.cancel(poller);
    node.take();
    assert_eq!(node.call(&SetFlags { file, flags: O_NONBLOCK }), Now::Done(()));
    assert_eq!(read(node, file, 100, 8), Now::Failed(Errno::EAGAIN));
    assert_eq!(get(node, file), (0, 0));
}

#[test]
fn timer_counts_what_nobody_read() {
    let node = &mut single();
    let file = timer(node);
    set(node, file, Some(10), 100);
    node.pass(455);
    assert_eq!(get(node, file), (55, 100));
    assert_eq!(count(node, file), 5);
    node.pass(55);
    assert_eq!(count(node, file), 1);
    let before = set(node, file, Some(-250), 100);
    assert_eq!((before.left_ns, before.interval_ns), (100, 100));
    assert_eq!(count(node, file), 3, "it ran out before it was set");
    assert_eq!(get(node, file), (50, 100));
    set(node, file, None, 0);
    node.pass(1000);
    assert_eq!(get(node, file), (0, 0));
}

#[test]
fn timer_that_was_asked_counts_on() {
    let node = &mut single();
    let file = timer(node);
    set(node, file, Some(100), 100);
    node.pass(100);
    node.pass(450);
    assert_eq!(get(node, file), (50, 100));
    node.pass(50);
    assert_eq!(count(node, file), 6);
}

#[test]
fn timers_run_out_in_their_order() {
    let node = &mut single();
    let files = [timer(node), timer(node), timer(node)];
    for (file, at) in files.into_iter().zip([30, 10, 20]) {
        set(node, file, Some(at), 0);
    }
    let readers = files.map(|file| pending(read(node, file, 0, 8)));
    for at in [1, 2] {
        node.pass(10);
        assert_eq!(node.take(), [ended(readers[at], 8)]);
    }
    set(node, files[0], Some(5), 0);
    node.pass(5);
    assert_eq!(node.take(), [ended(readers[0], 8)]);
}

#[test]
fn instance_tells_of_a_timer_once_until_it_is_read() {
    let node = &mut single();
    let (at, file) = (epoll(node), timer(node));
    add(node, at, 3, file, EPOLLIN | EPOLLET);
    set(node, file, Some(10), 10);
    let waits = wait(node, at);
    node.pass(10);
    assert!(matches!(node.take()[..], [Later::Ended(of, Ok(_))] if of == waits));
    node.pass(100);
    assert_eq!(now(node, at), []);
    assert_eq!(count(node, file), 11);
    node.pass(10);
    assert_eq!(now(node, at), [(3, EPOLLIN)]);
}

#[test]
fn timer_beyond_the_bound_is_refused() {
    let node = &mut single();
    let file = timer(node);
    for _ in 1..crate::limits::TIMERS_MAX {
        timer(node);
    }
    assert_eq!(node.call(&TimerCreate { flags: 0 }), Now::Failed(Errno::ENFILE));
    let reader = pending(read(node, file, 0, 8));
    assert_eq!(node.call(&Release { file }), Now::Done(()));
    assert_eq!(node.take(), [failed(reader, Errno::EBADF)]);
    timer(node);
}

#[test]
fn timer_moves_with_its_slot_and_goes_on() {
    let slot = SlotNo::new(0).expect("a slot");
    let pair = &mut Pair::new();
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot, node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let file = timer(&mut pair.0[0]);
    assert_eq!(pair.0[0].call(&Hold { file, node: node_id(2) }), Now::Done(()));
    set(&mut pair.0[0], file, Some(100), 1000);
    pair.0[0].pass(40);
    // The other node was booted long before.
    pair.0[1].world.now_ns = 1_000_000;
    let poller = pending(pair.0[0].call(&PollWait { file, events: POLLIN }));
    let Status::Pending(_) = pair.0[0].give(0, 2) else { panic!("not begun") };
    pair.settle();
    assert!(pair.0[0].given());
    let again = Msg::of(&Ready { events: 0 }).expect("a message");
    assert_eq!(pair.0[0].take(), [Later::Ended(poller, Ok(again))]);
    let next = views::moved(&named, slot);
    for node in &mut pair.0 {
        node.enter(&next);
    }
    pair.settle();
    let reader = pending(read(&mut pair.0[0], file, 100, 8));
    pair.settle();
    pair.0[1].pass(59);
    pair.settle();
    assert_eq!(pair.0[0].take(), []);
    pair.0[1].pass(1);
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(reader, 8)]);
    assert_eq!(get(&mut pair.0[1], file), (1000, 1000));
}
