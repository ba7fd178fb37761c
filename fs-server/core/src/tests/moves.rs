// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move to another node with their files.

use super::storm::{Storm, remove_all};
use super::world::{BUFFER, SPACE, World, node, path_of};
use crate::limits::MOVED_BYTES_MAX;
use abi::{Errno, InodeId, SlotNo};
use cluster::View;
use fs_api::file::{FileStat, Hold, ObjectOf, Seek, Write};
use fs_api::name::{NameStat, Open};
use runtime::testing::views;
use std::format;
use std::vec::Vec;

const CREATE: u32 = 0o102;

fn slot_of(w: &World, path: &str) -> SlotNo {
    InodeId::from_raw(w.stat(0, path).expect("there").inode).slot()
}

/// A slot that is to move from one node to another, and the view that says so.
pub(super) struct Move {
    pub(super) slot: SlotNo,
    pub(super) from: usize,
    pub(super) to: usize,
    named: View,
}

impl Move {
    fn begin(w: &World, view: &View, slot: SlotNo, by: usize) -> Self {
        let from = usize::from(view.home(slot).get()) - 1;
        let to = (from + by) % w.nodes();
        let named = views::moving(view, slot, node(to as u16 + 1));
        (0..w.nodes()).for_each(|at| w.enter(at, &named));
        Self { slot, from, to, named }
    }

    pub(super) fn of_share(w: &World) -> Self {
        let view = View::fixed((1..=w.nodes() as u16).map(node).collect()).expect("a view");
        Self::begin(w, &view, slot_of(w, "/usr/share"), 1)
    }

    pub(super) fn give(&self, w: &World) -> bool {
        w.give(self.from, self.slot, self.to)
    }

    pub(super) fn next(&self, moves: bool) -> View {
        if moves {
            views::moved(&self.named, self.slot)
        } else {
            views::stayed(&self.named, self.slot)
        }
    }

    pub(super) fn end(&self, w: &World, moves: bool, first: usize) {
        let next = self.next(moves);
        for at in 0..w.nodes() {
            w.enter((first + at) % w.nodes(), &next);
            w.settle();
        }
    }
}

#[test]
fn slot_moves_with_its_tree_its_bytes_and_its_open_files() {
    for first in 0..3 {
        let w = World::new(3);
        let it = Move::of_share(&w);
        let long: Vec<u8> = (0..60_000u32).map(|at| (at % 251) as u8).collect();
        w.put(0, "/usr/share/f", &long).expect("made");
        w.mkdir(1, "/usr/share/d").expect("made");
        w.put(2, "/usr/share/d/g", b"deep").expect("made");
        w.link(0, "/usr/share/f", "/usr/share/d/h").expect("linked");
        w.symlink(0, "d/g", "/usr/share/l").expect("made");
        let socket = w.socket(1, "/usr/share/s").expect("made");
        w.unlink(1, "/usr/share/words").expect("root may");
        w.chmod(2, "/usr/share/d/g", 0o600).expect("root may");
        let open = w.open(2, "/usr/share/f", CREATE).expect("there");
        w.call(2, &Hold { file: open, node: node(1) }).expect("open");
        assert_eq!(w.read(2, open, 10).expect("bytes"), long[..10]);
        w.put(0, "/usr/share/gone", b"held").expect("made");
        let gone = w.open(0, "/usr/share/gone", 0).expect("there");
        w.unlink(0, "/usr/share/gone").expect("there");
        let stat = w.stat(0, "/usr/share/d/h").expect("there");
        let objects = w.objects();
        assert!(it.give(&w));
        it.end(&w, true, first);
        assert_eq!(w.objects(), objects, "each file has its bytes once");
        assert_eq!(w.renamed(), [it.slot; 3], "and they have their home where the file has");
        assert_eq!(w.open_files(it.from), 0);
        for at in 0..3 {
            assert_eq!(w.list(at, "/usr/share"), Ok(["d", "f", "l", "s"].map(Into::into).into()));
            assert!(w.get(at, "/usr/share/d/h").expect("there") == long);
            assert_eq!(w.get(at, "/usr/share/l").expect("there"), b"deep");
            assert_eq!(w.find_socket(at, "/usr/share/s", 0), Ok(socket));
            assert_eq!(w.stat(at, "/usr/share/words"), Err(Errno::ENOENT));
            assert_eq!(w.stat(at, "/usr/share/d/g").expect("there").mode & 0o777, 0o600);
            let now = w.stat(at, "/usr/share/f").expect("there");
            assert_eq!((now.inode, now.links, now.size), (stat.inode, 2, stat.size));
        }
        // One offset, wherever its file is.
        assert_eq!(w.read(0, open, 5).expect("bytes"), long[10..15]);
        assert_eq!(w.read(2, open, 5).expect("bytes"), long[15..20]);
        w.call(2, &Seek { file: open, offset: 0, whence: 2 }).expect("open");
        w.write(0, open, b"more").expect("room");
        assert_eq!(w.get(1, "/usr/share/f").expect("there").len(), 60_004);
        assert_eq!(w.read(0, gone, 10).expect("held"), b"held");
        w.close(0, gone);
        w.close(2, open);
        w.close(0, open);
        w.put(1, "/usr/share/new", b"n").expect("writable");
        w.rename(2, "/usr/share/new", "/usr/share/d/new").expect("one slot");
        remove_all(&w, "/usr/share");
        assert_eq!((0..3).map(|at| w.open_files(at)).sum::<usize>(), 0);
        assert_eq!(w.objects(), 0);
    }
}

#[test]
fn slot_that_stays_after_all_goes_on_and_the_joiner_keeps_nothing() {
    let w = World::new(2);
    let it = Move::of_share(&w);
    w.put(0, "/usr/share/f", b"f").expect("made");
    assert!(it.give(&w));
    assert_eq!(w.objects(), 2, "the joiner has made room");
    it.end(&w, false, 0);
    assert_eq!(w.objects(), 1);
    for at in 0..2 {
        assert_eq!(w.get(at, "/usr/share/f").expect("there"), b"f");
    }
    let again = Move::begin(&w, &it.next(false), it.slot, 1);
    assert!(again.give(&w));
    again.end(&w, true, 1);
    assert_eq!((w.get(0, "/usr/share/f"), w.objects()), (Ok(b"f".into()), 1));
}

#[test]
fn slot_with_a_file_that_others_use_or_too_many_bytes_stays() {
    let w = World::new(2);
    let it = Move::of_share(&w);
    w.put(0, "/usr/share/lib", b"code").expect("made");
    let file = w.open(it.from, "/usr/share/lib", 0).expect("there");
    w.call(it.from, &ObjectOf { file }).expect("mapped");
    assert!(!it.give(&w));
    it.end(&w, false, 0);
    assert_eq!(w.get(1, "/usr/share/lib").expect("there"), b"code");

    let w = World::new(2);
    let it = Move::of_share(&w);
    let file = w.open(it.from, "/usr/share/long", CREATE).expect("made");
    let far = Seek { file, offset: MOVED_BYTES_MAX as i64, whence: 0 };
    w.call(it.from, &far).expect("open");
    w.write(it.from, file, b"x").expect("room");
    assert!(!it.give(&w));
}

#[test]
fn calls_of_the_time_between_are_performed_once_where_the_slot_is_then() {
    for moves in [true, false] {
        for first in 0..3 {
            let w = World::new(3);
            let it = Move::of_share(&w);
            let open = w.open(0, "/usr/share/log", CREATE | 0o2000).expect("made");
            for at in [1, 2] {
                w.call(0, &Hold { file: open, node: node(at + 1) }).expect("open");
            }
            assert!(it.give(&w));
            let mut calls = Vec::new();
            for at in 0..3 {
                w.poke(at, b"line");
                let write = Write { file: open, space: SPACE, addr: BUFFER, len: 4 };
                let made = Open {
                    at: path_of(&format!("/usr/share/by{at}")),
                    flags: CREATE | 0o200,
                    mode: 0o644,
                };
                let stat = NameStat { at: path_of("/usr/share/log"), follow: true };
                calls.push((
                    w.begin(at, &write),
                    w.begin(at, &made),
                    w.begin(at, &stat),
                    w.begin(at, &FileStat { file: open }),
                ));
            }
            w.settle();
            assert_eq!(w.answer::<NameStat>(0, calls[0].2), None, "nobody is sure of it now");
            it.end(&w, moves, first);
            for (at, (write, made, stat, file_stat)) in calls.into_iter().enumerate() {
                let written = w.answer::<Write>(at, write).expect("it ends");
                assert_eq!(written.map(|moved| moved.bytes), Ok(4));
                assert!(matches!(w.answer::<Open>(at, made), Some(Ok(_))));
                assert!(matches!(w.answer::<NameStat>(at, stat), Some(Ok(_))));
                assert!(matches!(w.answer::<FileStat>(at, file_stat), Some(Ok(_))));
            }
            assert_eq!(w.get(1, "/usr/share/log").expect("there"), b"linelineline");
        }
    }
}

/// Operations from all nodes while slots move about.
fn storm(seed: u64) {
    let w = World::new(3);
    let mut s = Storm::new(seed);
    let mut view = View::fixed((1..=3).map(node).collect()).expect("a view");
    let slots = ["/", "/usr", "/usr/share"].map(|path| slot_of(&w, path));
    // Nothing else of the storm has this name. It goes in more than one piece.
    let kept: Vec<u8> = (0..200_000u32).map(|at| if at < 90_000 { 0 } else { at as u8 }).collect();
    w.put_long(0, "/usr/share/kept", &kept).expect("room");
    let mut moved = 0;
    for _ in 0..12 {
        let slot = slots[s.number(3)];
        let by = 1 + s.number(2);
        let it = Move::begin(&w, &view, slot, by);
        rounds(&w, &mut s, 10);
        let mut given = w.begin_give(it.from, it.slot, it.to);
        while given.is_none() {
            rounds(&w, &mut s, 1);
            given = w.given(it.from);
        }
        rounds(&w, &mut s, 10);
        let moves = given == Some(true) && s.number(4) > 0;
        moved += u32::from(moves);
        view = it.next(moves);
        let first = s.number(3);
        for at in 0..3 {
            w.enter((first + at) % 3, &view);
            rounds(&w, &mut s, 5);
        }
    }
    w.settle();
    s.collect(&w, None);
    assert!(moved > 0);
    assert!(s.calls.is_empty(), "seed {seed}: {} calls hang", s.calls.len());
    for (at, file) in core::mem::take(&mut s.open) {
        w.close(at, file);
    }
    for dir in ["/", "/tmp", "/usr", "/home"] {
        let names = w.list(0, dir);
        assert_eq!((w.list(1, dir), w.list(2, dir)), (names.clone(), names), "seed {seed}");
    }
    for at in 0..3 {
        assert!(w.get(at, "/usr/share/kept").expect("there") == kept, "seed {seed}");
    }
    for dir in ["/tmp", "/home", "/usr"] {
        remove_all(&w, dir);
    }
    assert_eq!((0..3).map(|at| w.open_files(at)).sum::<usize>(), 0, "seed {seed}");
    let top = ["/words", "/a", "/b", "/empty"].iter().filter(|path| w.stat(0, path).is_ok());
    assert!(w.written_objects() <= top.count(), "seed {seed}: bytes of no file");
}

fn rounds(w: &World, s: &mut Storm, count: usize) {
    for _ in 0..count {
        let at = s.number(3);
        s.begin(w, at);
        let to = s.number(3);
        w.deliver(to);
        w.answers();
        s.collect(w, None);
    }
}

#[test]
fn storm_in_which_slots_move_leaves_one_tree_and_no_loss() {
    for seed in 0..20 {
        storm(seed);
    }
}
