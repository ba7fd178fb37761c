// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files whose home is another node.

use super::{ended, failed, moved, pending, pipe, read, write};
use crate::testing::{Later, Now, Pair, node_id};
use abi::Errno;
use ipc_api::file::{GetFlags, Hold, Release};
use ipc_api::{PipeEnds, TerminalOpen};

/// A pipe of node 1 that node 2 holds too.
fn shared(pair: &mut Pair) -> PipeEnds {
    let ends = pipe(&mut pair.0[0]);
    for file in [ends.read, ends.write] {
        let hold = Hold { file, node: node_id(2) };
        assert_eq!(pair.0[0].call(&hold), Now::Done(()));
    }
    ends
}

#[test]
fn remote_pipe_carries_bytes_both_ways() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    let writer = pending(write(&mut pair.0[1], ends.write, b"from afar"));
    pair.settle();
    assert_eq!(pair.0[1].take(), [ended(writer, 9)]);
    assert_eq!(read(&mut pair.0[0], ends.read, 100, 50), moved(9));
    assert_eq!(&pair.0[0].world.memory[100..109], b"from afar");
    let reader = pending(read(&mut pair.0[1], ends.read, 100, 50));
    pair.settle();
    assert_eq!(pair.0[1].take(), []);
    assert_eq!(write(&mut pair.0[0], ends.write, b"back"), moved(4));
    pair.settle();
    assert_eq!(pair.0[1].take(), [ended(reader, 4)]);
    assert_eq!(&pair.0[1].world.memory[100..104], b"back");
}

#[test]
fn remote_file_that_the_node_does_not_hold_is_refused() {
    let pair = &mut Pair::new();
    let ends = pipe(&mut pair.0[0]);
    let reader = pending(read(&mut pair.0[1], ends.read, 100, 50));
    let flags = pending(pair.0[1].call(&GetFlags { file: ends.read }));
    pair.settle();
    let end = pair.0[1].take();
    assert_eq!(end, [failed(reader, Errno::EBADF), failed(flags, Errno::EBADF)]);
}

#[test]
fn remote_read_whose_page_goes_away_gives_the_bytes_back() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    let reader = pending(read(&mut pair.0[1], ends.read, 100, 50));
    pair.settle();
    pair.0[1].world.absent = true;
    assert_eq!(write(&mut pair.0[0], ends.write, b"precious"), moved(8));
    pair.settle();
    assert_eq!(pair.0[1].take(), [failed(reader, Errno::ERESTART)]);
    assert_eq!(read(&mut pair.0[0], ends.read, 100, 50), moved(8));
    assert_eq!(&pair.0[0].world.memory[100..108], b"precious");
}

#[test]
fn remote_call_cancelled_ends_and_takes_nothing() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    let reader = pending(read(&mut pair.0[1], ends.read, 100, 50));
    pair.settle();
    pair.0[1].cancel(reader);
    pair.settle();
    assert_eq!(pair.0[1].take(), [failed(reader, Errno::ECANCELED)]);
    assert_eq!(write(&mut pair.0[0], ends.write, b"kept"), moved(4));
    assert_eq!(read(&mut pair.0[0], ends.read, 100, 50), moved(4));
}

#[test]
fn remote_holder_that_dies_lets_go() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    assert_eq!(pair.0[0].call(&Release { file: ends.write }), Now::Done(()));
    let reader = pending(read(&mut pair.0[0], ends.read, 100, 50));
    assert_eq!(pair.0[0].take(), [], "node 2 may still write");
    pair.kill_second();
    assert_eq!(pair.0[0].take(), [ended(reader, 0)]);
}

#[test]
fn remote_waiting_reader_that_dies_takes_no_bytes() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    pending(read(&mut pair.0[1], ends.read, 100, 50));
    pair.settle();
    pair.kill_second();
    assert_eq!(write(&mut pair.0[0], ends.write, b"kept"), moved(4));
    assert_eq!(read(&mut pair.0[0], ends.read, 100, 50), moved(4));
}

#[test]
fn remote_home_that_dies_ends_the_call() {
    let pair = &mut Pair::new();
    let Now::Pending(open) = pair.0[0].call(&TerminalOpen { node: node_id(2), flags: 2 }) else {
        panic!("not forwarded")
    };
    pair.kill_second();
    assert_eq!(pair.0[0].take(), [failed(open, Errno::EHOSTDOWN)]);
}

#[test]
fn remote_terminal_is_read_and_written() {
    let pair = &mut Pair::new();
    let open = pending(pair.0[0].call(&TerminalOpen { node: node_id(2), flags: 2 }));
    pair.settle();
    let end = pair.0[0].take();
    let [Later::Ended(ticket, Ok(msg))] = &end[..] else { panic!("not opened: {end:?}") };
    assert_eq!(*ticket, open);
    let file = abi::FileId::from_raw(msg.words[0]);
    let writer = pending(write(&mut pair.0[0], file, b"hi\n"));
    let reader = pending(read(&mut pair.0[0], file, 100, 50));
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(writer, 3)]);
    assert_eq!(pair.0[1].shown(), "hi\r\n");
    pair.0[1].typed(b"yes\r");
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(reader, 4)]);
    assert_eq!(&pair.0[0].world.memory[100..104], b"yes\n");
}

#[test]
fn remote_file_held_twice_is_released_twice() {
    let pair = &mut Pair::new();
    let ends = shared(pair);
    let again = Hold { file: ends.write, node: node_id(2) };
    assert_eq!(pair.0[0].call(&again), Now::Done(()));
    assert_eq!(pair.0[0].call(&Release { file: ends.write }), Now::Done(()));
    let reader = pending(read(&mut pair.0[0], ends.read, 100, 50));
    pending(pair.0[1].call(&Release { file: ends.write }));
    pair.settle();
    assert_eq!(pair.0[0].take(), []);
    pending(pair.0[1].call(&Release { file: ends.write }));
    pair.settle();
    assert_eq!(pair.0[0].take(), [ended(reader, 0)]);
}
