// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads and writes: partial, interrupted, over absent pages.

use super::failed;
use super::world::{BASE, World, pipe, regular};
use crate::files::OpenFile;
use crate::layout::IntoBytes;
use crate::layout::io::Iovec;
use crate::layout::signal::SignalFrame;
use crate::process::ProcessNo;
use crate::signal::{Action, Info};
use abi::linux::general::*;
use abi::{Errno, FileId, ServerId};
use fs_api::file::{Moved, Read, ReadAt, TerminalRead, Write};
use fs_api::name::FileKind;
use ipc_api::{CounterCreate, CounterMade};

const USR1: u32 = 10;

fn catch(world: &mut World, signal: u32) {
    let flags = u64::from(SA_RESTORER);
    let action = Action { handler: 0x1234, flags, restorer: 0x5678, ..Action::default() };
    world.host.step(&mut world.node, |core, _| {
        let process = core.processes.get_mut(ProcessNo(0)).expect("it lives");
        process.own.actions.set(signal, action);
    });
}

fn signal(world: &mut World, signal: u32) {
    let thread = world.thread;
    world.host.step(&mut world.node, |core, cx| {
        core.signal_thread(cx, thread, Info::kernel(signal));
    });
}

#[test]
fn read_of_a_regular_file_goes_on_until_it_is_complete() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    world.expect::<Read>(Ok(Moved { bytes: 65536 }));
    world.expect::<Read>(Ok(Moved { bytes: 34464 }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 100_000]), Some(100_000));
    assert_eq!(world.last::<Read>().addr, BASE + 65536);
}

#[test]
fn long_lists_are_refused_and_short_ones_taken_while_the_heap_is_nearly_used_up() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.put(BASE, &[0; 9 * size_of::<Iovec>()]);
    world.node.heap_left = crate::limits::HEAP_RESERVE_BYTES - 1;
    assert_eq!(world.call(__NR_readv, &[fd, BASE, 9]), failed(Errno::ENOMEM));
    assert_eq!(world.call(__NR_poll, &[BASE, 65, 0]), failed(Errno::ENOMEM));
    assert_eq!(world.call(__NR_fork, &[]), failed(Errno::EAGAIN));
    world.expect::<Read>(Ok(Moved { bytes: 5 }));
    world.put(BASE, Iovec { base: BASE + 100, len: 5 }.as_bytes());
    assert_eq!(world.call(__NR_readv, &[fd, BASE, 1]), Some(5));
}

#[test]
fn read_of_a_pipe_gives_what_is_there() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.expect_later::<Read>(Ok(Moved { bytes: 5 }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 100_000]), None);
    assert_eq!(world.end_one(), Some(5));
}

#[test]
fn eventfd_makes_a_counter_that_takes_eight_bytes_at_a_time() {
    let mut world = World::new();
    let file = FileId::from_raw(9);
    world.expect::<CounterCreate>(Ok(CounterMade { file }));
    let flags = EFD_SEMAPHORE | O_NONBLOCK;
    let fd = world.call(__NR_eventfd2, &[5, flags.into()]).expect("at once");
    let made = CounterCreate { count: 5, semaphore: true, flags: O_NONBLOCK };
    assert_eq!(world.last::<CounterCreate>(), made);
    assert_eq!(world.call(__NR_eventfd2, &[0, 2]), failed(Errno::EINVAL));
    world.expect::<Write>(Ok(Moved { bytes: 8 }));
    assert_eq!(world.call(__NR_write, &[fd as u64, BASE, 16]), Some(8));
    assert_eq!(world.asked().last(), Some(&(ServerId::Ipc, 2)));
}

#[test]
fn write_to_a_pipe_goes_on_until_all_is_written() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.expect::<Write>(Ok(Moved { bytes: 1000 }));
    world.expect_later::<Write>(Ok(Moved { bytes: 64536 }));
    world.expect::<Write>(Ok(Moved { bytes: 4464 }));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 70_000]), None);
    assert_eq!(world.end_one(), Some(70_000));
}

#[test]
fn write_that_a_signal_interrupts_tells_what_was_written() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.expect::<Write>(Ok(Moved { bytes: 1000 }));
    world.expect_later::<Write>(Ok(Moved { bytes: 64536 }));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 70_000]), None);
    catch(&mut world, USR1);
    signal(&mut world, USR1);
    assert_eq!(world.state.borrow().cancelled.len(), 1);
    let _ = world.end_one();
    let rsp = world.state.borrow().resumed.last().expect("the handler runs").rsp;
    let frame: SignalFrame = world.read(rsp);
    assert_eq!(frame.context.registers.rax, 1000);
}

#[test]
fn error_behind_moved_bytes_ends_the_call_with_their_count() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    world.expect::<Write>(Ok(Moved { bytes: 65536 }));
    world.expect::<Write>(Err(Errno::ENOSPC));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 100_000]), Some(65536));
    world.expect::<Write>(Err(Errno::ENOSPC));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 100_000]), failed(Errno::ENOSPC));
}

#[test]
fn absent_page_is_fetched_and_moved_bytes_stay_moved() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    world.expect::<Read>(Ok(Moved { bytes: 65536 }));
    world.expect::<Read>(Err(Errno::ERESTART));
    world.expect::<Read>(Ok(Moved { bytes: 10 }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 100_000]), Some(65546));
    assert_eq!(world.state.borrow().fetches, 1);
    world.expect::<Read>(Err(Errno::ERESTART));
    world.expect::<Read>(Ok(Moved { bytes: 10 }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 100]), Some(10));
    assert_eq!(world.state.borrow().fetches, 2);
}

#[test]
fn vectors_are_moved_range_by_range() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    let vector = [Iovec { base: BASE + 100, len: 10 }, Iovec { base: BASE + 200, len: 20 }];
    world.put(BASE, vector.as_bytes());
    world.expect::<ReadAt>(Ok(Moved { bytes: 10 }));
    world.expect::<ReadAt>(Ok(Moved { bytes: 3 }));
    assert_eq!(world.call(__NR_preadv, &[fd, BASE, 2, 1000, 0]), Some(13));
    let last: ReadAt = world.last();
    assert_eq!((last.addr, last.len, last.offset), (BASE + 200, 20, 1010));
    let vector = [Iovec { base: BASE, len: u64::MAX }];
    world.put(BASE, vector.as_bytes());
    assert_eq!(world.call(__NR_writev, &[fd, BASE, 1]), failed(Errno::EINVAL));
}

#[test]
fn pread_of_a_pipe_is_espipe() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    assert_eq!(world.call(__NR_pread64, &[fd, BASE, 1, 0]), failed(Errno::ESPIPE));
    assert_eq!(world.call(__NR_pread64, &[fd, BASE, 1, u64::MAX]), failed(Errno::EINVAL));
}

#[test]
fn read_of_nothing_is_asked_for_its_errors() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    world.expect::<Read>(Err(Errno::EBADF));
    assert_eq!(world.call(__NR_read, &[fd, 0, 0]), failed(Errno::EBADF));
}

#[test]
fn read_in_the_background_waits_for_its_signal_or_fails() {
    let mut world = World::new();
    let terminal = OpenFile { file: FileId::from_raw(2), kind: FileKind::Terminal };
    let fd = world.open(terminal);
    world.expect::<TerminalRead>(Err(Errno::ERESTART));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 10]), failed(Errno::EIO));
    world.set_parent_in_session();
    world.expect::<TerminalRead>(Err(Errno::ERESTART));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 10]), None);
    world.expect::<TerminalRead>(Ok(Moved { bytes: 3 }));
    world.node.now_ns += 20_000_000;
    world.host.collect(&mut world.node, ServerId::Timer);
    assert_eq!(world.result(), Some(3));
}
