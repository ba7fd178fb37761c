// SPDX-License-Identifier: MIT OR Apache-2.0
//! Message queues.

use super::{NOWAIT, call, done, get, key_at, remove, root, status, takes};
use crate::testing::{Now, Pair, SPACE};
use crate::tests::{ended, failed, pending};
use abi::Errno;
use ipc_api::file::Moved;
use ipc_api::sysv::{Kind, Receive, Send, SetStatus, Wanted};

const NOERROR: u32 = 0o10000;
const EXCEPT: u32 = 0o20000;
/// Where messages are received.
const AT: u64 = 0x8000;

fn made(pair: &mut Pair, home: usize) -> u32 {
    let key = key_at(pair, home, Kind::Messages);
    get(pair, 0, Kind::Messages, key, 0).expect("made")
}

fn sends(pair: &mut Pair, at: usize, id: u32, kind: i64, text: &[u8]) -> Send {
    pair.0[at].world.memory[..text.len()].copy_from_slice(text);
    let len = text.len() as u64;
    Send { id, kind, flags: NOWAIT, space: SPACE, addr: 0, len, by: root(5) }
}

fn send(pair: &mut Pair, at: usize, id: u32, kind: i64, text: &[u8]) -> Result<(), Errno> {
    let send = sends(pair, at, id, kind, text);
    call(pair, at, &send)
}

fn receives(id: u32, kind: i64, flags: u32, len: u64) -> Receive {
    Receive { id, wanted: Wanted { kind, flags, len }, space: SPACE, addr: AT, by: root(6) }
}

fn receive(
    pair: &mut Pair,
    at: usize,
    id: u32,
    kind: i64,
) -> Result<(i64, std::string::String), Errno> {
    let Moved { bytes } = call(pair, at, &receives(id, kind, NOWAIT, 100))?;
    Ok(received(pair, at, bytes))
}

fn received(pair: &Pair, at: usize, bytes: u64) -> (i64, std::string::String) {
    let memory = &pair.0[at].world.memory[AT as usize..];
    let (kind, text) = memory.split_first_chunk().expect("room");
    let text = std::string::String::from_utf8_lossy(&text[..bytes as usize]).into_owned();
    (i64::from_le_bytes(*kind), text)
}

#[test]
fn messages_are_received_by_type() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home);
        for (kind, text) in [(3, "c"), (1, "a"), (2, "b"), (1, "aa"), (9, "")] {
            assert_eq!(send(pair, 1, id, kind, text.as_bytes()), Ok(()));
        }
        let found = status(pair, 0, Kind::Messages, id).expect("there");
        assert_eq!((found.count, found.bytes, found.pids), (5, 5, [5, 0]));
        assert_eq!(receive(pair, 0, id, 2), Ok((2, "b".into())));
        assert_eq!(receive(pair, 0, id, -2), Ok((1, "a".into())));
        assert_eq!(receive(pair, 1, id, 0), Ok((3, "c".into())));
        let other = receives(id, 1, NOWAIT | EXCEPT, 100);
        assert_eq!(call(pair, 0, &other), Ok(Moved { bytes: 0 }));
        assert_eq!(received(pair, 0, 0).0, 9);
        assert_eq!(call(pair, 0, &other), Err(Errno::ENOMSG));
        assert_eq!(receive(pair, 0, id, 7), Err(Errno::ENOMSG));
        assert_eq!(receive(pair, 0, id, i64::MIN), Ok((1, "aa".into())));
        assert_eq!(status(pair, 0, Kind::Messages, id).expect("there").count, 0);
    }
}

#[test]
fn longer_text_is_an_error_or_cut_off() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home);
        assert_eq!(send(pair, 0, id, 1, b"12345"), Ok(()));
        assert_eq!(call(pair, 0, &receives(id, 0, 0, 4)), Err(Errno::E2BIG));
        let cut = receives(id, 0, NOERROR, 4);
        assert_eq!(call(pair, 0, &cut), Ok(Moved { bytes: 4 }));
        assert_eq!(received(pair, 0, 4), (1, "1234".into()));
        assert_eq!(receive(pair, 0, id, 0), Err(Errno::ENOMSG), "the rest is gone");
    }
}

#[test]
fn wrong_messages_are_refused() {
    let pair = &mut Pair::new();
    let id = made(pair, 1);
    assert_eq!(send(pair, 0, id, 0, b"x"), Err(Errno::EINVAL));
    assert_eq!(send(pair, 0, id, -1, b"x"), Err(Errno::EINVAL));
    assert_eq!(send(pair, 0, id, 1, &[0; 8193]), Err(Errno::EINVAL));
    assert_eq!(send(pair, 0, id, 1, &[0; 8192]), Ok(()));
    let beyond = Send { addr: 1 << 40, ..sends(pair, 0, id, 1, b"x") };
    assert_eq!(call(pair, 0, &beyond), Err(Errno::EFAULT));
}

#[test]
fn receiver_that_waits_gets_the_message_that_is_for_it() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home);
        let second = pending(pair.0[1 - home].call(&receives(id, 2, 0, 100)));
        pair.settle();
        let any = pending(pair.0[1 - home].call(&receives(id, 0, 0, 100)));
        pair.settle();
        assert_eq!(send(pair, home, id, 5, b"five"), Ok(()));
        pair.settle();
        assert_eq!(takes(&mut pair.0[1 - home]), [ended(any, 4)]);
        assert_eq!(received(pair, 1 - home, 4), (5, "five".into()));
        assert_eq!(send(pair, home, id, 2, b"two"), Ok(()));
        pair.settle();
        assert_eq!(takes(&mut pair.0[1 - home]), [ended(second, 3)]);
        assert_eq!(received(pair, 1 - home, 3), (2, "two".into()));
        assert_eq!(receive(pair, 0, id, 0), Err(Errno::ENOMSG));
    }
}

#[test]
fn full_queue_lets_senders_wait_in_order() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home);
        let set = SetStatus {
            kind: Kind::Messages,
            id,
            uid: 0,
            gid: 0,
            mode: 0o600,
            size: 10,
            by: root(1),
        };
        assert_eq!(call(pair, 0, &set), Ok(()));
        assert_eq!(send(pair, 0, id, 1, b"12345678"), Ok(()));
        assert_eq!(send(pair, 0, id, 1, b"123"), Err(Errno::EAGAIN));
        let first = Send { flags: 0, ..sends(pair, 0, id, 2, b"123") };
        let first = pending(pair.0[0].call(&first));
        pair.settle();
        let second = Send { flags: 0, ..sends(pair, 1, id, 3, b"1") };
        let second = pending(pair.0[1].call(&second));
        pair.settle();
        assert_eq!((takes(&mut pair.0[0]), takes(&mut pair.0[1])), ([].into(), [].into()));
        assert_eq!(pair.0[home].call(&receives(id, 0, 0, 100)), Now::Done(Moved { bytes: 8 }));
        pair.settle();
        assert_eq!(takes(&mut pair.0[0]), [done(first)]);
        assert_eq!(takes(&mut pair.0[1]), [done(second)]);
        assert_eq!(receive(pair, 0, id, 0).expect("there").0, 2);
        assert_eq!(receive(pair, 0, id, 0).expect("there").0, 3);
    }
}

#[test]
fn message_that_cannot_be_delivered_is_the_first_again() {
    let pair = &mut Pair::new();
    let id = made(pair, 1);
    for text in ["one", "two"] {
        assert_eq!(send(pair, 0, id, 1, text.as_bytes()), Ok(()));
    }
    let receiver = pending(pair.0[0].call(&receives(id, 0, 0, 100)));
    pair.0[0].world.absent = true;
    pair.settle();
    assert_eq!(takes(&mut pair.0[0]), [failed(receiver, Errno::ERESTART)]);
    pair.0[0].world.absent = false;
    assert_eq!(receive(pair, 0, id, 0), Ok((1, "one".into())));
    // At its home it was never taken.
    pair.0[1].world.absent = true;
    assert_eq!(pair.0[1].call(&receives(id, 0, 0, 100)), Now::Failed(Errno::ERESTART));
    pair.0[1].world.absent = false;
    assert_eq!(receive(pair, 1, id, 0), Ok((1, "two".into())));
}

#[test]
fn removed_queue_ends_what_waits() {
    let pair = &mut Pair::new();
    let id = made(pair, 0);
    let receiver = pending(pair.0[1].call(&receives(id, 0, 0, 100)));
    pair.settle();
    assert_eq!(remove(pair, 0, Kind::Messages, id), Ok(()));
    pair.settle();
    assert_eq!(takes(&mut pair.0[1]), [failed(receiver, Errno::EIDRM)]);
}

#[test]
fn cancelled_sender_makes_way() {
    let pair = &mut Pair::new();
    let id = made(pair, 0);
    assert_eq!(send(pair, 0, id, 1, &[0; 8192]), Ok(()));
    assert_eq!(send(pair, 0, id, 1, &[0; 8000]), Ok(()));
    let large = Send { flags: 0, ..sends(pair, 0, id, 2, &[0; 8000]) };
    let large = pending(pair.0[0].call(&large));
    let small = Send { flags: 0, ..sends(pair, 0, id, 3, &[0; 10]) };
    let small = pending(pair.0[0].call(&small));
    pair.0[0].cancel(large);
    assert_eq!(takes(&mut pair.0[0]), [failed(large, Errno::ECANCELED), done(small)]);
}

#[test]
fn node_that_is_down_waits_for_nothing() {
    let pair = &mut Pair::new();
    let id = made(pair, 0);
    pending(pair.0[1].call(&receives(id, 0, 0, 100)));
    pair.settle();
    pair.kill_second();
    assert_eq!(send(pair, 0, id, 1, b"kept"), Ok(()));
    assert_eq!(receive(pair, 0, id, 0), Ok((1, "kept".into())));
}
