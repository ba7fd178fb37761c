// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's own memory is nearly used up.

use super::{moved, pipe, read, write};
use crate::limits::HEAP_RESERVE_BYTES;
use crate::testing::{Now, SPACE, single};
use abi::Errno;
use ipc_api::file::Release;
use ipc_api::sysv::{By, Get, Got, Kind, Send};
use ipc_api::{CounterCreate, PipeCreate};

#[test]
fn nothing_is_made_or_kept_while_memory_is_short() {
    let mut node = single();
    let ends = pipe(&mut node);
    let by = By { pid: 1, ..By::default() };
    let get = Get { kind: Kind::Messages, key: 0, size: 0, flags: 0o600, by };
    let Now::Done(Got { id }) = node.call(&get) else { panic!("no queue") };
    assert_eq!(write(&mut node, ends.write, b"before"), moved(6));
    node.world.heap_left = HEAP_RESERVE_BYTES - 1;
    assert_eq!(node.call(&PipeCreate { flags: 0 }), Now::Failed(Errno::ENFILE));
    let counter = CounterCreate { count: 0, semaphore: false, flags: 0 };
    assert_eq!(node.call(&counter), Now::Failed(Errno::ENFILE));
    assert_eq!(node.call(&get), Now::Failed(Errno::ENOSPC));
    assert_eq!(write(&mut node, ends.write, b"more"), Now::Failed(Errno::ENOMEM));
    let send = Send { id, kind: 1, flags: 0, space: SPACE, addr: 0, len: 8, by };
    assert_eq!(node.call(&send), Now::Failed(Errno::ENOMEM));
    // What is there can be read, and given back.
    assert_eq!(read(&mut node, ends.read, 100, 50), moved(6));
    assert_eq!(node.call(&Release { file: ends.read }), Now::Done(()));
    node.world.heap_left = usize::MAX;
    pipe(&mut node);
}
