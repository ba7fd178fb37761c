// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on files against scripted servers.

mod epoll;
mod extras;
mod internet;
mod locks;
mod poll;
mod procfs;
mod signals;
mod sockets;
mod sysv;
mod transfer;
pub(crate) mod world;

use crate::layout::stat::StatLayout;
use abi::linux::general::*;
use abi::{Errno, FileId, InodeId};
use fs_api::file::{FileStat, Flags, GetFlags, Inode, InodeOf, Release, SetFlags, Stat};
use fs_api::name::{Enter, FileKind, NameStat, Named, Open, Opened, PathOf, Text};
use ipc_api::{PipeCreate, PipeEnds};
use runtime::Operation;
use world::{BASE, FAR, World, pipe, regular};

fn failed(errno: Errno) -> Option<i64> {
    Some(-i64::from(errno.number()))
}

#[test]
fn open_gives_the_lowest_number_and_close_releases() {
    let mut world = World::new();
    world.put(BASE, b"/tmp/x\0");
    let opened = Opened { file: FileId::from_raw(77), kind: FileKind::Regular };
    world.expect::<Open>(Ok(Named::Here(opened)));
    let flags = u64::from(O_RDWR | O_CREAT | O_CLOEXEC);
    assert_eq!(world.call(__NR_open, &[BASE, flags, 0o644]), Some(0));
    let open: Open = world.last();
    assert_eq!((open.at.path.as_str(), open.mode, open.at.who.mask), ("/tmp/x", 0o644, 0o022));
    assert_eq!(world.call(__NR_fcntl, &[0, u64::from(F_GETFD), 0]), Some(1));
    assert_eq!(world.held(), 1);
    assert_eq!(world.call(__NR_close, &[0]), Some(0));
    assert_eq!(world.last::<Release>().file, FileId::from_raw(77));
    assert_eq!(world.held(), 0);
    assert_eq!(world.call(__NR_close, &[0]), failed(Errno::EBADF));
}

#[test]
fn path_relative_to_a_descriptor_asks_for_its_inode_first() {
    let mut world = World::new();
    let directory =
        world.open(crate::files::OpenFile { file: FileId::from_raw(5), kind: FileKind::Directory });
    world.put(BASE, b"a/b\0");
    world.expect::<InodeOf>(Ok(Inode { inode: InodeId::from_raw(9) }));
    world.expect::<NameStat>(Ok(Named::Here(Stat { size: 12, inode: 3, ..Stat::default() })));
    assert_eq!(world.call(__NR_newfstatat, &[directory, BASE, BASE + 64, 0]), Some(0));
    assert_eq!(world.last::<NameStat>().at.dir, Some(InodeId::from_raw(9)));
    let stat: StatLayout = world.read(BASE + 64);
    assert_eq!((stat.size, stat.inode), (12, 3));
}

#[test]
fn bad_arguments_are_errors_without_an_ask() {
    let mut world = World::new();
    let fd = world.open(regular(1));
    world.put(BASE, b"\0");
    assert_eq!(world.call(__NR_open, &[BASE, 0]), failed(Errno::ENOENT));
    assert_eq!(world.call(__NR_open, &[1, 0]), failed(Errno::EFAULT));
    world.put(BASE, b"x\0");
    assert_eq!(world.call(__NR_openat, &[fd, BASE, 0]), failed(Errno::ENOTDIR));
    assert_eq!(world.call(__NR_openat, &[33, BASE, 0]), failed(Errno::EBADF));
    assert_eq!(world.call(__NR_dup3, &[fd, fd, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_dup2, &[fd, 1 << 40 | 5000]), failed(Errno::EBADF));
    assert_eq!(world.call(__NR_readv, &[fd, BASE, 2000]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_ioctl, &[fd, 0x1234, 0]), failed(Errno::ENOTTY));
    assert_eq!(world.call(__NR_fcntl, &[fd, 77, 0]), failed(Errno::EINVAL));
    assert!(world.asked().is_empty());
}

#[test]
fn dup_shares_the_file_until_the_last_close() {
    let mut world = World::new();
    let fd = world.open(pipe(3));
    assert_eq!(world.call(__NR_dup, &[fd]), Some(1));
    assert_eq!(world.call(__NR_dup2, &[fd, 9]), Some(9));
    assert_eq!(world.call(__NR_fcntl, &[fd, u64::from(F_DUPFD_CLOEXEC), 20]), Some(20));
    for fd in [0, 1, 20] {
        assert_eq!(world.call(__NR_close, &[fd]), Some(0));
        assert!(world.asked().is_empty());
    }
    assert_eq!(world.call(__NR_close_range, &[3, u64::MAX, 0]), Some(0));
    assert_eq!(world.asked().len(), 1);
}

#[test]
fn pipe_whose_numbers_cannot_be_written_is_closed_again() {
    let mut world = World::new();
    let ends = PipeEnds { read: FileId::from_raw(1), write: FileId::from_raw(2) };
    world.expect::<PipeCreate>(Ok(ends));
    assert_eq!(world.call(__NR_pipe2, &[8, 0]), failed(Errno::EFAULT));
    assert_eq!(world.held(), 0);
    world.expect::<PipeCreate>(Ok(ends));
    assert_eq!(world.call(__NR_pipe, &[BASE]), Some(0));
    assert_eq!(world.get(BASE, 8), [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn pipe_whose_numbers_rest_elsewhere_is_made_again() {
    let mut world = World::new();
    let ends = |n| PipeEnds { read: FileId::from_raw(n), write: FileId::from_raw(n + 1) };
    world.state.borrow_mut().far = true;
    world.expect::<PipeCreate>(Ok(ends(1)));
    world.expect::<PipeCreate>(Ok(ends(5)));
    assert_eq!(world.call(__NR_pipe, &[FAR]), Some(0));
    assert_eq!((world.held(), world.state.borrow().fetches), (2, 1));
}

#[test]
fn status_flags_that_cannot_change_stay() {
    let mut world = World::new();
    let fd = world.open(pipe(3));
    world.expect::<GetFlags>(Ok(Flags { flags: O_WRONLY }));
    world.expect::<SetFlags>(Ok(()));
    let flags = u64::from(O_NONBLOCK | O_RDWR);
    assert_eq!(world.call(__NR_fcntl, &[fd, u64::from(F_SETFL), flags]), Some(0));
    assert_eq!(world.last::<SetFlags>().flags, O_WRONLY | O_NONBLOCK);
}

#[test]
fn working_directory_is_entered_and_told() {
    let mut world = World::new();
    assert_eq!(world.call(__NR_getcwd, &[BASE, 64]), Some(2));
    world.put(BASE, b"/tmp\0");
    world.expect::<Enter>(Ok(Named::Here(InodeId::from_raw(4))));
    let directory = Opened { file: FileId::from_raw(9), kind: FileKind::Directory };
    world.expect::<Open>(Ok(Named::Here(directory)));
    assert_eq!(world.call(__NR_chdir, &[BASE]), Some(0));
    assert_eq!(world.last::<Open>().at.dir, Some(InodeId::from_raw(4)));
    world.expect::<PathOf>(Ok(Text("/tmp".into())));
    assert_eq!(world.call(__NR_getcwd, &[BASE, 64]), Some(5));
    assert_eq!(world.get(BASE, 5), b"/tmp\0");
    world.expect::<PathOf>(Ok(Text("/tmp".into())));
    assert_eq!(world.call(__NR_getcwd, &[BASE, 3]), failed(Errno::ERANGE));
}

#[test]
fn operations_of_pipes_go_to_the_ipc_server() {
    let mut world = World::new();
    let fd = world.open(pipe(3));
    world.expect::<FileStat>(Ok(Stat::default()));
    assert_eq!(world.call(__NR_fstat, &[fd, BASE]), Some(0));
    assert_eq!(world.asked(), [(abi::ServerId::Ipc, FileStat::NUMBER)]);
    assert_eq!(world.call(__NR_lseek, &[fd, 0, 0]), failed(Errno::ESPIPE));
}
