// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks whose holder moves or dies, and locks that move: with their slot, or to its backup.

use super::backups::without;
use super::locks::{CREATE, Exclusive, OFD, Shared, Unlock, WHOLE, lock, process, range, ranges};
use super::locks::{set, shared_file};
use super::moves::Move;
use super::world::{World, node};
use abi::{Errno, FileId};
use fs_api::file::{EndLocks, Hold, Lock, LockMode, LockOwner, MoveLocks, Release};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::vec::Vec;

#[test]
fn locks_of_a_dead_node_are_free_and_its_waits_are_over() {
    let w = World::new(3);
    let f = shared_file(&w, "/tmp/f");
    assert_eq!(set(&w, 1, f[1], process(1), Exclusive), Ok(()));
    assert_eq!(set(&w, 1, f[1], WHOLE, Exclusive), Ok(()));
    w.begin(1, &lock(f[1], process(9), Exclusive, true));
    let waits = [process(2), WHOLE].map(|owner| w.begin(2, &lock(f[2], owner, Exclusive, true)));
    w.settle();
    w.kill(1);
    w.settle();
    for cookie in waits {
        assert_eq!(w.answer::<Lock>(2, cookie), Some(Ok(())));
    }
    assert_eq!(ranges(&w, 0), 2);
}

#[test]
fn locks_go_with_a_process_that_moves() {
    let w = World::new(3);
    let f = shared_file(&w, "/tmp/f");
    let file = f[1];
    let moves = |at: usize, enters, leaves| {
        w.call(at, &MoveLocks { file, pid: 7, enters, leaves }).expect("open");
    };
    let owner = |moves| LockOwner::Process { pid: 7, moves };
    assert_eq!(set(&w, 1, file, owner(0), Exclusive), Ok(()));
    // From node 2 to node 3.
    w.call(1, &Hold { file, node: node(3) }).expect("open");
    moves(1, Some((node(3), 1)), None);
    moves(1, None, Some((node(2), 0)));
    w.kill(1);
    w.settle();
    assert_eq!(set(&w, 0, f[0], process(8), Shared), Err(Errno::EAGAIN));
    // It goes on there: what it had is its own.
    assert_eq!(set(&w, 2, file, owner(1), Shared), Ok(()));
    assert_eq!(set(&w, 0, f[0], process(8), Shared), Ok(()));
    w.kill(2);
    w.settle();
    assert_eq!(set(&w, 0, f[0], process(8), Exclusive), Ok(()));
}

#[test]
fn late_word_of_an_earlier_move_changes_nothing() {
    let w = World::new(2);
    let f = shared_file(&w, "/tmp/f");
    let moves = |enters, leaves| {
        w.call(0, &MoveLocks { file: f[0], pid: 7, enters, leaves }).expect("open");
    };
    assert_eq!(set(&w, 0, f[0], process(7), Exclusive), Ok(()));
    moves(Some((node(2), 1)), None);
    moves(Some((node(1), 2)), None);
    // The first move's end is told after the second's beginning.
    moves(None, Some((node(1), 0)));
    moves(None, Some((node(2), 1)));
    assert_eq!(set(&w, 1, f[1], process(8), Exclusive), Err(Errno::EAGAIN));
    moves(None, Some((node(1), 2)));
    assert_eq!(set(&w, 1, f[1], process(8), Exclusive), Ok(()));
}

#[test]
fn locks_move_with_their_slot_and_waits_begin_again() {
    for first in 0..3 {
        let w = World::new(3);
        let it = Move::of_share(&w);
        let f = shared_file(&w, "/usr/share/f");
        assert_eq!(set(&w, 0, f[0], process(1), Exclusive), Ok(()));
        assert_eq!(set(&w, 1, f[1], WHOLE, Exclusive), Ok(()));
        let waits = w.begin(2, &lock(f[2], process(2), Shared, true));
        w.settle();
        assert!(it.give(&w));
        // As any call that is told so, it comes again, and then waits for the view.
        assert_eq!(w.answer::<Lock>(2, waits), Some(Err(Errno::ERESTART)));
        let waits = w.begin(2, &lock(f[2], process(2), Shared, true));
        it.end(&w, true, first);
        assert_eq!(w.answer::<Lock>(2, waits), None);
        assert_eq!(ranges(&w, it.to), 2);
        assert_eq!(ranges(&w, it.from), 0);
        assert_eq!(set(&w, 2, f[2], WHOLE, Shared), Err(Errno::EAGAIN));
        assert_eq!(set(&w, 0, f[0], process(1), Unlock), Ok(()));
        assert_eq!(w.answer::<Lock>(2, waits), Some(Ok(())));
        w.close(1, f[1]);
        assert_eq!(set(&w, 2, f[2], WHOLE, Shared), Ok(()));
    }
}

#[test]
fn locks_outlive_their_home_at_its_backup() {
    let (w, view) = World::with_backups(3);
    let f = shared_file(&w, "/tmp/f");
    let part = |at: usize, owner, mode, start| {
        w.call(at, &Lock { range: range(start, 10), ..lock(f[at], owner, mode, false) })
    };
    assert_eq!(part(0, process(1), Exclusive, 0), Ok(()));
    assert_eq!(part(1, process(2), Exclusive, 10), Ok(()));
    assert_eq!(part(1, process(2), Exclusive, 20), Ok(()));
    assert_eq!(part(1, process(2), Unlock, 12), Ok(()));
    assert_eq!(part(2, OFD, Shared, 40), Ok(()));
    assert_eq!(set(&w, 2, f[2], WHOLE, Exclusive), Ok(()));
    let waits = w.begin(2, &lock(f[2], process(3), Exclusive, true));
    w.settle();
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    assert_eq!(w.answer::<Lock>(2, waits), None, "it waits at the backup");
    // What was the dead node's is free.
    assert_eq!(part(2, process(4), Exclusive, 0), Ok(()));
    assert_eq!(part(2, process(4), Exclusive, 10), Err(Errno::EAGAIN));
    assert_eq!(part(1, process(2), Exclusive, 40), Err(Errno::EAGAIN));
    let second = w.open(1, "/tmp/f", 0).expect("there");
    assert_eq!(set(&w, 1, second, WHOLE, Shared), Err(Errno::EAGAIN));
    w.close(2, f[2]);
    assert_eq!(set(&w, 1, second, WHOLE, Shared), Ok(()));
    w.call(2, &EndLocks { file: f[1], pid: 4 }).expect("open");
    w.call(1, &EndLocks { file: f[1], pid: 2 }).expect("open");
    w.settle();
    assert_eq!(w.answer::<Lock>(2, waits), Some(Ok(())));
}

#[test]
fn wait_that_is_cancelled_while_its_home_is_gone_ends() {
    let (w, view) = World::with_backups(3);
    let f = shared_file(&w, "/tmp/f");
    assert_eq!(set(&w, 1, f[1], process(2), Exclusive), Ok(()));
    let waits = w.begin(2, &lock(f[2], process(3), Exclusive, true));
    w.settle();
    w.kill(0);
    w.settle();
    // The home does not hear of it; the backup, which gets the call, must.
    w.cancel(2, waits);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    w.step(2, |core, cx| core.lock_timer(cx));
    w.settle();
    assert_eq!(w.answer::<Lock>(2, waits), Some(Err(Errno::ECANCELED)));
}

/// The description of a directory dies with the node that opened it: its lock elsewhere must not stay.
#[test]
fn lock_of_a_description_that_died_with_its_home_ends() {
    for backups in [false, true] {
        let (w, view) = World::with_backups(3);
        let home = w.step(0, |_, cx| {
            let slot = crate::lower::Lower::writable().next().expect("/tmp").slot();
            usize::from(cx.view().home(slot).get()) - 1
        });
        let dead = (home + 1) % 3;
        let file = w.open(dead, "/tmp", 0).expect("there");
        assert_eq!(set(&w, dead, file, WHOLE, Exclusive), Ok(()));
        if backups {
            // Another node holds it: it goes on at the backup of its slot, and so does the lock.
            w.call(dead, &Hold { file, node: node(home as u16 + 1) }).expect("open");
        }
        let other = (home + 2) % 3;
        let mine = w.open(other, "/tmp", 0).expect("there");
        let waits = w.begin(other, &lock(mine, WHOLE, Exclusive, true));
        w.settle();
        w.kill(dead);
        let view = without(&view, dead);
        [home, other].into_iter().for_each(|at| w.enter(at, &view));
        w.settle();
        if backups {
            assert_eq!(w.answer::<Lock>(other, waits), None);
            w.close(home, file);
        }
        assert_eq!(w.answer::<Lock>(other, waits), Some(Ok(())));
    }
}

/// Locks of all kinds from all nodes, of which one dies. Nobody hangs, and when all is closed nothing is locked.
#[test]
fn storm_of_locks_ends_with_nothing_locked() {
    for seed in 0..60u64 {
        let (w, view) = World::with_backups(3);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut number = |below: usize| random.next_u32() as usize % below;
        let dead = number(3);
        let paths = ["/tmp/f", "/usr/share/f", "/usr/share", "/bin/busybox"];
        let open: Vec<Vec<FileId>> = paths
            .map(|path| {
                let flags = if path.ends_with('f') { CREATE } else { 0 };
                (0..3).map(|at| w.open(at, path, flags).expect("there")).collect()
            })
            .into();
        let mut calls: Vec<(usize, u64)> = Vec::new();
        let lives = |at: usize, round: usize| round < 100 || at != dead;
        for round in 0..200 {
            let (at, which) = (number(3), number(paths.len()));
            if round == 100 {
                w.kill(dead);
                let view = without(&view, dead);
                (0..3).filter(|at| *at != dead).for_each(|at| w.enter(at, &view));
                calls.retain(|(at, _)| *at != dead);
            }
            if lives(at, round) {
                let owner = [WHOLE, OFD, process(at as u32 * 10 + 1 + number(3) as u32)][number(3)];
                let mode: LockMode = [Shared, Exclusive, Unlock][number(3)];
                let range = range(number(8) as i64, number(6) as i64);
                let wait = number(2) == 0;
                let file = open[which][at];
                calls.push((at, w.begin(at, &Lock { file, owner, mode, range, wait })));
            }
            if let Some((at, cookie)) = calls.get(number(40)).copied() {
                w.cancel(at, cookie);
            }
            let to = number(3);
            if lives(to, round) {
                w.deliver(to);
            }
            w.answers();
            calls.retain(|(at, cookie)| w.answer::<Lock>(*at, *cookie).is_none());
        }
        w.settle();
        let left = || (0..3).filter(|at| *at != dead);
        for (at, cookie) in &calls {
            w.cancel(*at, *cookie);
        }
        w.settle();
        left().for_each(|at| w.step(at, |core, cx| core.lock_timer(cx)));
        w.settle();
        calls.retain(|(at, cookie)| w.answer::<Lock>(*at, *cookie).is_none());
        assert!(calls.is_empty(), "seed {seed}: {calls:?} hang");
        for at in left() {
            for files in &open {
                for pid in 0..3 {
                    // The home of one that nobody else had is gone.
                    let _ =
                        w.call(at, &EndLocks { file: files[at], pid: at as u32 * 10 + 1 + pid });
                }
                let _ = w.call(at, &Release { file: files[at] });
            }
        }
        w.settle();
        assert_eq!(left().map(|at| ranges(&w, at)).sum::<usize>(), 0, "seed {seed}, {dead} died");
    }
}
