// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects as proc-server sees them.

mod memory;
mod messages;
mod moves;
mod semaphores;

use crate::testing::{Later, Node, Now, Pair, node_id};
use abi::{Errno, FileId, Ticket};
use ipc_api::sysv::{By, Get, GetStatus, Kind, List, Remove, SetStatus, Status};
use runtime::{Msg, Operation, Wire};
use std::vec::Vec;

/// IPC_CREAT.
const CREATE: u32 = 0o1000;
/// IPC_EXCL.
const EXCLUSIVE: u32 = 0o2000;
/// IPC_NOWAIT.
const NOWAIT: u32 = 0o4000;
/// Later than any view's first seconds.
const NOW_S: i64 = 1_800_000_000;

fn root(pid: u32) -> By {
    By { pid, uid: 0, gid: 0, now_s: NOW_S }
}

fn user(uid: u32) -> By {
    By { pid: 77, uid, gid: uid, now_s: NOW_S }
}

/// Calls and carries messages until the answer is there.
fn call<O: Operation>(pair: &mut Pair, at: usize, op: &O) -> Result<O::Reply, Errno> {
    match pair.0[at].call(op) {
        Now::Done(reply) => Ok(reply),
        Now::Failed(errno) => Err(errno),
        Now::Pending(ticket) => {
            pair.settle();
            let ends = pair.0[at].take();
            let [Later::Ended(ended, result)] = &ends[..] else { panic!("no answer: {ends:?}") };
            assert_eq!(*ended, ticket);
            result.clone().map(|msg| O::Reply::get(&msg).expect("a reply"))
        }
    }
}

fn get(pair: &mut Pair, at: usize, kind: Kind, key: u32, size: u64) -> Result<u32, Errno> {
    let flags = CREATE | 0o600;
    call(pair, at, &Get { kind, key, size, flags, by: root(1) }).map(|got| got.id)
}

fn status(pair: &mut Pair, at: usize, kind: Kind, id: u32) -> Result<Status, Errno> {
    call(pair, at, &GetStatus { kind, id, any: false, by: root(1) })
}

fn remove(pair: &mut Pair, at: usize, kind: Kind, id: u32) -> Result<(), Errno> {
    call(pair, at, &Remove { kind, id, by: root(1) })
}

fn done(ticket: Ticket) -> Later {
    Later::Ended(ticket, Ok(Msg::default()))
}

fn takes(node: &mut Node) -> Vec<Later> {
    node.take()
}

/// A key whose objects have their home at node 1 (0) or node 2 (1).
fn key_at(pair: &mut Pair, at: usize, kind: Kind) -> u32 {
    let size = 1;
    (1..)
        .find(|key| {
            let id = get(pair, 0, kind, *key, size).expect("room");
            let here =
                pair.0[at].host_occupies(abi::SlotNo::new((id & 1023) as u16).expect("a slot"));
            remove(pair, 0, kind, id).expect("it is there");
            here
        })
        .expect("some key")
}

#[test]
fn key_leads_every_node_to_one_object() {
    let pair = &mut Pair::new();
    for kind in [Kind::Memory, Kind::Semaphores, Kind::Messages] {
        for key in [1, 2, 3, 0xdead_beef, u32::MAX] {
            let id = get(pair, 0, kind, key, 3).expect("made");
            assert!(i32::try_from(id).is_ok());
            assert_eq!(get(pair, 1, kind, key, 3), Ok(id));
            let again = Get { kind, key, size: 3, flags: CREATE | EXCLUSIVE, by: root(1) };
            assert_eq!(call(pair, 1, &again), Err(Errno::EEXIST));
            assert_eq!(status(pair, 1, kind, id).expect("there").key, key);
            remove(pair, 1, kind, id).expect("there");
            assert_eq!(status(pair, 0, kind, id), Err(Errno::EINVAL));
            let find = Get { kind, key, size: 0, flags: 0, by: root(1) };
            assert_eq!(call(pair, 0, &find), Err(Errno::ENOENT));
        }
    }
}

#[test]
fn private_objects_are_made_where_they_are_asked_for() {
    let pair = &mut Pair::new();
    let first = get(pair, 1, Kind::Semaphores, 0, 1).expect("made");
    let second = get(pair, 1, Kind::Semaphores, 0, 1).expect("made");
    assert_ne!(first, second);
    assert!(pair.0[1].host_occupies(abi::SlotNo::new((first & 1023) as u16).expect("a slot")));
    assert_eq!(status(pair, 0, Kind::Semaphores, first).expect("there").key, 0);
}

#[test]
fn sizes_are_checked() {
    let pair = &mut Pair::new();
    assert_eq!(get(pair, 0, Kind::Semaphores, 5, 0), Err(Errno::EINVAL));
    assert_eq!(get(pair, 0, Kind::Semaphores, 5, 257), Err(Errno::EINVAL));
    assert_eq!(get(pair, 0, Kind::Memory, 5, 0), Err(Errno::EINVAL));
    assert_eq!(get(pair, 0, Kind::Memory, 5, u64::MAX), Err(Errno::EINVAL));
    get(pair, 0, Kind::Semaphores, 5, 4).expect("made");
    assert_eq!(get(pair, 1, Kind::Semaphores, 5, 5), Err(Errno::EINVAL));
    get(pair, 1, Kind::Semaphores, 5, 3).expect("large enough");
}

#[test]
fn permissions_are_those_of_sysvipc() {
    let pair = &mut Pair::new();
    let make = Get { kind: Kind::Messages, key: 9, size: 0, flags: CREATE | 0o640, by: user(7) };
    let id = call(pair, 0, &make).expect("made").id;
    let may = |pair: &mut Pair, by: By| {
        call(pair, 1, &GetStatus { kind: Kind::Messages, id, any: false, by }).map(|it| it.mode)
    };
    assert_eq!(may(pair, user(7)), Ok(0o640));
    assert_eq!(may(pair, By { gid: 7, ..user(8) }), Ok(0o640));
    assert_eq!(may(pair, user(8)), Err(Errno::EACCES));
    assert_eq!(may(pair, root(3)), Ok(0o640));
    let find =
        |flags| Get { kind: Kind::Messages, key: 9, size: 0, flags, by: By { gid: 7, ..user(8) } };
    assert!(call(pair, 0, &find(0o440)).is_ok());
    assert_eq!(call(pair, 0, &find(0o600)), Err(Errno::EACCES));
    let set =
        |by, size| SetStatus { kind: Kind::Messages, id, uid: 8, gid: 8, mode: 0o600, size, by };
    assert_eq!(call(pair, 1, &set(user(8), 100)), Err(Errno::EPERM));
    assert_eq!(call(pair, 1, &set(user(7), 16_385)), Err(Errno::EPERM), "only root may raise it");
    assert_eq!(call(pair, 1, &set(user(7), 100)), Ok(()));
    assert_eq!(may(pair, user(8)), Ok(0o600));
    let gone = Remove { kind: Kind::Messages, id, by: user(9) };
    assert_eq!(call(pair, 1, &gone), Err(Errno::EPERM));
    // Who made it stays one who may.
    assert_eq!(call(pair, 1, &Remove { by: user(7), ..gone }), Ok(()));
}

#[test]
fn list_has_the_objects_of_all_nodes_in_order() {
    let pair = &mut Pair::new();
    let mut made: Vec<u32> =
        (1..=150).map(|key| get(pair, 0, Kind::Messages, key, 0).expect("made")).collect();
    made.sort_unstable();
    get(pair, 0, Kind::Semaphores, 1, 1).expect("made");
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let part = call(pair, 1, &List { kind: Kind::Messages, after }).expect("ids").0;
        let Some(last) = part.last() else { break };
        after = *last;
        all.extend(part);
    }
    assert_eq!(all, made);
    pair.kill_second();
    let left = call(pair, 0, &List { kind: Kind::Messages, after: 0 }).expect("ids").0;
    assert!(!left.is_empty() && left.len() < made.len());
}

#[test]
fn object_of_a_home_that_left_is_removed() {
    let pair = &mut Pair::new();
    let key = key_at(pair, 1, Kind::Semaphores);
    let id = get(pair, 0, Kind::Semaphores, key, 1).expect("made");
    let two = cluster::View::fixed([1, 2].map(node_id).into()).expect("a view");
    pair.0[0].enter(&runtime::testing::views::without(&two, node_id(2)));
    assert_eq!(status(pair, 0, Kind::Semaphores, id), Err(Errno::EIDRM));
    let again = get(pair, 0, Kind::Semaphores, key, 1).expect("a new one");
    assert_ne!(again, id);
}

fn hold(pair: &mut Pair, at: usize, file: FileId, node: u16) {
    let hold = ipc_api::file::Hold { file, node: node_id(node) };
    call(pair, at, &hold).expect("it is held");
}

fn release(pair: &mut Pair, at: usize, file: FileId) {
    call(pair, at, &ipc_api::file::Release { file }).expect("it is held");
}
