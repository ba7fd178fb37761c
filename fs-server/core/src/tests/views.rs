// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views that change: what a home that left takes with it, and slots that come and go.

use super::cluster::dir_at;
use super::world::{BUFFER, SPACE, World, node, path_from, path_of};
use abi::{Errno, InodeId, SlotNo};
use cluster::View;
use fs_api::file::{FileStat, ObjectOf, Read, Release, Seek, Write};
use fs_api::name::{Enter, MakeDirectory, NameStat, Named, Open, PathOf};
use runtime::testing::views;
use std::format;

const CREATE: u32 = 0o102;

fn view_of(w: &World) -> View {
    View::fixed((1..=w.nodes() as u16).map(node).collect()).expect("a view")
}

/// A node leaves, and the others enter the view without it.
fn leaves(w: &World, dead: usize) {
    let view = views::without(&view_of(w), node(dead as u16 + 1));
    for at in (0..w.nodes()).filter(|at| *at != dead) {
        w.enter(at, &view);
    }
    w.kill(dead);
    w.settle();
}

fn slot_of(w: &World, path: &str) -> SlotNo {
    InodeId::from_raw(w.stat(0, path).expect("there").inode).slot()
}

fn others(w: &World, dead: usize) -> impl Iterator<Item = usize> {
    (0..w.nodes()).filter(move |at| *at != dead)
}

#[test]
fn directory_whose_home_left_is_as_in_the_image_again_everywhere() {
    let w = World::new(3);
    let words = slot_of(&w, "/usr/share").index() % 3;
    w.put(0, "/usr/share/new", b"n").expect("root may");
    w.unlink(1, "/usr/share/words").expect("root may");
    w.chmod(2, "/usr/share", 0o700).expect("root may");
    leaves(&w, words);
    for at in others(&w, words) {
        assert_eq!(w.list(at, "/usr/share"), Ok(["words".into()].into()));
        assert_eq!(w.get(at, "/usr/share/words").expect("there").len(), 50);
        assert_eq!(w.stat(at, "/usr/share").expect("there").mode & 0o777, 0o755);
    }
    for at in others(&w, words) {
        let path = format!("/usr/share/again{at}");
        w.put(at, &path, b"x").expect("it has a home");
        for reader in others(&w, words) {
            assert_eq!(w.get(reader, &path).expect("there"), b"x");
        }
    }
}

#[test]
fn directories_that_programs_write_to_begin_anew_and_stay_writable() {
    let w = World::new(3);
    w.put(1, "/tmp/f", b"f").expect("made");
    w.mkdir(2, "/tmp/d").expect("made");
    leaves(&w, 0);
    for at in [1, 2] {
        assert_eq!(w.list(at, "/tmp"), Ok([].into()));
    }
    for at in [1, 2] {
        w.put(at, "/tmp/f", b"g").expect("writable");
        assert_eq!(w.get(3 - at, "/tmp/f").expect("there"), b"g");
    }
}

#[test]
fn open_file_of_a_home_that_left_is_an_error_and_can_be_closed() {
    let w = World::new(2);
    let file = w.open(0, &format!("{}/f", dir_at(&w, 1)), CREATE).expect("made");
    w.write(0, file, b"abc").expect("room");
    let write = Write { file, space: SPACE, addr: BUFFER, len: 1 };
    let waiting = w.begin(0, &write);
    let view = views::without(&view_of(&w), node(2));
    w.enter(0, &view);
    w.answers();
    assert_eq!(w.answer::<Write>(0, waiting), Some(Err(Errno::EIO)));
    assert_eq!(w.read(0, file, 1), Err(Errno::EIO));
    assert_eq!(w.call(0, &write), Err(Errno::EIO));
    assert_eq!(w.call(0, &Seek { file, offset: 0, whence: 0 }), Err(Errno::EIO));
    assert_eq!(w.call(0, &FileStat { file }), Err(Errno::EIO));
    assert_eq!(w.call(0, &ObjectOf { file }), Err(Errno::EIO));
    let read = Read { file, space: SPACE, addr: BUFFER, len: 1 };
    assert_eq!(w.call_as_peer(1, 0, &fs_api::peer::Behind { file }), Err(Errno::EIO));
    assert_eq!(w.call(0, &read), Err(Errno::EIO));
    assert_eq!(w.call(0, &Release { file }), Ok(()));
}

#[test]
fn directory_made_at_a_home_that_left_is_an_error_to_who_stands_in_it() {
    let w = World::new(2);
    let path = format!("{}/d", dir_at(&w, 1));
    w.mkdir(0, &path).expect("made");
    let Ok(Named::Here(inode)) = w.call(0, &Enter { at: path_of(&path) }) else { panic!("ours") };
    let open = w.open(0, &path, 0o200000).expect("there");
    leaves(&w, 1);
    let below = NameStat { at: path_from(inode, "x"), follow: true };
    assert_eq!(w.call(0, &below).map(|_| ()), Err(Errno::EIO));
    assert_eq!(w.call(0, &PathOf { inode }), Err(Errno::EIO));
    assert_eq!(w.names_of(0, open, 100), Err(Errno::EIO));
    assert_eq!(w.call(0, &FileStat { file: open }), Err(Errno::EIO));
    w.close(0, open);
    assert_eq!(w.stat(0, &path), Err(Errno::ENOENT));
}

#[test]
fn directory_of_the_image_comes_back_with_the_one_that_it_is_in() {
    let apart = |nodes: &u16| {
        let w = World::new(*nodes);
        let home = |path| slot_of(&w, path).index() % w.nodes();
        home("/usr") != home("/usr/empty")
    };
    let w = World::new((2..8).find(apart).expect("some number of homes tells them apart"));
    let dead = slot_of(&w, "/usr").index() % w.nodes();
    w.rmdir(0, "/usr/empty").expect("empty");
    leaves(&w, dead);
    for at in others(&w, dead) {
        assert_eq!(w.list(at, "/usr"), Ok(["empty".into(), "share".into()].into()));
        w.put(at, "/usr/empty/f", b"x").expect("it lives again");
    }
}

#[test]
fn slot_is_occupied_by_inodes_descriptions_and_what_was_announced() {
    let w = World::new(2);
    let share = slot_of(&w, "/usr/share");
    let at = share.index() % 2;
    let named = views::moving(&view_of(&w), share, node(2 - at as u16));
    w.enter(at, &named);
    assert!(!w.occupies(at, share));
    w.enter(at, &views::stayed(&named, share));
    w.enter(1 - at, &views::stayed(&named, share));
    w.unlink(at, "/usr/share/words").expect("root may");
    assert!(w.occupies(at, share));
    let file = w.open(at, "/bin/busybox", 0).expect("there");
    assert!(w.occupies(at, file.slot()));
    w.close(at, file);
    assert!(!w.occupies(at, file.slot()));
}

#[test]
fn change_in_a_slot_that_is_about_to_move_waits_for_the_next_view() {
    for moves in [false, true] {
        let w = World::new(2);
        let share = slot_of(&w, "/usr/share");
        let home = share.index() % 2;
        let to = 1 - home;
        let named = views::moving(&view_of(&w), share, node(to as u16 + 1));
        (0..2).for_each(|at| w.enter(at, &named));
        assert!(!w.occupies(home, share));
        let open = |name: &str| Open {
            at: path_of(&format!("/usr/share/{name}")),
            flags: CREATE,
            mode: 0o644,
        };
        let make = MakeDirectory { at: path_of("/usr/share/d"), mode: 0o755 };
        let (here, there) = (w.begin(home, &open("a")), w.begin(to, &open("b")));
        let made = w.begin(to, &make);
        w.settle();
        assert_eq!(w.answer::<Open>(home, here), None);
        let next = if moves { views::moved(&named, share) } else { views::stayed(&named, share) };
        w.enter(home, &next);
        w.settle();
        w.enter(to, &next);
        w.settle();
        assert!(matches!(w.answer::<Open>(home, here), Some(Ok(Named::Here(_)))));
        assert!(matches!(w.answer::<Open>(to, there), Some(Ok(Named::Here(_)))));
        assert!(matches!(w.answer::<MakeDirectory>(to, made), Some(Ok(Named::Here(())))));
        for at in 0..2 {
            let names = ["a", "b", "d", "words"].map(Into::into);
            assert_eq!(w.list(at, "/usr/share"), Ok(names.into()));
        }
    }
}

#[test]
fn file_of_another_home_of_the_slot_has_another_id() {
    let w = World::new(2);
    let share = slot_of(&w, "/usr/share");
    let home = share.index() % 2;
    let first = w.open(0, "/usr/share/a", CREATE).expect("made");
    leaves(&w, home);
    let at = 1 - home;
    let second = w.open(at, "/usr/share/a", CREATE).expect("made");
    assert_eq!(first.slot(), second.slot());
    assert_ne!(first, second);
    assert_eq!(w.read(at, first, 1), Err(Errno::EIO));
}

#[test]
fn rename_stays_within_a_slot_whoever_its_home_is() {
    let w = World::new(1);
    w.put(0, "/usr/share/f", b"f").expect("made");
    assert_eq!(w.rename(0, "/usr/share/f", "/tmp/f"), Err(Errno::EXDEV));
    w.mkdir(0, "/usr/share/d").expect("made");
    w.rename(0, "/usr/share/f", "/usr/share/d/f").expect("one slot");
}
