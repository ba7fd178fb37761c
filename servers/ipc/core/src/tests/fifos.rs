// SPDX-License-Identifier: MIT OR Apache-2.0
//! FIFOs: opens that wait for the other end, from two nodes, and slots that move.

use super::epoll::{add, epoll, now};
use super::{ended, failed, moved, pending, read, write};
use crate::testing::{Later, Node, Now, Pair, node_id, single};
use abi::linux::general::*;
use abi::{Errno, FileId, InodeId, SlotNo, Ticket};
use cluster::View;
use ipc_api::file::{FileStat, Poll, Ready, Release};
use ipc_api::{FifoOpen, FifoOpened};
use runtime::testing::views;
use runtime::{Msg, Status, Wire};

/// An inode whose slot's home is node 1.
fn inode() -> InodeId {
    InodeId::new(SlotNo::new(0).expect("a slot"), 5).expect("an inode")
}

fn open(node: &mut Node, flags: u32) -> Now<FifoOpened> {
    node.call(&FifoOpen { inode: inode(), flags })
}

fn opened(node: &mut Node, flags: u32) -> FileId {
    match open(node, flags) {
        Now::Done(it) => it.file,
        other => panic!("not open: {other:?}"),
    }
}

fn came(later: &[Later], ticket: Ticket) -> FileId {
    let ended = later.iter().find_map(|it| match it {
        Later::Ended(of, Ok(msg)) if *of == ticket => Some(FifoOpened::get(msg).expect("a file")),
        Later::Ended(..) | Later::Event(..) => None,
    });
    ended.expect("it is open").file
}

fn close(node: &mut Node, file: FileId) {
    assert_eq!(node.call(&Release { file }), Now::Done(()));
}

#[test]
fn open_waits_for_the_other_end() {
    let node = &mut single();
    let reader = pending(open(node, O_RDONLY));
    let second = pending(open(node, O_RDONLY));
    assert_eq!(node.take(), []);
    let writer = opened(node, O_WRONLY);
    let later = node.take();
    let ends = [came(&later, reader), came(&later, second)];
    assert_eq!(write(node, writer, b"abc"), moved(3));
    assert_eq!(read(node, ends[0], 0, 2), moved(2));
    close(node, ends[0]);
    assert_eq!(read(node, ends[1], 0, 2), moved(1));
    assert_eq!(read(node, writer, 0, 1), Now::Failed(Errno::EBADF));
    assert_eq!(write(node, ends[1], b"x"), Now::Failed(Errno::EBADF));
    close(node, writer);
    assert_eq!(read(node, ends[1], 0, 2), moved(0));
    let writer = opened(node, O_WRONLY);
    close(node, ends[1]);
    assert_eq!(write(node, writer, b"x"), Now::Failed(Errno::EPIPE));
    close(node, writer);
    let writer = pending(open(node, O_WRONLY));
    let reader = opened(node, O_RDONLY);
    let writer = came(&node.take(), writer);
    assert_eq!(write(node, writer, b"x"), moved(1));
    assert_eq!(read(node, reader, 0, 2), moved(1));
}

#[test]
fn open_that_does_not_wait_has_its_rules() {
    let node = &mut single();
    assert_eq!(open(node, O_WRONLY | O_NONBLOCK), Now::Failed(Errno::ENXIO));
    let reader = opened(node, O_RDONLY | O_NONBLOCK);
    assert_eq!(read(node, reader, 0, 1), moved(0));
    let events = POLLIN;
    assert_eq!(node.call(&Poll { file: reader, events }), Now::Done(Ready { events: 0 }));
    let writer = opened(node, O_WRONLY | O_NONBLOCK);
    assert_eq!(read(node, reader, 0, 1), Now::Failed(Errno::EAGAIN));
    close(node, writer);
    assert_eq!(node.call(&Poll { file: reader, events }), Now::Done(Ready { events: POLLHUP }));
    close(node, reader);
    let both = opened(node, O_RDWR);
    assert_eq!(write(node, both, b"ab"), moved(2));
    assert_eq!(read(node, both, 0, 2), moved(2));
    let events = POLLIN | POLLOUT;
    assert_eq!(node.call(&Poll { file: both, events }), Now::Done(Ready { events: POLLOUT }));
    let Now::Done(stat) = node.call(&FileStat { file: both }) else { panic!("no answer") };
    assert_eq!(stat.inode, inode().raw());
    assert_eq!(write(node, both, b"ab"), moved(2));
    close(node, both);
    let reader = opened(node, O_RDONLY | O_NONBLOCK);
    assert_eq!(read(node, reader, 0, 2), moved(0), "what nobody read is gone with the last end");
}

#[test]
fn open_that_is_given_up_leaves_nothing() {
    let node = &mut single();
    let reader = pending(open(node, O_RDONLY));
    node.cancel(reader);
    assert_eq!(node.take(), [failed(reader, Errno::ECANCELED)]);
    assert_eq!(open(node, O_WRONLY | O_NONBLOCK), Now::Failed(Errno::ENXIO));
    assert!(!node.occupies(0));
}

#[test]
fn instance_tells_of_a_fifo() {
    let node = &mut single();
    let at = epoll(node);
    let reader = opened(node, O_RDONLY | O_NONBLOCK);
    let second = opened(node, O_RDONLY | O_NONBLOCK);
    add(node, at, 3, reader, EPOLLIN | EPOLLET);
    assert_eq!(now(node, at), []);
    let writer = opened(node, O_WRONLY);
    assert_eq!(now(node, at), []);
    assert_eq!(write(node, writer, b"a"), moved(1));
    assert_eq!(now(node, at), [(3, EPOLLIN)]);
    close(node, writer);
    assert_eq!(now(node, at), [(3, EPOLLIN | EPOLLHUP)]);
    close(node, reader);
    close(node, second);
    assert_eq!(now(node, at), []);
}

#[test]
fn ends_meet_from_two_nodes_and_a_node_that_dies_lets_go() {
    let pair = &mut Pair::new();
    let reader = pending(open(&mut pair.0[1], O_RDONLY));
    pair.settle();
    assert_eq!(pair.0[1].take(), []);
    let writer = opened(&mut pair.0[0], O_WRONLY);
    pair.settle();
    let reader = came(&pair.0[1].take(), reader);
    assert_eq!(write(&mut pair.0[0], writer, b"abc"), moved(3));
    let got = pending(read(&mut pair.0[1], reader, 0, 8));
    pair.settle();
    assert_eq!(pair.0[1].take(), [ended(got, 3)]);
    pair.kill_second();
    assert_eq!(write(&mut pair.0[0], writer, b"abc"), Now::Failed(Errno::EPIPE));
    close(&mut pair.0[0], writer);
    assert!(!pair.0[0].occupies(0));
}

#[test]
fn fifo_moves_with_its_slot_and_who_waits_to_open_it_comes_again() {
    let slot = SlotNo::new(0).expect("a slot");
    let pair = &mut Pair::new();
    let two = View::fixed([1, 2].map(node_id).into()).expect("a view");
    let named = views::moving(&two, slot, node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let reader = opened(&mut pair.0[0], O_RDONLY | O_NONBLOCK);
    let writer = opened(&mut pair.0[0], O_WRONLY);
    assert_eq!(write(&mut pair.0[0], writer, b"abc"), moved(3));
    close(&mut pair.0[0], writer);
    let other = InodeId::new(slot, 6).expect("an inode");
    let waits = pending(pair.0[0].call(&FifoOpen { inode: other, flags: O_WRONLY }));
    let Status::Pending(_) = pair.0[0].give(0, 2) else { panic!("not begun") };
    pair.settle();
    assert!(pair.0[0].given());
    assert_eq!(pair.0[0].take(), [failed(waits, Errno::ERESTART)]);
    let waits = pending(pair.0[0].call(&FifoOpen { inode: other, flags: O_WRONLY }));
    let next = views::moved(&named, slot);
    for node in &mut pair.0 {
        node.enter(&next);
    }
    pair.settle();
    assert_eq!(pair.0[0].take(), []);
    let Now::Done(_) = pair.0[1].call(&FifoOpen { inode: other, flags: O_RDONLY }) else {
        panic!("not open")
    };
    pair.settle();
    came(&pair.0[0].take(), waits);
    let events = POLLIN;
    let looks = pending(pair.0[0].call(&Poll { file: reader, events }));
    pair.settle();
    let ready = Msg::of(&Ready { events: POLLIN | POLLHUP }).expect("a message");
    assert_eq!(pair.0[0].take(), [Later::Ended(looks, Ok(ready))]);
    let got = pending(read(&mut pair.0[0], reader, 0, 8));
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(got, 3)]);
    let again = opened(&mut pair.0[1], O_WRONLY | O_NONBLOCK);
    assert_eq!(write(&mut pair.0[1], again, b"x"), moved(1));
}
