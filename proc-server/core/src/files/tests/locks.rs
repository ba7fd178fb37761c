// SPDX-License-Identifier: MIT OR Apache-2.0
//! flock(2) and the locks of fcntl(2): what is asked of fs-server, and when a process's locks end.

use super::failed;
use super::world::{BASE, World, pipe, regular};
use crate::files::{OpenFile, locks};
use crate::layout::IntoBytes;
use crate::layout::io::Flock;
use crate::process::ProcessNo;
use abi::linux::general::*;
use abi::{Errno, FileId, NodeId};
use fs_api::file::{
    EndLocks, Lock, LockFound, LockInTheWay, LockMode, LockOwner, LockRange, MoveLocks, Release,
    TestLock,
};
use runtime::Operation;

fn flock(kind: u32, start: i64, len: i64) -> Flock {
    Flock { kind: kind as i16, whence: SEEK_CUR as i16, pad: 0, start, len, pid: 0, pad2: 0 }
}

fn numbers(world: &World) -> alloc::vec::Vec<u16> {
    world.asked().into_iter().map(|(_, op)| op).collect()
}

#[test]
fn flock_asks_for_the_whole_file() {
    let mut world = World::new();
    let fd = world.open(regular(3));
    world.expect::<Lock>(Ok(()));
    assert_eq!(world.call(__NR_flock, &[fd, (LOCK_EX | LOCK_NB).into()]), Some(0));
    let lock = world.last::<Lock>();
    assert_eq!((lock.owner, lock.mode, lock.wait), (LockOwner::Whole, LockMode::Exclusive, false));
    world.expect::<Lock>(Err(Errno::EAGAIN));
    assert_eq!(world.call(__NR_flock, &[fd, LOCK_SH.into()]), failed(Errno::EAGAIN));
    assert!(world.last::<Lock>().wait);
    for operation in [0, LOCK_NB, LOCK_SH | LOCK_EX, 64] {
        assert_eq!(world.call(__NR_flock, &[fd, operation.into()]), failed(Errno::EINVAL));
    }
    let fd = world.open(pipe(4));
    assert_eq!(world.call(__NR_flock, &[fd, LOCK_SH.into()]), failed(Errno::ENOLCK));
    assert_eq!(world.call(__NR_flock, &[99, LOCK_SH.into()]), failed(Errno::EBADF));
    // Its description's, not its own: nothing is to be said when it closes.
    assert_eq!(world.call(__NR_close, &[0]), Some(0));
    assert_eq!(numbers(&world), [Lock::NUMBER, Lock::NUMBER, Release::NUMBER]);
}

#[test]
fn record_locks_are_asked_for_as_the_structure_says() {
    let mut world = World::new();
    let fd = world.open(regular(3));
    world.put(BASE, flock(F_WRLCK, 5, -3).as_bytes());
    world.expect::<Lock>(Ok(()));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_SETLKW.into(), BASE]), Some(0));
    let lock = world.last::<Lock>();
    assert_eq!(lock.range, LockRange { whence: SEEK_CUR, start: 5, len: -3 });
    assert_eq!((lock.owner, lock.wait), (LockOwner::Process { pid: 1, moves: 0 }, true));
    world.expect::<Lock>(Err(Errno::EDEADLK));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_OFD_SETLK.into(), BASE]), failed(Errno::EDEADLK));
    assert_eq!(world.last::<Lock>().owner, LockOwner::Description);
    let way = LockInTheWay { exclusive: false, first: 10, last: 14, pid: Some(77) };
    world.expect::<TestLock>(Ok(LockFound { lock: Some(way) }));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_GETLK.into(), BASE]), Some(0));
    let got: Flock = world.read(BASE);
    assert_eq!((got.kind, got.whence, got.start, got.len, got.pid), (0, 0, 10, 5, 77));
    let all = LockInTheWay { exclusive: true, first: 0, last: i64::MAX as u64, pid: None };
    world.put(BASE, flock(F_RDLCK, 0, 1).as_bytes());
    world.expect::<TestLock>(Ok(LockFound { lock: Some(all) }));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_OFD_GETLK.into(), BASE]), Some(0));
    let got: Flock = world.read(BASE);
    assert_eq!((got.kind, got.start, got.len, got.pid), (F_WRLCK as i16, 0, 0, -1));
    world.put(BASE, flock(F_RDLCK, 7, 1).as_bytes());
    world.expect::<TestLock>(Ok(LockFound::default()));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_GETLK.into(), BASE]), Some(0));
    assert_eq!(world.read::<Flock>(BASE), flock(F_UNLCK, 7, 1));
}

#[test]
fn structures_that_are_wrong_are_refused_without_an_ask() {
    let mut world = World::new();
    let fd = world.open(regular(3));
    world.put(BASE, flock(7, 0, 0).as_bytes());
    for command in [F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW] {
        assert_eq!(world.call(__NR_fcntl, &[fd, command.into(), BASE]), failed(Errno::EINVAL));
        assert_eq!(world.call(__NR_fcntl, &[fd, command.into(), 8]), failed(Errno::EFAULT));
        assert_eq!(world.call(__NR_fcntl, &[77, command.into(), BASE]), failed(Errno::EBADF));
    }
    world.put(BASE, flock(F_UNLCK, 0, 0).as_bytes());
    assert_eq!(world.call(__NR_fcntl, &[fd, F_GETLK.into(), BASE]), failed(Errno::EINVAL));
    world.put(BASE, Flock { pid: 3, ..flock(F_RDLCK, 0, 0) }.as_bytes());
    assert_eq!(world.call(__NR_fcntl, &[fd, F_OFD_SETLK.into(), BASE]), failed(Errno::EINVAL));
    assert!(world.asked().is_empty());
}

#[test]
fn signal_ends_a_wait_for_a_lock() {
    let mut world = World::new();
    let fd = world.open(regular(3));
    world.expect_later::<Lock>(Ok(()));
    assert_eq!(world.call(__NR_flock, &[fd, LOCK_EX.into()]), None);
    world.host.step(&mut world.node, |core, cx| {
        core.poke(cx, world.thread, crate::thread::Interrupt::Signal);
    });
    assert_eq!(world.state.borrow().cancelled.len(), 1);
    // No handler is to run: it asks again.
    world.expect::<Lock>(Ok(()));
    world.end_one();
    assert!(!world.has_open_asks());
}

#[test]
fn any_descriptor_that_closes_ends_the_locks_of_a_process() {
    let mut world = World::new();
    let fd = world.open(regular(3));
    let other = world.open(regular(4));
    assert_eq!(world.call(__NR_dup, &[fd]), Some(2));
    assert_eq!(world.call(__NR_close, &[2]), Some(0));
    assert!(world.asked().is_empty(), "it has asked for no lock");
    world.put(BASE, flock(F_WRLCK, 0, 0).as_bytes());
    world.expect::<Lock>(Ok(()));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_SETLK.into(), BASE]), Some(0));
    assert_eq!(world.call(__NR_dup, &[fd]), Some(2));
    assert_eq!(world.call(__NR_close, &[2]), Some(0));
    let end = world.last::<EndLocks>();
    assert_eq!((end.file, end.pid), (FileId::from_raw(3), 1));
    // dup2 closes what was there, and so does close_range; who asks for a lock to go has none.
    assert_eq!(world.call(__NR_dup2, &[fd, other]), Some(other.cast_signed()));
    assert_eq!(world.last::<EndLocks>().file, FileId::from_raw(4));
    let pipe = world.open(pipe(9));
    assert_eq!(world.call(__NR_close, &[pipe]), Some(0));
    assert_eq!(world.call(__NR_close_range, &[0, 9, 0]), Some(0));
    let ends = numbers(&world).into_iter().filter(|op| *op == EndLocks::NUMBER).count();
    assert_eq!(ends, 4);
}

#[test]
fn locks_of_a_process_that_moves_are_told_of() {
    let mut world = World::new();
    let file = regular(3);
    let fd = world.open(file);
    let to = NodeId::new(9).expect("a node");
    let no = ProcessNo(0);
    let moving = |world: &mut World, file: OpenFile| {
        world.host.step(&mut world.node, |core, _| {
            locks::moving(&core.processes.get(no).expect("it lives").own, file, to)
        })
    };
    assert_eq!(moving(&mut world, file), None);
    world.put(BASE, flock(F_RDLCK, 0, 0).as_bytes());
    world.expect::<Lock>(Ok(()));
    assert_eq!(world.call(__NR_fcntl, &[fd, F_SETLK.into(), BASE]), Some(0));
    assert_eq!(moving(&mut world, pipe(4)), None);
    let wanted = MoveLocks { file: file.file, pid: 1, enters: Some((to, 1)), leaves: None };
    assert_eq!(moving(&mut world, file), Some(wanted));
    world.expect::<MoveLocks>(Ok(()));
    world.host.step(&mut world.node, |core, cx| locks::left(core, cx, no));
    let me = NodeId::new(1).expect("a node");
    assert_eq!(world.last::<MoveLocks>().leaves, Some((me, 0)));
    world.expect::<MoveLocks>(Ok(()));
    world.host.step(&mut world.node, |core, cx| locks::stays(core, cx, no, to));
    assert_eq!(world.last::<MoveLocks>().leaves, Some((to, 1)));
    world.host.step(&mut world.node, |core, cx| locks::end_all(core, cx, no));
    assert_eq!(world.last::<EndLocks>().pid, 1);
}
