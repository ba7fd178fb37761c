// SPDX-License-Identifier: MIT OR Apache-2.0
//! Semaphores.

use super::{NOWAIT, call, done, get, hold, key_at, release, remove, root, takes, user};
use crate::testing::{Now, Pair};
use crate::tests::{failed, pending};
use abi::{Errno, FileId};
use ipc_api::sysv::{About, Kind, Operate, SemOp, SemRead, SemWrite, UndoOpen};
use std::vec;
use std::vec::Vec;

const UNDO: u16 = 0x1000;

fn op(number: u16, value: i16) -> SemOp {
    SemOp { number, value, flags: 0 }
}

fn operate(id: u32, ops: &[SemOp]) -> Operate {
    Operate { id, ops: ops.to_vec(), undo: None, by: root(5) }
}

fn values(pair: &mut Pair, id: u32) -> Vec<u32> {
    call(pair, 0, &SemRead { id, about: About::Values, by: root(1) }).expect("values").0
}

fn set(pair: &mut Pair, id: u32, values: &[u16]) {
    let write = SemWrite { id, number: None, values: values.to_vec(), by: root(1) };
    call(pair, 0, &write).expect("set");
}

/// A set whose home is node 1 (0) or node 2 (1).
fn made(pair: &mut Pair, home: usize, count: u64) -> u32 {
    let key = key_at(pair, home, Kind::Semaphores);
    get(pair, 0, Kind::Semaphores, key, count).expect("made")
}

#[test]
fn all_of_a_call_is_done_or_nothing() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home, 3);
        set(pair, id, &[2, 0, 32_767]);
        let nowait = |number, value| SemOp { number, value, flags: NOWAIT as u16 };
        let cases = [
            (vec![nowait(0, -1), nowait(1, -1)], Err(Errno::EAGAIN)),
            (vec![op(0, -1), op(2, 1)], Err(Errno::ERANGE)),
            (vec![op(0, 1), op(3, 1)], Err(Errno::EFBIG)),
            (vec![], Err(Errno::EINVAL)),
            (vec![op(0, 1); 65], Err(Errno::E2BIG)),
            (vec![op(0, -2), op(0, 0), op(0, 2), op(1, 0)], Ok(())),
        ];
        for (ops, result) in cases {
            assert_eq!(call(pair, 0, &operate(id, &ops)), result, "{ops:?}");
            assert_eq!(values(pair, id), [2, 0, 32_767]);
        }
        assert_eq!(call(pair, 1, &operate(id, &[op(0, -2), op(1, 7)])), Ok(()));
        assert_eq!(values(pair, id), [0, 7, 32_767]);
        let pid = SemRead { id, about: About::Pid(1), by: root(1) };
        assert_eq!(call(pair, 1, &pid).expect("a pid").0, [5]);
    }
}

#[test]
fn who_waits_is_woken_in_the_order_of_arrival() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 2);
    let first = pending(pair.0[0].call(&operate(id, &[op(0, -2)])));
    let second = pending(pair.0[1].call(&operate(id, &[op(0, -1)])));
    pair.settle();
    assert_eq!(values_of(pair, id, About::WaitForMore(0)), 2);
    assert_eq!(call(pair, 0, &operate(id, &[op(0, 2)])), Ok(()));
    pair.settle();
    assert_eq!(takes(&mut pair.0[0]), [done(first)]);
    assert_eq!(takes(&mut pair.0[1]), []);
    call(pair, 0, &operate(id, &[op(0, 1)])).expect("done");
    pair.settle();
    assert_eq!(takes(&mut pair.0[1]), [done(second)]);
}

fn values_of(pair: &mut Pair, id: u32, about: About) -> u32 {
    match pair.0[0].call(&SemRead { id, about, by: root(1) }) {
        Now::Done(values) => values.0[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn waits_for_zero_end_at_zero_and_are_counted() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 1);
    set(pair, id, &[1]);
    let waits = pending(pair.0[0].call(&operate(id, &[op(0, 0)])));
    assert_eq!(values_of(pair, id, About::WaitForZero(0)), 1);
    assert_eq!(values_of(pair, id, About::WaitForMore(0)), 0);
    assert_eq!(pair.0[0].call(&operate(id, &[op(0, -1)])), Now::Done(()));
    assert_eq!(takes(&mut pair.0[0]), [done(waits)]);
}

#[test]
fn removed_set_ends_what_waits() {
    let pair = &mut Pair::new();
    let id = made(pair, 1, 1);
    let waits = pending(pair.0[0].call(&operate(id, &[op(0, -1)])));
    pair.settle();
    assert_eq!(remove(pair, 1, Kind::Semaphores, id), Ok(()));
    pair.settle();
    assert_eq!(takes(&mut pair.0[0]), [failed(waits, Errno::EIDRM)]);
}

#[test]
fn cancelled_call_has_done_nothing() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home, 1);
        let waits = pending(pair.0[0].call(&operate(id, &[op(0, -1)])));
        pair.settle();
        pair.0[0].cancel(waits);
        pair.settle();
        assert_eq!(takes(&mut pair.0[0]), [failed(waits, Errno::ECANCELED)]);
        set(pair, id, &[1]);
        assert_eq!(values(pair, id), [1]);
    }
}

fn undo(pair: &mut Pair, at: usize, id: u32) -> FileId {
    call(pair, at, &UndoOpen { id, by: root(5) }).expect("a list").file
}

fn with_undo(id: u32, file: FileId, ops: &[(u16, i16)]) -> Operate {
    let ops = ops.iter().map(|(number, value)| SemOp { flags: UNDO, ..op(*number, *value) });
    Operate { undo: Some(file), ops: ops.collect(), ..operate(id, &[]) }
}

#[test]
fn end_of_a_process_undoes_what_it_did() {
    for home in [0, 1] {
        let pair = &mut Pair::new();
        let id = made(pair, home, 2);
        set(pair, id, &[3, 0]);
        let file = undo(pair, 1, id);
        assert_eq!(call(pair, 1, &with_undo(id, file, &[(0, -2), (1, 4)])), Ok(()));
        assert_eq!(call(pair, 0, &operate(id, &[op(1, -3)])), Ok(()));
        let waits = pending(pair.0[0].call(&operate(id, &[op(0, -3)])));
        pair.settle();
        release(pair, 1, file);
        pair.settle();
        assert_eq!(takes(&mut pair.0[0]), [done(waits)]);
        // 1 - 4 is less than nothing, which there is not.
        assert_eq!(values(pair, id), [0, 0]);
    }
}

#[test]
fn death_of_the_node_of_a_process_undoes_what_it_did() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 1);
    set(pair, id, &[1]);
    let file = undo(pair, 1, id);
    assert_eq!(call(pair, 1, &with_undo(id, file, &[(0, -1)])), Ok(()));
    pair.kill_second();
    assert_eq!(values(pair, id), [1]);
}

#[test]
fn moved_process_keeps_what_it_has_to_undo() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 1);
    set(pair, id, &[1]);
    let file = undo(pair, 0, id);
    assert_eq!(call(pair, 0, &with_undo(id, file, &[(0, -1)])), Ok(()));
    hold(pair, 0, file, 2);
    release(pair, 0, file);
    assert_eq!(values(pair, id), [0]);
    assert_eq!(call(pair, 1, &with_undo(id, file, &[(0, 1)])), Ok(()));
    release(pair, 1, file);
    assert_eq!(values(pair, id), [1]);
}

#[test]
fn value_that_is_set_is_not_undone() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 2);
    let file = undo(pair, 0, id);
    assert_eq!(call(pair, 0, &with_undo(id, file, &[(0, 5), (1, 6)])), Ok(()));
    let one = SemWrite { id, number: Some(0), values: vec![9], by: root(1) };
    assert_eq!(call(pair, 0, &one), Ok(()));
    release(pair, 0, file);
    assert_eq!(values(pair, id), [9, 0]);
}

#[test]
fn undo_is_no_more_than_a_semaphore_can_be() {
    let pair = &mut Pair::new();
    let id = made(pair, 0, 1);
    let file = undo(pair, 0, id);
    assert_eq!(call(pair, 0, &with_undo(id, file, &[(0, 32_767)])), Ok(()));
    assert_eq!(call(pair, 0, &operate(id, &[op(0, -1)])), Ok(()));
    assert_eq!(call(pair, 0, &with_undo(id, file, &[(0, 1)])), Err(Errno::ERANGE));
    assert_eq!(values(pair, id), [32_766]);
}

#[test]
fn list_of_another_set_or_node_is_refused() {
    let pair = &mut Pair::new();
    let (id, other) = (made(pair, 0, 1), get(pair, 0, Kind::Semaphores, 0, 1).expect("made"));
    let file = undo(pair, 0, id);
    assert_eq!(call(pair, 0, &with_undo(other, file, &[(0, 1)])), Err(Errno::EBADF));
    assert_eq!(call(pair, 1, &with_undo(id, file, &[(0, 1)])), Err(Errno::EBADF));
    let ends = crate::tests::pipe(&mut pair.0[0]);
    assert_eq!(call(pair, 0, &with_undo(id, ends.read, &[(0, 1)])), Err(Errno::EBADF));
}

#[test]
fn reader_may_not_change() {
    let pair = &mut Pair::new();
    let by = user(7);
    let make = ipc_api::sysv::Get { kind: Kind::Semaphores, key: 0, size: 1, flags: 0o444, by };
    let id = call(pair, 0, &make).expect("made").id;
    let zero = Operate { by, ..operate(id, &[op(0, 0)]) };
    assert_eq!(call(pair, 0, &zero), Ok(()));
    let more = Operate { by, ..operate(id, &[op(0, 1)]) };
    assert_eq!(call(pair, 0, &more), Err(Errno::EACCES));
    let write = SemWrite { id, number: Some(0), values: vec![1], by };
    assert_eq!(call(pair, 0, &write), Err(Errno::EACCES));
    assert_eq!(
        call(pair, 0, &SemWrite { values: vec![], by: root(1), ..write }),
        Err(Errno::EINVAL)
    );
}
