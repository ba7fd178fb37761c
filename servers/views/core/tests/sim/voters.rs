// SPDX-License-Identifier: MIT OR Apache-2.0
//! Voters follow the members: clusters that shrink to one node and grow again, leaders that leave.

use crate::checkers::progress;
use crate::world::{Event, GOOD, Setup, World};
use cluster::{Policy, Request, View};
use views_core::Views;
use views_core::limits::{MEMBER_LEASE_NS, MS};
use views_core::rules::Sound;

/// A cluster in which everybody acts.
fn running(seed: u64, nodes: usize, voters: usize) -> World<Sound> {
    let setup = Setup {
        nodes,
        voters,
        policy: Policy { backups: false },
        network: GOOD,
        drift: true,
        sync_max_ns: 5 * MS,
        founders: 0,
        disks: true,
    };
    let mut world = World::new(seed, &setup);
    world.run_until(3_000 * MS);
    assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
    world
}

/// Who votes, as the newest view says.
fn voters(world: &World<Sound>) -> Vec<usize> {
    let views = world.nodes.iter().filter_map(|node| node.view());
    let newest = views.max_by_key(|view| view.epoch()).expect("a view");
    newest.voters().iter().map(|voter| usize::from(voter.node.get()) - 1).collect()
}

/// As its server does: the node asks in each view until it is so.
fn drain(world: &mut World<Sound>, node: usize, wish: bool) {
    let began = world.time;
    while world.nodes[node].views.as_ref().and_then(Views::drains) != Some(wish) {
        assert!(world.time < began + 5_000 * MS, "{:?}", world.failure);
        let now = world.nodes[node].clock(world.time);
        let views = world.nodes[node].views.as_mut().expect("it is up");
        let _ = views.request(now, Request::Drain(wish));
        views.tick(now);
        world.after(node);
        let next = world.time + 10 * MS;
        world.run_until(next);
    }
}

/// No vote and no slot is left with it.
fn is_drained(world: &World<Sound>, node: usize) -> bool {
    let id = world.nodes[node].id;
    let Some(leader) = world.leader().filter(|leader| *leader != node) else { return false };
    let view = world.nodes[leader].view().expect("a leader knows the view");
    let holds = View::slot_numbers().any(|slot| view.slot(slot).involves(id));
    !holds && !view.voters().iter().any(|voter| voter.node == id)
}

fn halt(world: &mut World<Sound>, node: usize) {
    let now = world.nodes[node].clock(world.time);
    world.nodes[node].views.as_mut().expect("it is up").leave(now);
    world.after(node);
    let next = world.time + 500 * MS;
    world.run_until(next);
    world.crash(node);
}

fn passes(world: &mut World<Sound>, ms: u64) {
    let next = world.time + ms * MS;
    world.run_until(next);
    assert_eq!(world.failure, None);
}

#[test]
fn cluster_of_three_shrinks_to_one_and_all_vote_again_when_they_are_back() {
    for seed in 0..12 {
        let mut world = running(seed, 3, 3);
        let first = world.leader().filter(|_| seed % 2 == 0).unwrap_or(seed as usize % 3);
        let [second, last] = [(first + 1) % 3, (first + 2) % 3];
        for node in [first, second] {
            drain(&mut world, node, true);
            let took = world.until(8_000, |world| is_drained(world, node));
            took.unwrap_or_else(|| panic!("seed {seed}, node {node}: {:?}", world.failure));
            halt(&mut world, node);
        }
        passes(&mut world, 3_000);
        assert_eq!((voters(&world), world.leader()), (vec![last], Some(last)), "seed {seed}");
        assert!(world.nodes[last].may_act(world.time));
        // It is the whole cluster, also after a power cut.
        world.crash(last);
        world.restart(last);
        passes(&mut world, 3_000);
        assert!(world.nodes[last].may_act(world.time), "seed {seed}");
        world.restart(second);
        passes(&mut world, 3_000);
        assert_eq!(voters(&world), [last], "two of two would be worse than one of one");
        world.restart(first);
        passes(&mut world, 4_000);
        assert_eq!(voters(&world), [0, 1, 2], "seed {seed}");
        assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
        // And the votes count.
        let leads = world.leader().expect("somebody leads");
        world.crash(leads);
        let took = world.until(2_000, |world| world.leader().is_some());
        assert!(took.is_some(), "seed {seed}: {:?}", world.failure);
    }
}

/// Time until somebody else leads; and how long anybody did not act.
fn handed_over(seed: u64, nodes: usize, voters_first: usize, deaf: bool) -> (u64, u64) {
    let mut world = running(seed, nodes, voters_first);
    let leads = world.leader().expect("somebody leads");
    drain(&mut world, leads, true);
    if deaf {
        // It ends before it can say so.
        world.until(1_000, |world| !voters(world).contains(&leads)).expect("it ceases to vote");
        world.until(1_000, |world| world.leader() != Some(leads)).expect("it ceases to lead");
        world.crash(leads);
    }
    let (began, mut fenced) = (world.time, 0);
    let others = |leads| (0..nodes).filter(move |node| *node != leads);
    while world.leader().is_none_or(|leader| leader == leads) {
        assert!(world.time < began + 5_000 * MS, "seed {seed}: {:?}", world.failure);
        passes(&mut world, 5);
    }
    let took = (world.time - began) / MS;
    for _ in 0..400 {
        passes(&mut world, 5);
        fenced += 5 * u64::from(!others(leads).all(|node| world.nodes[node].may_act(world.time)));
    }
    assert!(!voters(&world).contains(&leads) && world.leader() != Some(leads), "seed {seed}");
    (took, fenced)
}

#[test]
fn leader_that_drains_hands_over_and_nobody_is_fenced() {
    for (nodes, first) in [(2, 1), (3, 3), (4, 3), (5, 5), (9, 7)] {
        let runs: Vec<(u64, u64)> =
            (0..12).map(|seed| handed_over(seed, nodes, first, false)).collect();
        let worst = runs.iter().map(|run| run.0).max().expect("there are runs");
        let fenced = runs.iter().map(|run| run.1).max().expect("there are runs");
        println!("{nodes} nodes: another leads after {worst} ms at worst, fenced {fenced} ms");
        assert!(worst < MEMBER_LEASE_NS / MS && fenced == 0, "{nodes} nodes: {runs:?}");
    }
}

/// What it says at its end is lost with it: as if a leader had died.
#[test]
fn leader_that_drains_and_dies_is_followed_within_two_seconds() {
    for (nodes, first) in [(3, 3), (4, 3), (5, 5)] {
        let runs = (0..12).map(|seed| handed_over(seed, nodes, first, true).0);
        let worst = runs.max().expect("there are runs");
        println!("{nodes} nodes: another leads after {worst} ms at worst");
        assert!(worst < 2_000, "{nodes} nodes: {worst}");
    }
}

/// It may not have heard of the end of its vote, and must not care for elections.
#[test]
fn voter_that_was_removed_holds_no_elections_and_votes_again_when_it_stays() {
    for seed in 0..12 {
        let mut world = running(seed, 3, 3);
        let leaves = seed as usize % 3;
        drain(&mut world, leaves, true);
        passes(&mut world, 2_000);
        let others: Vec<usize> = (0..3).filter(|node| *node != leaves).collect();
        assert_eq!(voters(&world), others, "seed {seed}");
        let leads = world.leader().expect("somebody leads");
        let counts = |world: &World<Sound>| {
            let of = |node: &usize| world.nodes[*node].views.as_ref().expect("it is up");
            let views = of(&leads);
            let strange = |node: &usize| of(node).counts().strangers;
            (views.term(), views.view().map(View::epoch), others.iter().map(strange).sum::<u64>())
        };
        let before = counts(&world);
        passes(&mut world, 5_000);
        assert_eq!(counts(&world), before, "seed {seed}: nothing is heard of it as of a voter");
        assert!(world.nodes[leaves].may_act(world.time));
        drain(&mut world, leaves, false);
        passes(&mut world, 2_000);
        assert_eq!(voters(&world), [0, 1, 2], "seed {seed}");
        assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
    }
}

/// A voter dies just as another one is to be replaced: whatever comes of it, all goes on when it is back.
#[test]
fn voter_that_dies_while_voters_change_is_waited_for() {
    for seed in 0..40 {
        let mut world = running(seed, 4, 3);
        let leads = world.leader().expect("somebody leads");
        let (drains, dies) = ([leads, (leads + 1) % 3][seed as usize % 2], (leads + 2) % 3);
        let now = world.nodes[drains].clock(world.time);
        let views = world.nodes[drains].views.as_mut().expect("it is up");
        views.request(now, Request::Drain(true)).expect("it may");
        views.tick(now);
        world.after(drains);
        let pause = world.rng.range(0, 80);
        passes(&mut world, pause);
        world.crash(dies);
        passes(&mut world, 4_000);
        let acts = (0..4).filter(|node| world.nodes[*node].may_act(world.time)).count();
        assert_eq!(acts, 3, "seed {seed}: three of four are a majority of any");
        let at = world.time + MS;
        world.queue(at, Event::Start(dies));
        passes(&mut world, 5_000);
        assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
        assert!(!voters(&world).contains(&drains), "seed {seed}: {:?}", voters(&world));
    }
}

/// Who knows only of itself, as a voter, finds a cluster that has moved on without it, with its disk or without.
#[test]
fn voter_that_was_alone_finds_the_cluster_that_went_on() {
    for (seed, founders) in [(0, 0), (1, 1), (2, 0), (3, 1), (4, 1), (5, 1)] {
        let mut world = World::new(
            seed,
            &Setup {
                nodes: 2,
                voters: 1,
                policy: Policy { backups: false },
                network: GOOD,
                drift: true,
                sync_max_ns: 5 * MS,
                founders,
                disks: true,
            },
        );
        world.run_until(3_000 * MS);
        drain(&mut world, 0, true);
        let took = world.until(8_000, |world| is_drained(world, 0));
        assert!(took.is_some(), "seed {seed}: {:?}", world.failure);
        halt(&mut world, 0);
        if seed > 3 {
            world.nodes[0].disk.lose();
        }
        world.crash(1);
        world.restart(1);
        passes(&mut world, 3_000);
        world.restart(0);
        passes(&mut world, 4_000);
        assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
        assert_eq!((voters(&world), world.orphans), (vec![1], 0), "seed {seed}");
    }
}

/// The founders among the voters stay the majority, so that a founder that lost all founds no other cluster.
#[test]
fn only_founder_stays_the_only_voter() {
    let setup = Setup {
        nodes: 3,
        voters: 1,
        policy: Policy { backups: false },
        network: GOOD,
        drift: true,
        sync_max_ns: MS,
        founders: 1,
        disks: false,
    };
    let mut world: World<Sound> = World::new(1, &setup);
    world.run_until(4_000 * MS);
    assert_eq!(progress::lacks(&world, false), Ok(()));
    assert_eq!(voters(&world), [0]);
}
