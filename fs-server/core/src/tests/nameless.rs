// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files without names, names that change places, and links of open files.

use super::backups::without;
use super::world::{World, node, path_as, path_from, path_of};
use abi::linux::general::{O_EXCL, O_RDWR, O_TMPFILE, RENAME_EXCHANGE, RENAME_NOREPLACE};
use abi::{Errno, FileId};
use fs_api::file::{FileStat, Hold, InodeOf};
use fs_api::name::{At, Link, Named, Open, Rename};
use std::string::ToString;

fn nameless(w: &World, at: usize, dir: &str, flags: u32) -> Result<FileId, Errno> {
    w.open(at, dir, O_TMPFILE | flags)
}

/// linkat(AT_EMPTY_PATH).
fn name(w: &World, at: usize, file: FileId, path: &str) -> Result<(), Errno> {
    let inode = w.call(at, &InodeOf { file }).expect("open").inode;
    let from = path_from(inode, "");
    let link = Link { from, to_dir: None, to_path: path.to_string(), follow: false };
    w.call(at, &link).map(|_| ())
}

fn exchange(w: &World, at: usize, from: &str, to: &str, flags: u32) -> Result<(), Errno> {
    exchange_as(w, at, path_of(from), to, flags)
}

fn exchange_as(w: &World, at: usize, from: At, to: &str, flags: u32) -> Result<(), Errno> {
    let rename = Rename { from, to_dir: None, to_path: to.to_string(), flags };
    w.call(at, &rename).map(|_| ())
}

#[test]
fn file_without_a_name_gets_one_or_ends_with_its_description() {
    for dir in ["/tmp", "/usr/share", "/mnt"] {
        let w = World::new(3);
        let file = nameless(&w, 1, dir, O_RDWR).expect("made");
        assert_eq!(w.write(1, file, b"text"), Ok(4));
        let stat = w.call(1, &FileStat { file }).expect("open");
        assert_eq!((stat.links, stat.mode, stat.size), (0, 0o100_644, 4));
        assert_eq!(w.list(2, dir).expect("there").iter().filter(|name| *name == "f").count(), 0);
        let [f, g] = ["f", "g"].map(|name| std::format!("{dir}/{name}"));
        assert_eq!(name(&w, 1, file, &f), Ok(()), "{dir}");
        assert_eq!(w.get(2, &f), Ok(b"text".to_vec()));
        assert_eq!(name(&w, 1, file, &g), Ok(()));
        assert_eq!(name(&w, 1, file, &g), Err(Errno::EEXIST));
        assert_eq!(w.stat(0, &f).expect("there").links, 2);
        w.unlink(0, &f).expect("there");
        w.unlink(0, &g).expect("there");
        // What had a name and lost it does not get another.
        assert_eq!(name(&w, 1, file, &f), Err(Errno::ENOENT));
        let other = nameless(&w, 2, dir, O_RDWR | O_EXCL).expect("made");
        assert_eq!(name(&w, 2, other, &f), Err(Errno::ENOENT));
        w.close(1, file);
        w.close(2, other);
        assert_eq!((0..3).map(|at| w.open_files(at)).sum::<usize>(), 0);
        assert_eq!(w.written_objects(), 0);
    }
}

#[test]
fn files_without_names_are_refused_as_on_linux() {
    let w = World::new(2);
    w.put(0, "/tmp/f", b"x").expect("made");
    assert_eq!(nameless(&w, 1, "/tmp", 0), Err(Errno::EINVAL), "nobody could write it");
    assert_eq!(nameless(&w, 1, "/tmp/f", O_RDWR), Err(Errno::ENOTDIR));
    assert_eq!(nameless(&w, 1, "/tmp/none", O_RDWR), Err(Errno::ENOENT));
    let open = Open { at: path_as(5, "/usr"), flags: O_TMPFILE | O_RDWR, mode: 0o600 };
    assert_eq!(w.call(1, &open), Err(Errno::EACCES));
    let open = Open { at: path_as(5, "/tmp"), ..open };
    assert!(matches!(w.call(1, &open), Ok(Named::Here(_))));
    let file = nameless(&w, 1, "/tmp", O_RDWR).expect("made");
    assert_eq!(name(&w, 1, file, "/usr/share/f"), Err(Errno::EXDEV));
    let words = w.open(1, "/usr/share/words", 0).expect("there");
    assert_eq!(name(&w, 1, words, "/usr/share/again"), Ok(()), "the image's, by its name");
    assert_eq!(w.stat(0, "/usr/share/again").expect("there").links, 2);
    let folder = w.open(1, "/tmp", 0).expect("there");
    assert_eq!(name(&w, 1, folder, "/tmp/d"), Err(Errno::EPERM));
}

#[test]
fn file_without_a_name_outlives_its_home() {
    let (w, view) = World::with_backups(3);
    let file = nameless(&w, 1, "/tmp", O_RDWR).expect("made");
    w.call(1, &Hold { file, node: node(3) }).expect("open");
    w.write(1, file, b"text").expect("room");
    w.settle();
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    assert_eq!(name(&w, 2, file, "/tmp/f"), Ok(()));
    assert_eq!(w.get(1, "/tmp/f"), Ok(b"text".to_vec()));
}

#[test]
fn names_change_places() {
    for at in 0..2 {
        let w = World::new(2);
        w.mkdir(0, "/tmp/d").expect("made");
        w.mkdir(0, "/tmp/d/in").expect("made");
        w.put(0, "/tmp/d/in/f", b"deep").expect("made");
        w.put(0, "/tmp/a", b"a").expect("made");
        assert_eq!(exchange(&w, at, "/tmp/a", "/tmp/d/in", RENAME_EXCHANGE), Ok(()));
        assert_eq!(w.get(1, "/tmp/a/f"), Ok(b"deep".to_vec()));
        assert_eq!(w.get(1, "/tmp/d/in"), Ok(b"a".to_vec()));
        assert_eq!(w.stat(0, "/tmp/d").expect("there").links, 2);
        assert_eq!(w.stat(0, "/tmp/a").expect("there").links, 2);
        assert_eq!(w.stat(0, "/tmp/d/in").expect("there").links, 1);
        assert_eq!(exchange(&w, at, "/tmp/a", "/tmp/none", RENAME_EXCHANGE), Err(Errno::ENOENT));
        let both = RENAME_EXCHANGE | RENAME_NOREPLACE;
        assert_eq!(exchange(&w, at, "/tmp/a", "/tmp/d", both), Err(Errno::EINVAL));
        assert_eq!(exchange(&w, at, "/tmp/a", "/tmp/a/f", RENAME_EXCHANGE), Err(Errno::EINVAL));
        assert_eq!(exchange(&w, at, "/tmp/d/in", "/tmp/d", RENAME_EXCHANGE), Err(Errno::EINVAL));
        assert_eq!(exchange(&w, at, "/tmp/a", "/tmp/a", RENAME_EXCHANGE), Ok(()));
        assert_eq!(
            exchange(&w, at, "/tmp/a", "/usr/share/words", RENAME_EXCHANGE),
            Err(Errno::EXDEV)
        );
        let other = path_as(5, "/tmp/a");
        assert_eq!(exchange_as(&w, at, other, "/tmp/d", RENAME_EXCHANGE), Err(Errno::EPERM));
        // Files of the image are copied as they change places.
        w.put(0, "/usr/share/mine", b"mine").expect("made");
        assert_eq!(
            exchange(&w, at, "/usr/share/mine", "/usr/share/words", RENAME_EXCHANGE),
            Ok(())
        );
        assert_eq!(w.get(1, "/usr/share/words"), Ok(b"mine".to_vec()));
        assert_eq!(w.get(1, "/usr/share/mine").map(|bytes| bytes.len()), Ok(50));
        assert_eq!(w.list(1, "/usr/share"), Ok(["mine", "words"].map(Into::into).into()));
    }
}
