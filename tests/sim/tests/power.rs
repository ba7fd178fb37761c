// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power of nodes fails, and they come back with their disks.

use sim::scenario::boot;
use sim::world::{Setting, World, node};

const MS: u64 = 1_000_000;
/// Much longer than it takes to elect and to admit, where nodes are as patient as here.
const BACK_NS: u64 = 20_000 * MS;

/// The cluster's number and the view of all these nodes, once all of them act in the same one.
fn all_act(world: &mut World, numbers: &[u16]) -> (u64, u64) {
    let mut found = None;
    let acts = |world: &mut World| {
        let status = |number: &u16| world.node(node(*number)).views_status(world.now_ns);
        let all: Option<Vec<_>> = numbers.iter().map(status).collect();
        let Some(all) = all else { return false };
        let (cluster, epoch) = (all[0].cluster, all[0].epoch);
        let same = all.iter().all(|it| (it.cluster, it.epoch) == (cluster, epoch));
        found = Some((cluster, epoch));
        same && all.iter().all(|it| it.lease_left_ns > 0)
    };
    assert!(world.run_until(BACK_NS, acts), "nodes {numbers:?} do not act in one view");
    found.expect("they do")
}

fn off_and_on(seed: u64, off: &[u16], on: &[u16], lost: &[u16]) {
    println!("{off:?} go off, {on:?} come back, {lost:?} without a disk, seed {seed}");
    let mut world = boot(&Setting::new(seed));
    let (cluster, epoch) = all_act(&mut world, &[1, 2, 3]);
    off.iter().for_each(|number| world.crash(node(*number)));
    lost.iter().for_each(|number| world.lose_disk(node(*number)));
    world.run_for(100 * MS);
    on.iter().for_each(|number| world.boot(node(*number)));
    let lives: Vec<u16> = (1..=3).filter(|number| world.lives(node(*number))).collect();
    let (same, later) = all_act(&mut world, &lives);
    assert_eq!(same, cluster, "it is the same cluster");
    assert!(later > epoch, "in a later view");
}

#[test]
fn cluster_that_was_off_comes_back_as_itself() {
    for seed in 0..5 {
        off_and_on(seed, &[1, 2, 3], &[1, 2, 3], &[]);
    }
}

#[test]
fn cluster_of_which_a_majority_comes_back_goes_on() {
    for seed in 0..3 {
        off_and_on(10 + seed, &[1, 2, 3], &[2, 3], &[]);
        off_and_on(20 + seed, &[2, 3], &[2, 3], &[]);
        off_and_on(30 + seed, &[1, 2], &[1], &[]);
    }
}

#[test]
fn node_whose_disk_was_lost_is_another_voter() {
    for seed in 0..3 {
        off_and_on(40 + seed, &[1, 2, 3], &[1, 2, 3], &[2]);
        off_and_on(50 + seed, &[3], &[3], &[3]);
    }
}
