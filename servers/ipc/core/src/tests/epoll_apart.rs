// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instances, files and programs on two nodes; slots that move and nodes that die.

use super::epoll::{add, adding, epoll, events_of, now};
use super::{moved, pending, pipe, read, write};
use crate::testing::{Later, Node, Now, Pair, node_id};
use abi::linux::general::*;
use abi::{Errno, FileId, SlotNo, Ticket};
use cluster::View;
use ipc_api::epoll::{EpollControl, EpollWait};
use ipc_api::file::{Hold, Release};
use runtime::Status;
use runtime::testing::views;
use std::vec;
use std::vec::Vec;

/// epoll_wait(2) of node `at` that does not wait.
fn now_at(pair: &mut Pair, at: usize, file: FileId) -> Vec<(u32, u32)> {
    let ticket = pending(pair.0[at].call(&EpollWait { file, max: 8, now: true }));
    pair.settle();
    events_of(&pair.0[at].take(), ticket).expect("it does not wait")
}

fn wait_at(pair: &mut Pair, at: usize, file: FileId) -> Ticket {
    let ticket = pending(pair.0[at].call(&EpollWait { file, max: 8, now: false }));
    pair.settle();
    ticket
}

fn told(pair: &mut Pair, at: usize, ticket: Ticket) -> Option<Vec<(u32, u32)>> {
    pair.settle();
    events_of(&pair.0[at].take(), ticket)
}

/// An instance of node 1 that both hold watches a pipe of node 2.
fn apart(pair: &mut Pair, events: u32) -> (FileId, ipc_api::PipeEnds) {
    let at = epoll(&mut pair.0[0]);
    let ends = pipe(&mut pair.0[1]);
    assert_eq!(pair.0[0].call(&Hold { file: at, node: node_id(2) }), Now::Done(()));
    add(&mut pair.0[0], at, 3, ends.read, events);
    pair.settle();
    (at, ends)
}

#[test]
fn file_of_another_node_is_told_of() {
    for waiter in [0, 1] {
        let pair = &mut Pair::new();
        let (at, ends) = apart(pair, EPOLLIN);
        let waits = wait_at(pair, waiter, at);
        assert_eq!(told(pair, waiter, waits), None);
        assert_eq!(write(&mut pair.0[1], ends.write, b"a"), moved(1));
        assert_eq!(told(pair, waiter, waits), Some(vec![(3, EPOLLIN)]));
        assert_eq!(now_at(pair, waiter, at), [(3, EPOLLIN)]);
        assert_eq!(read(&mut pair.0[1], ends.read, 0, 9), moved(1));
        assert_eq!(now_at(pair, waiter, at), []);
    }
}

#[test]
fn edges_of_another_node_are_told_once() {
    let pair = &mut Pair::new();
    let (at, ends) = apart(pair, EPOLLIN | EPOLLET);
    for _ in 0..3 {
        assert_eq!(write(&mut pair.0[1], ends.write, b"a"), moved(1));
        // The program on node 2 knows that it has written before it asks.
        assert_eq!(now_at(pair, 1, at), [(3, EPOLLIN)]);
        assert_eq!(now_at(pair, 1, at), []);
    }
}

#[test]
fn close_and_end_of_another_node_are_told() {
    let pair = &mut Pair::new();
    let (at, ends) = apart(pair, EPOLLIN);
    assert_eq!(pair.0[1].call(&Release { file: ends.write }), Now::Done(()));
    assert_eq!(now_at(pair, 0, at), [(3, EPOLLHUP)]);
    assert_eq!(pair.0[1].call(&Release { file: ends.read }), Now::Done(()));
    assert_eq!(now_at(pair, 0, at), []);
    let again =
        EpollControl { change: ipc_api::epoll::Change::Remove, ..adding(at, 3, ends.read, 0) };
    assert_eq!(pair.0[0].call(&again), Now::Failed(Errno::ENOENT));
}

#[test]
fn file_whose_node_dies_has_errors_and_a_wait_ends() {
    for events in [EPOLLIN, EPOLLIN | EPOLLET] {
        let pair = &mut Pair::new();
        let (at, _) = apart(pair, events);
        let waits = wait_at(pair, 0, at);
        pair.kill_second();
        let gone = vec![(3, EPOLLERR | EPOLLHUP)];
        assert_eq!(told(pair, 0, waits), Some(gone.clone()));
        let again = if events & EPOLLET == 0 { gone } else { vec![] };
        assert_eq!(now_at(pair, 0, at), again);
    }
}

#[test]
fn instance_whose_node_dies_ends_its_waits() {
    let pair = &mut Pair::new();
    let at = epoll(&mut pair.0[1]);
    assert_eq!(pair.0[1].call(&Hold { file: at, node: node_id(1) }), Now::Done(()));
    let waits = wait_at(pair, 0, at);
    pair.kill_second();
    assert_eq!(pair.0[0].take(), [super::failed(waits, Errno::EHOSTDOWN)]);
}

#[test]
fn waiter_whose_node_dies_takes_nothing() {
    let pair = &mut Pair::new();
    let at = epoll(&mut pair.0[0]);
    let ends = pipe(&mut pair.0[0]);
    assert_eq!(pair.0[0].call(&Hold { file: at, node: node_id(2) }), Now::Done(()));
    add(&mut pair.0[0], at, 3, ends.read, EPOLLIN | EPOLLET);
    wait_at(pair, 1, at);
    pair.kill_second();
    assert_eq!(write(&mut pair.0[0], ends.write, b"a"), moved(1));
    assert_eq!(now(&mut pair.0[0], at), [(3, EPOLLIN)]);
}

#[test]
fn instances_of_two_nodes_make_no_ring() {
    let pair = &mut Pair::new();
    let (one, two) = (epoll(&mut pair.0[0]), epoll(&mut pair.0[1]));
    for (file, at, other) in [(one, 0, 2), (two, 1, 1)] {
        assert_eq!(pair.0[at].call(&Hold { file, node: node_id(other) }), Now::Done(()));
    }
    let nest = |outer, inner| EpollControl { nests: true, ..adding(outer, 7, inner, EPOLLIN) };
    let added = pending(pair.0[0].call(&nest(one, two)));
    pair.settle();
    assert!(matches!(pair.0[0].take()[..], [Later::Ended(of, Ok(_))] if of == added));
    let refused = pending(pair.0[1].call(&nest(two, one)));
    pair.settle();
    assert_eq!(pair.0[1].take(), [super::failed(refused, Errno::ELOOP)]);
    let ends = pipe(&mut pair.0[1]);
    add(&mut pair.0[1], two, 3, ends.read, EPOLLIN);
    assert_eq!(now_at(pair, 0, one), []);
    let waits = wait_at(pair, 0, one);
    assert_eq!(write(&mut pair.0[1], ends.write, b"a"), moved(1));
    assert_eq!(told(pair, 0, waits), Some(vec![(7, EPOLLIN)]));
    assert_eq!(now_at(pair, 0, one), [(7, EPOLLIN)]);
    assert_eq!(read(&mut pair.0[1], ends.read, 0, 9), moved(1));
    assert_eq!(now_at(pair, 0, one), []);
    assert_eq!(write(&mut pair.0[1], ends.write, b"a"), moved(1));
    assert_eq!(now_at(pair, 0, one), [(7, EPOLLIN)], "a call sees what was written before it");
}

fn slot() -> SlotNo {
    SlotNo::new(0).expect("a slot")
}

/// Both nodes in the view in which slot 0 of node 1 is to move to node 2.
pub(super) fn about_to_move(pair: &mut Pair) -> View {
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    named
}

pub(super) fn give(pair: &mut Pair) {
    let Status::Pending(_) = pair.0[0].give(0, 2) else { panic!("not begun") };
    pair.settle();
    assert!(pair.0[0].given());
}

fn turn(pair: &mut Pair, named: &View, moves: bool, order: [usize; 2]) {
    let next = if moves { views::moved(named, slot()) } else { views::stayed(named, slot()) };
    for at in order {
        pair.0[at].enter(&next);
        pair.settle();
    }
}

/// The watched pipe, the instance, or both live in the slot that moves or stays, while somebody waits.
#[test]
fn wait_goes_on_when_slots_move() {
    for (pipe_moves, epoll_moves, edge) in
        [(true, false, 0), (true, true, EPOLLET), (false, true, EPOLLET), (true, false, EPOLLET)]
    {
        for (moves, order) in [(true, [0, 1]), (true, [1, 0]), (false, [0, 1])] {
            let pair = &mut Pair::new();
            let named = about_to_move(pair);
            let home = |moves: bool| usize::from(!moves);
            let ends = pipe(&mut pair.0[home(pipe_moves)]);
            let at = epoll(&mut pair.0[home(epoll_moves)]);
            for (of, file) in [(pipe_moves, ends.read), (pipe_moves, ends.write), (epoll_moves, at)]
            {
                let node = &mut pair.0[home(of)];
                let other = node_id(if of { 2 } else { 1 });
                assert_eq!(node.call(&Hold { file, node: other }), Now::Done(()));
            }
            let owner = &mut pair.0[home(epoll_moves)];
            add(owner, at, 3, ends.read, EPOLLIN | edge);
            pair.settle();
            // An edge that was told before the move does not come again after it.
            let writer = home(pipe_moves);
            assert_eq!(write(&mut pair.0[writer], ends.write, b"a"), moved(1));
            assert_eq!(now_at(pair, 1, at), [(3, EPOLLIN)]);
            if edge == 0 {
                assert_eq!(read(&mut pair.0[writer], ends.read, 0, 9), moved(1));
            }
            let mut waits = wait_at(pair, 1, at);
            give(pair);
            let away = pair.0[1].take();
            if epoll_moves {
                assert_eq!(away, [super::failed(waits, Errno::ERESTART)]);
                waits = pending(pair.0[1].call(&EpollWait { file: at, max: 8, now: false }));
                pair.settle();
            } else {
                assert_eq!(away, []);
            }
            turn(pair, &named, moves, order);
            assert_eq!(pair.0[1].take(), [], "nothing has changed");
            if !epoll_moves {
                let Node { host, world } = &mut pair.0[1];
                let homes = host.step(world, |core, _| core.epolls[&at].homes.len());
                assert_eq!(homes, usize::from(!moves), "only homes of now are asked");
            }
            match write(&mut pair.0[1], ends.write, b"b") {
                Now::Done(_) => {}
                Now::Pending(ticket) => {
                    pair.settle();
                    let later = pair.0[1].take();
                    assert!(later.contains(&super::ended(ticket, 1)));
                    assert_eq!(events_of(&later, waits), Some(vec![(3, EPOLLIN)]));
                    continue;
                }
                Now::Failed(errno) => panic!("{errno:?}"),
            }
            assert_eq!(told(pair, 1, waits), Some(vec![(3, EPOLLIN)]));
        }
    }
}

#[test]
fn home_without_room_for_a_watch_is_asked_again() {
    let pair = &mut Pair::new();
    pair.0[1].world.heap_left = 0;
    let at = epoll(&mut pair.0[0]);
    pair.0[1].world.heap_left = usize::MAX;
    let ends = pipe(&mut pair.0[1]);
    pair.0[1].world.heap_left = 0;
    add(&mut pair.0[0], at, 3, ends.read, EPOLLIN);
    pair.settle();
    let waits = wait_at(pair, 0, at);
    for _ in 0..3 {
        assert_eq!(now_at(pair, 0, at), []);
    }
    let Node { host, world } = &mut pair.0[0];
    assert_eq!(host.step(world, |core, _| core.retries.len()), 1, "once, however many look");
    pair.0[1].world.heap_left = usize::MAX;
    assert_eq!(write(&mut pair.0[1], ends.write, b"a"), moved(1));
    pair.settle();
    assert_eq!(pair.0[0].take(), []);
    pair.0[0].pass(crate::limits::RETRY_NS);
    assert_eq!(told(pair, 0, waits), Some(vec![(3, EPOLLIN)]));
}
