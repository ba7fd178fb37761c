// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes.

use super::backups::without;
use super::moves::Move;
use super::world::{BUFFER, SPACE, World, path_as, path_of};
use crate::limits::{EXTRA_BYTES_MAX, EXTRAS_BYTES_MAX};
use abi::linux::general::{XATTR_CREATE, XATTR_REPLACE};
use abi::{Errno, InodeId};
use fs_api::file::InodeOf;
use fs_api::name::{At, GetExtra, Named, RemoveExtra, SetExtra};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn here<T>(named: Named<T>) -> Result<T, Errno> {
    match named {
        Named::Here(it) => Ok(it),
        Named::Elsewhere(_) => Err(Errno::ENXIO),
    }
}

fn put(w: &World, n: usize, at: At, name: &str, value: &[u8], flags: u32) -> Result<(), Errno> {
    let (name, len) = (name.to_string(), value.len() as u64);
    w.poke(n, value);
    let (follow, space, addr) = (true, SPACE, BUFFER);
    w.call(n, &SetExtra { at, follow, name, space, addr, len, flags }).and_then(here)
}

fn set(w: &World, at: usize, path: &str, name: &str, value: &[u8]) -> Result<(), Errno> {
    put(w, at, path_of(path), name, value, 0)
}

fn read(w: &World, n: usize, at: At, name: &str, len: u64) -> Result<u64, Errno> {
    let (name, follow) = (name.to_string(), true);
    let get = GetExtra { at, follow, name, space: SPACE, addr: BUFFER, len };
    w.call(n, &get).and_then(here)
}

fn get(w: &World, at: usize, path: &str, name: &str) -> Result<Vec<u8>, Errno> {
    let bytes = read(w, at, path_of(path), name, 8000)?;
    Ok(w.peek(at, bytes))
}

fn list(w: &World, at: usize, path: &str) -> Result<Vec<String>, Errno> {
    let bytes = get(w, at, path, "")?;
    let text = String::from_utf8(bytes).expect("text");
    Ok(text.split_terminator('\0').map(ToString::to_string).collect())
}

fn remove(w: &World, n: usize, path: &str, name: &str) -> Result<(), Errno> {
    let (at, name) = (path_of(path), name.to_string());
    w.call(n, &RemoveExtra { at, follow: true, name }).and_then(here)
}

#[test]
fn attributes_are_set_read_listed_and_removed_from_every_node() {
    let w = World::new(3);
    w.put(0, "/usr/share/f", b"x").expect("made");
    for path in ["/usr/share/f", "/usr/share", "/bin/busybox", "/tmp"] {
        for at in 0..3 {
            let name = format!("user.{at}");
            assert_eq!(set(&w, at, path, &name, &[at as u8; 700]), Ok(()), "{path}");
            assert_eq!(get(&w, (at + 1) % 3, path, &name), Ok(vec![at as u8; 700]), "{path}");
        }
        assert_eq!(list(&w, 1, path), Ok(["user.0", "user.1", "user.2"].map(Into::into).into()));
        assert_eq!(read(&w, 2, path_of(path), "user.1", 0), Ok(700));
        assert_eq!(read(&w, 2, path_of(path), "user.1", 699), Err(Errno::ERANGE));
        assert_eq!(read(&w, 2, path_of(path), "", 20), Err(Errno::ERANGE));
        assert_eq!(remove(&w, 2, path, "user.1"), Ok(()));
        assert_eq!(remove(&w, 1, path, "user.1"), Err(Errno::ENODATA));
        assert_eq!(get(&w, 0, path, "user.1"), Err(Errno::ENODATA));
    }
    // What reads an open file reaches them by its inode.
    let file = w.open(2, "/usr/share/f", 0).expect("there");
    let dir = w.call(2, &InodeOf { file }).expect("open").inode;
    let at = At { dir: Some(dir), ..path_of("") };
    assert_eq!(read(&w, 2, at, "user.0", 0), Ok(700));
    assert!(w.get(0, "/bin/busybox").expect("there").starts_with(b"#"));
}

#[test]
fn attributes_are_refused_as_on_linux() {
    let w = World::new(2);
    w.put(0, "/tmp/f", b"x").expect("made");
    w.symlink(0, "f", "/tmp/l").expect("made");
    let as_user = |path: &str| path_as(5, path);
    assert_eq!(put(&w, 1, path_of("/tmp/f"), "user.a", b"1", XATTR_REPLACE), Err(Errno::ENODATA));
    assert_eq!(put(&w, 1, path_of("/tmp/f"), "user.a", b"1", XATTR_CREATE), Ok(()));
    assert_eq!(put(&w, 1, path_of("/tmp/f"), "user.a", b"1", XATTR_CREATE), Err(Errno::EEXIST));
    assert_eq!(put(&w, 1, path_of("/tmp/f"), "user.a", b"2", XATTR_REPLACE), Ok(()));
    assert_eq!(put(&w, 1, path_of("/tmp/f"), "user.a", b"2", 3), Err(Errno::EINVAL));
    for (name, errno) in [
        ("user.", Errno::EINVAL),
        ("user", Errno::EOPNOTSUPP),
        ("other.a", Errno::EOPNOTSUPP),
        ("system.posix_acl_access", Errno::EOPNOTSUPP),
    ] {
        assert_eq!(set(&w, 1, "/tmp/f", name, b""), Err(errno), "{name}");
        assert_eq!(get(&w, 1, "/tmp/f", name), Err(errno), "{name}");
    }
    let long = format!("user.{}", "n".repeat(300));
    assert_eq!(set(&w, 1, "/tmp/f", &long, b""), Err(Errno::ERANGE));
    assert_eq!(put(&w, 1, as_user("/tmp/f"), "user.b", b"1", 0), Err(Errno::EACCES));
    assert_eq!(read(&w, 1, as_user("/tmp/f"), "user.a", 0), Ok(1));
    assert_eq!(set(&w, 1, "/tmp/f", "trusted.a", b"1"), Ok(()));
    assert_eq!(put(&w, 1, as_user("/tmp/f"), "trusted.b", b"1", 0), Err(Errno::EPERM));
    assert_eq!(read(&w, 1, as_user("/tmp/f"), "trusted.a", 0), Err(Errno::ENODATA));
    assert_eq!(read(&w, 1, as_user("/tmp/f"), "", 100), Ok(7), "only the user's");
    assert_eq!(list(&w, 1, "/tmp/f").map(|all| all.len()), Ok(2));
    assert_eq!(set(&w, 1, "/tmp/f", "security.a", b"1"), Ok(()));
    assert_eq!(read(&w, 1, as_user("/tmp/f"), "security.a", 0), Ok(1));
    assert_eq!(put(&w, 1, as_user("/tmp/f"), "security.a", b"", 0), Err(Errno::EPERM));
    // A folder for all is nobody's to write on but its owner's; a device and a link have none.
    assert_eq!(put(&w, 1, as_user("/tmp"), "user.a", b"1", 0), Err(Errno::EPERM));
    assert_eq!(set(&w, 1, "/dev/null", "user.a", b"1"), Err(Errno::EPERM));
    assert_eq!(set(&w, 1, "/dev/null", "trusted.a", b"1"), Err(Errno::EPERM));
    let link = SetExtra {
        at: path_of("/tmp/l"),
        follow: false,
        name: "user.a".into(),
        space: SPACE,
        addr: BUFFER,
        len: 0,
        flags: 0,
    };
    assert_eq!(w.call(1, &link), Err(Errno::EPERM));
    let trusted = SetExtra { name: "trusted.l".into(), ..link };
    assert_eq!(w.call(1, &trusted).and_then(here), Ok(()));
    assert_eq!(get(&w, 0, "/tmp/l", "trusted.l"), Err(Errno::ENODATA), "the link's own");
}

#[test]
fn attributes_have_bounds() {
    let w = World::new(1);
    w.put(0, "/tmp/f", b"").expect("made");
    let most = vec![1; EXTRA_BYTES_MAX - "user.a".len()];
    assert_eq!(set(&w, 0, "/tmp/f", "user.a", &most), Ok(()));
    assert_eq!(set(&w, 0, "/tmp/f", "user.b", b""), Err(Errno::ENOSPC));
    assert_eq!(set(&w, 0, "/tmp/f", "user.a", &[&most[..], &[1]].concat()), Err(Errno::ENOSPC));
    for file in 1..EXTRAS_BYTES_MAX / EXTRA_BYTES_MAX {
        w.put(0, &format!("/tmp/{file}"), b"").expect("made");
        assert_eq!(set(&w, 0, &format!("/tmp/{file}"), "user.a", &most), Ok(()));
    }
    w.put(0, "/tmp/g", b"").expect("made");
    assert_eq!(set(&w, 0, "/tmp/g", "user.a", b"1"), Err(Errno::ENOSPC));
    w.unlink(0, "/tmp/f").expect("there");
    assert_eq!(set(&w, 0, "/tmp/g", "user.a", &most), Ok(()));
    // A program's bad pointer.
    let at = path_of("/tmp/g");
    let (name, space, addr) = (String::from("user.a"), SPACE, u64::MAX - 8);
    let wild = SetExtra { at, follow: true, name, space, addr, len: 5, flags: 0 };
    assert_eq!(w.call(0, &wild), Err(Errno::EFAULT));
}

#[test]
fn attributes_outlive_their_home_and_move_with_it() {
    let (w, view) = World::with_backups(3);
    w.put(1, "/tmp/f", b"x").expect("made");
    for name in ["user.a", "user.b", "trusted.c"] {
        set(&w, 1, "/tmp/f", name, name.as_bytes()).expect("room");
    }
    set(&w, 2, "/tmp", "user.dir", b"d").expect("room");
    remove(&w, 2, "/tmp/f", "user.b").expect("there");
    w.settle();
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    for at in [1, 2] {
        let names = ["trusted.c", "user.a"].map(Into::into).into();
        assert_eq!(list(&w, at, "/tmp/f"), Ok(names));
        assert_eq!(get(&w, at, "/tmp/f", "user.a"), Ok(b"user.a".to_vec()));
        assert_eq!(get(&w, at, "/tmp", "user.dir"), Ok(b"d".to_vec()));
    }
    let w = World::new(3);
    let it = Move::of_share(&w);
    w.put(0, "/usr/share/f", b"x").expect("made");
    set(&w, 0, "/usr/share/f", "user.a", &[7; 900]).expect("room");
    set(&w, 1, "/usr/share", "trusted.a", b"1").expect("room");
    assert!(it.give(&w));
    it.end(&w, true, 1);
    assert_eq!(get(&w, 2, "/usr/share/f", "user.a"), Ok(vec![7; 900]));
    assert_eq!(get(&w, 2, "/usr/share", "trusted.a"), Ok(b"1".to_vec()));
    let bytes = |at: usize| w.step(at, |core, _| core.tree.extra_bytes());
    assert_eq!((bytes(it.from), bytes(it.to) > 900), (0, true));
    assert!(InodeId::from_raw(w.stat(0, "/usr/share/f").expect("there").inode).slot() == it.slot);
}
