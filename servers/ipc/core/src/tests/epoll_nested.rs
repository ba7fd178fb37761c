// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instances that watch instances: bounds of what they cost, and of what other nodes can make of them.

use super::epoll::{add, adding, epoll, events_of, nest, now, wait};
use super::epoll_apart::{about_to_move, give};
use super::{moved, pending, pipe, write};
use crate::limits::LOOK_NS;
use crate::testing::{Node, Now, Pair, node_id, single};
use abi::linux::general::*;
use abi::{Errno, FileId};
use ipc_api::epoll::{EpollControl, EpollWait, Watch};
use ipc_api::file::Hold;
use std::vec;
use std::vec::Vec;

/// Node 2 asks node 1 to watch, as no correct one need.
fn ask_first(pair: &mut Pair, watch: Watch, cookie: u64) {
    let Node { host, world } = &mut pair.0[1];
    host.step(world, |_, cx| cx.call_node(node_id(1), &watch, Vec::new(), cookie));
    pair.settle();
}

fn watch(file: FileId, depth: u8) -> Watch {
    Watch { file, events: EPOLLIN, seen: None, now: false, depth }
}

#[test]
fn instance_that_is_watched_by_many_descriptors_is_asked_once() {
    let node = &mut single();
    let all: Vec<FileId> = (0..5).map(|_| epoll(node)).collect();
    for pair in all[1..].windows(2) {
        for fd in 0..8 {
            assert_eq!(nest(node, pair[0], fd, pair[1], EPOLLIN), Ok(()));
        }
    }
    assert_eq!(nest(node, all[0], 1, all[1], EPOLLIN), Ok(()));
}

#[test]
fn walks_beyond_the_bound_are_refused_and_leave_nothing() {
    let node = &mut single();
    let [top, first, last] = [epoll(node), epoll(node), epoll(node)];
    let rows: [Vec<FileId>; 2] = [0, 1].map(|_| (0..9).map(|_| epoll(node)).collect());
    for (fd, low) in rows[1].iter().enumerate() {
        assert_eq!(nest(node, *low, 1, last, EPOLLIN), Ok(()));
        for high in &rows[0] {
            assert_eq!(nest(node, *high, fd as u32, *low, EPOLLIN), Ok(()));
        }
    }
    for (fd, high) in rows[0].iter().enumerate() {
        assert_eq!(nest(node, first, fd as u32, *high, EPOLLIN), Ok(()));
    }
    assert_eq!(nest(node, top, 1, first, EPOLLIN), Err(Errno::EAGAIN));
    let left = node.host.step(&mut node.world, |core, _| core.heights.len());
    assert_eq!(left, 0);
    assert_eq!(nest(node, top, 1, rows[1][0], EPOLLIN), Ok(()));
}

#[test]
fn thread_at_the_outer_instance_wakes_although_one_at_the_inner_took_the_event() {
    let node = &mut single();
    let (outer, inner, ends) = (epoll(node), epoll(node), pipe(node));
    assert_eq!(nest(node, outer, 5, inner, EPOLLIN), Ok(()));
    add(node, inner, 3, ends.read, EPOLLIN);
    let waits = [wait(node, outer), wait(node, inner)];
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    let later = node.take();
    assert_eq!(events_of(&later, waits[1]), Some(vec![(3, EPOLLIN)]));
    assert_eq!(events_of(&later, waits[0]), Some(vec![(5, EPOLLIN)]));
}

#[test]
fn depth_that_no_instance_has_is_refused() {
    let pair = &mut Pair::new();
    let (outer, inner) = (epoll(&mut pair.0[0]), epoll(&mut pair.0[0]));
    for (cookie, depth) in [(1 << 40, 255), (1 << 41, 6)] {
        ask_first(pair, watch(outer, depth), cookie);
    }
    assert_eq!(nest(&mut pair.0[0], outer, 1, inner, EPOLLIN), Ok(()));
}

#[test]
fn depth_falls_when_nobody_watches_any_more() {
    let pair = &mut Pair::new();
    let (outer, inner) = (epoll(&mut pair.0[0]), epoll(&mut pair.0[0]));
    ask_first(pair, watch(outer, 5), 1 << 40);
    assert_eq!(nest(&mut pair.0[0], outer, 1, inner, EPOLLIN), Err(Errno::ELOOP));
    let Node { host, world } = &mut pair.0[1];
    host.step(world, |_, cx| cx.cancel(1 << 40));
    pair.settle();
    assert_eq!(nest(&mut pair.0[0], outer, 1, inner, EPOLLIN), Ok(()));
}

#[test]
fn node_that_watches_much_leaves_room_for_instances_of_the_home() {
    let pair = &mut Pair::new();
    let (at, ends) = (epoll(&mut pair.0[0]), pipe(&mut pair.0[0]));
    for index in 0..600 {
        ask_first(pair, watch(ends.read, 0), 1 << 40 | index);
    }
    let node = &mut pair.0[0];
    add(node, at, 3, ends.read, EPOLLIN);
    let waits = wait(node, at);
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    assert_eq!(events_of(&node.take(), waits), Some(vec![(3, EPOLLIN)]));
}

#[test]
fn home_that_does_not_answer_holds_a_look_up_for_some_time_only() {
    let pair = &mut Pair::new();
    let (at, here) = (epoll(&mut pair.0[0]), pipe(&mut pair.0[0]));
    let there = pipe(&mut pair.0[1]);
    add(&mut pair.0[0], at, 3, there.read, EPOLLIN);
    add(&mut pair.0[0], at, 4, here.read, EPOLLIN);
    let node = &mut pair.0[0];
    let waits = pending(node.call(&EpollWait { file: at, max: 8, now: true }));
    node.pass(LOOK_NS - 1);
    assert_eq!(events_of(&node.take(), waits), None);
    node.pass(1);
    assert_eq!(events_of(&node.take(), waits), Some(vec![]));
    assert_eq!(write(node, here.write, b"a"), moved(1));
    assert_eq!(now(node, at), [(4, EPOLLIN)]);
}

#[test]
fn addition_that_waits_for_another_home_can_be_given_up() {
    let pair = &mut Pair::new();
    about_to_move(pair);
    let (outer, inner) = (epoll(&mut pair.0[1]), epoll(&mut pair.0[0]));
    assert_eq!(pair.0[0].call(&Hold { file: inner, node: node_id(2) }), Now::Done(()));
    give(pair);
    let adds = EpollControl { nests: true, ..adding(outer, 7, inner, EPOLLIN) };
    let added = pending(pair.0[1].call(&adds));
    pair.settle();
    assert_eq!(pair.0[1].take(), [], "its home waits for the next view");
    pair.0[1].cancel(added);
    pair.settle();
    assert_eq!(pair.0[1].take(), [super::failed(added, Errno::ECANCELED)]);
    assert_eq!(now(&mut pair.0[1], outer), [], "it was not added");
}
