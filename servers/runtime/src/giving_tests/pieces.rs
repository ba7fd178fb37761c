// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that go in a head and pieces, parts that nobody ought to send, and what there is room for.

use super::{HEAD_BYTES, SLOT, World, node, slot};
use crate::limits::{KEPT_CALL_BYTES_MAX, LEAVING_BYTES_MAX, PARKED_BYTES_MAX, SLOT_BYTES_MAX};
use crate::testing::{call, views};
use crate::{Give, Given, Host, Msg, Status};
use abi::{Errno, ServerId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;

/// More than one piece behind the head.
fn long(first: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
    bytes[0] = first;
    bytes
}

/// Begins to give the slot, and carries this many messages.
fn begin(world: &mut World, messages: usize) {
    let (host, platform) = &mut world.nodes[0];
    let op = Give { slot: SLOT, to: node(2), really: true };
    let given = call(host, platform, ServerId::Views, &op, &mut []);
    assert!(matches!(given, Err(Status::Pending(_))));
    for _ in 0..messages {
        assert!(world.net.borrow_mut().deliver(0));
        for (host, platform) in &mut world.nodes {
            host.collect(platform, ServerId::Net);
        }
    }
}

/// A part as it comes to the joiner from the first node: its words behind the slot, and its bytes.
fn part(world: &mut World, words: [u64; 3], bytes: &[u8]) -> Result<(), Errno> {
    part_of(world, (u64::from(SLOT), 0, 1), words, bytes)
}

/// The same of a slot, with an epoch so much older, from a node.
fn part_of(
    world: &mut World,
    (slot, behind, from): (u64, u64, u16),
    [number, head_len, last]: [u64; 3],
    bytes: &[u8],
) -> Result<(), Errno> {
    let (host, platform) = &mut world.nodes[1];
    host.step(platform, |shelf, cx| {
        let msg = Msg { words: [slot, number, head_len, last], ..Msg::default() };
        let epoch = cx.view().epoch().0 - behind;
        Host::take_part(shelf, cx, node(from), (epoch, &msg), bytes)
    })
}

#[test]
fn give_asks_for_a_piece_when_the_one_before_is_there() {
    let mut world = World::new(&long(1));
    // Two parts of the head and their answers, the empty piece.
    begin(&mut world, 5);
    assert_eq!(world.shelf(1, |shelf| shelf.admitted[&slot()].len()), HEAD_BYTES);
    // Its answer, and the next piece.
    let sent = world.net.borrow().sent;
    world.net.borrow_mut().deliver(0);
    world.nodes.iter_mut().for_each(|(host, platform)| host.collect(platform, ServerId::Net));
    assert_eq!(world.net.borrow().sent, sent + 1);
    world.settle();
    assert_eq!(world.shelf(1, |shelf| shelf.admitted[&slot()].clone()), long(1));
}

#[test]
fn give_of_a_head_that_is_just_short_enough_moves_it_and_a_longer_one_stays() {
    for (more, given) in [(0, true), (1, false)] {
        let mut world = World::new(&[1]);
        world.shelf(0, |shelf| shelf.head_bytes = SLOT_BYTES_MAX + more);
        world.shelf(0, |shelf| shelf.bytes.insert(slot(), vec![1; SLOT_BYTES_MAX + more]));
        assert_eq!(world.give(), Some(given), "{more}");
        assert_eq!(world.has_admitted(1), given);
    }
}

#[test]
fn heads_of_more_slots_than_there_is_room_for_stay() {
    let mut world = World::new(&[]);
    let slots: Vec<SlotNo> = world.view.slots_of(node(1)).take(4).collect();
    world.shelf(0, |shelf| shelf.head_bytes = SLOT_BYTES_MAX);
    let fit = LEAVING_BYTES_MAX / SLOT_BYTES_MAX;
    for (at, slot) in slots.into_iter().enumerate() {
        world.shelf(0, |shelf| shelf.bytes.insert(slot, vec![1; SLOT_BYTES_MAX]));
        let (host, platform) = &mut world.nodes[0];
        let op = Give { slot: slot.index() as u16, to: node(2), really: true };
        let answer = call(host, platform, ServerId::Views, &op, &mut []);
        if at < fit {
            assert!(matches!(answer, Err(Status::Pending(_))), "{at}");
        } else {
            assert_eq!(answer, Ok((Given { given: false }, 0)), "{at}");
        }
    }
}

#[test]
fn give_ends_with_a_piece_that_is_refused_or_cannot_be_exported() {
    for first in [251, 252] {
        let mut world = World::new(&long(first));
        assert_eq!(world.give(), Some(false), "{first}");
        // What the joiner refuses is given up at once, else with the next view.
        assert_eq!(world.has_admitted(1), first == 252);
        let stayed = views::stayed(&world.view, slot());
        (0..3).for_each(|at| world.enter(at, &stayed));
        assert_eq!((world.has_admitted(1), world.bytes(1)), (false, None));
        assert_eq!(world.bytes(0), Some(long(first)));
        assert_eq!(world.put(0, 1), Ok(()));
    }
}

#[test]
fn slot_that_has_come_in_part_when_the_view_moves_it_is_not_taken_into_service() {
    let mut world = World::new(&long(1));
    begin(&mut world, 8);
    assert!(world.has_admitted(1));
    let moved = views::moved(&world.view, slot());
    world.enter(1, &moved);
    assert_eq!((world.has_admitted(1), world.bytes(1)), (false, None));
}

#[test]
fn slot_that_has_come_in_part_is_given_up_when_its_home_is_down() {
    let mut world = World::new(&long(1));
    begin(&mut world, 8);
    world.net.borrow_mut().cut(node(1), node(2), true);
    world.settle();
    assert!(!world.has_admitted(1));
    assert!(world.taken(0, ServerId::Views).is_some());
}

#[test]
fn slot_that_is_complete_is_taken_into_service_though_the_link_is_down() {
    let mut world = World::new(&long(1));
    assert_eq!(world.give(), Some(true));
    world.net.borrow_mut().cut(node(1), node(2), true);
    world.settle();
    let moved = views::moved(&world.view, slot());
    (0..3).for_each(|at| world.enter(at, &moved));
    assert_eq!((world.bytes(0), world.bytes(1)), (None, Some(long(1))));
}

#[test]
fn slot_that_is_complete_begins_anew_where_its_home_leaves_with_the_view() {
    let mut world = World::new(&long(1));
    assert_eq!(world.give(), Some(true));
    let without = views::without(&world.view, node(1));
    world.enter(1, &without);
    assert_eq!((world.has_admitted(1), world.bytes(1)), (false, None));
}

#[test]
fn give_ends_when_any_node_is_down() {
    let mut world = World::new(&long(1));
    begin(&mut world, 5);
    world.net.borrow_mut().kill(node(3));
    let (host, platform) = &mut world.nodes[0];
    host.collect(platform, ServerId::Net);
    assert!(world.taken(0, ServerId::Views).is_some(), "what it held here is let go");
}

#[test]
fn part_of_a_slot_that_does_not_come_here_is_refused() {
    let mut world = World::new(&[1]);
    for of in [(1, 0, 1), (u64::from(SLOT), 1, 1), (u64::from(SLOT), 0, 3), (1024, 0, 1)] {
        assert_eq!(part_of(&mut world, of, [0, 1, 1], &[1]), Err(Errno::EINVAL), "{of:?}");
    }
    assert!(!world.has_admitted(1));
}

#[test]
fn part_that_is_not_the_next_changes_nothing() {
    let mut world = World::new(&[1]);
    assert_eq!(part(&mut world, [1, 3, 0], &[1]), Err(Errno::EINVAL), "none came before");
    assert_eq!(part(&mut world, [0, 3, 0], &[1, 2]), Ok(()));
    assert_eq!(part(&mut world, [2, 3, 0], &[3]), Err(Errno::EINVAL));
    assert_eq!(part(&mut world, [1, 4, 0], &[3]), Err(Errno::EINVAL), "another head");
    assert_eq!(part(&mut world, [1, 3, 2], &[3]), Err(Errno::EINVAL), "no such flag");
    assert_eq!(part(&mut world, [1, 3, 0], &[3]), Ok(()));
    assert_eq!(part(&mut world, [1, 3, 0], &[3]), Err(Errno::EINVAL), "again");
    assert_eq!(part(&mut world, [2, 3, 1], &[]), Ok(()));
    assert_eq!(part(&mut world, [3, 3, 1], &[4]), Err(Errno::EINVAL), "after the end");
    let moved = views::moved(&world.view, slot());
    world.enter(1, &moved);
    assert_eq!(world.bytes(1), Some(vec![1, 2, 3]));
}

#[test]
fn head_that_is_too_long_or_ends_too_early_is_refused() {
    let mut world = World::new(&[1]);
    assert_eq!(part(&mut world, [0, 2, 0], &[1, 2, 3]), Err(Errno::EINVAL));
    assert_eq!(part(&mut world, [0, 3, 1], &[1, 2]), Err(Errno::EINVAL));
    assert_eq!(part(&mut world, [1, 3, 1], &[3]), Err(Errno::EINVAL), "it is forgotten");
    for len in [SLOT_BYTES_MAX as u64 + 1, u64::MAX] {
        assert_eq!(part(&mut world, [0, len, 0], &[1]), Err(Errno::EINVAL));
    }
    assert!(!world.has_admitted(1));
}

#[test]
fn first_part_begins_the_slot_again() {
    let mut world = World::new(&[1]);
    assert_eq!(part(&mut world, [0, 1, 0], &[1]), Ok(()));
    assert_eq!(part(&mut world, [1, 1, 0], &[2]), Ok(()));
    assert_eq!(part(&mut world, [0, 1, 0], &[1]), Ok(()));
    assert_eq!(part(&mut world, [1, 1, 1], &[3]), Ok(()));
    let moved = views::moved(&world.view, slot());
    world.enter(1, &moved);
    assert_eq!(world.bytes(1), Some(vec![1, 3]));
}

/// What one message between nodes carries of a write.
const WRITE_BYTES: usize = 60 * 1024;

#[test]
fn writes_that_wait_for_the_view_get_eagain_when_there_is_no_room_for_more() {
    let fit = PARKED_BYTES_MAX / WRITE_BYTES;
    assert!(fit >= 4);
    for at in [0, 2] {
        let mut world = World::new(&[1]);
        assert_eq!(world.give(), Some(true));
        for _ in 0..fit + 1 {
            let put = world.put_with(at, 2, WRITE_BYTES);
            let refused = Err(Status::Failed(Errno::EAGAIN));
            assert!(matches!(put, Err(Status::Pending(_))) || at == 0 && put == refused);
        }
        world.settle();
        let stayed = views::stayed(&world.view, slot());
        (0..3).for_each(|at| world.enter(at, &stayed));
        world.settle();
        let mut ends = Vec::new();
        while let Some((_, result)) = world.taken(at, ServerId::Proc) {
            ends.push(result.map(|_| ()));
        }
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), fit);
        let again = ends.iter().filter(|end| **end == Err(Errno::EAGAIN)).count();
        assert_eq!(again, usize::from(at == 2), "who asks from here is told at once");
        assert_eq!(world.bytes(0).map(|bytes| bytes.len()), Some(1 + fit));
    }
}

#[test]
fn call_that_was_not_kept_and_whose_slot_moves_ends_with_eagain() {
    let fit = KEPT_CALL_BYTES_MAX / WRITE_BYTES;
    let mut world = World::new(&[1]);
    assert_eq!(world.give(), Some(true));
    let moved = views::moved(&world.view, slot());
    (0..2).for_each(|at| world.enter(at, &moved));
    for _ in 0..fit + 1 {
        assert!(matches!(world.put_with(2, 2, WRITE_BYTES), Err(Status::Pending(_))));
    }
    world.settle();
    world.enter(2, &moved);
    world.settle();
    let mut ends = Vec::new();
    while let Some((_, result)) = world.taken(2, ServerId::Proc) {
        ends.push(result.map(|_| ()));
    }
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), fit);
    assert_eq!(ends.iter().filter(|end| **end == Err(Errno::EAGAIN)).count(), 1);
    assert_eq!(world.bytes(1).map(|bytes| bytes.len()), Some(1 + fit));
}
