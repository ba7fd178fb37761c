// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that the images of the others do not name join a cluster that runs.

use sim::scenario::boot;
use sim::world::{Setting, World, node};

const MS: u64 = 1_000_000;
/// Much longer than it takes to agree and to admit, where nodes are as patient as here.
const SOON_NS: u64 = 20_000 * MS;

/// Waits until all these nodes act in the same view.
fn all_act(world: &mut World, numbers: &[u16]) {
    let acts = |world: &mut World| {
        let status = |number: &u16| world.node(node(*number)).views_status(world.now_ns);
        let all: Option<Vec<_>> = numbers.iter().map(status).collect();
        all.is_some_and(|all| {
            let same =
                all.iter().all(|it| (it.cluster, it.epoch) == (all[0].cluster, all[0].epoch));
            same && all.iter().all(|it| it.lease_left_ns > 0)
        })
    };
    let all_do = world.run_until(SOON_NS, acts);
    let said =
        |number: &u16| format!("{:?}\n", world.node(node(*number)).views_status(world.now_ns));
    let all: String = numbers.iter().map(said).collect();
    assert!(all_do, "nodes {numbers:?} do not act in one view:\n{all}");
}

/// A cluster of three, and then this one more.
fn joined(seed: u64, number: u16) -> World {
    let mut world = boot(&Setting::new(seed));
    all_act(&mut world, &[1, 2, 3]);
    add(&mut world, number);
    world
}

fn add(world: &mut World, number: u16) {
    world.boot(node(number));
    world.run_for(5000 * MS);
    assert!(!world.is_member(node(number)), "nobody knows it");
    world.node(node(1)).wish_node(node(number), world.now_ns);
    let members: Vec<u16> = (1..=number).collect();
    all_act(world, &members);
}

#[test]
fn node_that_no_other_image_names_joins_and_comes_back() {
    for seed in 0..3 {
        let mut world = joined(seed, 4);
        world.crash(node(4));
        world.run_for(5000 * MS);
        world.boot(node(4));
        all_act(&mut world, &[1, 2, 3, 4]);
    }
}

#[test]
fn node_that_was_added_is_known_after_a_power_failure() {
    for seed in 0..3 {
        let mut world = joined(10 + seed, 4);
        (1..=4).for_each(|number| world.crash(node(number)));
        world.run_for(100 * MS);
        (1..=4).for_each(|number| world.boot(node(number)));
        all_act(&mut world, &[1, 2, 3, 4]);
    }
}

/// Its image does not name them, so that it has no link to them: they must not keep it out for that.
#[test]
fn node_with_an_old_image_and_no_disk_comes_back_to_nodes_that_were_added() {
    for seed in 0..3 {
        let mut world = joined(20 + seed, 4);
        add(&mut world, 5);
        world.crash(node(2));
        world.lose_disk(node(2));
        world.run_for(5000 * MS);
        world.boot(node(2));
        all_act(&mut world, &[1, 2, 3, 4, 5]);
    }
}
