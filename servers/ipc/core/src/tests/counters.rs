// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event counters, eventfd(2).

use super::{ended, failed, moved, pending, read};
use crate::testing::{Later, Node, Now, Pair, SPACE, node_id, single};
use abi::linux::general::{O_NONBLOCK, POLLIN, POLLOUT};
use abi::{Errno, FileId, SlotNo};
use cluster::View;
use ipc_api::CounterCreate;
use ipc_api::file::{FileStat, Hold, Moved, Poll, PollWait, Ready, Release, Seek, SetFlags, Write};
use runtime::testing::views;
use runtime::{Msg, Status};

const MOST: u64 = u64::MAX - 1;

fn counter(node: &mut Node, count: u64, semaphore: bool) -> FileId {
    match node.call(&CounterCreate { count, semaphore, flags: 0 }) {
        Now::Done(made) => made.file,
        other => panic!("no counter: {other:?}"),
    }
}

fn add(node: &mut Node, file: FileId, value: u64) -> Now<Moved> {
    node.world.memory[..8].copy_from_slice(&value.to_le_bytes());
    node.call(&Write { file, space: SPACE, addr: 0, len: 8 })
}

fn value(node: &Node) -> u64 {
    u64::from_le_bytes(*node.world.memory[100..].first_chunk().expect("eight bytes"))
}

fn without_waiting(node: &mut Node, file: FileId) {
    assert_eq!(node.call(&SetFlags { file, flags: O_NONBLOCK }), Now::Done(()));
}

#[test]
fn counter_sums_what_is_written_and_reads_it_at_once() {
    let node = &mut single();
    let file = counter(node, 3, false);
    assert_eq!(add(node, file, 4), moved(8));
    assert_eq!(add(node, file, 0), moved(8));
    assert_eq!(read(node, file, 100, 100), moved(8));
    assert_eq!(value(node), 7);
    without_waiting(node, file);
    assert_eq!(read(node, file, 100, 8), Now::Failed(Errno::EAGAIN));
}

#[test]
fn counter_as_a_semaphore_gives_one_at_a_time() {
    let node = &mut single();
    let file = counter(node, 2, true);
    without_waiting(node, file);
    for _ in 0..2 {
        assert_eq!(read(node, file, 100, 8), moved(8));
        assert_eq!(value(node), 1);
    }
    assert_eq!(read(node, file, 100, 8), Now::Failed(Errno::EAGAIN));
}

#[test]
fn counter_waiting_readers_are_served_in_order() {
    let node = &mut single();
    let file = counter(node, 0, true);
    let readers = [0, 1, 2].map(|_| pending(read(node, file, 100, 8)));
    assert_eq!(add(node, file, 2), moved(8));
    assert_eq!(node.take(), [ended(readers[0], 8), ended(readers[1], 8)]);
    node.cancel(readers[2]);
    assert_eq!(node.take(), [failed(readers[2], Errno::ECANCELED)]);
}

#[test]
fn counter_that_is_full_lets_writers_wait() {
    let node = &mut single();
    let file = counter(node, 0, false);
    assert_eq!(add(node, file, MOST), moved(8));
    let events = POLLIN | POLLOUT;
    let ready = Now::Done(Ready { events: POLLIN });
    assert_eq!(node.call(&Poll { file, events }), ready);
    let waits = pending(node.call(&PollWait { file, events: POLLOUT }));
    let writers = [pending(add(node, file, 5)), pending(add(node, file, 1))];
    node.cancel(writers[0]);
    assert_eq!(read(node, file, 100, 8), moved(8));
    assert_eq!(value(node), MOST);
    let msg = Msg::of(&Ready { events: POLLOUT }).expect("a message");
    let poller = Later::Ended(waits, Ok(msg));
    assert_eq!(node.take(), [failed(writers[0], Errno::ECANCELED), ended(writers[1], 8), poller]);
    assert_eq!(read(node, file, 100, 8), moved(8));
    assert_eq!(value(node), 1);
}

#[test]
fn counter_refuses_what_is_no_value() {
    let node = &mut single();
    let file = counter(node, 0, false);
    assert_eq!(add(node, file, u64::MAX), Now::Failed(Errno::EINVAL));
    let short = Write { file, space: SPACE, addr: 0, len: 7 };
    assert_eq!(node.call(&short), Now::Failed(Errno::EINVAL));
    assert_eq!(read(node, file, 100, 7), Now::Failed(Errno::EINVAL));
    let far = Write { file, space: SPACE, addr: u64::MAX, len: 8 };
    assert_eq!(node.call(&far), Now::Failed(Errno::EFAULT));
    assert_eq!(node.call(&Seek { file, offset: 0, whence: 0 }), Now::Failed(Errno::ESPIPE));
    let Now::Done(stat) = node.call(&FileStat { file }) else { panic!("no answer") };
    assert_eq!(stat.mode, 0o600);
    let wide = CounterCreate { count: 1 << 32, semaphore: false, flags: 0 };
    assert_eq!(node.call(&wide), Now::Failed(Errno::EINVAL));
}

#[test]
fn counter_beyond_the_bound_is_refused() {
    let node = &mut single();
    for _ in 0..crate::limits::COUNTERS_MAX {
        counter(node, 0, false);
    }
    let more = CounterCreate { count: 0, semaphore: false, flags: 0 };
    assert_eq!(node.call(&more), Now::Failed(Errno::ENFILE));
}

#[test]
fn counter_that_nobody_holds_is_gone() {
    let node = &mut single();
    let file = counter(node, 0, false);
    let reader = pending(read(node, file, 100, 8));
    assert_eq!(node.call(&Release { file }), Now::Done(()));
    assert_eq!(node.take(), [failed(reader, Errno::EBADF)]);
    assert_eq!(read(node, file, 100, 8), Now::Failed(Errno::EBADF));
    assert!(!node.occupies(0));
}

fn shared(pair: &mut Pair, count: u64) -> FileId {
    let file = counter(&mut pair.0[0], count, false);
    assert_eq!(pair.0[0].call(&Hold { file, node: node_id(2) }), Now::Done(()));
    file
}

#[test]
fn remote_counter_is_written_and_read() {
    let pair = &mut Pair::new();
    let file = shared(pair, 0);
    let reader = pending(read(&mut pair.0[1], file, 100, 64));
    pair.settle();
    assert_eq!(add(&mut pair.0[0], file, 9), moved(8));
    pair.settle();
    assert_eq!(pair.0[1].take(), [ended(reader, 8)]);
    assert_eq!(value(&pair.0[1]), 9);
    let writer = pending(add(&mut pair.0[1], file, 4));
    let wrong = pending(add(&mut pair.0[1], file, u64::MAX));
    pair.settle();
    assert_eq!(pair.0[1].take(), [ended(writer, 8), failed(wrong, Errno::EINVAL)]);
    assert_eq!(read(&mut pair.0[0], file, 100, 8), moved(8));
    assert_eq!(value(&pair.0[0]), 4);
}

#[test]
fn remote_read_of_a_counter_whose_page_goes_away_gives_it_back() {
    let pair = &mut Pair::new();
    let file = shared(pair, 0);
    let reader = pending(read(&mut pair.0[1], file, 100, 8));
    pair.settle();
    pair.0[1].world.absent = true;
    assert_eq!(add(&mut pair.0[0], file, 6), moved(8));
    pair.settle();
    assert_eq!(pair.0[1].take(), [failed(reader, Errno::ERESTART)]);
    assert_eq!(read(&mut pair.0[0], file, 100, 8), moved(8));
    assert_eq!(value(&pair.0[0]), 6);
}

#[test]
fn remote_reader_of_a_counter_that_dies_takes_nothing() {
    let pair = &mut Pair::new();
    let file = shared(pair, 0);
    pending(read(&mut pair.0[1], file, 100, 8));
    pair.settle();
    pair.kill_second();
    assert_eq!(add(&mut pair.0[0], file, 6), moved(8));
    assert_eq!(read(&mut pair.0[0], file, 100, 8), moved(8));
    assert_eq!(value(&pair.0[0]), 6);
}

#[test]
fn counter_moves_with_its_slot_and_who_waits_comes_again() {
    let pair = &mut Pair::new();
    let slot = SlotNo::new(0).expect("a slot");
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot, node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let [full, empty] = [MOST, 0].map(|value| {
        let file = shared(pair, 1);
        assert_eq!(read(&mut pair.0[0], file, 100, 8), moved(8));
        assert_eq!(add(&mut pair.0[0], file, value), moved(8));
        file
    });
    let reader = pending(read(&mut pair.0[0], empty, 100, 8));
    let writer = pending(add(&mut pair.0[0], full, 1));
    let Status::Pending(_) = pair.0[0].give(0, 2) else { panic!("nothing to give") };
    pair.settle();
    assert!(pair.0[0].given());
    let end = [failed(reader, Errno::ERESTART), failed(writer, Errno::ERESTART)];
    let mut got = pair.0[0].take();
    got.sort_by_key(|later| *later != end[0]);
    assert_eq!(got, end);
    let next = views::moved(&named, slot);
    pair.0.iter_mut().for_each(|node| node.enter(&next));
    pair.settle();
    assert_eq!(read(&mut pair.0[1], full, 100, 8), moved(8));
    assert_eq!(value(&pair.0[1]), MOST);
    let writer = pending(add(&mut pair.0[0], empty, 3));
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(writer, 8)]);
    assert_eq!(read(&mut pair.0[1], empty, 100, 8), moved(8));
}
