// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move: how fast, and those that cannot.

use crate::world::{Event, GOOD, Setup, World};
use cluster::{Policy, Request, View};
use views_core::limits::{ABORTED_NS, MS};
use views_core::rules::Sound;

const SETUP: Setup = Setup {
    nodes: 4,
    voters: 3,
    policy: Policy { backups: false },
    network: GOOD,
    drift: false,
    sync_max_ns: MS,
    founders: 0,
    disks: true,
};

fn homes(world: &World<Sound>, of: usize) -> usize {
    let view = world.nodes[0].view().expect("a view");
    view.slots_of(world.nodes[of].id).count()
}

fn epoch(world: &World<Sound>) -> u64 {
    world.nodes[0].view().map_or(0, |view| view.epoch().0)
}

/// Four nodes, and the fourth was away.
fn without_fourth() -> World<Sound> {
    let mut world: World<Sound> = World::new(1, &SETUP);
    world.run_until(2_000 * MS);
    world.crash(3);
    world.run_until(4_000 * MS);
    assert_eq!(homes(&world, 3), 0);
    let at = world.time + MS;
    world.queue(at, Event::Start(3));
    world
}

#[test]
fn node_that_comes_back_has_its_share_of_slots_within_three_seconds() {
    let mut world = without_fourth();
    let before = epoch(&world);
    let took = world.until(10_000, |world| homes(world, 3) == 256).expect("it gets them");
    let views = epoch(&world) - before;
    println!("256 slots moved in {took} ms, {views} views");
    assert!(took < 3_000 && views < 40, "{took} {views}");
}

/// The high slots are in use: they are asked for once, and others move.
#[test]
fn slots_that_cannot_move_are_let_alone_for_a_while() {
    let mut world = without_fourth();
    world.busy = View::slot_numbers().filter(|slot| slot.index() >= 700).collect();
    let (began, before) = (world.time, epoch(&world));
    let took = world.until(8_000, |world| homes(world, 3) == 256).expect("it gets them");
    println!("256 slots moved in {took} ms around 324 that could not");
    world.run_until(began + ABORTED_NS);
    let calm = epoch(&world);
    println!("{} views until then", calm - before);
    assert!(calm - before < 60, "{before} to {calm}");
    // Nothing is to be done: the share is full.
    world.run_until(began + 3 * ABORTED_NS);
    assert!(epoch(&world) - calm < 5);
}

#[test]
fn member_that_drains_ends_without_slots_with_and_without_backups() {
    for backups in [false, true] {
        let setup = Setup { policy: Policy { backups }, ..SETUP };
        let mut world: World<Sound> = World::new(2, &setup);
        world.run_until(6_000 * MS);
        let now = world.nodes[3].clock(world.time);
        let views = world.nodes[3].views.as_mut().expect("it is up");
        views.request(now, Request::Drain(true)).expect("it may");
        views.tick(now);
        world.after(3);
        let id = world.nodes[3].id;
        let free = |world: &World<Sound>| {
            let view = world.nodes[0].view().expect("a view");
            let drains = view.member(id).is_some_and(|member| member.draining);
            drains && View::slot_numbers().all(|slot| !view.slot(slot).involves(id))
        };
        let took = world.until(10_000, free);
        let took = took.unwrap_or_else(|| panic!("backups {backups}: {:?}", world.failure));
        println!("drained in {took} ms, backups {backups}");
    }
}
