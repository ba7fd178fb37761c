// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects whose slot moves to another node.

use super::{call, done, release, root, status};
use crate::testing::{Now, Pair, SPACE, node_id};
use crate::tests::{failed, pending};
use abi::{Errno, SlotNo};
use cluster::View;
use ipc_api::sysv::{
    About, Get, Kind, Operate, Receive, SemOp, SemRead, SemWrite, Send, UndoOpen, Wanted,
};
use runtime::Status;
use runtime::testing::views;
use std::vec;

fn slot() -> SlotNo {
    SlotNo::new(0).expect("a slot")
}

/// The view in which slot 0 of node 1 is to move to node 2.
fn begun(pair: &mut Pair) -> View {
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    named
}

fn made(pair: &mut Pair, kind: Kind) -> u32 {
    let get = Get { kind, key: 0, size: 2, flags: 0o600, by: root(1) };
    let id = call(pair, 0, &get).expect("made").id;
    assert_eq!(id & 1023, 0, "in the slot that is to move");
    id
}

fn give(pair: &mut Pair) {
    match pair.0[0].give(0, 2) {
        Status::Pending(_) => {
            pair.settle();
            assert!(pair.0[0].given());
        }
        other => panic!("{other:?}"),
    }
}

fn turn(pair: &mut Pair, named: &View, moves: bool) {
    let next = if moves { views::moved(named, slot()) } else { views::stayed(named, slot()) };
    for at in [1, 0] {
        pair.0[at].enter(&next);
        pair.settle();
    }
}

fn less(id: u32) -> Operate {
    let ops = vec![SemOp { number: 0, value: -1, flags: 0 }];
    Operate { id, ops, undo: None, by: root(5) }
}

#[test]
fn semaphores_move_with_what_is_to_be_undone() {
    for moves in [true, false] {
        let pair = &mut Pair::new();
        let named = begun(pair);
        let id = made(pair, Kind::Semaphores);
        let file = call(pair, 1, &UndoOpen { id, by: root(5) }).expect("a list").file;
        let ops = vec![SemOp { number: 1, value: 7, flags: 0x1000 }];
        let more = Operate { ops, undo: Some(file), ..less(id) };
        assert_eq!(call(pair, 1, &more), Ok(()));
        let waits = pending(pair.0[0].call(&less(id)));
        give(pair);
        assert_eq!(pair.0[0].take(), [failed(waits, Errno::ERESTART)]);
        // What proc-server does then: it waits for the next view.
        let waits = pending(pair.0[0].call(&less(id)));
        turn(pair, &named, moves);
        assert!(pair.0[usize::from(moves)].host_occupies(slot()));
        let write = SemWrite { id, number: Some(0), values: vec![1], by: root(1) };
        assert_eq!(call(pair, 1, &write), Ok(()));
        pair.settle();
        assert_eq!(pair.0[0].take(), [done(waits)]);
        let values = |pair: &mut Pair| {
            call(pair, 0, &SemRead { id, about: About::Values, by: root(1) }).expect("values").0
        };
        assert_eq!(values(pair), [0, 7]);
        release(pair, 1, file);
        assert_eq!(values(pair), [0, 0]);
    }
}

#[test]
fn queue_moves_with_its_messages() {
    let pair = &mut Pair::new();
    let named = begun(pair);
    let id = made(pair, Kind::Messages);
    pair.0[0].world.memory[..5].copy_from_slice(b"moved");
    let send = Send { id, kind: 4, flags: 0, space: SPACE, addr: 0, len: 5, by: root(5) };
    assert_eq!(pair.0[0].call(&send), Now::Done(()));
    give(pair);
    turn(pair, &named, true);
    let found = status(pair, 0, Kind::Messages, id).expect("there");
    assert_eq!((found.count, found.bytes, found.pids), (1, 5, [5, 0]));
    let wanted = Wanted { kind: 0, flags: 0, len: 100 };
    let receive = Receive { id, wanted, space: SPACE, addr: 100, by: root(6) };
    assert_eq!(call(pair, 1, &receive).map(|it| it.bytes), Ok(5));
    assert_eq!(&pair.0[1].world.memory[108..113], b"moved");
}

#[test]
fn state_that_is_not_sound_is_not_admitted() {
    let pair = &mut Pair::new();
    begun(pair);
    let id = made(pair, Kind::Semaphores);
    made(pair, Kind::Messages);
    call(pair, 1, &UndoOpen { id, by: root(5) }).expect("a list");
    let exported = pair.0[0].export(slot());
    assert_eq!(pair.0[1].admits(slot(), &exported), Ok(()));
    let other = SlotNo::new(2).expect("a slot");
    assert_eq!(pair.0[1].admits(other, &exported), Err(Errno::EPROTO));
    assert_eq!(pair.0[0].admits(slot(), &exported), Err(Errno::EPROTO), "it is here");
    for cut in 0..exported.len() {
        assert_eq!(pair.0[1].admits(slot(), &exported[..cut]), Err(Errno::EPROTO));
    }
}
