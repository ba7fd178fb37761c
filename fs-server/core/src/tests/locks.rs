// SPDX-License-Identifier: MIT OR Apache-2.0
//! Advisory locks: who gets what, who waits, and how waits end.

use super::world::{World, node};
use crate::limits::{LOCK_WAITS_MAX, LOCKS_MAX, LOCKS_PER_FILE_MAX, LOOK_PIDS_MAX};
use crate::lock_waits::LOCK_TIMER;
use crate::locks::LAST;
use abi::{Errno, FileId, InodeId};
use fs_api::file::{EndLocks, Hold, Lock, LockFound, LockInTheWay, LockMode, LockOwner, LockRange};
use fs_api::file::{LoseLocks, Seek, TestLock};
use fs_api::peer::{IsOpen, LockAt, LockHolder, LockStep, WaitsFor};
use runtime::{Core, Event};
use std::format;
use std::vec;
use std::vec::Vec;

pub(super) const CREATE: u32 = 0o102;
pub(super) const WHOLE: LockOwner = LockOwner::Whole;
pub(super) const OFD: LockOwner = LockOwner::Description;
pub(super) use LockMode::{Exclusive, Shared, Unlock};

pub(super) fn process(pid: u32) -> LockOwner {
    LockOwner::Process { pid, moves: 0 }
}

pub(super) fn range(start: i64, len: i64) -> LockRange {
    LockRange { whence: 0, start, len }
}

pub(super) fn lock(file: FileId, owner: LockOwner, mode: LockMode, wait: bool) -> Lock {
    Lock { file, owner, mode, range: LockRange::default(), wait }
}

/// Locks all of the file, without waiting.
pub(super) fn set(
    w: &World,
    at: usize,
    file: FileId,
    owner: LockOwner,
    mode: LockMode,
) -> Result<(), Errno> {
    w.call(at, &lock(file, owner, mode, false))
}

pub(super) fn ranges(w: &World, at: usize) -> usize {
    w.step(at, |core, _| core.locked_ranges())
}

/// A file that each node has open, with its own description.
pub(super) fn shared_file(w: &World, path: &str) -> Vec<FileId> {
    (0..w.nodes()).map(|at| w.open(at, path, CREATE).expect("made")).collect()
}

#[test]
fn flock_is_the_descriptions_and_ends_with_it() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    let second = w.open(0, "/tmp/f", 0).expect("there");
    assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Ok(()));
    assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Ok(()));
    for (at, file) in [(0, second), (1, f[1])] {
        assert_eq!(set(&w, at, file, WHOLE, Shared), Err(Errno::EAGAIN));
    }
    // Record locks know nothing of it.
    assert_eq!(set(&w, 1, f[1], process(5), Exclusive), Ok(()));
    assert_eq!(set(&w, 0, f[0], WHOLE, Shared), Ok(()));
    assert_eq!(set(&w, 1, f[1], WHOLE, Shared), Ok(()));
    // A change lets the lock before go, also if it fails.
    assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Err(Errno::EAGAIN));
    assert_eq!(set(&w, 1, f[1], WHOLE, Exclusive), Ok(()));
    w.call(1, &Hold { file: f[1], node: node(1) }).expect("open");
    w.close(1, f[1]);
    assert_eq!(set(&w, 0, second, WHOLE, Shared), Err(Errno::EAGAIN));
    w.close(0, f[1]);
    assert_eq!(set(&w, 0, second, WHOLE, Exclusive), Ok(()));
    assert_eq!(set(&w, 0, second, WHOLE, Unlock), Ok(()));
    assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Ok(()));
}

#[test]
fn record_locks_are_ranges_of_processes_and_descriptions() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    let part = |at: usize, owner, mode, start, len| {
        let range = range(start, len);
        w.call(at, &Lock { range, ..lock(f[at], owner, mode, false) })
    };
    assert_eq!(part(0, process(7), Exclusive, 0, 100), Ok(()));
    assert_eq!(part(1, process(8), Exclusive, 99, 1), Err(Errno::EAGAIN));
    assert_eq!(part(1, process(8), Shared, 100, 0), Ok(()));
    assert_eq!(part(0, OFD, Exclusive, 0, 10), Err(Errno::EAGAIN));
    assert_eq!(part(0, process(7), Unlock, 40, 20), Ok(()));
    assert_eq!(part(0, OFD, Exclusive, 40, 20), Ok(()));
    let test = |at: usize, owner, mode, start, len| {
        let range = range(start, len);
        w.call(at, &TestLock { file: f[at], owner, mode, range }).expect("asked").lock
    };
    let found = |exclusive, first, last, pid| Some(LockInTheWay { exclusive, first, last, pid });
    assert_eq!(test(1, process(8), Shared, 0, 0), found(true, 0, 39, Some(7)));
    assert_eq!(test(1, process(8), Shared, 40, 1), found(true, 40, 59, None));
    assert_eq!(test(1, process(8), Exclusive, 200, 1), None);
    assert_eq!(test(0, process(7), Exclusive, 60, 0), found(false, 100, LAST, Some(8)));
    assert_eq!(test(0, process(7), Shared, 60, 0), None);
    assert_eq!(test(1, process(8), Unlock, 0, 0), found(false, 100, LAST, Some(8)));
    // A process that closes any descriptor of the file has none of its locks any more.
    let other = w.open(0, "/tmp/f", 0).expect("there");
    w.call(0, &EndLocks { file: other, pid: 7 }).expect("open");
    assert_eq!(part(1, process(8), Exclusive, 0, 40), Ok(()));
    assert_eq!(part(1, process(8), Exclusive, 40, 1), Err(Errno::EAGAIN));
}

#[test]
fn ranges_are_taken_as_fcntl_gives_them() {
    let w = World::new(2);
    let file = w.open(1, "/tmp/f", CREATE).expect("made");
    w.write(1, file, &[1; 50]).expect("room");
    w.call(1, &Seek { file, offset: 20, whence: 0 }).expect("open");
    let test = |whence, start, len| {
        let range = LockRange { whence, start, len };
        w.call(1, &Lock { range, ..lock(file, process(3), Exclusive, false) })?;
        let range = LockRange::default();
        let other = TestLock { file, owner: process(4), mode: Exclusive, range };
        let found = w.call(1, &other)?.lock.expect("it is locked");
        w.call(1, &lock(file, process(3), Unlock, false))?;
        Ok((found.first, found.last))
    };
    assert_eq!(test(0, 5, 10), Ok((5, 14)));
    assert_eq!(test(1, 5, 10), Ok((25, 34)));
    assert_eq!(test(2, 5, 10), Ok((55, 64)));
    assert_eq!(test(2, -50, 0), Ok((0, LAST)));
    assert_eq!(test(0, 30, -10), Ok((20, 29)));
    assert_eq!(test(0, i64::MAX, 1), Ok((LAST, LAST)));
    assert_eq!(test(0, -1, 5), Err(Errno::EINVAL));
    assert_eq!(test(0, 5, -6), Err(Errno::EINVAL));
    assert_eq!(test(1, -21, 0), Err(Errno::EINVAL));
    assert_eq!(test(9, 0, 0), Err(Errno::EINVAL));
    assert_eq!(test(0, i64::MAX, 2), Err(Errno::EOVERFLOW));
    assert_eq!(test(1, i64::MAX, 0), Err(Errno::EOVERFLOW));
    assert_eq!(test(0, i64::MIN, i64::MIN), Err(Errno::EINVAL));
}

#[test]
fn record_locks_need_the_access_mode_and_flock_does_not() {
    let w = World::new(2);
    w.put(0, "/tmp/f", b"x").expect("made");
    let [reads, writes, path] = [0, 1, 0o10_000_000].map(|flags| w.open(1, "/tmp/f", flags));
    let (reads, writes, path) = (reads.expect("r"), writes.expect("w"), path.expect("path"));
    assert_eq!(set(&w, 1, reads, process(3), Exclusive), Err(Errno::EBADF));
    assert_eq!(set(&w, 1, writes, OFD, Shared), Err(Errno::EBADF));
    assert_eq!(set(&w, 1, reads, process(3), Shared), Ok(()));
    assert_eq!(set(&w, 1, writes, process(3), Exclusive), Ok(()));
    assert_eq!(set(&w, 1, reads, WHOLE, Exclusive), Ok(()));
    for owner in [WHOLE, OFD, process(3)] {
        assert_eq!(set(&w, 1, path, owner, Shared), Err(Errno::EBADF));
    }
    let null = w.open(1, "/dev/null", 2).expect("there");
    assert_eq!(set(&w, 1, null, WHOLE, Shared), Err(Errno::ENOLCK));
}

#[test]
fn waits_end_by_grant_in_order_and_shared_ones_together() {
    for home in 0..2 {
        let w = World::new(2);
        let path = ["/tmp/f", "/usr/share/f"][home];
        let f = shared_file(&w, path);
        assert_eq!(set(&w, 0, f[0], process(1), Exclusive), Ok(()));
        let shared = [(0, 2), (1, 3)]
            .map(|(at, pid)| (at, w.begin(at, &lock(f[at], process(pid), Shared, true))));
        let last = w.begin(1, &lock(f[1], process(4), Exclusive, true));
        w.settle();
        for (at, cookie) in shared {
            assert_eq!(w.answer::<Lock>(at, cookie), None);
        }
        assert_eq!(set(&w, 0, f[0], process(1), Unlock), Ok(()));
        for (at, cookie) in shared {
            assert_eq!(w.answer::<Lock>(at, cookie), Some(Ok(())));
        }
        assert_eq!(w.answer::<Lock>(1, last), None);
        assert_eq!(set(&w, 0, f[0], process(2), Unlock), Ok(()));
        assert_eq!(w.answer::<Lock>(1, last), None);
        w.call(1, &EndLocks { file: f[1], pid: 3 }).expect("open");
        assert_eq!(w.answer::<Lock>(1, last), Some(Ok(())));
        // Exclusive becomes shared: others may share it.
        let reader = w.begin(0, &lock(f[0], process(2), Shared, true));
        w.settle();
        assert_eq!(w.answer::<Lock>(0, reader), None);
        assert_eq!(set(&w, 1, f[1], process(4), Shared), Ok(()));
        w.settle();
        assert_eq!(w.answer::<Lock>(0, reader), Some(Ok(())));
    }
}

#[test]
fn cancelled_wait_ends_and_leaves_nothing() {
    for at in 0..2 {
        let w = World::new(2);
        let f = shared_file(&w, "/usr/share/f");
        assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Ok(()));
        let other = w.open(at, "/usr/share/f", 0).expect("there");
        let cookie = w.begin(at, &lock(other, WHOLE, Shared, true));
        w.settle();
        w.cancel(at, cookie);
        w.settle();
        assert_eq!(w.answer::<Lock>(at, cookie), Some(Err(Errno::ECANCELED)));
        assert_eq!(set(&w, 0, f[0], WHOLE, Unlock), Ok(()));
        assert_eq!(set(&w, 1, f[1], WHOLE, Exclusive), Ok(()));
        // One that was granted before stays granted.
        let cookie = w.begin(at, &lock(other, process(9), Shared, true));
        w.settle();
        w.cancel(at, cookie);
        w.settle();
        assert_eq!(w.answer::<Lock>(at, cookie), Some(Ok(())));
    }
}

#[test]
fn description_that_is_closed_waits_no_more() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    assert_eq!(set(&w, 0, f[0], OFD, Exclusive), Ok(()));
    let cookie = w.begin(1, &lock(f[1], OFD, Shared, true));
    w.settle();
    w.close(1, f[1]);
    assert_eq!(w.answer::<Lock>(1, cookie), Some(Err(Errno::EBADF)));
    w.close(0, f[0]);
    assert_eq!((ranges(&w, 0), ranges(&w, 1)), (0, 0));
}

/// Directories and files of the image are opened where they are asked for, and locked at their home.
#[test]
fn directories_and_files_of_the_image_are_locked_over_all_nodes() {
    for path in ["/usr/share", "/usr/share/words", "/bin/busybox", "/tmp"] {
        let w = World::new(3);
        let f: Vec<FileId> = (0..3).map(|at| w.open(at, path, 0).expect("there")).collect();
        assert_eq!(set(&w, 0, f[0], WHOLE, Exclusive), Ok(()), "{path}");
        let waits = [1, 2].map(|at| (at, w.begin(at, &lock(f[at], WHOLE, Exclusive, true))));
        w.settle();
        w.close(0, f[0]);
        let ended = waits.map(|(at, cookie)| w.answer::<Lock>(at, cookie));
        assert_eq!(ended.iter().flatten().count(), 1, "{path}");
        w.cancel(2, waits[1].1);
        w.cancel(1, waits[0].1);
        w.settle();
        [1, 2].into_iter().for_each(|at| w.close(at, f[at]));
        assert_eq!((0..3).map(|at| ranges(&w, at)).sum::<usize>(), 0, "{path}");
        let f: Vec<FileId> = (0..3).map(|at| w.open(at, path, 0).expect("there")).collect();
        assert_eq!(set(&w, 1, f[1], process(5), Shared), Ok(()));
        assert_eq!(set(&w, 2, f[2], process(6), Shared), Ok(()));
        w.call(1, &EndLocks { file: f[1], pid: 5 }).expect("open");
        w.call(2, &EndLocks { file: f[2], pid: 6 }).expect("open");
        assert_eq!((0..3).map(|at| ranges(&w, at)).sum::<usize>(), 0, "{path}");
    }
}

#[test]
fn ring_of_waits_at_one_home_is_seen_at_once() {
    let w = World::new(3);
    let files: Vec<_> = (0..3).map(|it| shared_file(&w, &format!("/tmp/{it}"))).collect();
    for (at, f) in files.iter().enumerate() {
        let pid = process(at as u32 + 1);
        assert_eq!(set(&w, at, f[at], pid, Exclusive), Ok(()));
    }
    let waits = |at: usize| lock(files[(at + 1) % 3][at], process(at as u32 + 1), Shared, true);
    let begun: Vec<u64> = (0..2).map(|at| w.begin(at, &waits(at))).collect();
    w.settle();
    assert_eq!(w.call(2, &waits(2)), Err(Errno::EDEADLK));
    // Its own second thread may still wait for what does not wait for it, and the others go on.
    assert_eq!(set(&w, 2, files[2][2], process(3), Unlock), Ok(()));
    assert_eq!(w.answer::<Lock>(1, begun[1]), Some(Ok(())));
    assert_eq!(w.answer::<Lock>(0, begun[0]), None);
}

fn tick(w: &World, at: usize) {
    w.step(at, |core, cx| core.event(cx, Event::Timer(LOCK_TIMER)));
    w.settle();
}

#[test]
fn ring_of_waits_over_several_homes_is_found_by_a_search() {
    let w = World::new(3);
    let dirs = ["/tmp", "/usr/share", "/usr"];
    let files: Vec<_> = dirs.map(|dir| shared_file(&w, &format!("{dir}/f"))).into();
    let homes: Vec<usize> = dirs
        .map(|dir| {
            let inode = w.stat(0, &format!("{dir}/f")).expect("there").inode;
            let slot = InodeId::from_raw(inode).slot();
            w.step(0, |_, cx| usize::from(cx.view().home(slot).get()) - 1)
        })
        .into();
    assert!(homes.iter().any(|home| *home != homes[0]), "{homes:?}");
    for (at, f) in files.iter().enumerate() {
        assert_eq!(set(&w, at, f[at], process(at as u32 + 1), Exclusive), Ok(()));
    }
    let waits = |at: usize| lock(files[(at + 1) % 3][at], process(at as u32 + 1), Exclusive, true);
    let begun: Vec<u64> = (0..3).map(|at| w.begin(at, &waits(at))).collect();
    w.settle();
    // Not long after, the home of one of them looks.
    let last = homes[0];
    assert!(w.step(last, |core, _| !core.locks.waiters.is_empty()), "somebody waits there");
    w.step(last, |core, _| core.locks.waiters.iter_mut().for_each(|it| it.look_ns = 0));
    tick(&w, last);
    let ended: Vec<_> = (0..3).filter_map(|at| w.answer::<Lock>(at, begun[at])).collect();
    assert!(!ended.is_empty() && ended.iter().all(|it| *it == Err(Errno::EDEADLK)), "{ended:?}");
    assert!(ended.len() < 3, "somebody goes on");
}

#[test]
fn wait_that_is_in_no_ring_is_left_alone() {
    let w = World::new(3);
    let f = shared_file(&w, "/usr/share/f");
    let g = shared_file(&w, "/tmp/g");
    assert_eq!(set(&w, 0, f[0], process(1), Exclusive), Ok(()));
    assert_eq!(set(&w, 1, g[1], process(2), Exclusive), Ok(()));
    let first = w.begin(1, &lock(f[1], process(2), Exclusive, true));
    let second = w.begin(2, &lock(g[2], process(3), Exclusive, true));
    w.settle();
    for at in 0..3 {
        w.step(at, |core, _| core.locks.waiters.iter_mut().for_each(|it| it.look_ns = 0));
        tick(&w, at);
    }
    assert_eq!((w.answer::<Lock>(1, first), w.answer::<Lock>(2, second)), (None, None));
}

#[test]
fn full_tables_refuse() {
    let w = World::new(1);
    let f = w.open(0, "/tmp/f", CREATE).expect("made");
    let byte = |file, at: usize, mode| {
        let range = range(2 * at as i64, 1);
        w.call(0, &Lock { range, ..lock(file, process(1), mode, false) })
    };
    for at in 0..LOCKS_PER_FILE_MAX {
        assert_eq!(byte(f, at, Exclusive), Ok(()));
    }
    assert_eq!(byte(f, LOCKS_PER_FILE_MAX, Exclusive), Err(Errno::ENOLCK));
    assert_eq!(byte(f, 5, Unlock), Ok(()));
    let three = Lock { range: range(100_000, 3), ..lock(f, process(1), Shared, false) };
    assert_eq!(w.call(0, &three), Ok(()));
    let middle = Lock { range: range(100_001, 1), ..lock(f, process(1), Unlock, false) };
    assert_eq!(w.call(0, &middle), Err(Errno::ENOLCK));
    for file in 1..LOCKS_MAX / LOCKS_PER_FILE_MAX {
        let f = w.open(0, &format!("/tmp/{file}"), CREATE).expect("made");
        for at in 0..LOCKS_PER_FILE_MAX {
            assert_eq!(byte(f, at, Exclusive), Ok(()));
        }
    }
    let g = w.open(0, "/tmp/g", CREATE).expect("made");
    assert_eq!(byte(g, 0, Exclusive), Err(Errno::ENOLCK));
    w.call(0, &EndLocks { file: f, pid: 1 }).expect("open");
    assert_eq!(byte(g, 0, Exclusive), Ok(()));
    for pid in 0..LOCK_WAITS_MAX as u32 {
        w.begin(0, &lock(g, process(pid + 2), Shared, true));
    }
    assert_eq!(w.call(0, &lock(g, process(9999), Shared, true)), Err(Errno::ENOLCK));
}

#[test]
fn process_that_is_lost_has_no_locks() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    assert_eq!(set(&w, 1, f[1], process(4), Exclusive), Ok(()));
    (0..2).for_each(|at| w.call(at, &LoseLocks { pid: 4 }).expect("asked"));
    assert_eq!(set(&w, 0, f[0], process(5), Exclusive), Ok(()));
}

#[test]
fn steps_of_another_nodes_making_are_checked() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    let inode = InodeId::from_raw(w.stat(0, "/tmp/f").expect("there").inode);
    let step = |inode, holder, mode, (first, last), at| {
        let step = LockStep::Set { mode, first, last, wait: false, at: (at, 0) };
        w.call_as_peer(1, 0, &LockAt { inode, holder, step })
    };
    let whole = LockHolder::Whole(f[1]);
    let pid = LockHolder::Process(7);
    assert_eq!(step(inode, whole, Shared, (0, 5), node(2)), Err(Errno::EINVAL));
    assert_eq!(step(inode, pid, Shared, (6, 5), node(2)), Err(Errno::EINVAL));
    assert_eq!(step(inode, pid, Shared, (0, u64::MAX), node(2)), Err(Errno::EINVAL));
    assert_eq!(step(inode, pid, Shared, (0, 5), node(9)), Err(Errno::EINVAL));
    let none = InodeId::new(inode.slot(), 0x7777).expect("an id");
    assert_eq!(step(none, pid, Shared, (0, 5), node(2)), Err(Errno::ESTALE));
    assert_eq!(w.call_as_peer(1, 0, &LoseLocks { pid: 7 }), Err(Errno::EPERM));
    assert_eq!(w.call_as_peer(1, 0, &IsOpen { file: FileId::from_raw(99) }), Err(Errno::EBADF));
    let many = WaitsFor { pids: vec![1; LOOK_PIDS_MAX + 1] };
    assert_eq!(w.call_as_peer(1, 0, &many), Err(Errno::EINVAL));
    let most = WaitsFor { pids: vec![u32::MAX; LOOK_PIDS_MAX] };
    assert_eq!(w.call_as_peer(1, 0, &most), Ok(()), "one message names them");
    assert_eq!(ranges(&w, 0), 0);
    assert_eq!(step(inode, pid, Shared, (0, 5), node(2)), Ok(()));
    assert_eq!(
        w.call(0, &TestLock { file: f[0], owner: process(1), mode: Shared, range: range(0, 0) }),
        Ok(LockFound::default())
    );
}
