// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of the Internet: ports, connections and datagrams on one node and on two.

use super::sockets::{OWNER, later, receive, send, send_with, socket, takes};
use super::sockets_apart::{accept_at, call, moves, passes, slot, socket_at, two};
use super::{moved, pending};
use crate::socket::names::Key;
use crate::testing::{Later, Node, Now, Pair, node_id, single};
use abi::linux::general::{O_NONBLOCK, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP};
use abi::linux::net::{IPV6_V6ONLY, MSG_DONTWAIT, SO_ERROR, SO_REUSEADDR, SOL_SOCKET};
use abi::{Errno, FileId};
use ipc_api::file::{Poll, Ready, Release, SetFlags};
use ipc_api::internet::{Address, CHOSEN_PORTS};
use ipc_api::socket::{
    Accept, Bind, Connect, GetName, GetOption, IpVersion, Listen, Name, OptionValue, Receive,
    SendHead, SetOption, Shutdown, SocketType,
};
use runtime::testing::views;

const TCP: SocketType = SocketType::Tcp(IpVersion::V4);
const TCP6: SocketType = SocketType::Tcp(IpVersion::V6);
const UDP: SocketType = SocketType::Udp(IpVersion::V4);

fn at(ip: [u8; 4], port: u16) -> Name {
    Address::v4(ip, port).name()
}

fn lo(port: u16) -> Name {
    at([127, 0, 0, 1], port)
}

fn any6(port: u16) -> Name {
    Address { ip: [0; 16], port }.name()
}

/// A call that may end later, on a node alone.
fn done<T: runtime::Wire>(node: &mut Node, now: Now<T>) -> Result<T, Errno> {
    super::sockets::ends(node, now)
}

fn bind(node: &mut Node, file: FileId, name: Name) -> Result<(), Errno> {
    let now = node.call(&Bind { file, name });
    done(node, now)
}

fn listen(node: &mut Node, file: FileId) -> Result<(), Errno> {
    let now = node.call(&Listen { file, backlog: 2, owner: OWNER });
    done(node, now)
}

fn connect(node: &mut Node, file: FileId, name: Name) -> Result<(), Errno> {
    let now = node.call(&Connect { file, name, owner: OWNER });
    done(node, now)
}

fn name(node: &mut Node, file: FileId, peer: bool) -> Address {
    match node.call(&GetName { file, peer }) {
        Now::Done(name) => Address::of(&name.text).expect("an address"),
        other => panic!("no name: {other:?}"),
    }
}

fn set(node: &mut Node, file: FileId, level: u32, option: u32) {
    let set = SetOption { file, level, option, value: 1 };
    assert_eq!(node.call(&set), Now::Done(()));
}

fn error_of(node: &mut Node, file: FileId) -> u32 {
    let option = GetOption { file, level: SOL_SOCKET, option: SO_ERROR };
    match node.call(&option) {
        Now::Done(OptionValue(values)) => values[0],
        other => panic!("no option: {other:?}"),
    }
}

fn ready(node: &mut Node, file: FileId) -> u32 {
    match node.call(&Poll { file, events: POLLIN | POLLOUT | POLLRDHUP }) {
        Now::Done(Ready { events }) => events,
        other => panic!("not looked at: {other:?}"),
    }
}

/// A listener on port 80, a client and the end that was accepted.
fn connected(node: &mut Node) -> [FileId; 3] {
    let server = socket(node, TCP);
    assert_eq!(bind(node, server, at([0; 4], 80)), Ok(()));
    assert_eq!(listen(node, server), Ok(()));
    let client = socket(node, TCP);
    assert_eq!(connect(node, client, lo(80)), Ok(()));
    let now = node.call(&Accept { file: server, flags: 0 });
    let accepted = done(node, now).expect("a connection");
    assert_eq!(accepted.text, name(node, client, false).text());
    [server, client, accepted.file]
}

#[test]
fn connection_shows_where_both_ends_are() {
    let node = &mut single();
    let [server, client, end] = connected(node);
    let own = name(node, client, false);
    assert!(own.is_loopback() && CHOSEN_PORTS.contains(&own.port));
    assert_eq!(name(node, client, true), Address::v4([127, 0, 0, 1], 80));
    assert_eq!(name(node, end, false), Address::v4([127, 0, 0, 1], 80));
    assert_eq!(name(node, end, true), own);
    assert_eq!(name(node, server, false), Address::v4([0; 4], 80));
    assert_eq!(send(node, client, b"hello"), moved(5));
    assert!(takes(node, end, 9, b"hello").text.is_empty());
}

#[test]
fn names_that_overlap_are_in_use_and_others_are_free() {
    let node = &mut single();
    let first = socket(node, TCP);
    assert_eq!(bind(node, first, lo(80)), Ok(()));
    for (kind, name, result) in [
        (TCP, lo(80), Err(Errno::EADDRINUSE)),
        (TCP, at([0; 4], 80), Err(Errno::EADDRINUSE)),
        (TCP6, any6(80), Err(Errno::EADDRINUSE)),
        (TCP, at([127, 0, 0, 2], 80), Ok(())),
        (TCP, lo(81), Ok(())),
        (UDP, lo(80), Ok(())),
    ] {
        let other = socket(node, kind);
        assert_eq!(bind(node, other, name.clone()), result, "{name:?}");
        assert_eq!(node.call(&Release { file: other }), Now::Done(()));
    }
    let six = socket(node, TCP6);
    set(node, six, 41, IPV6_V6ONLY);
    assert_eq!(bind(node, six, lo(82)), Err(Errno::EINVAL), "it is none of IPv4");
    assert_eq!(bind(node, six, any6(80)), Ok(()));
    assert_eq!(node.call(&Release { file: first }), Now::Done(()));
    let other = socket(node, TCP);
    assert_eq!(bind(node, other, lo(80)), Ok(()), "who had it is gone");
    assert_eq!(connect(node, first, lo(80)), Err(Errno::EBADF));
}

#[test]
fn shared_names_are_shared_until_one_listens() {
    let node = &mut single();
    let [a, b, c] = [(); 3].map(|()| {
        let file = socket(node, TCP);
        set(node, file, SOL_SOCKET, SO_REUSEADDR);
        file
    });
    assert_eq!(bind(node, a, lo(80)), Ok(()));
    assert_eq!(bind(node, b, lo(80)), Ok(()));
    assert_eq!(listen(node, a), Ok(()));
    assert_eq!(listen(node, b), Err(Errno::EADDRINUSE));
    assert_eq!(bind(node, c, lo(80)), Err(Errno::EADDRINUSE));
}

#[test]
fn port_nobody_listens_at_refuses_and_listener_without_name_gets_one() {
    let node = &mut single();
    let (server, client) = (socket(node, TCP), socket(node, TCP));
    assert_eq!(bind(node, server, lo(80)), Ok(()));
    assert_eq!(connect(node, client, lo(80)), Err(Errno::ECONNREFUSED));
    let other = socket(node, TCP);
    assert_eq!(listen(node, other), Ok(()));
    let port = name(node, other, false).port;
    assert_eq!(connect(node, client, lo(port)), Ok(()));
}

#[test]
fn chosen_ports_are_not_chosen_twice() {
    let node = &mut single();
    let mut ports = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let file = socket(node, UDP);
        assert_eq!(bind(node, file, lo(0)), Ok(()));
        assert!(ports.insert(name(node, file, false).port));
    }
    assert!(ports.iter().all(|port| CHOSEN_PORTS.contains(port)));
}

#[test]
fn end_of_a_connection_is_heard_in_both_directions() {
    let node = &mut single();
    let [_, client, end] = connected(node);
    let half = Shutdown { file: client, receive: false, send: true };
    assert_eq!(node.call(&half), Now::Done(()));
    assert_eq!(ready(node, end), POLLIN | POLLOUT | POLLRDHUP);
    assert_eq!(send(node, client, b"x"), Now::Failed(Errno::EPIPE));
    assert_eq!(send(node, end, b"back"), moved(4));
    takes(node, client, 9, b"back");
    let [_, client, end] = {
        let node = &mut single();
        let all = connected(node);
        assert_eq!(send(node, all[2], b"last"), moved(4));
        assert_eq!(node.call(&Release { file: all[2] }), Now::Done(()));
        takes(node, all[1], 9, b"last");
        takes(node, all[1], 9, b"");
        assert_eq!(ready(node, all[1]), POLLIN | POLLOUT | POLLRDHUP);
        // It goes nowhere, of which the next call hears.
        assert_eq!(send(node, all[1], b"x"), moved(1));
        assert_eq!(ready(node, all[1]), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
        takes(node, all[1], 9, b"");
        assert_eq!(send(node, all[1], b"x"), Now::Failed(Errno::EPIPE));
        assert_eq!(send(node, all[1], b"x"), Now::Failed(Errno::EPIPE));
        [all[0], client, end]
    };
    assert_eq!(send(node, end, b"unread"), moved(6));
    assert_eq!(node.call(&Release { file: client }), Now::Done(()));
    assert_eq!(receive(node, end, 9, 0), Now::Failed(Errno::ECONNRESET));
    assert_eq!(send(node, end, b"x"), Now::Failed(Errno::EPIPE));
}

#[test]
fn sender_that_waits_hears_of_a_reset() {
    let node = &mut single();
    let [_, client, end] = connected(node);
    let fill = [7; 60_000];
    assert_eq!(send(node, client, &fill), moved(60_000));
    let waits = pending(send(node, client, &fill));
    assert_eq!(node.call(&Release { file: end }), Now::Done(()));
    let Ok(ipc_api::file::Moved { bytes }) = later(node, waits) else { panic!("nothing moved") };
    assert!(bytes > 0 && bytes < 60_000);
    assert_eq!(send(node, client, b"x"), Now::Failed(Errno::ECONNRESET));
}

#[test]
fn connection_is_made_while_its_caller_does_not_wait() {
    let node = &mut single();
    let server = socket(node, TCP);
    assert_eq!(bind(node, server, lo(80)), Ok(()));
    assert_eq!(listen(node, server), Ok(()));
    let client = socket(node, TCP);
    assert_eq!(ready(node, client), POLLOUT | POLLHUP);
    assert_eq!(node.call(&SetFlags { file: client, flags: O_NONBLOCK }), Now::Done(()));
    assert_eq!(connect(node, client, lo(80)), Err(Errno::EINPROGRESS));
    assert_eq!(ready(node, client), POLLOUT);
    assert_eq!(error_of(node, client), 0);
    let other = socket(node, TCP);
    assert_eq!(node.call(&SetFlags { file: other, flags: O_NONBLOCK }), Now::Done(()));
    assert_eq!(connect(node, other, lo(81)), Err(Errno::EINPROGRESS));
    assert_ne!(ready(node, other) & (POLLOUT | POLLERR), 0);
    assert_eq!(error_of(node, other), u32::from(Errno::ECONNREFUSED.number()));
    assert_eq!(connect(node, other, lo(80)), Err(Errno::EINPROGRESS), "it may try again");
    assert_eq!(connect(node, other, lo(80)), Ok(()), "the first call that hears of it");
    assert_eq!(connect(node, other, lo(80)), Err(Errno::EISCONN));
}

#[test]
fn connection_goes_on_when_its_caller_gives_up() {
    let node = &mut single();
    let server = socket(node, TCP);
    assert_eq!(bind(node, server, lo(80)), Ok(()));
    assert_eq!(listen(node, server), Ok(()));
    for _ in 0..3 {
        let client = socket(node, TCP);
        assert_eq!(connect(node, client, lo(80)), Ok(()));
    }
    let late = socket(node, TCP);
    let request = Connect { file: late, name: lo(80), owner: OWNER };
    let waits = pending(node.call(&request));
    node.cancel(waits);
    assert_eq!(later::<()>(node, waits), Err(Errno::ECANCELED));
    assert_eq!(ready(node, late), 0);
    let again = pending(node.call(&request));
    assert_eq!(node.call(&request), Now::Failed(Errno::EALREADY));
    let accepts = pending(node.call(&Accept { file: server, flags: 0 }));
    let ends = node.take();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let ended =
        |later: &Later| matches!(later, Later::Ended(it, Ok(_)) if *it == again || *it == accepts);
    assert!(ends.iter().all(ended), "{ends:?}");
    assert_eq!(ready(node, late), POLLOUT);
}

#[test]
fn listener_of_both_versions_takes_both() {
    let node = &mut single();
    let server = socket(node, TCP6);
    assert_eq!(bind(node, server, any6(80)), Ok(()));
    assert_eq!(listen(node, server), Ok(()));
    let one = Address { ip: [0; 16], port: 80 }.loopback_like();
    for (kind, to) in [(TCP, lo(80)), (TCP6, lo(80)), (TCP6, one.name())] {
        let client = socket(node, kind);
        assert_eq!(connect(node, client, to.clone()), Ok(()));
        let now = node.call(&Accept { file: server, flags: 0 });
        let end = done(node, now).expect("a connection").file;
        assert_eq!(name(node, end, false).name(), to);
        assert_eq!(name(node, end, true), name(node, client, false));
    }
    let outside = socket(node, TCP);
    assert_eq!(connect(node, outside, at([192, 0, 2, 1], 80)), Err(Errno::ENETUNREACH));
}

fn send_to(node: &mut Node, file: FileId, data: &[u8], to: Name) -> Result<u64, Errno> {
    let head = SendHead { to: Some(to), ..SendHead::default() };
    let now = send_with(node, file, data, head);
    done(node, now).map(|moved| moved.bytes)
}

#[test]
fn datagrams_come_from_the_peer_alone_and_may_be_lost() {
    let node = &mut single();
    let (server, client, stranger) = (socket(node, UDP), socket(node, UDP), socket(node, UDP));
    assert_eq!(bind(node, server, at([0; 4], 53)), Ok(()));
    assert_eq!(send(node, client, b"x"), Now::Failed(Errno::EDESTADDRREQ));
    assert_eq!(send_to(node, client, b"question", lo(53)), Ok(8));
    assert_eq!(name(node, client, false).ip, Address::v4([0; 4], 0).ip);
    let own = Address { port: name(node, client, false).port, ..Address::v4([127, 0, 0, 1], 0) };
    assert_eq!(takes(node, server, 9, b"question").text, own.text());
    assert_eq!(connect(node, client, lo(53)), Ok(()));
    assert_eq!(send_to(node, stranger, b"wrong", own.name()), Ok(5));
    assert_eq!(send_to(node, server, b"answer", own.name()), Ok(6));
    takes(node, client, 9, b"answer");
    assert_eq!(receive(node, client, 9, MSG_DONTWAIT), Now::Failed(Errno::EAGAIN));
    // More than fits is lost; the sender does not wait.
    for _ in 0..500 {
        assert_eq!(send_to(node, client, b"many", lo(53)), Ok(4));
    }
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    let now = send(node, client, b"lost");
    assert_eq!(done(node, now).map(|it| it.bytes), Ok(4));
    assert_ne!(ready(node, client) & POLLERR, 0);
    assert_eq!(receive(node, client, 9, 0), Now::Failed(Errno::ECONNREFUSED));
    assert_eq!(receive(node, client, 9, MSG_DONTWAIT), Now::Failed(Errno::EAGAIN));
}

/// A port whose home is this node.
fn port_at(node: u16, kind: SocketType) -> u16 {
    let slot = |port: u16| Key::of(&lo(port), kind).expect("a name").slot();
    (80..200).find(|port| two().home(slot(*port)) == node_id(node)).expect("one of many")
}

fn server_at(pair: &mut Pair, at: usize, port: u16) -> FileId {
    let file = socket_at(pair, at, TCP);
    assert_eq!(call(pair, at, &Bind { file, name: lo(port) }), Ok(()));
    assert_eq!(call(pair, at, &Listen { file, backlog: 2, owner: OWNER }), Ok(()));
    file
}

fn connect_at(pair: &mut Pair, at: usize, file: FileId, port: u16) -> Result<(), Errno> {
    call(pair, at, &Connect { file, name: lo(port), owner: OWNER })
}

#[test]
fn server_is_reached_from_another_node_wherever_its_port_has_its_home() {
    for home in [1, 2] {
        let pair = &mut Pair::new();
        let port = port_at(home, TCP);
        let server = server_at(pair, 0, port);
        let client = socket_at(pair, 1, TCP);
        assert_eq!(connect_at(pair, 1, client, port), Ok(()));
        let end = accept_at(pair, 0, server).expect("a connection").file;
        passes(pair, (1, client), (0, end));
        passes(pair, (0, end), (1, client));
        let other = socket_at(pair, 1, TCP);
        let taken = Bind { file: other, name: at([0; 4], port) };
        assert_eq!(call(pair, 1, &taken), Err(Errno::EADDRINUSE));
        assert_eq!(call(pair, 0, &Release { file: server }), Ok(()));
        pair.settle();
        assert_eq!(connect_at(pair, 1, other, port), Err(Errno::ECONNREFUSED));
        let third = socket_at(pair, 1, TCP);
        assert_eq!(call(pair, 1, &Bind { file: third, name: lo(port) }), Ok(()));
    }
}

#[test]
fn datagrams_reach_another_node_and_its_death_is_silent() {
    for home in [1, 2] {
        let pair = &mut Pair::new();
        let port = port_at(home, UDP);
        let server = socket_at(pair, 1, UDP);
        assert_eq!(call(pair, 1, &Bind { file: server, name: lo(port) }), Ok(()));
        let client = socket_at(pair, 0, UDP);
        assert_eq!(connect_at(pair, 0, client, port), Ok(()));
        passes(pair, (0, client), (1, server));
        pair.kill_second();
        let now = send(&mut pair.0[0], client, b"lost");
        assert_eq!(done(&mut pair.0[0], now).map(|it| it.bytes), Ok(4));
    }
}

#[test]
fn ports_survive_the_death_of_their_home_and_connections_do_not() {
    let pair = &mut Pair::new();
    let port = port_at(2, TCP);
    let server = server_at(pair, 0, port);
    let far = socket_at(pair, 1, TCP);
    assert_eq!(connect_at(pair, 1, far, port), Ok(()));
    let end = accept_at(pair, 0, server).expect("a connection").file;
    pair.0[0].enter(&views::without(&two(), node_id(2)));
    assert_eq!(send(&mut pair.0[0], end, b"x"), Now::Failed(Errno::EIO));
    let client = socket(&mut pair.0[0], TCP);
    assert_eq!(connect(&mut pair.0[0], client, lo(port)), Ok(()));
    let other = socket(&mut pair.0[0], TCP);
    assert_eq!(bind(&mut pair.0[0], other, lo(port)), Err(Errno::EADDRINUSE));
}

#[test]
fn connections_move_with_their_slot_and_keep_their_options() {
    let pair = &mut Pair::new();
    let named = views::moving(&two(), slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let port = port_at(2, TCP);
    let server = server_at(pair, 0, port);
    let client = socket_at(pair, 0, TCP);
    set(&mut pair.0[0], client, 6, 1);
    assert_eq!(connect_at(pair, 0, client, port), Ok(()));
    let end = accept_at(pair, 0, server).expect("a connection").file;
    moves(pair, &named);
    assert!(pair.0[1].host_occupies(slot()));
    passes(pair, (0, client), (0, end));
    let nodelay = GetOption { file: client, level: 6, option: 1 };
    assert_eq!(call(pair, 0, &nodelay), Ok(OptionValue([1].into())));
    let more = socket_at(pair, 1, TCP);
    assert_eq!(connect_at(pair, 1, more, port), Ok(()));
    let receive = Receive { file: more, space: crate::testing::SPACE, ranges: [].into(), flags: 0 };
    assert!(matches!(pair.0[1].call(&receive), Now::Done(_)));
}

#[test]
fn port_is_not_chosen_while_a_name_is_under_way() {
    let pair = &mut Pair::new();
    let port = port_at(2, UDP);
    let file = socket_at(pair, 0, UDP);
    let binds = pending(pair.0[0].call(&Bind { file, name: lo(port) }));
    let node = &mut pair.0[0];
    let connect = Connect { file, name: lo(99), owner: OWNER };
    assert_eq!(node.call(&connect), Now::Failed(Errno::EINVAL));
    pair.settle();
    let ends = pair.0[0].take();
    assert!(
        ends.iter().any(|it| matches!(it, Later::Ended(at, Ok(_)) if *at == binds)),
        "{ends:?}"
    );
}

#[test]
fn reader_hears_that_no_connection_was_made() {
    let pair = &mut Pair::new();
    let client = socket_at(pair, 0, TCP);
    let port = port_at(2, TCP);
    let connects = pending(pair.0[0].call(&Connect { file: client, name: lo(port), owner: OWNER }));
    let reads = pending(receive(&mut pair.0[0], client, 9, 0));
    pair.settle();
    let ends = pair.0[0].take();
    for (ticket, errno) in [(connects, Errno::ECONNREFUSED), (reads, Errno::ENOTCONN)] {
        let ended =
            |it: &Later| matches!(it, Later::Ended(at, Err(it)) if *at == ticket && *it == errno);
        assert!(ends.iter().any(ended), "{ends:?}");
    }
}

#[test]
fn connection_that_its_listener_refuses_is_reset() {
    let node = &mut single();
    let server = socket(node, TCP);
    assert_eq!(bind(node, server, lo(80)), Ok(()));
    assert_eq!(listen(node, server), Ok(()));
    let client = socket(node, TCP);
    assert_eq!(connect(node, client, lo(80)), Ok(()));
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    assert_eq!(receive(node, client, 9, 0), Now::Failed(Errno::ECONNRESET));
    assert_eq!(send(node, client, b"x"), Now::Failed(Errno::EPIPE));
}

#[test]
fn closed_socket_whose_connection_was_under_way_does_not_keep_its_slot() {
    let pair = &mut Pair::new();
    let named = views::moving(&two(), slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let port = port_at(2, TCP);
    server_at(pair, 1, port);
    // One that stays, so that the slot has something to move.
    let stays = socket_at(pair, 0, TCP);
    for _ in 0..3 {
        let client = socket_at(pair, 0, TCP);
        assert_eq!(connect_at(pair, 0, client, port), Ok(()));
    }
    let late = socket_at(pair, 0, TCP);
    assert_eq!(call(pair, 0, &SetFlags { file: late, flags: O_NONBLOCK }), Ok(()));
    assert_eq!(connect_at(pair, 0, late, port), Err(Errno::EINPROGRESS));
    pair.settle();
    assert_eq!(call(pair, 0, &Release { file: late }), Ok(()));
    pair.settle();
    moves(pair, &named);
    assert!(pair.0[1].host_occupies(slot()));
    assert_eq!(call(pair, 0, &Bind { file: stays, name: lo(0) }), Ok(()));
}

#[test]
fn shutdown_ends_a_call_that_waits_for_a_datagram() {
    let node = &mut single();
    let file = socket(node, UDP);
    assert_eq!(bind(node, file, lo(53)), Ok(()));
    let waits = pending(receive(node, file, 9, 0));
    let shutdown = Shutdown { file, receive: true, send: false };
    assert_eq!(node.call(&shutdown), Now::Failed(Errno::ENOTCONN));
    let Ok(ipc_api::socket::Received { bytes, .. }) = later(node, waits) else { panic!("no end") };
    assert_eq!(bytes, 0);
}

#[test]
fn port_is_free_when_its_home_hears_late_that_its_socket_is_closed() {
    let pair = &mut Pair::new();
    let named = views::moving(&two(), slot(), node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let port = port_at(2, UDP);
    let file = socket_at(pair, 0, UDP);
    let _stays = socket_at(pair, 0, UDP);
    assert_eq!(call(pair, 0, &Bind { file, name: lo(port) }), Ok(()));
    pair.cut(true);
    assert_eq!(call(pair, 0, &Release { file }), Ok(()));
    pair.settle();
    assert!(!matches!(pair.0[0].give(0, 2), runtime::Status::Pending(_)), "it is still to be told");
    pair.cut(false);
    pair.settle();
    moves(pair, &named);
    let other = socket_at(pair, 1, UDP);
    assert_eq!(call(pair, 1, &Bind { file: other, name: lo(port) }), Ok(()));
}

#[test]
fn error_of_datagrams_comes_before_what_has_arrived() {
    let node = &mut single();
    let (server, client) = (socket(node, UDP), socket(node, UDP));
    assert_eq!(bind(node, server, lo(53)), Ok(()));
    assert_eq!(connect(node, client, lo(53)), Ok(()));
    let own = name(node, client, false).name();
    assert_eq!(send_to(node, server, b"answer", own), Ok(6));
    assert_eq!(node.call(&Release { file: server }), Now::Done(()));
    let now = send(node, client, b"lost");
    assert_eq!(done(node, now).map(|it| it.bytes), Ok(4));
    assert_eq!(receive(node, client, 9, 0), Now::Failed(Errno::ECONNREFUSED));
    takes(node, client, 9, b"answer");
}
