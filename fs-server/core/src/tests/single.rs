// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node.

use super::world::{BUFFER, SPACE, World, path_as, path_from, path_of};
use abi::{Errno, FileId, InodeId};
use fs_api::file::{
    Attributes, FileStat, Hold, InodeOf, ListDirectory, ObjectOf, Poll, Read, ReadAt, Release,
    Resize, Seek, SetAttributes, SetFlags, Stat, WriteAt,
};
use fs_api::name::{
    ChangeName, CheckAccess, Credentials, Enter, FileKind, FindSocket, Link, MakeDirectory,
    MakeFifo, MakeLink, MakeSocket, NameStat, Named, Open, PathOf, ReadLink, Rename, TreeUse,
    TruncateName, Unlink,
};
use std::string::{String, ToString};
use std::vec;

const CREATE: u32 = 0o102;

impl World {
    pub fn stat(&self, at: usize, path: &str) -> Result<Stat, Errno> {
        here(self.call(at, &NameStat { at: path_of(path), follow: true })?)
    }

    pub fn mkdir(&self, at: usize, path: &str) -> Result<(), Errno> {
        here(self.call(at, &MakeDirectory { at: path_of(path), mode: 0o777 })?)
    }

    pub fn unlink(&self, at: usize, path: &str) -> Result<(), Errno> {
        here(self.call(at, &Unlink { at: path_of(path), directory: false })?)
    }

    pub fn rmdir(&self, at: usize, path: &str) -> Result<(), Errno> {
        here(self.call(at, &Unlink { at: path_of(path), directory: true })?)
    }

    pub fn rename(&self, at: usize, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to_path) = (path_of(from), to.to_string());
        here(self.call(at, &Rename { from, to_dir: None, to_path, flags: 0 })?)
    }

    pub fn link(&self, at: usize, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to_path) = (path_of(from), to.to_string());
        here(self.call(at, &Link { from, to_dir: None, to_path, follow: false })?)
    }

    pub fn symlink(&self, at: usize, target: &str, path: &str) -> Result<(), Errno> {
        here(self.call(at, &MakeLink { at: path_of(path), target: target.to_string() })?)
    }

    pub fn socket(&self, at: usize, path: &str) -> Result<InodeId, Errno> {
        here(self.call(at, &MakeSocket { at: path_of(path), mode: 0o777 })?)
    }

    pub fn fifo(&self, at: usize, path: &str) -> Result<InodeId, Errno> {
        here(self.call(at, &MakeFifo { at: path_of(path), mode: 0o640 })?)
    }

    pub fn find_socket(&self, at: usize, path: &str, uid: u32) -> Result<InodeId, Errno> {
        let mut at_path = path_of(path);
        at_path.who.uid = uid;
        at_path.who.gid = uid;
        here(self.call(at, &FindSocket { at: at_path })?)
    }

    pub fn chmod(&self, at: usize, path: &str, mode: u32) -> Result<(), Errno> {
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        here(self.call(at, &ChangeName { at: path_of(path), follow: true, attributes })?)
    }
}

fn here<T>(named: Named<T>) -> Result<T, Errno> {
    match named {
        Named::Here(value) => Ok(value),
        Named::Elsewhere(_) => Err(Errno::ENXIO),
    }
}

#[test]
fn file_written_is_read_back_by_its_name() {
    let w = World::new(1);
    w.put(0, "/tmp/x", b"hi\n").expect("writable");
    assert_eq!(w.get(0, "/tmp/x").expect("there"), b"hi\n");
    let stat = w.stat(0, "/tmp/x").expect("there");
    assert_eq!((stat.mode, stat.size, stat.links, stat.blocks), (0o100644, 3, 1, 8));
    assert_eq!(w.open_files(0), 0);
}

#[test]
fn socket_is_a_name_that_is_found_by_who_may_write_to_it() {
    let w = World::new(2);
    w.mkdir(0, "/tmp/d").expect("made");
    let made = w.socket(0, "/tmp/d/s").expect("made");
    assert_eq!(w.socket(1, "/tmp/d/s"), Err(Errno::EADDRINUSE));
    assert_eq!(w.socket(0, "/tmp/d"), Err(Errno::EADDRINUSE));
    assert_eq!(w.socket(0, "/tmp/none/s"), Err(Errno::ENOENT));
    w.symlink(1, "s", "/tmp/d/l").expect("made");
    w.put(1, "/tmp/d/f", b"file").expect("made");
    for at in 0..2 {
        assert_eq!(w.find_socket(at, "/tmp/d/s", 0), Ok(made));
        assert_eq!(w.find_socket(at, "/tmp/d/l", 0), Ok(made));
        assert_eq!(w.find_socket(at, "/tmp/d/f", 0), Err(Errno::ECONNREFUSED));
        assert_eq!(w.find_socket(at, "/tmp/d", 0), Err(Errno::ECONNREFUSED));
        assert_eq!(w.find_socket(at, "/tmp/d/none", 0), Err(Errno::ENOENT));
        assert_eq!(w.find_socket(at, "/tmp/d/s/x", 0), Err(Errno::ENOTDIR));
        let stat = w.stat(at, "/tmp/d/s").expect("there");
        assert_eq!((stat.mode & 0o170_000, stat.links, stat.inode), (0o140_000, 1, made.raw()));
        assert_eq!(w.get(at, "/tmp/d/s"), Err(Errno::ENXIO));
    }
    w.chmod(0, "/tmp/d/s", 0o600).expect("root may");
    assert_eq!(w.find_socket(1, "/tmp/d/s", 1000), Err(Errno::EACCES));
    w.rename(1, "/tmp/d/s", "/tmp/d/t").expect("one slot");
    assert_eq!(w.find_socket(0, "/tmp/d/t", 0), Ok(made));
    w.unlink(0, "/tmp/d/t").expect("there");
    assert_eq!(w.find_socket(0, "/tmp/d/t", 0), Err(Errno::ENOENT));
}

#[test]
fn fifo_is_a_name_that_is_opened_elsewhere() {
    let w = World::new(2);
    w.mkdir(0, "/tmp/d").expect("made");
    let made = w.fifo(0, "/tmp/d/f").expect("made");
    assert_eq!(w.fifo(1, "/tmp/d/f"), Err(Errno::EEXIST));
    assert_eq!(w.fifo(0, "/tmp/d"), Err(Errno::EEXIST));
    for at in 0..2 {
        let stat = w.stat(at, "/tmp/d/f").expect("there");
        assert_eq!((stat.mode, stat.links, stat.inode), (0o010_640, 1, made.raw()));
        assert_eq!(w.find_socket(at, "/tmp/d/f", 0), Err(Errno::ECONNREFUSED));
        for flags in [0, 1, 0o2002, 0o100] {
            let open = Open { at: path_of("/tmp/d/f"), flags, mode: 0o600 };
            let opened = here(w.call(at, &open).expect("it may be opened")).expect("here");
            assert_eq!((opened.file.raw(), opened.kind), (made.raw(), FileKind::Pipe));
        }
    }
    w.rename(1, "/tmp/d/f", "/tmp/d/g").expect("one slot");
    w.unlink(0, "/tmp/d/g").expect("there");
    assert_eq!(w.stat(1, "/tmp/d/g").map(|_| ()), Err(Errno::ENOENT));
}

#[test]
fn image_file_is_read_and_copied_up_by_a_write() {
    let w = World::new(1);
    assert_eq!(w.get(0, "/etc/passwd").expect("there").len(), 26);
    let file = w.open(0, "/etc/passwd", 0o2001).expect("append");
    w.write(0, file, b"me\n").expect("room");
    w.close(0, file);
    let text = w.get(0, "/etc/passwd").expect("there");
    assert!(text.starts_with(b"root:") && text.ends_with(b"me\n") && text.len() == 29);
    assert_eq!(w.list(0, "/etc").expect("a directory"), ["passwd"]);
}

#[test]
fn image_file_keeps_its_other_name_when_one_is_written() {
    let w = World::new(1);
    assert_eq!(w.stat(0, "/bin/ash").expect("there").links, 2);
    w.put(0, "/bin/ash", b"new").expect("writable");
    assert_eq!(w.get(0, "/bin/ash").expect("there"), b"new");
    assert_eq!(w.get(0, "/bin/sh").expect("there").len(), 100);
}

#[test]
fn image_file_unlinked_is_gone_and_can_be_made_again() {
    let w = World::new(1);
    w.unlink(0, "/bin/busybox").expect("root may");
    assert_eq!(w.get(0, "/bin/busybox"), Err(Errno::ENOENT));
    assert_eq!(w.get(0, "/bin/sh"), Err(Errno::ENOENT));
    assert_eq!(w.list(0, "/bin").expect("a directory"), ["ash", "sh"]);
    w.put(0, "/bin/sh", b"through the link").expect("made");
    assert_eq!(w.get(0, "/bin/busybox").expect("there"), b"through the link");
}

#[test]
fn directory_of_the_image_is_removed_only_when_empty() {
    let w = World::new(1);
    assert_eq!(w.rmdir(0, "/usr/share"), Err(Errno::ENOTEMPTY));
    w.unlink(0, "/usr/share/words").expect("root may");
    w.rmdir(0, "/usr/share").expect("empty");
    assert_eq!(w.stat(0, "/usr/share"), Err(Errno::ENOENT));
    w.mkdir(0, "/usr/share").expect("free again");
    assert_eq!(w.list(0, "/usr/share").expect("a directory"), [""; 0]);
    assert_eq!(w.rmdir(0, "/usr"), Err(Errno::ENOTEMPTY));
}

#[test]
fn directory_links_count_subdirectories() {
    let w = World::new(1);
    w.mkdir(0, "/tmp/d").expect("made");
    w.mkdir(0, "/tmp/d/e").expect("made");
    assert_eq!(w.stat(0, "/tmp/d").expect("there").links, 3);
    w.rename(0, "/tmp/d/e", "/tmp/f").expect("moved");
    assert_eq!(w.stat(0, "/tmp/d").expect("there").links, 2);
    assert_eq!(w.stat(0, "/tmp/f").expect("there").links, 2);
    assert_eq!(w.rmdir(0, "/tmp/d/"), Ok(()));
}

#[test]
fn rename_refuses_what_linux_refuses() {
    let w = World::new(1);
    w.mkdir(0, "/tmp/d").expect("made");
    w.mkdir(0, "/tmp/d/e").expect("made");
    w.put(0, "/tmp/f", b"f").expect("made");
    assert_eq!(w.rename(0, "/tmp/d", "/tmp/d/e/x"), Err(Errno::EINVAL));
    assert_eq!(w.rename(0, "/tmp/d", "/tmp/f"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename(0, "/tmp/f", "/tmp/d"), Err(Errno::EISDIR));
    assert_eq!(w.rename(0, "/tmp/d/e", "/tmp/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rename(0, "/tmp/no", "/tmp/x"), Err(Errno::ENOENT));
    assert_eq!(w.rename(0, "/tmp/f", "/tmp/x/"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename(0, "/usr", "/tmp/usr"), Err(Errno::EXDEV));
    assert_eq!(w.rename(0, "/", "/tmp/x"), Err(Errno::EBUSY));
    assert_eq!(w.rename(0, "/tmp/f", "/tmp/f"), Ok(()));
}

#[test]
fn rename_over_a_file_replaces_it() {
    let w = World::new(1);
    w.put(0, "/tmp/a", b"a").expect("made");
    w.put(0, "/tmp/b", b"b").expect("made");
    let objects = w.objects();
    w.rename(0, "/tmp/a", "/tmp/b").expect("moved");
    assert_eq!(w.get(0, "/tmp/b").expect("there"), b"a");
    assert_eq!(w.list(0, "/tmp").expect("a directory"), ["b"]);
    assert_eq!(w.objects(), objects - 1);
    w.rename(0, "/etc/passwd", "/tmp/p").expect("moved");
    assert_eq!(w.get(0, "/tmp/p").expect("there").len(), 26);
    assert_eq!(w.stat(0, "/etc/passwd"), Err(Errno::ENOENT));
}

#[test]
fn unlinked_file_lives_until_it_is_closed() {
    let w = World::new(1);
    let file = w.open(0, "/tmp/x", CREATE).expect("made");
    w.write(0, file, b"data").expect("room");
    w.unlink(0, "/tmp/x").expect("there");
    let moved = w.call(0, &ReadAt { file, space: SPACE, addr: BUFFER, len: 9, offset: 1 });
    assert_eq!(moved.expect("readable").bytes, 3);
    assert_eq!(w.peek(0, 3), b"ata");
    assert_eq!(w.call(0, &FileStat { file }).expect("open").links, 0);
    assert_eq!(w.objects(), 1);
    w.close(0, file);
    assert_eq!(w.objects(), 0);
    assert_eq!(w.read(0, file, 1), Err(Errno::EBADF));
    let figures = w.call(0, &TreeUse {}).expect("figures");
    assert_eq!(figures.bytes_free, figures.bytes_total);
}

#[test]
fn hard_links_share_one_file() {
    let w = World::new(1);
    w.put(0, "/tmp/a", b"1").expect("made");
    w.link(0, "/tmp/a", "/tmp/b").expect("linked");
    assert_eq!(w.stat(0, "/tmp/a").expect("there").links, 2);
    w.put(0, "/tmp/b", b"22").expect("written");
    w.unlink(0, "/tmp/a").expect("there");
    assert_eq!(w.get(0, "/tmp/b").expect("there"), b"22");
    assert_eq!(w.link(0, "/tmp/b", "/tmp/b"), Err(Errno::EEXIST));
    assert_eq!(w.link(0, "/tmp", "/tmp/c"), Err(Errno::EPERM));
    w.link(0, "/etc/passwd", "/tmp/p").expect("copied up, then linked");
    assert_eq!(w.stat(0, "/etc/passwd").expect("there").links, 2);
}

#[test]
fn links_are_followed_and_loops_end() {
    let w = World::new(1);
    w.symlink(0, "loop", "/tmp/loop").expect("made");
    assert_eq!(w.stat(0, "/tmp/loop"), Err(Errno::ELOOP));
    w.symlink(0, "../etc", "/tmp/e").expect("made");
    assert_eq!(w.stat(0, "/tmp/e/passwd").expect("there").size, 26);
    let link = w.call(0, &ReadLink { at: path_of("/tmp/e") });
    assert_eq!(link, Ok(Named::Here("../etc".to_string())));
    let lstat = w.call(0, &NameStat { at: path_of("/tmp/e"), follow: false }).and_then(here);
    assert_eq!(lstat.expect("there").mode, 0o120777);
    assert_eq!(w.open(0, "/tmp/e", 0o400000), Err(Errno::ELOOP));
    w.symlink(0, "/tmp/new", "/tmp/dangling").expect("made");
    assert_eq!(w.open(0, "/tmp/dangling", CREATE | 0o200), Err(Errno::EEXIST));
    w.put(0, "/tmp/dangling", b"x").expect("made through the link");
    assert_eq!(w.get(0, "/tmp/new").expect("there"), b"x");
}

#[test]
fn names_of_proc_are_elsewhere() {
    let w = World::new(1);
    let elsewhere = |path: &str| match w.call(0, &NameStat { at: path_of(path), follow: true }) {
        Ok(Named::Elsewhere(path)) => path,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(elsewhere("/proc"), "/proc");
    assert_eq!(elsewhere("/tmp/../proc/./1//x/../stat"), "/proc/1/stat");
    assert_eq!(elsewhere("/dev/fd/3"), "/proc/self/fd/3");
    assert_eq!(elsewhere("/dev/tty"), "/dev/tty");
    assert_eq!(elsewhere("/sys/cluster/admin"), "/sys/cluster/admin");
    assert_eq!(w.get(0, "/proc/../etc/passwd").expect("ours").len(), 26);
    assert!(w.list(0, "/").expect("a directory").contains(&"proc".to_string()));
    assert_eq!(w.list(0, "/sys").expect("a directory"), ["cluster"]);
}

#[test]
fn relative_paths_start_at_their_directory() {
    let w = World::new(1);
    w.mkdir(0, "/tmp/d").expect("made");
    let dir = here(w.call(0, &Enter { at: path_of("/tmp/d") }).expect("a directory"));
    let dir = dir.expect("ours");
    w.put(0, "/tmp/d/f", b"x").expect("made");
    let open = Open { at: path_from(dir, "f"), flags: 0, mode: 0 };
    assert!(matches!(w.call(0, &open), Ok(Named::Here(_))));
    assert_eq!(w.call(0, &PathOf { inode: dir }).expect("a path").0, "/tmp/d");
    w.rename(0, "/tmp/d", "/home/d").expect("moved");
    assert_eq!(w.call(0, &PathOf { inode: dir }).expect("a path").0, "/home/d");
    w.unlink(0, "/home/d/f").expect("there");
    w.rmdir(0, "/home/d").expect("empty");
    assert_eq!(w.call(0, &PathOf { inode: dir }), Err(Errno::ENOENT));
    assert_eq!(w.call(0, &open).map(|_| ()), Err(Errno::ENOENT));
    let make = Open { at: path_from(dir, "new"), flags: CREATE, mode: 0o644 };
    assert_eq!(w.call(0, &make).map(|_| ()), Err(Errno::ENOENT));
}

#[test]
fn flags_of_open_are_honoured() {
    let w = World::new(1);
    assert_eq!(w.open(0, "/tmp/x", 0), Err(Errno::ENOENT));
    let file = w.open(0, "/tmp/x", CREATE | 0o200).expect("made");
    assert_eq!(w.open(0, "/tmp/x", CREATE | 0o200), Err(Errno::EEXIST));
    assert_eq!(w.open(0, "/tmp/x", 0o200000), Err(Errno::ENOTDIR));
    assert_eq!(w.open(0, "/tmp/x/", 0), Err(Errno::ENOTDIR));
    assert_eq!(w.open(0, "/tmp/x/y", 0), Err(Errno::ENOTDIR));
    assert_eq!(w.open(0, "/tmp/y/", CREATE), Err(Errno::EISDIR));
    assert_eq!(w.open(0, "/tmp", 1), Err(Errno::EISDIR));
    assert_eq!(w.open(0, "/tmp", 0o20200000), Err(Errno::EINVAL));
    w.write(0, file, b"abc").expect("room");
    w.write(0, file, b"def").expect("room");
    let append = w.open(0, "/tmp/x", 0o2001).expect("there");
    w.write(0, append, b"!").expect("room");
    assert_eq!(w.read(0, append, 1), Err(Errno::EBADF));
    assert_eq!(w.get(0, "/tmp/x").expect("there"), b"abcdef!");
    let reader = w.open(0, "/tmp/x", 0).expect("there");
    assert_eq!(w.write(0, reader, b"x"), Err(Errno::EBADF));
    assert_eq!(w.call(0, &SetFlags { file, flags: 0o2000 }), Ok(()));
    w.call(0, &Seek { file, offset: 0, whence: 0 }).expect("seekable");
    w.write(0, file, b"?").expect("room");
    assert_eq!(w.get(0, "/tmp/x").expect("there"), b"abcdef!?");
}

#[test]
fn offsets_leave_holes_and_have_bounds() {
    let w = World::new(1);
    let file = w.open(0, "/tmp/x", CREATE).expect("made");
    assert_eq!(w.call(0, &Seek { file, offset: 5000, whence: 0 }).expect("ok").offset, 5000);
    w.write(0, file, b"end").expect("room");
    assert_eq!(w.call(0, &Seek { file, offset: -3, whence: 2 }).expect("ok").offset, 5000);
    assert_eq!(w.read(0, file, 10).expect("ok"), b"end");
    assert_eq!(w.call(0, &Seek { file, offset: -1, whence: 0 }), Err(Errno::EINVAL));
    let hole = ReadAt { file, space: SPACE, addr: BUFFER, len: 10, offset: 100 };
    w.poke(0, &[1; 10]);
    assert_eq!(w.call(0, &hole).expect("ok").bytes, 10);
    assert_eq!(w.peek(0, 10), [0; 10]);
    assert_eq!(w.stat(0, "/tmp/x").expect("there").blocks, 8);
    let far = WriteAt { file, space: SPACE, addr: BUFFER, len: 1, offset: 1 << 40 };
    assert_eq!(w.call(0, &far), Err(Errno::EFBIG));
    assert_eq!(w.call(0, &Resize { file, len: 1 << 41 }), Err(Errno::EFBIG));
    assert_eq!(w.call(0, &Resize { file, len: 2 }), Ok(()));
    assert_eq!(w.get(0, "/tmp/x").expect("there"), [0, 0]);
    let bad = Read { file, space: SPACE, addr: 1 << 40, len: 1 };
    w.call(0, &Seek { file, offset: 0, whence: 0 }).expect("ok");
    assert_eq!(w.call(0, &bad), Err(Errno::EFAULT));
}

#[test]
fn files_end_with_enospc_and_come_back() {
    let w = World::new(1);
    let file = w.open(0, "/tmp/big", CREATE).expect("made");
    let chunk = vec![1; 65536];
    let mut chunks = 0;
    let errno = loop {
        match w.write(0, file, &chunk) {
            Ok(_) => chunks += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((errno, chunks), (Errno::ENOSPC, 16));
    assert_eq!(w.call(0, &TreeUse {}).expect("figures").bytes_free, 0);
    let shrink = TruncateName { at: path_of("/tmp/big"), len: 4096 };
    w.call(0, &shrink).expect("there");
    assert_eq!(w.call(0, &TreeUse {}).expect("figures").bytes_free, (1 << 20) - 4096);
}

#[test]
fn names_are_bounded() {
    let w = World::new(1);
    w.put(0, "/tmp/f0", b"").expect("made");
    let mut count = 1;
    let errno = loop {
        let (name, new) = (std::format!("/tmp/f{}", count - 1), std::format!("/tmp/f{count}"));
        let made = match w.link(0, &name, &new) {
            Err(Errno::EMLINK) => w.put(0, &new, b""),
            made => made,
        };
        match made {
            Ok(()) => count += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((errno, count), (Errno::ENOSPC, crate::limits::NAMES_MAX));
    w.unlink(0, "/tmp/f0").expect("there");
    w.put(0, "/tmp/again", b"").expect("room again");
}

#[test]
fn permissions_are_checked_for_all_but_root() {
    let w = World::new(1);
    w.put(0, "/tmp/mine", b"x").expect("made");
    let open = |uid, path: &str, flags| {
        let open = Open { at: path_as(uid, path), flags, mode: 0o600 };
        w.call(0, &open).map(|_| ())
    };
    assert_eq!(open(5, "/tmp/mine", 0), Ok(()));
    assert_eq!(open(5, "/tmp/mine", 2), Err(Errno::EACCES));
    assert_eq!(open(5, "/etc/new", CREATE), Err(Errno::EACCES));
    assert_eq!(open(5, "/root/new", CREATE), Err(Errno::EACCES));
    assert_eq!(open(5, "/tmp/theirs", CREATE), Ok(()));
    assert_eq!(open(6, "/tmp/theirs", 0), Err(Errno::EACCES));
    let unlink = |uid| {
        let unlink = Unlink { at: path_as(uid, "/tmp/theirs"), directory: false };
        w.call(0, &unlink).map(|_| ())
    };
    assert_eq!(unlink(6), Err(Errno::EPERM));
    assert_eq!(unlink(5), Ok(()));
    let access = |mode| {
        let check = CheckAccess { at: path_as(5, "/tmp/mine"), mode };
        w.call(0, &check).map(|_| ())
    };
    assert_eq!((access(4), access(2)), (Ok(()), Err(Errno::EACCES)));
    let attributes = Attributes { mode: Some(0o777), ..Attributes::default() };
    let change = ChangeName { at: path_as(5, "/tmp/mine"), follow: true, attributes };
    assert_eq!(w.call(0, &change).map(|_| ()), Err(Errno::EPERM));
}

#[test]
fn open_file_is_changed_by_its_owner_and_not_through_a_path_alone() {
    let w = World::new(2);
    w.put(0, "/tmp/f", b"x").expect("made");
    w.chmod(0, "/tmp/f", 0o666).expect("root may");
    let file = w.open(1, "/tmp/f", 0).expect("there");
    let who = Credentials { uid: 5, gid: 5, mask: 0 };
    let set = |file, who, attributes| w.call(1, &SetAttributes { file, who, attributes });
    let mode = Attributes { mode: Some(0o600), ..Attributes::default() };
    let times = |now| Attributes { atime_ns: Some(7), mtime_ns: Some(7), now, ..mode };
    let times = |now| Attributes { mode: None, ..times(now) };
    assert_eq!(set(file, who, mode), Err(Errno::EPERM));
    // Who may write may set the present time, and no other; nobody is asked about nothing.
    assert_eq!(set(file, who, times(true)), Ok(()));
    assert_eq!(set(file, who, times(false)), Err(Errno::EPERM));
    assert_eq!(set(file, who, Attributes::default()), Ok(()));
    assert_eq!(set(file, Credentials::default(), mode), Ok(()));
    assert_eq!(set(file, who, times(true)), Err(Errno::EACCES));
    let path = w.open(1, "/tmp/f", 0o10_000_000).expect("there");
    assert_eq!(set(path, Credentials::default(), mode), Err(Errno::EBADF));
}

#[test]
fn attributes_of_image_files_are_kept_in_a_copy() {
    let w = World::new(1);
    w.chmod(0, "/bin/busybox", 0o4711).expect("root may");
    assert_eq!(w.stat(0, "/bin/busybox").expect("there").mode, 0o104711);
    assert_eq!(w.get(0, "/bin/busybox").expect("there").len(), 100);
    w.chmod(0, "/usr", 0o700).expect("root may");
    assert_eq!(w.stat(0, "/usr").expect("there").mode, 0o40700);
    assert_eq!(w.list(0, "/usr").expect("still whole"), ["empty", "share"]);
    let file = w.open(0, "/etc/passwd", 0).expect("there");
    let attributes = Attributes { mtime_ns: Some(5), ..Attributes::default() };
    let who = Credentials::default();
    w.call(0, &SetAttributes { file, who, attributes }).expect("open");
    assert_eq!(w.stat(0, "/etc/passwd").expect("there").mtime_ns, 5);
    assert_eq!(w.chmod(0, "/dev/null", 0o600), Err(Errno::EPERM));
}

#[test]
fn devices_do_what_they_are_for() {
    let w = World::new(1);
    let null = w.open(0, "/dev/null", 2).expect("there");
    assert_eq!(w.write(0, null, b"abc"), Ok(3));
    assert_eq!(w.read(0, null, 3), Ok(vec![]));
    let zero = w.open(0, "/dev/zero", 2).expect("there");
    w.poke(0, &[1; 8]);
    assert_eq!(w.read(0, zero, 8), Ok(vec![0; 8]));
    let full = w.open(0, "/dev/full", 2).expect("there");
    assert_eq!(w.write(0, full, b"abc"), Err(Errno::ENOSPC));
    let random = w.open(0, "/dev/urandom", 0).expect("there");
    assert_ne!(w.read(0, random, 32), w.read(0, random, 32));
    let stat = w.call(0, &FileStat { file: null }).expect("open");
    assert_eq!((stat.mode, stat.rdev), (0o20666, 0x103));
    assert_eq!(w.call(0, &Poll { file: null, events: 5 }).expect("open").events, 5);
    assert_eq!(w.call(0, &ObjectOf { file: null }), Err(Errno::ENODEV));
}

#[test]
fn listing_shows_what_stays_once_while_names_change() {
    let w = World::new(1);
    for i in 0..20 {
        w.put(0, &std::format!("/tmp/f{i}"), b"").expect("made");
    }
    let file = w.open(0, "/tmp", 0o200000).expect("there");
    let first = ListDirectory { file, space: SPACE, addr: BUFFER, len: 240 };
    let moved = w.call(0, &first).expect("a directory").bytes;
    let mut names = super::world::records(&w.peek(0, moved));
    for i in (0..20).step_by(2) {
        w.unlink(0, &std::format!("/tmp/f{i}")).expect("there");
        w.put(0, &std::format!("/tmp/g{i}"), b"").expect("made");
    }
    names.extend(w.names_of(0, file, 240).expect("a directory"));
    for i in (1..20).step_by(2) {
        let name = std::format!("f{i}");
        assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{name}");
    }
    let small = ListDirectory { file, space: SPACE, addr: BUFFER, len: 10 };
    w.call(0, &Seek { file, offset: 0, whence: 0 }).expect("rewinddir");
    assert_eq!(w.call(0, &small), Err(Errno::EINVAL));
}

#[test]
fn description_is_held_until_every_hold_is_released() {
    let w = World::new(1);
    let file = w.open(0, "/tmp/x", CREATE).expect("made");
    w.call(0, &Hold { file, node: super::world::node(1) }).expect("open");
    w.close(0, file);
    w.write(0, file, b"still").expect("held");
    w.close(0, file);
    assert_eq!(w.call(0, &Release { file }), Err(Errno::EBADF));
    assert_eq!(w.call(0, &Hold { file, node: super::world::node(9) }), Err(Errno::EINVAL));
}

#[test]
fn page_that_is_elsewhere_is_fetched_first() {
    let w = World::new(1);
    w.put(0, "/tmp/x", b"data").expect("made");
    w.evict(0);
    assert_eq!(w.get(0, "/tmp/x").expect("there"), b"data");
}

#[test]
fn file_whose_pages_others_hold_is_shortened_in_a_new_object() {
    let w = World::new(1);
    w.put(0, "/tmp/x", &[7; 9000]).expect("made");
    w.hold_elsewhere();
    w.evict(0);
    let shorten = |len| w.call(0, &TruncateName { at: path_of("/tmp/x"), len }).map(|_| ());
    assert_eq!(shorten(5000), Ok(()));
    assert_eq!(w.get(0, "/tmp/x").expect("there"), [7; 5000]);
    assert_eq!(shorten(6000), Ok(()));
    assert_eq!(w.get(0, "/tmp/x").expect("there")[4990..5010], [[7; 10], [0; 10]].concat());
    assert_eq!((shorten(0), w.objects()), (Ok(()), 1));
}

#[test]
fn mapping_gets_the_object_and_the_directory_its_inode() {
    let w = World::new(1);
    let file = w.open(0, "/bin/busybox", 0).expect("there");
    let first = w.call(0, &ObjectOf { file }).expect("a file");
    assert_eq!((first.size, first.writable), (100, false));
    assert_eq!(w.call(0, &ObjectOf { file }).expect("the same").object, first.object);
    let dir = w.open(0, "/tmp", 0).expect("there");
    let inode = w.call(0, &InodeOf { file: dir }).expect("a directory").inode;
    assert_eq!(inode.raw(), w.stat(0, "/tmp").expect("there").inode);
    assert_eq!(w.call(0, &FileStat { file: dir }).expect("open").mode, 0o41777);
    assert_eq!(w.read(0, dir, 1), Err(Errno::EISDIR));
}

#[test]
fn nonsense_ids_and_paths_are_errors() {
    let w = World::new(1);
    let file = FileId::from_raw(12345);
    assert_eq!(w.read(0, file, 1), Err(Errno::EBADF));
    assert_eq!(w.call(0, &FileStat { file }), Err(Errno::EBADF));
    let at = path_from(abi::InodeId::from_raw(u64::MAX), "x");
    assert_eq!(w.call(0, &Enter { at }).map(|_| ()), Err(Errno::ENOENT));
    assert_eq!(w.stat(0, ""), Err(Errno::ENOENT));
    assert_eq!(w.stat(0, &String::from("a/").repeat(400)), Err(Errno::ENAMETOOLONG));
    assert_eq!(w.mkdir(0, "/"), Err(Errno::EEXIST));
    assert_eq!(w.rmdir(0, "/tmp/."), Err(Errno::EINVAL));
    assert_eq!(w.mkdir(0, "/tmp/no/x"), Err(Errno::ENOENT));
    let kind = w.call(0, &Open { at: path_of("/tmp"), flags: 0, mode: 0 }).and_then(here);
    assert_eq!(kind.expect("there").kind, FileKind::Directory);
}

#[test]
fn nothing_is_made_while_the_heap_is_nearly_used_up() {
    let w = World::new(1);
    w.put(0, "/tmp/f", b"before").expect("room");
    w.set_heap_left(Some(crate::limits::HEAP_RESERVE_BYTES - 1));
    assert_eq!(w.mkdir(0, "/tmp/d"), Err(Errno::ENOSPC));
    assert_eq!(w.symlink(0, "x", "/tmp/l"), Err(Errno::ENOSPC));
    assert_eq!(w.link(0, "/tmp/f", "/tmp/g"), Err(Errno::ENOSPC));
    assert_eq!(w.stat(0, "/tmp/f").map(|it| it.size), Ok(6));
    assert_eq!(w.unlink(0, "/tmp/f"), Ok(()));
    w.set_heap_left(None);
    assert_eq!(w.mkdir(0, "/tmp/d"), Ok(()));
}
