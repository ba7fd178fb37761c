// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several nodes: one tree, one offset per description, and what a node's end leaves behind.

use super::world::{BUFFER, SPACE, World, node, path_as, path_of};
use abi::Errno;
use fs_api::file::{FileStat, GetFlags, Hold, ListDirectory, ObjectOf, Read, Release, Seek, Write};
use fs_api::name::{Enter, NameStat, Named, Open, PathOf};

const CREATE: u32 = 0o102;

/// A directory of the image whose home is this node.
pub(super) fn dir_at(w: &World, at: usize) -> &'static str {
    let inode = |path| abi::InodeId::from_raw(w.stat(0, path).expect("there").inode);
    let home = |path| inode(path).slot().index() % w.nodes();
    [
        "/tmp",
        "/root",
        "/home",
        "/var",
        "/run",
        "/etc",
        "/usr",
        "/bin",
        "/usr/share",
        "/mnt",
        "/usr/empty",
        "/sys",
    ]
    .into_iter()
    .find(|path| home(path) == at)
    .expect("some directory has its home there")
}

#[test]
fn file_made_on_one_node_is_read_on_every_other() {
    let w = World::new(3);
    for at in 0..3 {
        let path = std::format!("/tmp/x{at}");
        w.put(at, &path, b"hi\n").expect("writable");
        for reader in 0..3 {
            assert_eq!(w.get(reader, &path).expect("there"), b"hi\n");
        }
    }
    assert_eq!(w.list(2, "/tmp").expect("a directory"), ["x0", "x1", "x2"]);
    assert_eq!((0..3).map(|at| w.open_files(at)).sum::<usize>(), 0);
}

#[test]
fn image_is_read_without_a_message() {
    let w = World::new(3);
    for at in 0..3 {
        assert_eq!(w.get(at, "/bin/sh").expect("there").len(), 100);
        assert_eq!(w.list(at, "/usr").expect("a directory"), ["empty", "share"]);
    }
    assert_eq!(w.messages(), 0);
}

#[test]
fn first_change_in_a_directory_of_the_image_is_seen_everywhere() {
    for at in 0..3 {
        let w = World::new(3);
        w.put(at, "/usr/share/new", b"n").expect("root may");
        w.unlink((at + 1) % 3, "/usr/share/words").expect("root may");
        for reader in 0..3 {
            assert_eq!(w.list(reader, "/usr/share").expect("a directory"), ["new"]);
            assert_eq!(w.get(reader, "/usr/share/new").expect("there"), b"n");
            assert_eq!(w.stat(reader, "/usr/share/words"), Err(Errno::ENOENT));
        }
    }
}

#[test]
fn one_offset_serves_all_holders_of_a_description() {
    let w = World::new(2);
    for home in 0..2 {
        let path = std::format!("{}/log", dir_at(&w, home));
        for opener in 0..2 {
            let other = 1 - opener;
            let file = w.open(opener, &path, CREATE | 0o1000).expect("made");
            w.call(opener, &Hold { file, node: node(other as u16 + 1) }).expect("open");
            for i in 0..6 {
                w.write(if i % 2 == 0 { opener } else { other }, file, b"ab").expect("room");
            }
            assert_eq!(w.call(other, &FileStat { file }).expect("open").size, 12);
            assert_eq!(w.call(other, &Seek { file, offset: 1, whence: 0 }).expect("ok").offset, 1);
            assert_eq!(w.read(opener, file, 3).expect("ok"), b"bab");
            assert_eq!(w.read(other, file, 3).expect("ok"), b"aba");
            assert_eq!(w.call(other, &GetFlags { file }).expect("open").flags, 2);
            w.close(opener, file);
            assert_eq!(w.read(other, file, 30).expect("held").len(), 5);
            w.close(other, file);
            assert_eq!(w.open_files(0) + w.open_files(1), 0);
        }
    }
}

#[test]
fn description_of_an_image_file_works_from_another_node() {
    let w = World::new(2);
    let file = w.open(0, "/etc/passwd", 0).expect("there");
    w.call(0, &Hold { file, node: node(2) }).expect("open");
    assert_eq!(w.read(0, file, 5).expect("ok"), b"root:");
    assert_eq!(w.read(1, file, 5).expect("ok"), b"x:0:0");
    let object = w.call(1, &ObjectOf { file }).expect("a file");
    assert_eq!(object.size, 26);
    let dir = w.open(0, "/usr", 0o200000).expect("there");
    w.call(0, &Hold { file: dir, node: node(2) }).expect("open");
    let mut names = w.names_of(1, dir, 64).expect("a directory");
    names.sort();
    assert_eq!(names, [".", "..", "empty", "share"]);
}

#[test]
fn device_is_served_by_whichever_node_uses_it() {
    let w = World::new(2);
    let file = w.open(0, "/dev/null", 2).expect("there");
    w.call(0, &Hold { file, node: node(2) }).expect("open");
    w.close(0, file);
    w.kill(0);
    w.settle();
    let before = w.messages();
    assert_eq!(w.write(1, file, b"abc"), Ok(3));
    assert_eq!(w.call(1, &FileStat { file }).expect("open").rdev, 0x103);
    assert_eq!(w.call(1, &GetFlags { file }).expect("open").flags, 2);
    w.close(1, file);
    assert_eq!((w.messages(), w.open_files(1)), (before, 0));
    let made_up = abi::FileId::from_raw(1 << 53 | 0xffff00);
    assert_eq!(w.read(1, made_up, 1), Err(Errno::EBADF));
}

#[test]
fn writes_longer_than_a_message_are_short_and_go_on() {
    let w = World::new(2);
    let data: std::vec::Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let path = std::format!("{}/big", dir_at(&w, 1));
    let file = w.open(0, &path, CREATE).expect("made");
    let mut done = 0;
    while done < data.len() {
        done += w.write(0, file, &data[done..]).expect("room") as usize;
    }
    w.close(0, file);
    assert_eq!(w.get(0, &path).expect("there"), data);
    w.evict(1);
    assert_eq!(w.get(0, &path).expect("there"), data);
}

#[test]
fn rename_between_the_directories_that_programs_write_to_is_one() {
    let w = World::new(3);
    w.put(1, "/tmp/f", b"f").expect("made");
    w.rename(2, "/tmp/f", "/root/f").expect("one home");
    w.link(1, "/root/f", "/var/tmp/g").expect("one home");
    assert_eq!(w.get(0, "/var/tmp/g").expect("there"), b"f");
}

#[test]
fn rename_between_homes_is_refused_and_within_one_shipped() {
    let w = World::new(2);
    let (a, b) = (dir_at(&w, 0), dir_at(&w, 1));
    w.put(0, &std::format!("{a}/f"), b"f").expect("made");
    for at in 0..2 {
        let (from, to) = (std::format!("{a}/f"), std::format!("{b}/f"));
        assert_eq!(w.rename(at, &from, &to), Err(Errno::EXDEV));
        assert_eq!(w.link(at, &from, &to), Err(Errno::EXDEV));
        w.mkdir(at, &std::format!("{b}/d{at}")).expect("made");
        w.put(at, &std::format!("{b}/d{at}/x"), b"x").expect("made");
        w.rename(at, &std::format!("{b}/d{at}/x"), &std::format!("{b}/y{at}")).expect("one home");
        assert_eq!(w.get(1 - at, &std::format!("{b}/y{at}")).expect("there"), b"x");
    }
}

#[test]
fn directory_of_the_image_is_removed_with_its_homes_consent() {
    for at in 0..2 {
        let w = World::new(2);
        w.put(at, "/usr/empty/f", b"x").expect("made");
        assert_eq!(w.rmdir(1 - at, "/usr/empty"), Err(Errno::ENOTEMPTY));
        w.unlink(1 - at, "/usr/empty/f").expect("there");
        w.rmdir(1 - at, "/usr/empty").expect("empty");
        w.rmdir(at, "/mnt").expect("empty");
        assert_eq!(w.stat(at, "/usr/empty"), Err(Errno::ENOENT));
        assert_eq!(w.list(1 - at, "/usr").expect("a directory"), ["share"]);
    }
}

#[test]
fn working_directory_of_another_home_has_a_path() {
    let w = World::new(2);
    let path = std::format!("{}/d", dir_at(&w, 1));
    w.mkdir(0, &path).expect("made");
    let Ok(Named::Here(inode)) = w.call(0, &Enter { at: path_of(&path) }) else { panic!("ours") };
    for at in 0..2 {
        assert_eq!(w.call(at, &PathOf { inode }).expect("a path").0, path);
    }
}

#[test]
fn links_lead_from_home_to_home() {
    let w = World::new(2);
    let (a, b) = (dir_at(&w, 0), dir_at(&w, 1));
    w.symlink(0, &std::format!("{b}/l2"), &std::format!("{a}/l1")).expect("made");
    w.symlink(0, &std::format!("{a}/f"), &std::format!("{b}/l2")).expect("made");
    w.put(1, &std::format!("{a}/l1"), b"far").expect("made through two links");
    for at in 0..2 {
        assert_eq!(w.get(at, &std::format!("{a}/f")).expect("there"), b"far");
        assert_eq!(w.get(at, &std::format!("{b}/l2")).expect("there"), b"far");
    }
}

#[test]
fn read_into_bad_memory_moves_no_offset() {
    let w = World::new(2);
    let path = std::format!("{}/f", dir_at(&w, 1));
    w.put(0, &path, b"abc").expect("made");
    let file = w.open(0, &path, 0).expect("there");
    let bad = Read { file, space: SPACE, addr: 1 << 40, len: 2 };
    assert_eq!(w.call(0, &bad), Err(Errno::EFAULT));
    assert_eq!(w.read(0, file, 2).expect("ok"), b"ab");
}

#[test]
fn node_that_ends_lets_go_of_what_it_held() {
    let w = World::new(2);
    let path = std::format!("{}/f", dir_at(&w, 0));
    let file = w.open(1, &path, CREATE).expect("made");
    w.write(1, file, b"x").expect("room");
    w.unlink(0, &path).expect("there");
    assert_eq!((w.open_files(0), w.objects()), (1, 1));
    w.kill(1);
    w.settle();
    assert_eq!((w.open_files(0), w.objects()), (0, 0));
}

#[test]
fn what_needs_a_dead_home_fails_and_the_rest_goes_on() {
    let w = World::new(2);
    let (a, b) = (dir_at(&w, 0), dir_at(&w, 1));
    let lost = w.open(0, &std::format!("{b}/f"), CREATE).expect("made");
    let waiting = w.begin(0, &Write { file: lost, space: SPACE, addr: BUFFER, len: 1 });
    w.kill(1);
    w.settle();
    assert_eq!(w.answer::<Write>(0, waiting), Some(Err(Errno::EHOSTDOWN)));
    assert_eq!(w.read(0, lost, 1), Err(Errno::EHOSTDOWN));
    assert_eq!(w.stat(0, &std::format!("{b}/f")), Err(Errno::EHOSTDOWN));
    let _ = w.call(0, &Release { file: lost });
    w.put(0, &std::format!("{a}/g"), b"here").expect("this home lives");
    assert_eq!(w.get(0, "/bin/sh").expect("there").len(), 100);
}

#[test]
fn image_names_that_nobody_changed_need_no_home() {
    let w = World::new(3);
    for (at, dir) in ["/", "/bin", "/usr"].into_iter().enumerate() {
        w.mkdir(at, &std::format!("{dir}/new")).expect("writable");
    }
    w.chmod(0, "/etc/passwd", 0o600).expect("root may");
    let before = w.messages();
    for at in 0..3 {
        assert_eq!(w.get(at, "/bin/sh").expect("there").len(), 100);
        assert_eq!(w.get(at, "/usr/share/../share/words").expect("there").len(), 50);
    }
    assert_eq!(w.messages(), before);
    w.kill(0);
    w.settle();
    for at in 1..3 {
        assert_eq!(w.get(at, "/bin/sh").expect("there").len(), 100);
    }
}

#[test]
fn directory_made_private_is_so_on_every_node() {
    let w = World::new(2);
    w.chmod(0, "/usr/share", 0o700).expect("root may");
    for at in 0..2 {
        let stat = NameStat { at: path_as(5, "/usr/share/words"), follow: true };
        assert_eq!(w.call(at, &stat).map(|_| ()), Err(Errno::EACCES));
    }
}

#[test]
fn open_that_its_node_does_not_live_to_see_leaves_nothing() {
    let w = World::new(3);
    let here = |path: &str| w.stat(0, path).expect("there").inode >> 54;
    let dir = ["/usr", "/usr/share", "/bin", "/mnt", "/usr/empty", "/dev", "/sys", "/"]
        .into_iter()
        .find(|path| here(path) % 3 == 0)
        .expect("a directory");
    let at = path_of(&std::format!("{dir}/new"));
    w.begin(1, &Open { at, flags: CREATE, mode: 0o644 });
    // The home has announced the change, and waits, when the opener ends.
    w.deliver(0);
    w.kill(1);
    w.settle();
    assert_eq!(w.open_files(0), 0);
}

#[test]
fn announcement_does_not_wait_for_the_dead() {
    let w = World::new(3);
    // A directory that nobody has changed and whose home is node 1.
    let here = |path: &str| w.stat(0, path).expect("there").inode >> 54;
    let dir = ["/usr", "/usr/share", "/bin", "/mnt", "/usr/empty", "/dev", "/sys", "/"]
        .into_iter()
        .find(|path| here(path) % 3 == 0)
        .expect("a directory");
    w.kill(2);
    w.settle();
    w.put(0, &std::format!("{dir}/new"), b"x").expect("writable");
    assert_eq!(w.get(1, &std::format!("{dir}/new")).expect("there"), b"x");
}

#[test]
fn node_that_comes_back_hears_what_is_overlaid() {
    let w = World::new(2);
    w.tell_up(0, 1);
    w.settle();
    assert!(w.messages() > 0);
    assert_eq!(w.get(1, "/bin/sh").expect("there").len(), 100);
}

#[test]
fn mapping_of_a_file_of_another_home_refers_to_its_object() {
    let w = World::new(2);
    let path = std::format!("{}/lib", dir_at(&w, 1));
    w.put(0, &path, b"code").expect("made");
    let file = w.open(0, &path, 0).expect("there");
    let object = w.call(0, &ObjectOf { file }).expect("a file");
    assert_eq!((object.size, object.writable), (4, false));
    w.close(0, file);
    w.unlink(0, &path).expect("there");
    assert_eq!(w.objects(), 1);
}

#[test]
fn peer_cannot_name_a_program_of_this_node() {
    let w = World::new(2);
    let file = w.open(0, "/etc/passwd", 0).expect("there");
    let read = Read { file, space: SPACE, addr: BUFFER, len: 4 };
    assert_eq!(w.call_as_peer(1, 0, &read), Err(Errno::EPERM));
    let list = ListDirectory { file, space: SPACE, addr: BUFFER, len: 4 };
    assert_eq!(w.call_as_peer(1, 0, &list), Err(Errno::EPERM));
    assert_eq!(w.call_as_peer(1, 0, &fs_api::peer::NameStep {}), Err(Errno::EPROTO));
    let inode = abi::InodeId::from_raw(u64::MAX);
    assert_eq!(
        w.call_as_peer(1, 0, &fs_api::peer::Overlaid { inode, place: 0 }),
        Err(Errno::ESTALE)
    );
    assert_eq!(w.call_as_peer(1, 0, &fs_api::peer::Seal { inode }), Err(Errno::ESTALE));
    assert_eq!(w.call_as_peer(1, 0, &Release { file }), Err(Errno::EBADF));
}
