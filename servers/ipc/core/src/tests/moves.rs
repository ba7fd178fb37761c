// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes whose slot moves to another node.

use super::{ended, failed, moved, pending, pipe, read, write};
use crate::limits::PIPE_BYTES;
use crate::testing::{Later, Now, Pair, SPACE, node_id};
use abi::{Errno, SlotNo};
use cluster::View;
use ipc_api::file::{GetFlags, Hold, PollWait, Ready, Release, SetFlags, Write};
use ipc_api::{PipeEnds, TerminalOpen};
use runtime::limits::SLOT_BYTES_MAX;
use runtime::testing::views;
use runtime::{Msg, Status};
use std::vec;

fn slot() -> SlotNo {
    SlotNo::new(0).expect("a slot")
}

/// A pipe of node 1 that node 2 holds too, and the view in which its slot is to move there.
fn begun(pair: &mut Pair) -> (PipeEnds, View) {
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let ends = pipe(&mut pair.0[0]);
    assert_eq!(ends.read.slot(), slot());
    for file in [ends.read, ends.write] {
        assert_eq!(pair.0[0].call(&Hold { file, node: node_id(2) }), Now::Done(()));
    }
    (ends, named)
}

fn give(pair: &mut Pair) -> bool {
    match pair.0[0].give(0, 2) {
        Status::Pending(_) => {
            pair.settle();
            pair.0[0].given()
        }
        other => panic!("{other:?}"),
    }
}

/// The slot moves, or stays; the nodes enter the view in this order.
fn turn(pair: &mut Pair, named: &View, moves: bool, order: [usize; 2]) {
    let next = if moves { views::moved(named, slot()) } else { views::stayed(named, slot()) };
    for at in order {
        pair.0[at].enter(&next);
        pair.settle();
    }
}

#[test]
fn pipe_moves_with_its_bytes_flags_and_holders() {
    for order in [[0, 1], [1, 0]] {
        let pair = &mut Pair::new();
        let (ends, named) = begun(pair);
        assert_eq!(write(&mut pair.0[0], ends.write, b"precious"), moved(8));
        let flags = SetFlags { file: ends.read, flags: 0o4000 };
        assert_eq!(pair.0[0].call(&flags), Now::Done(()));
        assert!(give(pair));
        turn(pair, &named, true, order);
        assert!(!pair.0[0].host_occupies(slot()) && pair.0[1].host_occupies(slot()));
        let from_afar = pending(read(&mut pair.0[0], ends.read, 100, 4));
        pair.settle();
        assert_eq!(pair.0[0].take(), [ended(from_afar, 4)]);
        assert_eq!(&pair.0[0].world.memory[100..104], b"prec");
        assert_eq!(read(&mut pair.0[1], ends.read, 100, 50), moved(4));
        let again = read(&mut pair.0[1], ends.read, 100, 50);
        assert_eq!(again, Now::Failed(Errno::EAGAIN));
        pending(pair.0[0].call(&Release { file: ends.write }));
        pair.settle();
        assert_eq!(pair.0[1].call(&Release { file: ends.write }), Now::Done(()));
        assert_eq!(read(&mut pair.0[1], ends.read, 100, 50), moved(0), "nobody writes any more");
    }
}

#[test]
fn readers_that_wait_come_again_and_are_served_where_the_pipe_is() {
    for moves in [true, false] {
        for order in [[0, 1], [1, 0]] {
            let pair = &mut Pair::new();
            let (ends, named) = begun(pair);
            let here = pending(read(&mut pair.0[0], ends.read, 100, 3));
            let there = pending(read(&mut pair.0[1], ends.read, 100, 3));
            pair.settle();
            assert!(give(pair));
            assert_eq!(pair.0[0].take(), [failed(here, Errno::ERESTART)]);
            assert_eq!(pair.0[1].take(), [failed(there, Errno::ERESTART)]);
            // What proc-server does then.
            let here = pending(read(&mut pair.0[0], ends.read, 100, 3));
            let there = pending(read(&mut pair.0[1], ends.read, 100, 3));
            pair.settle();
            turn(pair, &named, moves, order);
            assert_eq!((pair.0[0].take(), pair.0[1].take()), (vec![], vec![]));
            let writer = write(&mut pair.0[1], ends.write, b"sixsix");
            pair.settle();
            if let Now::Pending(writer) = writer {
                assert_eq!(pair.0[1].take(), [ended(there, 3), ended(writer, 6)]);
            } else {
                assert_eq!(writer, moved(6));
                assert_eq!(pair.0[1].take(), [ended(there, 3)]);
            }
            assert_eq!(pair.0[0].take(), [ended(here, 3)]);
        }
    }
}

#[test]
fn writer_that_waits_has_written_what_it_has() {
    let pair = &mut Pair::new();
    let (ends, named) = begun(pair);
    let len = PIPE_BYTES as u64;
    assert_eq!(write(&mut pair.0[0], ends.write, &[1; 100]), moved(100));
    let part = pending(pair.0[0].call(&Write { file: ends.write, space: SPACE, addr: 0, len }));
    let none = pending(write(&mut pair.0[0], ends.write, &[2; 10]));
    assert!(give(pair));
    let end = [ended(part, len - 100), failed(none, Errno::ERESTART)];
    assert_eq!(pair.0[0].take(), end);
    turn(pair, &named, true, [1, 0]);
    let mut total = 0;
    while let Now::Done(part) = read(&mut pair.0[1], ends.read, 0, 40_000) {
        total += part.bytes;
        if total == len {
            break;
        }
    }
    assert_eq!(total, len);
}

#[test]
fn poller_that_waits_looks_again() {
    let pair = &mut Pair::new();
    let (ends, _) = begun(pair);
    let poller = pending(pair.0[0].call(&PollWait { file: ends.read, events: 1 }));
    assert!(give(pair));
    let looks = Msg::of(&Ready { events: 0 }).expect("a message");
    assert_eq!(pair.0[0].take(), [Later::Ended(poller, Ok(looks))]);
}

#[test]
fn calls_of_the_time_between_find_the_pipe_once() {
    for order in [[0, 1], [1, 0]] {
        let pair = &mut Pair::new();
        let (ends, named) = begun(pair);
        assert!(give(pair));
        let writers = [0, 1].map(|at| pending(write(&mut pair.0[at], ends.write, b"x")));
        let flags = [0, 1].map(|at| pending(pair.0[at].call(&GetFlags { file: ends.write })));
        pair.settle();
        turn(pair, &named, true, order);
        for at in [0, 1] {
            let ends = pair.0[at].take();
            let [Later::Ended(first, Ok(_)), Later::Ended(second, Ok(_))] = &ends[..] else {
                panic!("{ends:?}")
            };
            assert_eq!([*first, *second], [writers[at], flags[at]]);
        }
        assert_eq!(read(&mut pair.0[1], ends.read, 0, 50), moved(2));
    }
}

#[test]
fn slot_with_a_terminal_stays() {
    let pair = &mut Pair::new();
    begun(pair);
    let Now::Done(_) = pair.0[0].call(&TerminalOpen { node: node_id(1), flags: 2 }) else {
        panic!("no terminal")
    };
    let Status::Done = pair.0[0].give(0, 2) else { panic!("not at once") };
}

#[test]
fn slot_with_more_bytes_in_its_pipes_than_go_at_once_stays() {
    let pair = &mut Pair::new();
    let (first, _) = begun(pair);
    let most = SLOT_BYTES_MAX / PIPE_BYTES;
    let mut pipes = vec![first];
    pipes.extend((0..most).map(|_| pipe(&mut pair.0[0])));
    for ends in &pipes {
        assert_eq!(ends.write.slot(), slot());
        assert_eq!(write(&mut pair.0[0], ends.write, &[1; PIPE_BYTES]), moved(PIPE_BYTES as u64));
    }
    let waits = pending(write(&mut pair.0[0], first.write, b"x"));
    assert_eq!(pair.0[0].give(0, 2), Status::Done);
    assert_eq!(pair.0[0].take(), [], "who waits goes on");
    for ends in &pipes[..2] {
        assert_eq!(read(&mut pair.0[0], ends.read, 0, PIPE_BYTES as u64), moved(PIPE_BYTES as u64));
    }
    assert_eq!(pair.0[0].take(), [ended(waits, 1)]);
    assert!(give(pair));
}

#[test]
fn state_that_is_not_sound_is_not_admitted() {
    let pair = &mut Pair::new();
    let (ends, _) = begun(pair);
    let exported = pair.0[0].export(slot());
    assert_eq!(pair.0[1].admits(slot(), &exported), Ok(()));
    let other = SlotNo::new(2).expect("a slot");
    assert_eq!(pair.0[1].admits(other, &exported), Err(Errno::EPROTO));
    assert_eq!(pair.0[0].admits(slot(), &exported), Err(Errno::EPROTO), "it is here");
    assert_eq!(pair.0[1].admits(slot(), &exported[1..]), Err(Errno::EPROTO));
    assert_ne!(ends.read, ends.write);
}
