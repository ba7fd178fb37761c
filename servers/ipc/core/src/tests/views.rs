// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views that change: homes that are gone, holders that left, slots that come and go.

use super::{ended, failed, moved, pending, pipe, read, write};
use crate::testing::{Now, Pair, node_id, single};
use crate::{Ipc, testing::Node};
use abi::{Errno, FileId, SlotNo};
use cluster::View;
use ipc_api::file::{GetFlags, Hold, Poll, PollWait, Release};
use ipc_api::{PipeCreate, PipeEnds, TerminalOpen};
use runtime::Host;
use runtime::testing::views;

fn two() -> View {
    View::fixed([1, 2].map(node_id).into()).expect("a view")
}

fn slot(number: u16) -> SlotNo {
    SlotNo::new(number).expect("a slot")
}

/// A pipe of node 2 that node 1 holds too.
fn of_the_second(pair: &mut Pair) -> PipeEnds {
    let ends = pipe(&mut pair.0[1]);
    for file in [ends.read, ends.write] {
        assert_eq!(pair.0[1].call(&Hold { file, node: node_id(1) }), Now::Done(()));
    }
    ends
}

fn made(node: &mut Node) -> FileId {
    pipe(node).read
}

#[test]
fn file_of_a_home_that_left_is_an_error_and_can_be_closed() {
    let pair = &mut Pair::new();
    let ends = of_the_second(pair);
    let reader = pending(read(&mut pair.0[0], ends.read, 100, 50));
    let poller = pending(pair.0[0].call(&PollWait { file: ends.read, events: 1 }));
    pair.settle();
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    let end = [failed(reader, Errno::EIO), failed(poller, Errno::EIO)];
    assert_eq!(pair.0[0].take(), end);
    assert_eq!(read(&mut pair.0[0], ends.read, 100, 50), Now::Failed(Errno::EIO));
    assert_eq!(write(&mut pair.0[0], ends.write, b"x"), Now::Failed(Errno::EIO));
    let poll = Poll { file: ends.read, events: 1 };
    assert_eq!(pair.0[0].call(&poll), Now::Failed(Errno::EIO));
    assert_eq!(pair.0[0].call(&GetFlags { file: ends.read }), Now::Failed(Errno::EIO));
    let hold = Hold { file: ends.read, node: node_id(1) };
    assert_eq!(pair.0[0].call(&hold), Now::Failed(Errno::EIO));
    assert_eq!(pair.0[0].call(&Release { file: ends.read }), Now::Done(()));
}

#[test]
fn holder_that_left_lets_go() {
    let pair = &mut Pair::new();
    let ends = pipe(&mut pair.0[0]);
    assert_eq!(pair.0[0].call(&Hold { file: ends.write, node: node_id(2) }), Now::Done(()));
    assert_eq!(pair.0[0].call(&Release { file: ends.write }), Now::Done(()));
    let reader = pending(read(&mut pair.0[0], ends.read, 100, 50));
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    assert_eq!(pair.0[0].take(), [ended(reader, 0)]);
}

#[test]
fn terminal_of_a_node_that_left_is_gone() {
    let pair = &mut Pair::new();
    let open = pending(pair.0[0].call(&TerminalOpen { node: node_id(2), flags: 2 }));
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    assert_eq!(pair.0[0].take(), [failed(open, Errno::EIO)]);
    let again = pair.0[0].call(&TerminalOpen { node: node_id(2), flags: 2 });
    assert_eq!(again, Now::Failed(Errno::ENXIO));
}

#[test]
fn slot_is_occupied_as_long_as_a_description_lives_in_it() {
    let node = &mut single();
    let ends = pipe(node);
    assert!(node.occupies(0));
    for file in [ends.read, ends.write] {
        assert_eq!(node.call(&Release { file }), Now::Done(()));
    }
    assert!(!node.occupies(0));
    assert_ne!(made(node).slot(), slot(0), "it is frozen until the next view");
}

#[test]
fn slot_that_stays_is_used_again_with_the_next_view() {
    let pair = &mut Pair::new();
    let named = views::moving(&two(), slot(0), node_id(2));
    pair.0[0].enter(&named);
    assert!(!pair.0[0].occupies(0));
    pair.0[0].enter(&views::stayed(&named, slot(0)));
    assert_eq!(made(&mut pair.0[0]).slot(), slot(0));
}

#[test]
fn slot_with_another_home_gives_other_ids() {
    let pair = &mut Pair::new();
    let first = made(&mut pair.0[0]);
    let moved = views::moved(&views::moving(&two(), slot(0), node_id(2)), slot(0));
    pair.0[1].enter(&moved);
    let second = made(&mut pair.0[1]);
    assert_eq!(second.slot(), first.slot());
    assert_ne!(second, first);
    let back = views::moved(&views::moving(&moved, slot(0), node_id(1)), slot(0));
    pair.0[0].enter(&back);
    let third = made(&mut pair.0[0]);
    assert_eq!(third.slot(), first.slot());
    assert!(third != first && third != second);
}

#[test]
fn new_home_of_a_lost_slot_serves_what_is_made_there_now() {
    let pair = &mut Pair::new();
    let old = of_the_second(pair);
    let alone = views::without(&two(), node_id(2));
    pair.0[0].enter(&alone);
    // All its own slots are to move away: what is left was lost.
    for own in (0..1024).step_by(2) {
        assert!(!pair.0[0].occupies(own));
    }
    let ends = pipe(&mut pair.0[0]);
    assert_eq!(ends.read.slot(), old.read.slot());
    assert_eq!(write(&mut pair.0[0], ends.write, b"new"), moved(3));
    assert_eq!(read(&mut pair.0[0], old.read, 100, 3), Now::Failed(Errno::EIO));
}

#[test]
fn node_that_is_no_member_yet_makes_nothing() {
    let mut node = single();
    node.host = Host::outside(abi::ServerId::Ipc, node_id(1), Ipc::new());
    assert_eq!(node.call(&PipeCreate { flags: 0 }), Now::Failed(Errno::ENOSPC));
}
