// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unix sockets of one node.

use super::{failed, moved, pending};
use crate::limits::{DATAGRAMS_MAX, SOCKET_BYTES};
use crate::testing::{Later, Node, Now, SPACE, node_id, single};
use abi::linux::general::{O_NONBLOCK, POLLHUP, POLLIN, POLLOUT, POLLRDHUP};
use abi::linux::net::{
    MSG_DONTWAIT, MSG_PEEK, SO_ACCEPTCONN, SO_ERROR, SO_PASSCRED, SO_PEERCRED, SO_RCVTIMEO,
    SO_SNDBUF, SO_SNDTIMEO, SO_TYPE, SOL_SOCKET,
};
use abi::{Errno, FileId, Ticket};
use ipc_api::file::{FileStat, Moved, Poll, PollWait, Ready, Release, SetFlags};
use ipc_api::socket::{
    Accept, Accepted, Bind, Connect, GetName, GetOption, Listen, Name, OptionValue, Owner, Receive,
    Received, Rights, Send, SendHead, SetOption, Shutdown, SocketCreate, SocketMade, SocketPair,
    SocketType,
};
use ipc_api::{EVENT_RIGHTS_DROPPED, RightsDropped};
use runtime::{Msg, Wire};
use std::vec;
use std::vec::Vec;

pub(crate) const OWNER: Owner = Owner { pid: 7, uid: 1000, gid: 100 };

pub(crate) fn named(text: &[u8]) -> Name {
    Name { inode: None, text: [b"\0", text].concat() }
}

pub(crate) fn socket(node: &mut Node, kind: SocketType) -> FileId {
    match node.call(&SocketCreate { kind, flags: 0, owner: OWNER }) {
        Now::Done(SocketMade { file }) => file,
        other => panic!("no socket: {other:?}"),
    }
}

pub(crate) fn pair(node: &mut Node, kind: SocketType) -> [FileId; 2] {
    match node.call(&SocketPair { kind, flags: 0, owner: OWNER }) {
        Now::Done(made) => made.ends,
        other => panic!("no sockets: {other:?}"),
    }
}

pub(crate) fn send_with(node: &mut Node, file: FileId, data: &[u8], head: SendHead) -> Now<Moved> {
    node.world.memory[..data.len()].copy_from_slice(data);
    let ranges = vec![(0, data.len() as u64)];
    node.call(&Send { file, space: SPACE, ranges, head })
}

pub(crate) fn send(node: &mut Node, file: FileId, data: &[u8]) -> Now<Moved> {
    let head = SendHead { owner: OWNER, ..SendHead::default() };
    send_with(node, file, data, head)
}

pub(crate) fn receive(node: &mut Node, file: FileId, len: u64, flags: u32) -> Now<Received> {
    // In two pieces, as a program may ask.
    let first = len.min(3);
    let ranges = vec![(500_000, first), (500_100, len - first)];
    node.call(&Receive { file, space: SPACE, ranges, flags })
}

/// What stands where [`receive`] puts it.
pub(crate) fn got(node: &Node, len: usize) -> Vec<u8> {
    let first = len.min(3);
    let memory = &node.world.memory;
    [&memory[500_000..500_000 + first], &memory[500_100..500_100 + len - first]].concat()
}

/// Receives what is there.
#[track_caller]
pub(crate) fn takes(node: &mut Node, file: FileId, len: u64, wanted: &[u8]) -> Received {
    let Now::Done(it) = receive(node, file, len, MSG_DONTWAIT) else { panic!("nothing there") };
    assert_eq!(it.bytes, wanted.len() as u64);
    assert_eq!(got(node, wanted.len()), wanted);
    it
}

/// The answer of a call that ends later, on a node alone.
#[track_caller]
pub(crate) fn later<T: Wire>(node: &mut Node, ticket: Ticket) -> Result<T, Errno> {
    match &node.take()[..] {
        [Later::Ended(ended, result)] if *ended == ticket => {
            result.clone().map(|msg| T::get(&msg).expect("its reply"))
        }
        other => panic!("it has not ended alone: {other:?}"),
    }
}

/// The answer, now or later.
#[track_caller]
pub(crate) fn ends<T: Wire>(node: &mut Node, now: Now<T>) -> Result<T, Errno> {
    match now {
        Now::Done(reply) => Ok(reply),
        Now::Failed(errno) => Err(errno),
        Now::Pending(ticket) => later(node, ticket),
    }
}

pub(crate) fn bind(node: &mut Node, file: FileId, text: &[u8]) -> Result<(), Errno> {
    let now = node.call(&Bind { file, name: named(text) });
    ends(node, now)
}

pub(crate) fn listener(node: &mut Node, kind: SocketType, text: &[u8], backlog: u32) -> FileId {
    let file = socket(node, kind);
    assert_eq!(bind(node, file, text), Ok(()));
    assert_eq!(node.call(&Listen { file, backlog, owner: OWNER }), Now::Done(()));
    file
}

pub(crate) fn connect(node: &mut Node, file: FileId, text: &[u8]) -> Result<(), Errno> {
    let now = node.call(&Connect { file, name: named(text), owner: OWNER });
    ends(node, now)
}

pub(crate) fn accept(node: &mut Node, file: FileId) -> Result<Accepted, Errno> {
    let now = node.call(&Accept { file, flags: 0 });
    ends(node, now)
}

fn nonblocking(node: &mut Node, file: FileId) {
    assert_eq!(node.call(&SetFlags { file, flags: O_NONBLOCK }), Now::Done(()));
}

fn option(node: &mut Node, file: FileId, option: u32) -> Now<OptionValue> {
    node.call(&GetOption { file, level: SOL_SOCKET, option })
}

fn one(value: u32) -> Now<OptionValue> {
    Now::Done(OptionValue(vec![value]))
}

fn ready(node: &mut Node, file: FileId) -> u32 {
    let events = POLLIN | POLLOUT | POLLRDHUP;
    let Now::Done(ready) = node.call(&Poll { file, events }) else { panic!("no answer") };
    ready.events
}

#[test]
fn stream_carries_bytes_both_ways() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    assert_eq!(send(node, a, b"hello "), moved(6));
    assert_eq!(send(node, a, b"world"), moved(5));
    assert_eq!(send(node, b, b"back"), moved(4));
    takes(node, b, 8, b"hello wo");
    takes(node, b, 100, b"rld");
    takes(node, a, 100, b"back");
    assert_eq!(receive(node, a, 9, MSG_DONTWAIT), Now::Failed(Errno::EAGAIN));
    let Now::Done(stat) = node.call(&FileStat { file: a }) else { panic!("no answer") };
    assert_eq!(stat.mode & 0o170_000, 0o140_000);
}

#[test]
fn messages_keep_their_ends() {
    for kind in [SocketType::Datagram, SocketType::Packet] {
        let node = &mut single();
        let [a, b] = pair(node, kind);
        for text in [&b"one"[..], b"second", b""] {
            let now = send(node, a, text);
            assert_eq!(ends(node, now), Ok(Moved { bytes: text.len() as u64 }));
        }
        takes(node, b, 100, b"one");
        let cut = takes(node, b, 4, b"seco");
        assert_eq!(cut.full, 6);
        takes(node, b, 100, b"");
        assert_eq!(receive(node, b, 9, MSG_DONTWAIT), Now::Failed(Errno::EAGAIN));
    }
}

#[test]
fn message_that_is_looked_at_stays() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    assert_eq!(send(node, a, b"data"), moved(4));
    let Now::Done(it) = receive(node, b, 3, MSG_PEEK) else { panic!("nothing there") };
    assert_eq!((it.bytes, &got(node, 3)[..]), (3, &b"dat"[..]));
    takes(node, b, 100, b"data");
}

#[test]
fn receiver_waits_and_is_served_in_order() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    let first = pending(receive(node, b, 2, 0));
    let second = pending(receive(node, b, 9, 0));
    let third = pending(receive(node, b, 9, 0));
    node.cancel(third);
    assert_eq!(node.take(), [failed(third, Errno::ECANCELED)]);
    assert_eq!(send(node, a, b"abcde"), moved(5));
    let ended: Vec<_> = node.take();
    let bytes = |later: &Later| match later {
        Later::Ended(ticket, Ok(msg)) => (*ticket, Received::get(msg).expect("it").bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(ended.iter().map(bytes).collect::<Vec<_>>(), [(first, 2), (second, 3)]);
}

#[test]
fn sender_waits_until_there_is_room_for_all() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    let data = vec![5; 40_000];
    assert_eq!(send(node, a, &data), moved(40_000));
    let sender = pending(send(node, a, &data));
    assert_eq!(ready(node, a) & POLLOUT, 0);
    let writable = pending(node.call(&PollWait { file: a, events: POLLOUT }));
    let mut total = 0;
    while let Now::Done(part) = receive(node, b, 30_000, MSG_DONTWAIT) {
        total += part.bytes;
    }
    assert_eq!(total, 80_000);
    let ended = node.take();
    assert!(ended.contains(&super::ended(sender, 40_000)), "{ended:?}");
    let msg = Msg::of(&Ready { events: POLLOUT }).expect("a message");
    assert!(ended.contains(&Later::Ended(writable, Ok(msg))), "{ended:?}");
}

#[test]
fn sender_given_up_has_sent_what_it_has() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    let data = vec![5; 60_000];
    assert_eq!(send(node, a, &data), moved(60_000));
    let part = pending(send(node, a, &data));
    let none = pending(send(node, a, &data));
    node.cancel(none);
    node.cancel(part);
    let room = (SOCKET_BYTES - 60_000 - 2 * 256) as u64;
    assert_eq!(node.take(), [failed(none, Errno::ECANCELED), super::ended(part, room)]);
    nonblocking(node, a);
    assert_eq!(send(node, a, &data), Now::Failed(Errno::EAGAIN));
    receive(node, b, 10_000, 0);
    assert_eq!(send(node, a, &data), moved(10_000));
}

#[test]
fn packet_that_has_no_room_waits_as_a_whole() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Packet);
    assert_eq!(send(node, a, &vec![1; 50_000]), moved(50_000));
    let sender = pending(send(node, a, &vec![2; 20_000]));
    let Now::Done(first) = receive(node, b, 60_000, 0) else { panic!("nothing there") };
    assert_eq!(first.bytes, 50_000);
    assert_eq!(node.take(), [super::ended(sender, 20_000)]);
    let small = SetOption { file: a, level: SOL_SOCKET, option: SO_SNDBUF, value: 5000 };
    assert_eq!(node.call(&small), Now::Done(()));
    assert_eq!(option(node, a, SO_SNDBUF), one(10_000));
    assert_eq!(send(node, a, &vec![2; 20_000]), Now::Failed(Errno::EMSGSIZE));
}

#[test]
fn end_that_is_closed_ends_the_other() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    assert_eq!(send(node, a, b"last"), moved(4));
    let reader = pending(receive(node, a, 9, 0));
    assert_eq!(node.call(&Release { file: a }), Now::Done(()));
    assert_eq!(node.take(), [failed(reader, Errno::EBADF)]);
    assert_eq!(ready(node, b), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    takes(node, b, 9, b"last");
    takes(node, b, 9, b"");
    assert_eq!(send(node, b, b"x"), Now::Failed(Errno::EPIPE));
    assert_eq!(node.call(&Release { file: b }), Now::Done(()));
    assert!(!node.occupies(0));
}

#[test]
fn end_that_is_closed_with_bytes_unread_resets_the_other() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    assert_eq!(send(node, b, b"unread"), moved(6));
    let reader = pending(receive(node, b, 9, 0));
    assert_eq!(node.call(&Release { file: a }), Now::Done(()));
    assert_eq!(node.take(), [failed(reader, Errno::ECONNRESET)]);
    takes(node, b, 9, b"");
    assert_eq!(option(node, b, SO_ERROR), one(0));
}

#[test]
fn direction_that_is_shut_down_ends() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    let reader = pending(receive(node, b, 9, 0));
    let shutdown = Shutdown { file: a, receive: false, send: true };
    assert_eq!(node.call(&shutdown), Now::Done(()));
    let nothing = Msg::of(&Received::default()).expect("a message");
    assert_eq!(node.take(), [Later::Ended(reader, Ok(nothing))]);
    assert_eq!(send(node, a, b"x"), Now::Failed(Errno::EPIPE));
    assert_eq!(ready(node, b), POLLIN | POLLOUT | POLLRDHUP);
    assert_eq!(send(node, b, b"still"), moved(5));
    takes(node, a, 9, b"still");
}

#[test]
fn options_tell_what_a_socket_is() {
    let node = &mut single();
    let [a, _] = pair(node, SocketType::Packet);
    assert_eq!(option(node, a, SO_TYPE), one(5));
    assert_eq!(option(node, a, SO_PEERCRED), Now::Done(OptionValue(vec![7, 1000, 100])));
    assert_eq!(option(node, a, 9999), Now::Failed(Errno::ENOPROTOOPT));
    let lonely = socket(node, SocketType::Stream);
    let nobody = OptionValue(vec![0, u32::MAX, u32::MAX]);
    assert_eq!(option(node, lonely, SO_PEERCRED), Now::Done(nobody));
    let peer = GetName { file: lonely, peer: true };
    assert_eq!(node.call(&peer), Now::Failed(Errno::ENOTCONN));
    assert_eq!(receive(node, lonely, 9, 0), Now::Failed(Errno::EINVAL));
    assert_eq!(send(node, lonely, b"x"), Now::Failed(Errno::ENOTCONN));
    assert_eq!(ready(node, lonely), POLLOUT | POLLHUP);
}

#[test]
fn connection_is_made_and_accepted() {
    let node = &mut single();
    let server = listener(node, SocketType::Stream, b"service", 5);
    assert_eq!(option(node, server, SO_ACCEPTCONN), one(1));
    let client = socket(node, SocketType::Stream);
    assert_eq!(bind(node, client, b"client"), Ok(()));
    assert_eq!(connect(node, client, b"service"), Ok(()));
    assert_eq!(ready(node, server), POLLIN);
    // What is sent before anybody accepts is there then.
    assert_eq!(send(node, client, b"early"), moved(5));
    let accepted = accept(node, server).expect("a connection");
    assert_eq!(accepted.text, b"\0client");
    takes(node, accepted.file, 9, b"early");
    assert_eq!(send(node, accepted.file, b"answer"), moved(6));
    takes(node, client, 9, b"answer");
    for (file, peer, text) in [
        (client, true, &b"service"[..]),
        (accepted.file, false, b"service"),
        (accepted.file, true, b"client"),
    ] {
        let Now::Done(name) = node.call(&GetName { file, peer }) else { panic!("no name") };
        assert_eq!(name.text, named(text).text);
    }
    assert_eq!(connect(node, client, b"service"), Err(Errno::EISCONN));
    assert_eq!(node.call(&Release { file: client }), Now::Done(()));
    takes(node, accepted.file, 9, b"");
}

#[test]
fn acceptor_waits_for_who_connects() {
    let node = &mut single();
    let server = listener(node, SocketType::Packet, b"s", 0);
    let waits = pending(node.call(&Accept { file: server, flags: 0 }));
    let gives_up = pending(node.call(&Accept { file: server, flags: 0 }));
    node.cancel(gives_up);
    assert_eq!(node.take(), [failed(gives_up, Errno::ECANCELED)]);
    let client = socket(node, SocketType::Packet);
    let connects = node.call(&Connect { file: client, name: named(b"s"), owner: OWNER });
    let connects = pending(connects);
    let ended = node.take();
    assert_eq!(ended.len(), 2, "{ended:?}");
    for later in ended {
        let Later::Ended(ticket, Ok(_)) = later else { panic!("{later:?}") };
        assert!(ticket == waits || ticket == connects);
    }
    nonblocking(node, server);
    assert_eq!(accept(node, server), Err(Errno::EAGAIN));
}

#[test]
fn backlog_that_is_full_lets_who_connects_wait() {
    let node = &mut single();
    let server = listener(node, SocketType::Stream, b"s", 0);
    let clients = [0; 4].map(|_| socket(node, SocketType::Stream));
    assert_eq!(connect(node, clients[0], b"s"), Ok(()));
    let asks = |file| Connect { file, name: named(b"s"), owner: OWNER };
    let waits = pending(node.call(&asks(clients[1])));
    let gives_up = pending(node.call(&asks(clients[2])));
    nonblocking(node, clients[3]);
    assert_eq!(connect(node, clients[3], b"s"), Err(Errno::EAGAIN));
    node.cancel(gives_up);
    assert_eq!(node.take(), [failed(gives_up, Errno::ECANCELED)]);
    let now = node.call(&Accept { file: server, flags: 0 });
    let accepts = pending(now);
    let ended = node.take();
    assert!(ended.contains(&Later::Ended(waits, Ok(Msg::default()))), "{ended:?}");
    assert!(ended.iter().any(|it| matches!(it, Later::Ended(ticket, Ok(_)) if *ticket == accepts)));
    // Who gave up can connect again.
    let again = pending(node.call(&asks(clients[2])));
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    assert_eq!(node.take(), [failed(again, Errno::ECONNREFUSED)]);
    assert_eq!(send(node, clients[1], b"x"), Now::Failed(Errno::EPIPE));
    assert_eq!(receive(node, clients[1], 9, 0), Now::Failed(Errno::ECONNRESET));
}

#[test]
fn client_that_is_gone_before_it_is_accepted_has_said_what_it_said() {
    let node = &mut single();
    let server = listener(node, SocketType::Stream, b"s", 5);
    let client = socket(node, SocketType::Stream);
    assert_eq!(connect(node, client, b"s"), Ok(()));
    assert_eq!(send(node, client, b"bye"), moved(3));
    assert_eq!(node.call(&Release { file: client }), Now::Done(()));
    let accepted = accept(node, server).expect("a connection").file;
    takes(node, accepted, 9, b"bye");
    takes(node, accepted, 9, b"");
}

#[test]
fn names_are_given_once_and_come_free_with_their_socket() {
    let node = &mut single();
    let first = socket(node, SocketType::Stream);
    let second = socket(node, SocketType::Stream);
    assert_eq!(bind(node, first, b"n"), Ok(()));
    assert_eq!(bind(node, second, b"n"), Err(Errno::EADDRINUSE));
    assert_eq!(bind(node, first, b"m"), Err(Errno::EINVAL));
    let client = socket(node, SocketType::Stream);
    assert_eq!(connect(node, client, b"n"), Err(Errno::ECONNREFUSED), "it does not listen");
    let other = socket(node, SocketType::Datagram);
    assert_eq!(connect(node, other, b"n"), Err(Errno::ECONNREFUSED), "of another type");
    assert_eq!(connect(node, client, b"nobody"), Err(Errno::ECONNREFUSED));
    assert_eq!(node.call(&Release { file: first }), Now::Done(()));
    assert_eq!(bind(node, second, b"n"), Ok(()));
    let now = node.call(&Bind { file: other, name: Name::default() });
    assert_eq!(ends(node, now), Ok(()));
    let Now::Done(name) = node.call(&GetName { file: other, peer: false }) else { panic!() };
    assert_eq!((name.text.len(), name.text[0]), (6, 0));
    let unbound = Listen { file: client, backlog: 1, owner: OWNER };
    assert_eq!(node.call(&unbound), Now::Failed(Errno::EINVAL));
}

#[test]
fn datagrams_go_to_a_name_and_tell_who_sent_them() {
    let node = &mut single();
    let server = socket(node, SocketType::Datagram);
    assert_eq!(bind(node, server, b"d"), Ok(()));
    let set = SetOption { file: server, level: SOL_SOCKET, option: SO_PASSCRED, value: 1 };
    assert_eq!(node.call(&set), Now::Done(()));
    let client = socket(node, SocketType::Datagram);
    assert_eq!(bind(node, client, b"c"), Ok(()));
    let head = SendHead { to: Some(named(b"d")), owner: OWNER, ..SendHead::default() };
    let now = send_with(node, client, b"hi", head.clone());
    assert_eq!(ends(node, now), Ok(Moved { bytes: 2 }));
    let it = takes(node, server, 9, b"hi");
    assert_eq!((&it.text[..], it.owner, it.passes), (&b"\0c"[..], OWNER, true));
    let now = send(node, client, b"x");
    assert_eq!(ends(node, now), Err(Errno::ENOTCONN));
    assert_eq!(connect(node, client, b"d"), Ok(()));
    let now = send(node, client, b"again");
    assert_eq!(ends(node, now), Ok(Moved { bytes: 5 }));
    takes(node, server, 9, b"again");
    let head = SendHead { to: Some(named(b"c")), ..head };
    let stranger = socket(node, SocketType::Datagram);
    let now = send_with(node, stranger, b"x", head);
    assert_eq!(ends(node, now), Err(Errno::EPERM), "it is connected to another");
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    let now = send(node, client, b"x");
    assert_eq!(ends(node, now), Err(Errno::ECONNREFUSED));
}

#[test]
fn queue_of_datagrams_that_is_full_lets_senders_wait() {
    let node = &mut single();
    let server = socket(node, SocketType::Datagram);
    assert_eq!(bind(node, server, b"d"), Ok(()));
    let client = socket(node, SocketType::Datagram);
    assert_eq!(connect(node, client, b"d"), Ok(()));
    for _ in 0..DATAGRAMS_MAX {
        let now = send(node, client, b"x");
        assert_eq!(ends(node, now), Ok(Moved { bytes: 1 }));
    }
    let head = SendHead { flags: MSG_DONTWAIT, ..SendHead::default() };
    let now = send_with(node, client, b"x", head);
    assert_eq!(ends(node, now), Err(Errno::EAGAIN));
    let waits = pending(send(node, client, b"late"));
    let gives_up = pending(send(node, client, b"never"));
    node.cancel(gives_up);
    assert_eq!(node.take(), [failed(gives_up, Errno::ECANCELED)]);
    takes(node, server, 9, b"x");
    assert_eq!(node.take(), [super::ended(waits, 4)]);
    for _ in 1..DATAGRAMS_MAX {
        takes(node, server, 9, b"x");
    }
    takes(node, server, 9, b"late");
    let waits: Vec<_> = (0..=DATAGRAMS_MAX).map(|_| send(node, client, b"y")).collect();
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    let last = pending(waits.into_iter().next_back().expect("the last"));
    assert!(node.take().contains(&failed(last, Errno::ECONNREFUSED)));
}

#[test]
fn sockets_beyond_the_bounds_are_refused() {
    let node = &mut single();
    for _ in 0..crate::limits::SOCKETS_MAX {
        socket(node, SocketType::Stream);
    }
    let more = SocketCreate { kind: SocketType::Stream, flags: 0, owner: OWNER };
    assert_eq!(node.call(&more), Now::Failed(Errno::ENFILE));
    let node = &mut single();
    let data = vec![1; 60 * 1024];
    let mut refused = None;
    for _ in 0..20 {
        let [a, _] = pair(node, SocketType::Stream);
        nonblocking(node, a);
        if let Now::Failed(errno) = send(node, a, &data) {
            refused = Some(errno);
        }
    }
    assert_eq!(refused, Some(Errno::ENOBUFS));
}

#[test]
fn receiver_whose_page_is_elsewhere_restarts_and_loses_nothing() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Packet);
    assert_eq!(send(node, a, b"kept"), moved(4));
    node.world.absent = true;
    assert_eq!(receive(node, b, 9, 0), Now::Failed(Errno::ERESTART));
    node.world.absent = false;
    takes(node, b, 9, b"kept");
}

fn flying(token: u64) -> Rights {
    Rights { node: node_id(1), token, count: 2 }
}

fn send_flying(node: &mut Node, file: FileId, data: &[u8], token: u64) -> Now<Moved> {
    let head = SendHead { owner: OWNER, rights: Some(flying(token)), ..SendHead::default() };
    send_with(node, file, data, head)
}

fn let_go(token: u64) -> Later {
    super::event(EVENT_RIGHTS_DROPPED, &RightsDropped { node: node_id(1), token })
}

#[test]
fn descriptors_come_with_their_bytes_and_once() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    assert_eq!(send(node, a, b"before"), moved(6));
    assert_eq!(send_flying(node, a, b"with", 1), moved(4));
    assert_eq!(send(node, a, b"after"), moved(5));
    assert_eq!(takes(node, b, 100, b"before").rights, None);
    assert_eq!(takes(node, b, 2, b"wi").rights, Some(flying(1)));
    assert_eq!(takes(node, b, 100, b"thafter").rights, None);
    assert_eq!(node.take(), []);
}

#[test]
fn descriptors_that_nobody_will_receive_are_let_go() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Packet);
    assert_eq!(send_flying(node, a, &vec![1; 50_000], 1), moved(50_000));
    let waits = pending(send_flying(node, a, &vec![1; 20_000], 2));
    let gives_up = pending(send_flying(node, a, &vec![1; 20_000], 3));
    node.cancel(gives_up);
    assert_eq!(node.take(), [failed(gives_up, Errno::ECANCELED), let_go(3)]);
    assert_eq!(node.call(&Release { file: b }), Now::Done(()));
    assert_eq!(node.take(), [let_go(1), let_go(2), failed(waits, Errno::EPIPE)]);
}

#[test]
fn wrong_uses_are_refused() {
    let node = &mut single();
    let [a, _] = pair(node, SocketType::Stream);
    let head = SendHead { to: Some(named(b"x")), ..SendHead::default() };
    assert_eq!(send_with(node, a, b"x", head), Now::Failed(Errno::EISCONN));
    assert_eq!(accept(node, a), Err(Errno::EINVAL));
    let [d, _] = pair(node, SocketType::Datagram);
    assert_eq!(accept(node, d), Err(Errno::EOPNOTSUPP));
    let listen = Listen { file: d, backlog: 1, owner: OWNER };
    assert_eq!(node.call(&listen), Now::Failed(Errno::EOPNOTSUPP));
    let pipe = super::pipe(node).read;
    assert_eq!(receive(node, pipe, 9, 0), Now::Failed(Errno::ENOTSOCK));
    assert_eq!(super::read(node, a, 0, 9), Now::Failed(Errno::EOPNOTSUPP));
    let long = Bind { file: a, name: named(&[b'x'; 108]) };
    assert_eq!(node.call(&long), Now::Failed(Errno::EINVAL));
    let ranges = vec![(0, 1); 33];
    let many = Receive { file: a, space: SPACE, ranges, flags: 0 };
    assert_eq!(node.call(&many), Now::Failed(Errno::EINVAL));
}

#[test]
fn call_whose_time_is_over_ends_and_takes_nothing() {
    let node = &mut single();
    let [a, b] = pair(node, SocketType::Stream);
    for (option, file) in [(SO_RCVTIMEO, a), (SO_SNDTIMEO, b)] {
        assert_eq!(
            node.call(&SetOption { file, level: SOL_SOCKET, option, value: 5 }),
            Now::Done(())
        );
        let told = node.call(&GetOption { file, level: SOL_SOCKET, option });
        assert_eq!(told, Now::Done(OptionValue(vec![0, 0, 5, 0])));
    }
    let reader = pending(receive(node, a, 10, 0));
    node.pass(4_999);
    assert_eq!(node.take(), []);
    node.pass(1);
    assert_eq!(node.take(), [failed(reader, Errno::EAGAIN)]);
    assert_eq!(send(node, b, b"x"), moved(1), "nobody waits there any more");
    let Now::Done(_) = receive(node, a, 1, 0) else { panic!("nothing came") };
    // In two messages.
    let most = SOCKET_BYTES - 2 * crate::limits::MESSAGE_OVERHEAD_BYTES;
    let mut left = most - 10;
    while left > 0 {
        let Now::Done(sent) = send(node, b, &vec![1; left]) else { panic!("there is room") };
        left -= sent.bytes as usize;
    }
    let writer = pending(send(node, b, &[2; 100]));
    node.pass(5_000);
    let msg = Msg::of(&Moved { bytes: 10 }).expect("a message");
    assert_eq!(node.take(), [Later::Ended(writer, Ok(msg))], "what was sent was sent");
    let writer = pending(send(node, b, &[2; 100]));
    node.cancel(writer);
    assert_eq!(node.take(), [failed(writer, Errno::ECANCELED)], "a signal is no end of time");
    let none = SetOption { file: a, level: SOL_SOCKET, option: SO_RCVTIMEO, value: 0 };
    assert_eq!(node.call(&none), Now::Done(()));
    for _ in 0..2 {
        let Now::Done(_) = receive(node, a, SOCKET_BYTES as u64, 0) else { panic!("nothing came") };
    }
    let reader = pending(receive(node, a, 10, 0));
    node.pass(1_000_000_000);
    assert_eq!(node.take(), []);
    node.cancel(reader);
}
