// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets whose homes, names and holders are different nodes; nodes that die; slots that move.

use super::sockets::{OWNER, connect, got, listener, named, pair, receive, send, socket, takes};
use super::{ended, failed, moved, pending};
use crate::socket::names::Key;
use crate::testing::{Later, Now, Pair, node_id};
use abi::linux::net::MSG_DONTWAIT;
use abi::{Errno, FileId, SlotNo};
use cluster::View;
use ipc_api::between::{Claim, Deliver, Enqueue, Lookup, Register};
use ipc_api::file::{Hold, Release};
use ipc_api::socket::{
    Accept, Accepted, Bind, Connect, Listen, Name, Received, SocketCreate, SocketMade, SocketType,
};
use runtime::testing::views;
use runtime::{Answer, Bulk, Client, Core, Msg, Operation, Status, Wire};
use std::format;
use std::vec::Vec;

fn slot_of(text: &[u8], kind: SocketType) -> SlotNo {
    Key::of(&named(text), kind).expect("a name").slot()
}

/// A name whose home is this node, for streams and for datagrams.
fn name_at(node: u16) -> Vec<u8> {
    let view = two();
    let is_there = |text: &Vec<u8>| {
        let kinds = [SocketType::Stream, SocketType::Datagram];
        kinds.into_iter().all(|kind| view.home(slot_of(text, kind)) == node_id(node))
    };
    (0..).map(|number| format!("name{number}").into_bytes()).find(is_there).expect("one of many")
}

pub(crate) fn two() -> View {
    View::fixed([1, 2].map(node_id).into()).expect("a view")
}

/// A call of a node that may need others.
#[track_caller]
pub(crate) fn call<O: Operation>(pair: &mut Pair, at: usize, op: &O) -> Result<O::Reply, Errno> {
    match pair.0[at].call(op) {
        Now::Done(reply) => Ok(reply),
        Now::Failed(errno) => Err(errno),
        Now::Pending(ticket) => {
            pair.settle();
            match &pair.0[at].take()[..] {
                [Later::Ended(end, result)] if *end == ticket => {
                    result.clone().map(|msg| O::Reply::get(&msg).expect("its reply"))
                }
                other => panic!("it has not ended alone: {other:?}"),
            }
        }
    }
}

pub(crate) fn socket_at(pair: &mut Pair, at: usize, kind: SocketType) -> FileId {
    let request = SocketCreate { kind, flags: 0, owner: OWNER };
    let SocketMade { file } = call(pair, at, &request).expect("a socket");
    file
}

fn bind_at(pair: &mut Pair, at: usize, file: FileId, text: &[u8]) -> Result<(), Errno> {
    call(pair, at, &Bind { file, name: named(text) })
}

fn listen_at(pair: &mut Pair, at: usize, text: &[u8]) -> FileId {
    let file = socket_at(pair, at, SocketType::Stream);
    assert_eq!(bind_at(pair, at, file, text), Ok(()));
    assert_eq!(call(pair, at, &Listen { file, backlog: 2, owner: OWNER }), Ok(()));
    file
}

fn connect_at(pair: &mut Pair, at: usize, file: FileId, text: &[u8]) -> Result<(), Errno> {
    call(pair, at, &Connect { file, name: named(text), owner: OWNER })
}

pub(crate) fn accept_at(pair: &mut Pair, at: usize, file: FileId) -> Result<Accepted, Errno> {
    call(pair, at, &Accept { file, flags: 0 })
}

/// A server on node 1, a client on node 2, and the end that the server accepted.
fn connected(pair: &mut Pair) -> (FileId, FileId, FileId) {
    let server = listen_at(pair, 0, &name_at(2));
    let client = socket_at(pair, 1, SocketType::Stream);
    assert_eq!(connect_at(pair, 1, client, &name_at(2)), Ok(()));
    let accepted = accept_at(pair, 0, server).expect("a connection");
    (server, client, accepted.file)
}

/// Sends from one node, and receives on the other.
#[track_caller]
pub(crate) fn passes(
    pair: &mut Pair,
    (from, sender): (usize, FileId),
    (to, receiver): (usize, FileId),
) {
    let now = send(&mut pair.0[from], sender, b"across");
    if now != moved(6) {
        let ticket = pending(now);
        pair.settle();
        assert_eq!(pair.0[from].take(), [ended(ticket, 6)]);
    }
    let now = receive(&mut pair.0[to], receiver, 9, 0);
    if let Now::Pending(ticket) = now {
        pair.settle();
        let ends = pair.0[to].take();
        let [Later::Ended(end, Ok(msg))] = &ends[..] else { panic!("{ends:?}") };
        assert_eq!((*end, Received::get(msg).expect("it").bytes), (ticket, 6));
    }
    assert_eq!(got(&pair.0[to], 6), b"across");
}

#[test]
fn server_is_found_from_another_node_wherever_its_name_has_its_home() {
    for home in [1, 2] {
        let pair = &mut Pair::new();
        let text = name_at(home);
        let server = listen_at(pair, 0, &text);
        let client = socket_at(pair, 1, SocketType::Stream);
        assert_eq!(connect_at(pair, 1, client, &text), Ok(()));
        let accepted = accept_at(pair, 0, server).expect("a connection").file;
        assert_eq!(accepted.slot(), client.slot(), "both ends have one home");
        passes(pair, (1, client), (0, accepted));
        passes(pair, (0, accepted), (1, client));
        let other = socket_at(pair, 1, SocketType::Stream);
        assert_eq!(bind_at(pair, 1, other, &text), Err(Errno::EADDRINUSE));
        assert_eq!(call(pair, 0, &Release { file: server }), Ok(()));
        pair.settle();
        assert_eq!(connect_at(pair, 1, other, &text), Err(Errno::ECONNREFUSED));
        assert_eq!(bind_at(pair, 1, other, &text), Ok(()));
    }
}

#[test]
fn acceptor_of_another_node_gets_what_comes() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    let server = listen_at(pair, 0, &text);
    assert_eq!(call(pair, 0, &Hold { file: server, node: node_id(2) }), Ok(()));
    let waits = pending(pair.0[1].call(&Accept { file: server, flags: 0 }));
    pair.settle();
    let client = socket_at(pair, 0, SocketType::Stream);
    assert_eq!(connect_at(pair, 0, client, &text), Ok(()));
    pair.settle();
    let ends = pair.0[1].take();
    let [Later::Ended(end, Ok(msg))] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!(*end, waits);
    let accepted = Accepted::get(msg).expect("it").file;
    passes(pair, (0, client), (1, accepted));
    passes(pair, (1, accepted), (0, client));
}

#[test]
fn datagrams_reach_another_node() {
    let pair = &mut Pair::new();
    let text = name_at(2);
    let server = socket_at(pair, 0, SocketType::Datagram);
    assert_eq!(bind_at(pair, 0, server, &text), Ok(()));
    let client = socket_at(pair, 1, SocketType::Datagram);
    assert_eq!(connect_at(pair, 1, client, &text), Ok(()));
    passes(pair, (1, client), (0, server));
    let none = socket_at(pair, 1, SocketType::Datagram);
    assert_eq!(connect_at(pair, 1, none, b"nobody"), Err(Errno::ECONNREFUSED));
}

#[test]
fn remote_receiver_whose_page_goes_away_gives_the_message_back() {
    let pair = &mut Pair::new();
    let (_, client, accepted) = connected(pair);
    let reader = pending(receive(&mut pair.0[0], accepted, 9, 0));
    pair.settle();
    pair.0[0].world.absent = true;
    assert_eq!(send(&mut pair.0[1], client, b"kept"), moved(4));
    pair.settle();
    assert_eq!(pair.0[0].take(), [failed(reader, Errno::ERESTART)]);
    pair.0[0].world.absent = false;
    let again = pending(receive(&mut pair.0[0], accepted, 9, 0));
    pair.settle();
    assert!(matches!(&pair.0[0].take()[..], [Later::Ended(end, Ok(_))] if *end == again));
    assert_eq!(got(&pair.0[0], 4), b"kept");
}

#[test]
fn remote_calls_given_up_end_and_take_nothing() {
    let pair = &mut Pair::new();
    let (server, client, accepted) = connected(pair);
    let reader = pending(receive(&mut pair.0[0], accepted, 9, 0));
    pair.settle();
    pair.0[0].cancel(reader);
    pair.settle();
    assert_eq!(pair.0[0].take(), [failed(reader, Errno::ECANCELED)]);
    // Room for three, as the backlog is two; the fourth waits.
    for _ in 0..3 {
        let more = socket_at(pair, 1, SocketType::Stream);
        assert_eq!(connect_at(pair, 1, more, &name_at(2)), Ok(()));
    }
    let late = socket_at(pair, 1, SocketType::Stream);
    let request = Connect { file: late, name: named(&name_at(2)), owner: OWNER };
    let waits = pending(pair.0[1].call(&request));
    pair.settle();
    assert_eq!(pair.0[1].take(), []);
    pair.0[1].cancel(waits);
    pair.settle();
    assert_eq!(pair.0[1].take(), [failed(waits, Errno::ECANCELED)]);
    let again = pending(pair.0[1].call(&request));
    pair.settle();
    assert!(accept_at(pair, 0, server).is_ok());
    pair.settle();
    assert!(matches!(&pair.0[1].take()[..], [Later::Ended(end, Ok(_))] if *end == again));
    passes(pair, (1, client), (0, accepted));
}

#[test]
fn holder_that_dies_closes_its_ends() {
    let pair = &mut Pair::new();
    let [a, b] = super::sockets::pair(&mut pair.0[0], SocketType::Stream);
    assert_eq!(pair.0[0].call(&Hold { file: b, node: node_id(2) }), Now::Done(()));
    assert_eq!(pair.0[0].call(&Release { file: b }), Now::Done(()));
    pending(receive(&mut pair.0[1], b, 9, 0));
    pair.settle();
    let reader = pending(receive(&mut pair.0[0], a, 9, 0));
    pair.kill_second();
    let ends = pair.0[0].take();
    let [Later::Ended(end, Ok(msg))] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!((*end, Received::get(msg).expect("it")), (reader, Received::default()));
    assert_eq!(send(&mut pair.0[0], a, b"x"), Now::Failed(Errno::EPIPE));
}

#[test]
fn node_that_dies_while_it_connects_leaves_nothing() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    let server = listen_at(pair, 0, &text);
    let client = socket_at(pair, 1, SocketType::Stream);
    assert_eq!(connect_at(pair, 1, client, &text), Ok(()));
    let accepts = accept_waits_for_claim(pair, server);
    pair.kill_second();
    // Its end was lost with it; the call waits for another.
    assert_eq!(pair.0[0].take(), []);
    let other = socket(&mut pair.0[0], SocketType::Stream);
    let request = Connect { file: other, name: named(&text), owner: OWNER };
    let connects = pending(pair.0[0].call(&request));
    let ends = pair.0[0].take();
    assert_eq!(ends.len(), 2, "{ends:?}");
    for later in ends {
        let Later::Ended(ticket, Ok(_)) = later else { panic!("{later:?}") };
        assert!(ticket == accepts || ticket == connects);
    }
}

/// An accept(2) whose claim has not reached the other node.
fn accept_waits_for_claim(pair: &mut Pair, server: FileId) -> abi::Ticket {
    pending(pair.0[0].call(&Accept { file: server, flags: 0 }))
}

#[test]
fn home_of_a_connection_that_left_is_an_error_and_ends_can_be_closed() {
    let pair = &mut Pair::new();
    let (server, _, accepted) = connected(pair);
    let reader = pending(receive(&mut pair.0[0], accepted, 9, 0));
    pair.settle();
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    assert_eq!(pair.0[0].take(), [failed(reader, Errno::EIO)]);
    assert_eq!(send(&mut pair.0[0], accepted, b"x"), Now::Failed(Errno::EIO));
    assert_eq!(pair.0[0].call(&Release { file: accepted }), Now::Done(()));
    // The name's home is gone too: it was registered again.
    let client = socket(&mut pair.0[0], SocketType::Stream);
    assert_eq!(connect(&mut pair.0[0], client, &name_at(2)), Ok(()));
    let accepts = pending(pair.0[0].call(&Accept { file: server, flags: 0 }));
    assert!(matches!(&pair.0[0].take()[..], [Later::Ended(end, Ok(_))] if *end == accepts));
}

#[test]
fn listener_that_left_with_its_home_resets_who_waits_there() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    listen_at(pair, 1, &text);
    let client = socket_at(pair, 0, SocketType::Stream);
    assert_eq!(connect_at(pair, 0, client, &text), Ok(()));
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    let reads = receive(&mut pair.0[0], client, 9, MSG_DONTWAIT);
    assert_eq!(reads, Now::Failed(Errno::ECONNRESET));
    assert_eq!(connect(&mut pair.0[0], client, &text), Err(Errno::EISCONN));
    let other = socket(&mut pair.0[0], SocketType::Stream);
    assert_eq!(connect(&mut pair.0[0], other, &text), Err(Errno::ECONNREFUSED));
    assert_eq!(super::sockets::bind(&mut pair.0[0], other, &text), Ok(()), "the name is free");
}

pub(crate) fn slot() -> SlotNo {
    SlotNo::new(0).expect("a slot")
}

pub(crate) fn moves(pair: &mut Pair, named: &View) {
    let Status::Pending(_) = pair.0[0].give(0, 2) else { panic!("nothing to give") };
    pair.settle();
    assert!(pair.0[0].given());
    let next = views::moved(named, slot());
    pair.0.iter_mut().for_each(|node| node.enter(&next));
    pair.settle();
}

#[test]
fn sockets_move_with_their_slot() {
    let pair = &mut Pair::new();
    let named = views::moving(&two(), slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let text = name_at(2);
    let server = listen_at(pair, 0, &text);
    let client = socket_at(pair, 0, SocketType::Stream);
    assert_eq!(connect_at(pair, 0, client, &text), Ok(()));
    let [a, b] = super::sockets::pair(&mut pair.0[0], SocketType::Packet);
    assert_eq!(server.slot(), slot());
    assert_eq!(send(&mut pair.0[0], a, b"one"), moved(3));
    assert_eq!(send(&mut pair.0[0], a, b"two"), moved(3));
    assert_eq!(send(&mut pair.0[0], client, b"early"), moved(5));
    let reader = pending(receive(&mut pair.0[0], a, 9, 0));
    moves(pair, &named);
    assert_eq!(pair.0[0].take(), [failed(reader, Errno::ERESTART)]);
    assert!(!pair.0[0].host_occupies(slot()) && pair.0[1].host_occupies(slot()));
    for text in [b"one", b"two"] {
        let ticket = pending(receive(&mut pair.0[0], b, 9, 0));
        pair.settle();
        assert!(matches!(&pair.0[0].take()[..], [Later::Ended(end, Ok(_))] if *end == ticket));
        assert_eq!(got(&pair.0[0], 3), text);
    }
    let accepted = accept_at(pair, 0, server).expect("a connection").file;
    let ticket = pending(receive(&mut pair.0[0], accepted, 9, 0));
    pair.settle();
    assert!(matches!(&pair.0[0].take()[..], [Later::Ended(end, Ok(_))] if *end == ticket));
    assert_eq!(got(&pair.0[0], 5), b"early");
    let other = socket_at(pair, 1, SocketType::Stream);
    assert_eq!(connect_at(pair, 1, other, &text), Ok(()));
}

#[test]
fn name_moves_with_its_slot() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    let slot = slot_of(&text, SocketType::Datagram);
    let moving = views::moving(&two(), slot, node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&moving));
    let server = socket_at(pair, 1, SocketType::Datagram);
    assert_eq!(bind_at(pair, 1, server, &text), Ok(()));
    let Status::Pending(_) = pair.0[0].give(slot.index() as u16, 2) else {
        panic!("nothing to give")
    };
    pair.settle();
    assert!(pair.0[0].given());
    let next = views::moved(&moving, slot);
    pair.0.iter_mut().for_each(|node| node.enter(&next));
    let client = socket_at(pair, 0, SocketType::Datagram);
    assert_eq!(connect_at(pair, 0, client, &text), Ok(()));
    passes(pair, (0, client), (1, server));
}

#[test]
fn state_of_sockets_that_is_not_sound_is_not_admitted() {
    let pair = &mut Pair::new();
    super::sockets::pair(&mut pair.0[0], SocketType::Stream);
    let exported = pair.0[0].export(slot());
    assert_eq!(pair.0[1].admits(slot(), &exported), Ok(()));
    for at in 0..exported.len() {
        let mut wrong = exported.clone();
        wrong[at] ^= 0x55;
        // Whatever it is taken for, nothing breaks.
        let _ = pair.0[1].admits(slot(), &wrong);
    }
    assert_eq!(pair.0[1].admits(SlotNo::new(2).expect("a slot"), &exported), Err(Errno::EPROTO));
}

/// What another node asks that no ipc server of ours asks.
#[track_caller]
fn hostile<O: Operation>(pair: &mut Pair, op: &O) -> Errno {
    let msg = Msg::of(op).expect("a message");
    let from = Client::Node { node: node_id(2), request: 0 };
    let node = &mut pair.0[0];
    let answer = node.host.step(&mut node.world, |core, cx| {
        core.request(cx, from, O::NUMBER, &msg, &mut Bulk::none())
    });
    match answer {
        Answer::Failed(errno) => errno,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn other_nodes_cannot_name_or_claim_what_is_not_theirs() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    let server = listener(&mut pair.0[0], SocketType::Stream, &text, 2);
    let client = socket(&mut pair.0[0], SocketType::Stream);
    assert_eq!(connect(&mut pair.0[0], client, &text), Ok(()));
    let [a, _] = super::sockets::pair(&mut pair.0[0], SocketType::Stream);
    let kind = SocketType::Stream;
    let register = Register { name: named(&text), file: server, kind, marks: 0 };
    assert_eq!(hostile(pair, &register), Errno::EINVAL);
    let claim = Claim { end: a, listener: server, node: node_id(2), flags: 0 };
    assert_eq!(hostile(pair, &claim), Errno::EPERM);
    let enqueue = Enqueue { listener: server, end: a, kind, text: Vec::new(), waits: true };
    assert_eq!(hostile(pair, &enqueue), Errno::EPERM);
    let (theirs, text) = (FileId::from_raw(1 << 54), std::vec![0; 109]);
    assert_eq!(two().home(theirs.slot()), node_id(2));
    let enqueue = Enqueue { end: theirs, text, ..enqueue };
    assert_eq!(hostile(pair, &enqueue), Errno::EPERM);
    let deliver =
        Deliver { to: a, from: client, text: Vec::new(), owner: OWNER, waits: true, rights: None };
    assert_eq!(hostile(pair, &deliver), Errno::EPERM);
    let long = Lookup { name: Name { inode: None, text: std::vec![0; 109] }, kind };
    assert_eq!(hostile(pair, &long), Errno::EINVAL);
    let listen = Listen { file: server, backlog: 1, owner: OWNER };
    assert_eq!(hostile(pair, &listen), Errno::EBADF);
    takes_nothing(pair, a);
}

fn takes_nothing(node: &mut Pair, file: FileId) {
    let now = receive(&mut node.0[0], file, 9, MSG_DONTWAIT);
    assert_eq!(now, Now::Failed(Errno::EAGAIN));
    let [a, b] = pair(&mut node.0[0], SocketType::Stream);
    assert_eq!(send(&mut node.0[0], a, b"fine"), moved(4));
    takes(&mut node.0[0], b, 9, b"fine");
}

/// A link is cut while a socket with a name elsewhere is closed.
#[test]
fn name_of_a_closed_socket_is_free_when_its_home_can_be_reached_again() {
    let pair = &mut Pair::new();
    let text = name_at(2);
    let first = listen_at(pair, 0, &text);
    pair.cut(true);
    assert_eq!(pair.0[0].call(&Release { file: first }), Now::Done(()));
    pair.settle();
    pair.cut(false);
    pair.settle();
    let second = socket_at(pair, 1, SocketType::Stream);
    assert_eq!(bind_at(pair, 1, second, &text), Ok(()), "nobody has it any more");
}

/// The listener is closed while the node of who connected cannot be reached.
#[test]
fn who_waits_at_a_closed_listener_hears_it_when_it_can_be_reached_again() {
    let pair = &mut Pair::new();
    let text = name_at(1);
    let server = listen_at(pair, 0, &text);
    let client = socket_at(pair, 1, SocketType::Stream);
    assert_eq!(connect_at(pair, 1, client, &text), Ok(()));
    pair.cut(true);
    assert_eq!(pair.0[0].call(&Release { file: server }), Now::Done(()));
    pair.settle();
    pair.cut(false);
    pair.settle();
    let heard = receive(&mut pair.0[1], client, 9, 0);
    assert!(matches!(heard, Now::Failed(Errno::ECONNRESET)), "{heard:?}");
}
