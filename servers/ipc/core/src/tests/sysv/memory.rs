// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared memory.

use super::{call, get, hold, key_at, release, remove, root, status, user};
use crate::testing::Pair;
use abi::Errno;
use ipc_api::sysv::{Attach, Attached, Get, Kind};
use runtime::Status;

fn attach(pair: &mut Pair, at: usize, id: u32) -> Result<Attached, Errno> {
    call(pair, at, &Attach { id, write: true, by: root(5) })
}

/// References to the memory at its home and at the other node.
fn references(pair: &Pair, it: Attached) -> [u32; 2] {
    [0, 1].map(|at| pair.0[at].world.objects.get(&it.object.raw()).copied().unwrap_or(0))
}

#[test]
fn memory_goes_with_its_last_attachment() {
    let pair = &mut Pair::new();
    let key = key_at(pair, 0, Kind::Memory);
    let id = get(pair, 1, Kind::Memory, key, 5000).expect("made");
    let [here, there] = [0, 1].map(|at| attach(pair, at, id).expect("attached"));
    assert_eq!((here.object, here.bytes), (there.object, 5000));
    // Made, and held for each; the other node has adopted its own.
    assert_eq!(references(pair, here), [3, 1]);
    let found = status(pair, 1, Kind::Memory, id).expect("there");
    assert_eq!((found.count, found.size, found.pids), (2, 5000, [1, 5]));
    assert_eq!(remove(pair, 1, Kind::Memory, id), Ok(()));
    assert_eq!(status(pair, 0, Kind::Memory, id).expect("there").mode, 0o1600);
    let again = get(pair, 0, Kind::Memory, key, 5000).expect("another one");
    assert_ne!(again, id);
    release(pair, 0, here.file);
    assert_eq!(status(pair, 0, Kind::Memory, id).expect("there").count, 1);
    release(pair, 1, there.file);
    assert_eq!(status(pair, 0, Kind::Memory, id), Err(Errno::EINVAL));
    // What the nodes hold they give back themselves.
    assert_eq!(references(pair, here), [2, 1]);
}

#[test]
fn memory_without_attachments_goes_at_once() {
    let pair = &mut Pair::new();
    let key = key_at(pair, 0, Kind::Memory);
    let id = get(pair, 0, Kind::Memory, key, 1).expect("made");
    let it = attach(pair, 0, id).expect("attached");
    release(pair, 0, it.file);
    assert_eq!(remove(pair, 0, Kind::Memory, id), Ok(()));
    assert_eq!(references(pair, it)[0], 1);
    assert_eq!(attach(pair, 0, id), Err(Errno::EINVAL));
}

#[test]
fn attachments_of_a_forked_and_a_moved_process_count() {
    let pair = &mut Pair::new();
    let key = key_at(pair, 0, Kind::Memory);
    let id = get(pair, 0, Kind::Memory, key, 1).expect("made");
    let it = attach(pair, 0, id).expect("attached");
    hold(pair, 0, it.file, 1);
    assert_eq!(status(pair, 0, Kind::Memory, id).expect("there").count, 2);
    hold(pair, 0, it.file, 2);
    release(pair, 0, it.file);
    assert_eq!(status(pair, 0, Kind::Memory, id).expect("there").count, 2);
    pair.kill_second();
    assert_eq!(status(pair, 0, Kind::Memory, id).expect("there").count, 1);
}

#[test]
fn slot_with_memory_stays() {
    let pair = &mut Pair::new();
    let two = cluster::View::fixed([1, 2].map(crate::testing::node_id).into()).expect("a view");
    let slot = abi::SlotNo::new(0).expect("a slot");
    let named = runtime::testing::views::moving(&two, slot, crate::testing::node_id(2));
    pair.0.iter_mut().for_each(|node| node.enter(&named));
    let made = Get { kind: Kind::Memory, key: 0, size: 1, flags: 0o600, by: root(1) };
    let id = call(pair, 0, &made).expect("made").id;
    assert_eq!(id & 1023, 0, "in the slot that is to move");
    assert_eq!(pair.0[0].give(0, 2), Status::Done);
    assert!(attach(pair, 0, id).is_ok());
}

#[test]
fn who_may_only_read_attaches_to_read() {
    let pair = &mut Pair::new();
    let by = user(7);
    let make = Get { kind: Kind::Memory, key: 0, size: 1, flags: 0o444, by };
    let id = call(pair, 0, &make).expect("made").id;
    assert_eq!(call(pair, 0, &Attach { id, write: true, by }), Err(Errno::EACCES));
    assert!(call(pair, 0, &Attach { id, write: false, by }).is_ok());
}
