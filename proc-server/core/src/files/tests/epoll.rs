// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll: numbers and memory of the program; what is told once is not lost.

use super::failed;
use super::world::{BASE, FAR, World, pipe, regular};
use crate::files::OpenFile;
use abi::linux::general::*;
use abi::{Errno, FileId, ServerId};
use alloc::vec;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use ipc_api::epoll::{Change, EpollAgain, EpollControl, EpollEvents, EpollWait};

fn instance(world: &mut World) -> u64 {
    world.open(OpenFile { file: FileId::from_raw(77), kind: FileKind::Epoll })
}

fn event(events: u32, data: u64) -> Vec<u8> {
    let mut bytes = events.to_le_bytes().to_vec();
    bytes.extend_from_slice(&data.to_le_bytes());
    bytes
}

fn one() -> EpollEvents {
    EpollEvents(vec![(5, EPOLLIN, 0xfeed_0000_beef)])
}

#[test]
fn control_names_the_file_and_the_number() {
    let mut world = World::new();
    let (at, fd, file) = (instance(&mut world), world.open(pipe(1)), world.open(regular(2)));
    world.put(BASE, &event(EPOLLIN | EPOLLET, 0xfeed_0000_beef));
    let add = u64::from(EPOLL_CTL_ADD);
    world.expect::<EpollControl>(Ok(()));
    assert_eq!(world.call(__NR_epoll_ctl, &[at, add, fd, BASE]), Some(0));
    let asked = world.last::<EpollControl>();
    assert_eq!((asked.change, asked.fd, asked.file), (Change::Add, fd as u32, FileId::from_raw(1)));
    assert_eq!((asked.events, asked.data), (EPOLLIN | EPOLLET, 0xfeed_0000_beef));
    for (args, errno) in [
        ([at, add, file, BASE], Errno::EPERM),
        ([at, add, at, BASE], Errno::EINVAL),
        ([fd, add, fd, BASE], Errno::EINVAL),
        ([at, 9, fd, BASE], Errno::EINVAL),
        ([at, add, 40, BASE], Errno::EBADF),
        ([at, add, fd, 8], Errno::EFAULT),
    ] {
        assert_eq!(world.call(__NR_epoll_ctl, &args), failed(errno));
    }
    world.expect::<EpollControl>(Ok(()));
    assert_eq!(world.call(__NR_epoll_ctl, &[at, u64::from(EPOLL_CTL_DEL), fd, 0]), Some(0));
}

#[test]
fn events_come_packed_to_the_program() {
    let mut world = World::new();
    let at = instance(&mut world);
    world.expect_later::<EpollWait>(Ok(one()));
    assert_eq!(world.call(__NR_epoll_wait, &[at, BASE, 4, u64::MAX]), None);
    assert_eq!(world.end_one(), Some(1));
    assert_eq!(world.get(BASE, 12), event(EPOLLIN, 0xfeed_0000_beef));
    assert!(!world.last::<EpollWait>().now);
    world.expect::<EpollWait>(Ok(EpollEvents::default()));
    assert_eq!(world.call(__NR_epoll_wait, &[at, BASE, 4, 0]), Some(0));
    assert!(world.last::<EpollWait>().now);
    assert_eq!(world.call(__NR_epoll_wait, &[at, BASE, 0, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_epoll_wait, &[at, 8, 1, 0]), failed(Errno::EFAULT));
}

/// The end of the time cancels the ask; what it ends with counts.
#[test]
fn events_that_cross_the_end_of_the_time_are_told() {
    for crosses in [false, true] {
        let mut world = World::new();
        let at = instance(&mut world);
        world.state.borrow_mut().refuse_cancel = crosses;
        world.expect_later::<EpollWait>(Ok(one()));
        assert_eq!(world.call(__NR_epoll_wait, &[at, BASE, 4, 5]), None);
        world.node.now_ns = 5_000_000;
        world.host.collect(&mut world.node, ServerId::Timer);
        assert_eq!(world.result(), None, "its end is waited for");
        assert_eq!(world.state.borrow().cancelled.len(), 1);
        assert_eq!(world.end_one(), Some(i64::from(crosses)));
    }
}

#[test]
fn events_whose_page_goes_away_are_written_when_it_is_back() {
    let mut world = World::new();
    let at = instance(&mut world);
    world.expect_later::<EpollWait>(Ok(one()));
    assert_eq!(world.call(__NR_epoll_wait, &[at, FAR, 4, u64::MAX]), None);
    world.state.borrow_mut().far = true;
    assert_eq!(world.end_one(), Some(1));
    assert_eq!(world.get(FAR, 12), event(EPOLLIN, 0xfeed_0000_beef));
    assert_eq!(world.state.borrow().fetches, 1);
}

#[test]
fn events_whose_memory_is_gone_go_back() {
    let mut world = World::new();
    let at = instance(&mut world);
    world.expect_later::<EpollWait>(Ok(one()));
    assert_eq!(world.call(__NR_epoll_wait, &[at, BASE, 4, u64::MAX]), None);
    world.expect::<EpollAgain>(Ok(()));
    world.state.borrow_mut().gone = true;
    assert_eq!(world.end_one(), failed(Errno::EFAULT));
    assert_eq!(world.last::<EpollAgain>().fds, [5]);
}
