// SPDX-License-Identifier: MIT OR Apache-2.0
//! poll and select.

use super::failed;
use super::world::{BASE, FAR, World, pipe, regular};
use crate::layout::IntoBytes;
use crate::layout::io::Pollfd;
use crate::layout::time::Timeval;
use abi::Errno;
use abi::ServerId;
use abi::linux::general::*;
use fs_api::file::{Poll, PollWait, Ready};

fn pollfd(fd: i32, events: u32) -> Pollfd {
    Pollfd { fd, events: events as i16, returned: 0 }
}

fn returned(world: &World, index: u64) -> u32 {
    let fd: Pollfd = world.read(BASE + index * 8);
    fd.returned as u32
}

#[test]
fn poll_of_what_holds_already_ends_at_once() {
    let mut world = World::new();
    let (a, b) = (world.open(pipe(1)), world.open(regular(2)));
    let fds = [pollfd(a as i32, POLLIN), pollfd(b as i32, POLLIN), pollfd(-1, POLLIN)];
    world.put(BASE, fds.as_bytes());
    world.expect::<Poll>(Ok(Ready { events: 0 }));
    assert_eq!(world.call(__NR_poll, &[BASE, 3, u64::MAX]), Some(1));
    assert_eq!([0, 1, 2].map(|index| returned(&world, index)), [0, POLLIN, 0]);
}

#[test]
fn poll_waits_for_the_first_and_cancels_the_rest() {
    let mut world = World::new();
    let (a, b) = (world.open(pipe(1)), world.open(pipe(2)));
    let fds = [pollfd(a as i32, POLLIN), pollfd(b as i32, POLLIN)];
    world.put(BASE, fds.as_bytes());
    for _ in 0..2 {
        world.expect::<Poll>(Ok(Ready { events: 0 }));
    }
    world.expect_later::<PollWait>(Ok(Ready { events: POLLIN | POLLHUP }));
    world.expect_later::<PollWait>(Ok(Ready { events: POLLIN }));
    assert_eq!(world.call(__NR_poll, &[BASE, 2, u64::MAX]), None);
    assert_eq!(world.end_one(), Some(1));
    assert_eq!([0, 1].map(|index| returned(&world, index)), [POLLIN | POLLHUP, 0]);
    assert_eq!(world.state.borrow().cancelled.len(), 1);
    // The cancelled ask's end concerns nobody.
    let _ = world.end_one();
}

#[test]
fn poll_whose_time_is_over_answers_zero() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.put(BASE, pollfd(fd as i32, POLLIN).as_bytes());
    world.expect::<Poll>(Ok(Ready { events: 0 }));
    assert_eq!(world.call(__NR_poll, &[BASE, 1, 0]), Some(0));
    world.expect::<Poll>(Ok(Ready { events: 0 }));
    world.expect_later::<PollWait>(Ok(Ready { events: POLLIN }));
    assert_eq!(world.call(__NR_poll, &[BASE, 1, 5]), None);
    assert_eq!(world.node.armed_ns, Some(5_000_000));
    world.node.now_ns = 5_000_000;
    world.host.collect(&mut world.node, ServerId::Timer);
    assert_eq!(world.result(), Some(0));
}

#[test]
fn poll_of_no_descriptors_sleeps() {
    let mut world = World::new();
    assert_eq!(world.call(__NR_poll, &[0, 0, 7]), None);
    world.node.now_ns = 7_000_000;
    world.host.collect(&mut world.node, ServerId::Timer);
    assert_eq!(world.result(), Some(0));
}

#[test]
fn poll_of_a_closed_number_says_so() {
    let mut world = World::new();
    world.put(BASE, pollfd(9, POLLIN).as_bytes());
    assert_eq!(world.call(__NR_poll, &[BASE, 1, u64::MAX]), Some(1));
    assert_eq!(returned(&world, 0), POLLNVAL);
    assert_eq!(world.call(__NR_poll, &[BASE, 100_000, 0]), failed(Errno::EINVAL));
}

#[test]
fn select_marks_what_is_ready() {
    let mut world = World::new();
    let (a, b) = (world.open(pipe(1)), world.open(pipe(2)));
    world.put(BASE, &[1 << a | 1 << b, 0, 0, 0, 0, 0, 0, 0]);
    world.put(BASE + 8, &[1 << b, 0, 0, 0, 0, 0, 0, 0]);
    world.put(BASE + 32, Timeval { seconds: 1, microseconds: 0 }.as_bytes());
    world.expect::<Poll>(Ok(Ready { events: POLLHUP }));
    world.expect::<Poll>(Ok(Ready { events: POLLOUT }));
    let args = [2, BASE, BASE + 8, 0, BASE + 32];
    assert_eq!(world.call(__NR_select, &args), Some(2));
    assert_eq!((world.get(BASE, 1), world.get(BASE + 8, 1)), ([1].into(), [2].into()));
    world.put(BASE, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.call(__NR_select, &[8, BASE, 0, 0, 0]), failed(Errno::EBADF));
}

#[test]
fn select_whose_sets_rest_elsewhere_reads_them_unchanged() {
    let mut world = World::new();
    let fd = world.open(pipe(1));
    world.put(BASE, &[1 << fd, 0, 0, 0, 0, 0, 0, 0]);
    world.put(FAR, &[1 << fd, 0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..2 {
        world.expect::<Poll>(Ok(Ready { events: POLLOUT }));
    }
    // The page leaves between reading the sets and writing them.
    world.state.borrow_mut().leaves_after_reads = Some(2);
    assert_eq!(world.call(__NR_select, &[1, BASE, FAR, 0, 0]), Some(1));
    assert_eq!((world.get(BASE, 1), world.get(FAR, 1)), ([0].into(), [1].into()));
}
