// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes on one node.

use super::{ended, failed, moved, pending, pipe, read, write};
use crate::limits::PIPE_BYTES;
use crate::testing::{Later, Now, single};
use abi::linux::general::{O_NONBLOCK, POLLERR, POLLHUP, POLLIN, POLLOUT};
use abi::linux::ioctl::FIONREAD;
use abi::{Errno, FileId};
use ipc_api::PipeCreate;
use ipc_api::file::{Caller, FileStat, Ioctl, Poll, PollWait, Ready, Release, Seek, SetFlags};
use runtime::Msg;
use std::vec;
use std::vec::Vec;

#[test]
fn pipe_bytes_come_out_in_order() {
    let node = &mut single();
    let ends = pipe(node);
    assert_eq!(write(node, ends.write, b"hello "), moved(6));
    assert_eq!(write(node, ends.write, b"world"), moved(5));
    assert_eq!(read(node, ends.read, 100, 50), moved(11));
    assert_eq!(&node.world.memory[100..111], b"hello world");
}

#[test]
fn pipe_waiting_reader_gets_the_bytes_when_they_come() {
    let node = &mut single();
    let ends = pipe(node);
    let first = pending(read(node, ends.read, 100, 3));
    let second = pending(read(node, ends.read, 200, 50));
    assert_eq!(write(node, ends.write, b"abcdef"), moved(6));
    assert_eq!(node.take(), [ended(first, 3), ended(second, 3)]);
    assert_eq!(&node.world.memory[100..103], b"abc");
    assert_eq!(&node.world.memory[200..203], b"def");
}

#[test]
fn pipe_reader_whose_page_is_elsewhere_restarts_and_loses_nothing() {
    let node = &mut single();
    let ends = pipe(node);
    assert_eq!(write(node, ends.write, b"x"), moved(1));
    node.world.absent = true;
    assert_eq!(read(node, ends.read, 100, 1), Now::Failed(Errno::ERESTART));
    node.world.absent = false;
    assert_eq!(read(node, ends.read, 100, 1), moved(1));
}

#[test]
fn pipe_cancelled_reader_ends_and_takes_nothing() {
    let node = &mut single();
    let ends = pipe(node);
    let ticket = pending(read(node, ends.read, 100, 50));
    node.cancel(ticket);
    assert_eq!(node.take(), [failed(ticket, Errno::ECANCELED)]);
    assert_eq!(write(node, ends.write, b"kept"), moved(4));
    assert_eq!(read(node, ends.read, 100, 50), moved(4));
}

#[test]
fn pipe_full_writer_waits_until_all_is_written() {
    let node = &mut single();
    let ends = pipe(node);
    let data: Vec<u8> = (0..PIPE_BYTES).map(|i| i as u8).collect();
    assert_eq!(write(node, ends.write, &data[..PIPE_BYTES - 10]), moved(PIPE_BYTES as u64 - 10));
    let writer = pending(write(node, ends.write, &data[..5000]));
    assert_eq!(read(node, ends.read, 500_000, 4000), moved(4000));
    assert_eq!(node.take(), [], "ten bytes and four thousand went in, not all");
    assert_eq!(read(node, ends.read, 500_000, 4000), moved(4000));
    assert_eq!(node.take(), [ended(writer, 5000)]);
}

#[test]
fn pipe_small_write_enters_whole_or_waits() {
    let node = &mut single();
    let ends = pipe(node);
    let data = vec![7; PIPE_BYTES];
    assert_eq!(write(node, ends.write, &data[..PIPE_BYTES - 10]), moved(PIPE_BYTES as u64 - 10));
    let writer = pending(write(node, ends.write, &data[..11]));
    node.cancel(writer);
    assert_eq!(node.take(), [failed(writer, Errno::ECANCELED)], "nothing of it went in");
}

#[test]
fn pipe_without_writers_reads_as_end_of_file() {
    let node = &mut single();
    let ends = pipe(node);
    let reader = pending(read(node, ends.read, 100, 3));
    assert_eq!(node.call(&Release { file: ends.write }), Now::Done(()));
    assert_eq!(node.take(), [ended(reader, 0)]);
    assert_eq!(read(node, ends.read, 100, 3), moved(0));
    assert_eq!(write(node, ends.write, b"x"), Now::Failed(Errno::EBADF));
}

#[test]
fn pipe_without_readers_breaks_writers() {
    let node = &mut single();
    let ends = pipe(node);
    let data = vec![7; PIPE_BYTES];
    assert_eq!(write(node, ends.write, &data), moved(PIPE_BYTES as u64));
    let writer = pending(write(node, ends.write, b"more"));
    assert_eq!(node.call(&Release { file: ends.read }), Now::Done(()));
    assert_eq!(node.take(), [failed(writer, Errno::EPIPE)]);
    assert_eq!(write(node, ends.write, b"x"), Now::Failed(Errno::EPIPE));
    assert_eq!(node.call(&Release { file: ends.write }), Now::Done(()));
}

#[test]
fn pipe_nonblocking_answers_at_once() {
    let node = &mut single();
    let Now::Done(ends) = node.call(&PipeCreate { flags: O_NONBLOCK }) else { panic!("no pipe") };
    assert_eq!(read(node, ends.read, 0, 1), Now::Failed(Errno::EAGAIN));
    let data = vec![7; PIPE_BYTES];
    assert_eq!(write(node, ends.write, &data[..PIPE_BYTES - 10]), moved(PIPE_BYTES as u64 - 10));
    assert_eq!(write(node, ends.write, &data[..11]), Now::Failed(Errno::EAGAIN));
    assert_eq!(write(node, ends.write, &data[..5000]), moved(10));
    assert_eq!(node.call(&SetFlags { file: ends.write, flags: 0 }), Now::Done(()));
    pending(write(node, ends.write, &data[..5000]));
}

#[test]
fn pipe_poll_tells_what_can_be_done() {
    let node = &mut single();
    let ends = pipe(node);
    let both = POLLIN | POLLOUT;
    let ready = |events| Now::Done(Ready { events });
    assert_eq!(node.call(&Poll { file: ends.read, events: both }), ready(0));
    assert_eq!(node.call(&Poll { file: ends.write, events: both }), ready(POLLOUT));
    let wait = pending(node.call(&PollWait { file: ends.read, events: both }));
    write(node, ends.write, b"x");
    let msg = Msg::of(&Ready { events: POLLIN }).expect("a message");
    assert_eq!(node.take(), [Later::Ended(wait, Ok(msg))]);
    node.call(&Release { file: ends.write });
    assert_eq!(node.call(&Poll { file: ends.read, events: both }), ready(POLLIN | POLLHUP));
}

#[test]
fn pipe_poll_of_a_broken_write_end_tells_error() {
    let node = &mut single();
    let ends = pipe(node);
    let wait = pending(node.call(&PollWait { file: ends.write, events: 0 }));
    node.call(&Release { file: ends.read });
    let msg = Msg::of(&Ready { events: POLLERR }).expect("a message");
    assert_eq!(node.take(), [Later::Ended(wait, Ok(msg))]);
}

#[test]
fn pipe_wrong_uses_are_refused() {
    let node = &mut single();
    let ends = pipe(node);
    assert_eq!(read(node, ends.write, 0, 1), Now::Failed(Errno::EBADF));
    assert_eq!(write(node, ends.read, b"x"), Now::Failed(Errno::EBADF));
    assert_eq!(read(node, FileId::from_raw(99), 0, 1), Now::Failed(Errno::EBADF));
    let seek = Seek { file: ends.read, offset: 0, whence: 0 };
    assert_eq!(node.call(&seek), Now::Failed(Errno::ESPIPE));
    assert_eq!(write(node, ends.write, b"abc"), moved(3));
    assert_eq!(read(node, ends.read, u64::MAX, 3), Now::Failed(Errno::EFAULT));
    let caller = Caller::default();
    let ioctl = Ioctl { file: ends.read, request: FIONREAD, arg: 0, data: vec![], caller };
    let Now::Done(reply) = node.call(&ioctl) else { panic!("no answer") };
    assert_eq!(reply.data, 3u32.to_le_bytes());
    let Now::Done(stat) = node.call(&FileStat { file: ends.read }) else { panic!("no answer") };
    assert_eq!(stat.mode & 0o170_000, 0o010_000);
}

#[test]
fn pipe_create_beyond_the_bound_is_refused() {
    let node = &mut single();
    for _ in 0..crate::limits::PIPES_MAX {
        pipe(node);
    }
    assert_eq!(node.call(&PipeCreate { flags: 0 }), Now::Failed(Errno::ENFILE));
}
