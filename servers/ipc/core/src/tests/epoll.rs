// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll instances and what they watch on one node.

use super::{moved, pending, pipe, read, write};
use crate::testing::{Later, Node, Now, single};
use abi::linux::general::*;
use abi::{Errno, FileId, Ticket};
use ipc_api::CounterCreate;
use ipc_api::epoll::{
    Change, EVENTS_MAX, EpollAgain, EpollControl, EpollCreate, EpollEvents, EpollWait,
};
use ipc_api::file::{Poll, PollWait, Ready, Release, Write};
use ipc_api::socket::{Owner, Shutdown, SocketPair, SocketType};
use runtime::{Msg, Wire};
use std::vec;
use std::vec::Vec;

pub(super) fn epoll(node: &mut Node) -> FileId {
    match node.call(&EpollCreate {}) {
        Now::Done(made) => made.file,
        other => panic!("no instance: {other:?}"),
    }
}

pub(super) fn adding(epoll: FileId, fd: u32, file: FileId, events: u32) -> EpollControl {
    let data = u64::from(fd) + 100;
    EpollControl { epoll, change: Change::Add, fd, file, nests: false, events, data }
}

pub(super) fn add(node: &mut Node, epoll: FileId, fd: u32, file: FileId, events: u32) {
    assert_eq!(node.call(&adding(epoll, fd, file, events)), Now::Done(()));
}

fn modify(node: &mut Node, epoll: FileId, fd: u32, file: FileId, events: u32) -> Now<()> {
    node.call(&EpollControl { change: Change::Modify, ..adding(epoll, fd, file, events) })
}

fn remove(node: &mut Node, epoll: FileId, fd: u32, file: FileId) -> Now<()> {
    node.call(&EpollControl { change: Change::Remove, ..adding(epoll, fd, file, 0) })
}

pub(super) fn wait(node: &mut Node, file: FileId) -> Ticket {
    pending(node.call(&EpollWait { file, max: 8, now: false }))
}

/// What a ticket ended with, of those that have.
pub(super) fn events_of(later: &[Later], ticket: Ticket) -> Option<Vec<(u32, u32)>> {
    let ended = later.iter().find_map(|it| match it {
        Later::Ended(of, result) if *of == ticket => Some(result.clone()),
        Later::Ended(..) | Later::Event(..) => None,
    })?;
    let EpollEvents(events) = EpollEvents::get(&ended.expect("events")).expect("events");
    assert!(events.iter().all(|(fd, _, data)| *data == u64::from(*fd) + 100));
    Some(events.into_iter().map(|(fd, events, _)| (fd, events)).collect())
}

/// epoll_wait(2) that does not wait.
pub(super) fn now(node: &mut Node, file: FileId) -> Vec<(u32, u32)> {
    let ticket = pending(node.call(&EpollWait { file, max: 8, now: true }));
    events_of(&node.take(), ticket).expect("it does not wait")
}

pub(super) fn counter(node: &mut Node, count: u64) -> FileId {
    match node.call(&CounterCreate { count, semaphore: false, flags: O_NONBLOCK }) {
        Now::Done(made) => made.file,
        other => panic!("no counter: {other:?}"),
    }
}

fn count(node: &mut Node, file: FileId) {
    node.world.memory[..8].copy_from_slice(&1_u64.to_le_bytes());
    assert_eq!(node.call(&Write { file, space: crate::testing::SPACE, addr: 0, len: 8 }), moved(8));
}

fn close(node: &mut Node, file: FileId) {
    assert_eq!(node.call(&Release { file }), Now::Done(()));
}

#[test]
fn level_is_told_as_long_as_it_holds() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN);
    assert_eq!(now(node, at), []);
    assert_eq!(write(node, ends.write, b"ab"), moved(2));
    for _ in 0..3 {
        assert_eq!(now(node, at), [(3, EPOLLIN)]);
    }
    assert_eq!(read(node, ends.read, 0, 2), moved(2));
    assert_eq!(now(node, at), []);
    assert_eq!(write(node, ends.write, b"c"), moved(1));
    assert_eq!(read(node, ends.read, 0, 1), moved(1));
    assert_eq!(now(node, at), [], "what held in between is not told");
}

#[test]
fn edge_is_told_once_for_each_change() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    add(node, at, 3, ends.read, EPOLLIN | EPOLLET);
    assert_eq!(now(node, at), [(3, EPOLLIN)], "what holds already is told once");
    assert_eq!(now(node, at), []);
    for _ in 0..2 {
        assert_eq!(write(node, ends.write, b"b"), moved(1));
    }
    assert_eq!(now(node, at), [(3, EPOLLIN)], "two changes between two calls are one edge");
    assert_eq!(now(node, at), []);
    assert_eq!(read(node, ends.read, 0, 1), moved(1));
    assert_eq!(now(node, at), [], "reading brings nothing to read");
    let waits = wait(node, at);
    assert_eq!(node.take(), []);
    assert_eq!(write(node, ends.write, b"c"), moved(1));
    assert_eq!(events_of(&node.take(), waits), Some(vec![(3, EPOLLIN)]));
    assert_eq!(modify(node, at, 3, ends.read, EPOLLIN | EPOLLET), Now::Done(()));
    assert_eq!(now(node, at), [(3, EPOLLIN)], "a change of the watch tells anew");
}

#[test]
fn edge_of_one_direction_is_none_of_the_other() {
    let node = &mut single();
    let (at, file) = (epoll(node), counter(node, 0));
    add(node, at, 3, file, EPOLLOUT | EPOLLET);
    assert_eq!(now(node, at), [(3, EPOLLOUT)]);
    count(node, file);
    assert_eq!(now(node, at), []);
    assert_eq!(read(node, file, 0, 8), moved(8));
    assert_eq!(now(node, at), [(3, EPOLLOUT)]);
}

#[test]
fn room_in_a_pipe_is_an_edge_only_where_there_was_none() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 4, ends.write, EPOLLOUT | EPOLLET);
    assert_eq!(now(node, at), [(4, EPOLLOUT)]);
    assert_eq!(write(node, ends.write, b"ab"), moved(2));
    assert_eq!(read(node, ends.read, 0, 2), moved(2));
    assert_eq!(now(node, at), []);
    assert_eq!(write(node, ends.write, &[1; crate::limits::PIPE_BYTES]), moved(65536));
    assert_eq!(read(node, ends.read, 0, 8192), moved(8192));
    assert_eq!(now(node, at), [(4, EPOLLOUT)]);
}

#[test]
fn oneshot_is_told_once_until_it_is_changed() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN | EPOLLONESHOT);
    assert_eq!(write(node, ends.write, b"ab"), moved(2));
    assert_eq!(now(node, at), [(3, EPOLLIN)]);
    assert_eq!(write(node, ends.write, b"ab"), moved(2));
    close(node, ends.write);
    assert_eq!(now(node, at), []);
    assert_eq!(modify(node, at, 3, ends.read, EPOLLIN | EPOLLONESHOT), Now::Done(()));
    assert_eq!(now(node, at), [(3, EPOLLIN | EPOLLHUP)]);
    assert_eq!(now(node, at), []);
    close(node, ends.read);
    assert_eq!(modify(node, at, 3, ends.read, EPOLLIN), Now::Failed(Errno::ENOENT));
}

#[test]
fn waiters_are_told_one_each_of_an_edge_and_all_of_a_level() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN | EPOLLET);
    let waiters = [wait(node, at), wait(node, at)];
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    let later = node.take();
    assert_eq!(events_of(&later, waiters[0]), Some(vec![(3, EPOLLIN)]));
    assert_eq!(later.len(), 1);
    assert_eq!(modify(node, at, 3, ends.read, EPOLLIN), Now::Done(()));
    assert_eq!(events_of(&node.take(), waiters[1]), Some(vec![(3, EPOLLIN)]));
    assert_eq!(read(node, ends.read, 0, 8), moved(1));
    let waiters = [wait(node, at), wait(node, at)];
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    let later = node.take();
    for waiter in waiters {
        assert_eq!(events_of(&later, waiter), Some(vec![(3, EPOLLIN)]));
    }
}

#[test]
fn waiter_that_gives_up_takes_nothing() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN | EPOLLET);
    let waits = wait(node, at);
    node.cancel(waits);
    assert_eq!(node.take(), [super::failed(waits, Errno::ECANCELED)]);
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    assert_eq!(now(node, at), [(3, EPOLLIN)]);
}

#[test]
fn change_that_makes_no_sense_is_refused() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN);
    assert_eq!(node.call(&adding(at, 3, ends.read, EPOLLIN)), Now::Failed(Errno::EEXIST));
    add(node, at, 4, ends.read, EPOLLIN);
    assert_eq!(remove(node, at, 3, ends.read), Now::Done(()));
    assert_eq!(remove(node, at, 3, ends.read), Now::Failed(Errno::ENOENT));
    assert_eq!(modify(node, at, 3, ends.read, EPOLLIN), Now::Failed(Errno::ENOENT));
    let itself = EpollControl { nests: true, ..adding(at, 9, at, EPOLLIN) };
    assert_eq!(node.call(&itself), Now::Failed(Errno::EINVAL));
    let exclusive = EPOLLEXCLUSIVE | EPOLLIN;
    let not_with = adding(at, 6, ends.read, exclusive | EPOLLONESHOT);
    assert_eq!(node.call(&not_with), Now::Failed(Errno::EINVAL));
    add(node, at, 6, ends.read, exclusive);
    assert_eq!(modify(node, at, 6, ends.read, EPOLLIN), Now::Failed(Errno::EINVAL));
    let other = node.call(&EpollWait { file: ends.read, max: 1, now: true });
    assert_eq!(other, Now::Failed(Errno::EINVAL));
    assert_eq!(write(node, at, b"12345678"), Now::Failed(Errno::EINVAL));
}

#[test]
fn file_that_nobody_has_open_is_not_watched() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN);
    add(node, at, 4, ends.write, 0);
    close(node, ends.write);
    assert_eq!(now(node, at), [(3, EPOLLHUP)]);
    close(node, ends.read);
    assert_eq!(now(node, at), []);
    assert_eq!(remove(node, at, 3, ends.read), Now::Failed(Errno::ENOENT));
    close(node, at);
}

#[test]
fn sockets_tell_of_half_and_whole_ends() {
    let node = &mut single();
    let at = epoll(node);
    let pair = SocketPair { kind: SocketType::Stream, flags: 0, owner: Owner::default() };
    let Now::Done(made) = node.call(&pair) else { panic!("no pair") };
    let [one, other] = made.ends;
    add(node, at, 3, one, EPOLLIN | EPOLLRDHUP | EPOLLET);
    assert_eq!(now(node, at), []);
    let ends = Shutdown { file: other, receive: false, send: true };
    assert_eq!(node.call(&ends), Now::Done(()));
    assert_eq!(now(node, at), [(3, EPOLLIN | EPOLLRDHUP)]);
    close(node, other);
    assert_eq!(now(node, at), [(3, EPOLLIN | EPOLLRDHUP | EPOLLHUP)]);
    assert_eq!(now(node, at), []);
}

pub(super) fn nest(
    node: &mut Node,
    outer: FileId,
    fd: u32,
    inner: FileId,
    events: u32,
) -> Result<(), Errno> {
    let ticket = match node.call(&EpollControl { nests: true, ..adding(outer, fd, inner, events) })
    {
        Now::Pending(ticket) => ticket,
        Now::Failed(errno) => return Err(errno),
        Now::Done(()) => return Ok(()),
    };
    match &node.take()[..] {
        [Later::Ended(of, result)] if *of == ticket => result.clone().map(|_| ()),
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn instance_tells_of_an_instance() {
    let node = &mut single();
    let (outer, inner, ends) = (epoll(node), epoll(node), pipe(node));
    assert_eq!(nest(node, outer, 5, inner, EPOLLIN), Ok(()));
    add(node, inner, 3, ends.read, EPOLLIN);
    assert_eq!(now(node, outer), []);
    let waits = wait(node, outer);
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    assert_eq!(events_of(&node.take(), waits), Some(vec![(5, EPOLLIN)]));
    for _ in 0..2 {
        assert_eq!(now(node, outer), [(5, EPOLLIN)]);
        assert_eq!(now(node, inner), [(3, EPOLLIN)]);
    }
    assert_eq!(read(node, ends.read, 0, 8), moved(1));
    assert_eq!(now(node, outer), [], "the inner one is looked at again");
    assert_eq!(now(node, inner), []);
}

#[test]
fn rings_and_towers_of_instances_are_refused() {
    let node = &mut single();
    let all: Vec<FileId> = (0..7).map(|_| epoll(node)).collect();
    assert_eq!(nest(node, all[0], 1, all[1], EPOLLIN), Ok(()));
    assert_eq!(nest(node, all[1], 1, all[0], EPOLLIN), Err(Errno::ELOOP));
    assert_eq!(nest(node, all[1], 1, all[2], EPOLLIN), Ok(()));
    assert_eq!(nest(node, all[2], 1, all[0], EPOLLIN), Err(Errno::ELOOP));
    for at in 2..4 {
        assert_eq!(nest(node, all[at], 1, all[at + 1], EPOLLIN), Ok(()));
    }
    assert_eq!(nest(node, all[4], 1, all[5], EPOLLIN), Err(Errno::ELOOP));
    assert_eq!(nest(node, all[5], 1, all[0], EPOLLIN), Err(Errno::ELOOP));
    let exclusive = EPOLLIN | EPOLLEXCLUSIVE;
    assert_eq!(nest(node, all[5], 1, all[6], exclusive), Err(Errno::EINVAL));
}

#[test]
fn poll_of_an_instance_tells_whether_it_would_tell() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    add(node, at, 3, ends.read, EPOLLIN);
    let ready = |events| Msg::of(&Ready { events }).expect("a message");
    let none = pending(node.call(&Poll { file: at, events: POLLIN }));
    assert_eq!(node.take(), [Later::Ended(none, Ok(ready(0)))]);
    let waits = pending(node.call(&PollWait { file: at, events: POLLIN }));
    assert_eq!(node.take(), []);
    assert_eq!(write(node, ends.write, b"a"), moved(1));
    assert_eq!(node.take(), [Later::Ended(waits, Ok(ready(POLLIN)))]);
    assert_eq!(now(node, at), [(3, EPOLLIN)]);
    let holds = pending(node.call(&Poll { file: at, events: POLLIN }));
    assert_eq!(node.take(), [Later::Ended(holds, Ok(ready(POLLIN)))]);
    assert_eq!(read(node, ends.read, 0, 8), moved(1));
    let none = pending(node.call(&Poll { file: at, events: POLLIN }));
    assert_eq!(node.take(), [Later::Ended(none, Ok(ready(0)))]);
}

#[test]
fn what_did_not_reach_the_program_is_told_again() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    for events in [EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT] {
        add(node, at, 3, ends.read, events);
        assert_eq!(write(node, ends.write, b"a"), moved(1));
        assert_eq!(now(node, at), [(3, EPOLLIN)]);
        assert_eq!(node.call(&EpollAgain { file: at, fds: vec![3] }), Now::Done(()));
        assert_eq!(now(node, at), [(3, EPOLLIN)]);
        assert_eq!(now(node, at), []);
        assert_eq!(remove(node, at, 3, ends.read), Now::Done(()));
    }
}

#[test]
fn more_than_one_answer_holds_come_in_turn() {
    let node = &mut single();
    let at = epoll(node);
    let files: Vec<FileId> = (0..EVENTS_MAX + 5).map(|_| counter(node, 1)).collect();
    for (fd, file) in files.iter().enumerate() {
        add(node, at, fd as u32, *file, EPOLLIN);
    }
    let mut seen = vec![0; files.len()];
    for _ in 0..2 {
        let ticket = pending(node.call(&EpollWait { file: at, max: 1000, now: true }));
        let events = events_of(&node.take(), ticket).expect("events");
        assert_eq!(events.len(), EVENTS_MAX);
        events.iter().for_each(|(fd, _)| seen[*fd as usize] += 1);
    }
    assert!(seen.iter().all(|times| *times > 0));
}

#[test]
fn instances_and_watches_beyond_the_bound_are_refused() {
    let node = &mut single();
    let (at, ends) = (epoll(node), pipe(node));
    for _ in 1..crate::limits::EPOLLS_MAX {
        epoll(node);
    }
    assert_eq!(node.call(&EpollCreate {}), Now::Failed(Errno::ENFILE));
    let file = |fd: usize| if fd.is_multiple_of(2) { ends.read } else { ends.write };
    let files: Vec<FileId> = (0..3).map(|_| counter(node, 0)).collect();
    for fd in 0..crate::limits::WATCHED_MAX {
        let file = if fd < 600 { file(fd) } else { files[fd % 3] };
        let added = node.call(&adding(at, fd as u32, file, 0));
        assert_eq!(added, Now::Done(()));
    }
    let more = adding(at, 5000, ends.read, 0);
    assert_eq!(node.call(&more), Now::Failed(Errno::ENOSPC));
    close(node, at);
    let at = epoll(node);
    add(node, at, 1, ends.read, EPOLLIN);
}
