// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console terminal.

use super::{ended, event, failed, moved, pending, read, write};
use crate::limits::{INPUT_BYTES, OUTPUT_BYTES};
use crate::testing::{Node, Now, SPACE, node_id, single};
use abi::linux::general::{
    ECHO, ICANON, ISIG, O_NONBLOCK, O_RDWR, POLLIN, POLLOUT, SIGINT, SIGTTIN, VMIN, VTIME,
};
use abi::linux::ioctl::{
    FIONREAD, TCGETS, TCSETS, TIOCGPGRP, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP,
};
use abi::{Errno, FileId, ServerId};
use ipc_api::file::{Caller, Ioctl, Poll, Ready, Release, SetFlags, TerminalRead};
use ipc_api::{
    EVENT_RESCUE, EVENT_RESCUE_INPUT, EVENT_TERMINAL_SIGNAL, RescueEnd, RescueInput, RescueWrite,
    TerminalOpen, TerminalSignal,
};
use std::vec;
use std::vec::Vec;

const LEADER: Caller = Caller { pid: 10, group: 10, session: 10 };

fn open(node: &mut Node) -> FileId {
    match node.call(&TerminalOpen { node: node_id(1), flags: O_RDWR }) {
        Now::Done(opened) => opened.file,
        other => panic!("not opened: {other:?}"),
    }
}

fn ioctl(
    node: &mut Node,
    file: FileId,
    request: u32,
    arg: u64,
    data: &[u8],
) -> Result<Vec<u8>, Errno> {
    let ioctl = Ioctl { file, request, arg, data: data.to_vec(), caller: LEADER };
    match node.call(&ioctl) {
        Now::Done(reply) => Ok(reply.data),
        Now::Failed(errno) => Err(errno),
        Now::Pending(_) => panic!("an ioctl waits"),
    }
}

/// Changes local flags and, in raw mode, VMIN and VTIME.
fn set_local(node: &mut Node, file: FileId, clear: u32, min: u8, time: u8) {
    let mut termios = ioctl(node, file, TCGETS, 0, &[]).expect("settings");
    let local = u32::from_le_bytes(termios[12..16].try_into().expect("four bytes"));
    termios[12..16].copy_from_slice(&(local & !clear).to_le_bytes());
    termios[17 + VMIN as usize] = min;
    termios[17 + VTIME as usize] = time;
    ioctl(node, file, TCSETS, 0, &termios).expect("set");
}

/// Types and reads what a program gets.
fn line(node: &mut Node, file: FileId, typed: &[u8]) -> Vec<u8> {
    node.typed(typed);
    match read(node, file, 100, 5000) {
        Now::Done(it) => node.world.memory[100..100 + it.bytes as usize].to_vec(),
        other => panic!("no line: {other:?}"),
    }
}

#[test]
fn terminal_line_is_edited_echoed_and_read() {
    let node = &mut single();
    let tty = open(node);
    assert_eq!(line(node, tty, b"helxo\x7f\x7flo\r"), b"hello\n");
    assert_eq!(node.shown(), "helxo\x08 \x08\x08 \x08lo\r\n");
    assert_eq!(line(node, tty, b"one two three\x17\x17four\n"), b"one four\n");
    node.shown();
    assert_eq!(line(node, tty, b"ab\x15c\n"), b"c\n");
    assert_eq!(node.shown(), "ab\x08 \x08\x08 \x08c\r\n");
}

#[test]
fn terminal_erasing_tabs_and_control_characters_goes_back_all_columns() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"a\t");
    node.shown();
    node.typed(b"\x7f");
    assert_eq!(node.shown(), "\x08 \x08".repeat(7));
    node.typed(b"\x16\x01\x7f\n");
    assert_eq!(node.shown(), "^\x08^A\x08 \x08\x08 \x08\r\n");
    assert_eq!(line(node, tty, b""), b"a\n");
}

#[test]
fn terminal_utf8_character_is_erased_as_one() {
    let node = &mut single();
    let tty = open(node);
    assert_eq!(line(node, tty, "aé\x7fb\n".as_bytes()), b"ab\n");
}

#[test]
fn terminal_end_of_file_ends_a_line_or_the_input() {
    let node = &mut single();
    let tty = open(node);
    assert_eq!(line(node, tty, b"abc\x04"), b"abc");
    assert_eq!(line(node, tty, b"\x04"), b"");
    let reader = pending(read(node, tty, 100, 5));
    node.typed(b"\x04");
    assert_eq!(node.take(), [ended(reader, 0)]);
}

#[test]
fn terminal_long_line_is_read_in_parts_and_lines_one_by_one() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"abcdef\nsecond\n");
    assert_eq!(read(node, tty, 100, 4), moved(4));
    assert_eq!(read(node, tty, 100, 50), moved(3));
    assert_eq!(&node.world.memory[100..103], b"ef\n");
    assert_eq!(read(node, tty, 100, 50), moved(7));
}

#[test]
fn terminal_signal_keys_go_to_the_foreground_group_and_flush() {
    let node = &mut single();
    let tty = open(node);
    ioctl(node, tty, TIOCSCTTY, 0, &[]).expect("a controlling terminal");
    ioctl(node, tty, TIOCSPGRP, 0, &77u32.to_le_bytes()).expect("a group");
    node.typed(b"abc\x03");
    let signal = TerminalSignal { group: 77, signal: SIGINT };
    assert_eq!(node.take(), [event(EVENT_TERMINAL_SIGNAL, &signal)]);
    assert!(node.shown().ends_with("^C"));
    assert_eq!(line(node, tty, b"x\n"), b"x\n");
}

#[test]
fn terminal_background_reader_is_stopped() {
    let node = &mut single();
    let tty = open(node);
    ioctl(node, tty, TIOCSCTTY, 0, &[]).expect("a controlling terminal");
    let caller = Caller { pid: 20, group: 20, session: 10 };
    let call = TerminalRead { file: tty, space: SPACE, addr: 100, len: 5, caller };
    assert_eq!(node.call(&call), Now::Failed(Errno::ERESTART));
    let signal = TerminalSignal { group: 20, signal: SIGTTIN };
    assert_eq!(node.take(), [event(EVENT_TERMINAL_SIGNAL, &signal)]);
    let call = TerminalRead { caller: LEADER, ..call };
    pending(node.call(&call));
}

#[test]
fn terminal_session_is_taken_shown_and_left() {
    let node = &mut single();
    let tty = open(node);
    assert_eq!(ioctl(node, tty, TIOCGPGRP, 0, &[]), Err(Errno::ENOTTY));
    ioctl(node, tty, TIOCSCTTY, 0, &[]).expect("a controlling terminal");
    assert_eq!(ioctl(node, tty, TIOCGPGRP, 0, &[]), Ok(10u32.to_le_bytes().to_vec()));
    assert_eq!(ioctl(node, tty, TIOCGSID, 0, &[]), Ok(10u32.to_le_bytes().to_vec()));
    let thief = Caller { pid: 30, group: 30, session: 30 };
    let take = |arg| Ioctl { file: tty, request: TIOCSCTTY, arg, data: vec![], caller: thief };
    assert_eq!(node.call(&take(0)), Now::Failed(Errno::EPERM));
    ioctl(node, tty, TIOCNOTTY, 0, &[]).expect("left");
    assert_eq!(node.take().len(), 2, "SIGHUP and SIGCONT");
    assert!(matches!(node.call(&take(0)), Now::Done(_)));
}

#[test]
fn terminal_raw_mode_gives_bytes_as_they_come() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"early");
    set_local(node, tty, ICANON | ECHO | ISIG, 1, 0);
    node.shown();
    assert_eq!(read(node, tty, 100, 50), moved(5));
    let reader = pending(read(node, tty, 100, 50));
    node.typed(b"\x03");
    assert_eq!(node.take(), [ended(reader, 1)]);
    assert_eq!(node.world.memory[100], 3);
    assert_eq!(node.shown(), "");
}

#[test]
fn terminal_vmin_waits_for_so_many_bytes() {
    let node = &mut single();
    let tty = open(node);
    set_local(node, tty, ICANON, 3, 0);
    let reader = pending(read(node, tty, 100, 50));
    node.typed(b"ab");
    assert_eq!(node.take(), []);
    node.typed(b"c");
    assert_eq!(node.take(), [ended(reader, 3)]);
}

#[test]
fn terminal_vtime_ends_a_read_without_input() {
    let node = &mut single();
    let tty = open(node);
    set_local(node, tty, ICANON, 0, 2);
    let reader = pending(read(node, tty, 100, 50));
    node.pass(100_000_000);
    assert_eq!(node.take(), []);
    node.pass(100_000_000);
    assert_eq!(node.take(), [ended(reader, 0)]);
    set_local(node, tty, ICANON, 0, 0);
    assert_eq!(read(node, tty, 100, 50), moved(0));
}

#[test]
fn terminal_vmin_and_vtime_count_between_bytes() {
    let node = &mut single();
    let tty = open(node);
    set_local(node, tty, ICANON, 3, 1);
    let reader = pending(read(node, tty, 100, 50));
    node.pass(1_000_000_000);
    assert_eq!(node.take(), [], "no byte, no clock");
    node.typed(b"a");
    node.pass(60_000_000);
    node.typed(b"b");
    node.pass(60_000_000);
    assert_eq!(node.take(), []);
    node.pass(60_000_000);
    assert_eq!(node.take(), [ended(reader, 2)]);
}

#[test]
fn terminal_output_waits_for_the_console() {
    let node = &mut single();
    let tty = open(node);
    node.world.console_full = true;
    let text = vec![b'x'; OUTPUT_BYTES + 100];
    let writer = pending(write(node, tty, &text));
    let poll = Poll { file: tty, events: POLLIN | POLLOUT };
    assert_eq!(node.call(&poll), Now::Done(Ready { events: 0 }));
    node.console_room();
    assert_eq!(node.take(), [ended(writer, text.len() as u64)]);
    assert_eq!(node.shown().len(), text.len());
    assert_eq!(node.call(&poll), Now::Done(Ready { events: POLLOUT }));
}

#[test]
fn terminal_stop_and_start_keys_hold_output() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"\x13");
    assert_eq!(write(node, tty, b"later"), moved(5));
    assert_eq!(node.shown(), "");
    node.typed(b"\x11");
    assert_eq!(node.shown(), "later");
}

#[test]
fn terminal_input_beyond_the_bound_rings_the_bell() {
    let node = &mut single();
    let tty = open(node);
    node.typed(&vec![b'a'; INPUT_BYTES - 1]);
    node.shown();
    node.typed(b"b\n");
    assert_eq!(node.shown(), "\x07\r\n");
    let got = line(node, tty, b"");
    assert_eq!((got.len(), got.last()), (INPUT_BYTES, Some(&b'\n')));
    node.typed(b"ok\n");
    assert_eq!(line(node, tty, b""), b"ok\n");
}

#[test]
fn terminal_nonblocking_read_without_input_answers_again() {
    let node = &mut single();
    let tty = open(node);
    node.call(&SetFlags { file: tty, flags: O_NONBLOCK });
    assert_eq!(read(node, tty, 100, 5), Now::Failed(Errno::EAGAIN));
    node.typed(b"abc\n");
    assert_eq!(ioctl(node, tty, FIONREAD, 0, &[]), Ok(4u32.to_le_bytes().to_vec()));
}

#[test]
fn terminal_ioctls_check_their_arguments() {
    let node = &mut single();
    let tty = open(node);
    let window = ioctl(node, tty, TIOCGWINSZ, 0, &[]).expect("a size");
    assert_eq!(window, [24, 0, 80, 0, 0, 0, 0, 0]);
    assert_eq!(ioctl(node, tty, TCSETS, 0, &[1, 2, 3]), Err(Errno::EINVAL));
    assert_eq!(ioctl(node, tty, 0xdead, 0, &[]), Err(Errno::ENOTTY));
    ioctl(node, tty, TIOCSCTTY, 0, &[]).expect("a controlling terminal");
    assert_eq!(ioctl(node, tty, TIOCSPGRP, 0, &[]), Err(Errno::EINVAL));
}

#[test]
fn terminal_cancelled_read_ends_and_input_stays() {
    let node = &mut single();
    let tty = open(node);
    let reader = pending(read(node, tty, 100, 5));
    node.cancel(reader);
    assert_eq!(node.take(), [failed(reader, Errno::ECANCELED)]);
    assert_eq!(line(node, tty, b"abc\n"), b"abc\n");
}

#[test]
fn terminal_rescue_key_sends_input_to_the_shell_until_it_ends() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"\x1dnodex\x7fs\r");
    let input_event = event(EVENT_RESCUE_INPUT, &RescueInput(b"nodex\x7fs\r".to_vec()));
    assert_eq!(node.take_for(ServerId::Shell), [event(EVENT_RESCUE, &()), input_event]);
    assert_eq!(node.shown(), "");
    assert_eq!(node.call(&RescueWrite { text: b"1 up\n".to_vec() }), Now::Done(()));
    assert_eq!(node.shown(), "1 up\r\n");
    assert_eq!(node.call(&RescueEnd {}), Now::Done(()));
    assert_eq!(line(node, tty, b"back\n"), b"back\n");
}

#[test]
fn terminal_without_shell_server_keeps_what_is_typed() {
    let node = &mut single();
    let tty = open(node);
    node.typed(b"\x1d");
    node.take_for(ServerId::Shell);
    node.server_down(ServerId::Shell);
    assert_eq!(line(node, tty, b"abc\n"), b"abc\n");
    node.typed(b"\x1d");
    assert_eq!(node.take_for(ServerId::Shell), []);
}

#[test]
fn terminal_without_console_fails_what_waits_and_what_comes() {
    let node = &mut single();
    let tty = open(node);
    let reader = pending(read(node, tty, 100, 5));
    node.server_down(ServerId::Console);
    assert_eq!(node.take(), [failed(reader, Errno::EIO)]);
    assert_eq!(read(node, tty, 100, 5), Now::Failed(Errno::EIO));
    let again = TerminalOpen { node: node_id(1), flags: 2 };
    assert_eq!(node.call(&again), Now::Failed(Errno::EIO));
}

#[test]
fn terminal_that_nobody_has_open_is_as_new() {
    let node = &mut single();
    let tty = open(node);
    ioctl(node, tty, TIOCSCTTY, 0, &[]).expect("a controlling terminal");
    set_local(node, tty, ICANON | ECHO, 1, 0);
    assert_eq!(node.call(&Release { file: tty }), Now::Done(()));
    let tty = open(node);
    let caller = Caller { pid: 30, group: 30, session: 30 };
    let take = Ioctl { file: tty, request: TIOCSCTTY, arg: 0, data: vec![], caller };
    assert!(matches!(node.call(&take), Now::Done(_)));
    assert_eq!(line(node, tty, b"ab\x7fc\r"), b"ac\n");
}
