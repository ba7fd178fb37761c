// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links that are cut between members who both reach the leader, and members that lie about it.

use crate::mutants::{Broken, break_rules};
use crate::world::{GOOD, Setup, World};
use cluster::Policy;
use views_core::limits::{JOIN_DOUBT_NS, MEMBER_LEASE_NS, MS, PAIR_NS, waited};
use views_core::rules::{Rule, Rules, Sound};

/// Five nodes, three voters at first, and all act.
fn running<R: Rules>(seed: u64) -> World<R> {
    let mut world = World::new(
        seed,
        &Setup {
            nodes: 5,
            voters: 3,
            policy: Policy { backups: false },
            network: GOOD,
            drift: true,
            sync_max_ns: MS,
            founders: 0,
            disks: true,
        },
    );
    world.run_until(3_000 * MS);
    assert!(world.nodes.iter().all(|node| node.may_act(world.time)), "somebody does not act");
    world
}

fn cut<R: Rules>(world: &mut World<R>, a: usize, b: usize) {
    world.cut.extend([(a, b), (b, a)]);
    world.tell_links();
}

/// Who acts.
fn acting<R: Rules>(world: &World<R>) -> Vec<usize> {
    (0..5).filter(|node| world.nodes[*node].may_act(world.time)).collect()
}

fn others<R: Rules>(world: &World<R>) -> [usize; 2] {
    let leads = world.leader().expect("somebody leads");
    [(leads + 1) % 3, (leads + 2) % 3]
}

#[test]
fn link_that_is_cut_costs_one_member_until_it_is_back() {
    for seed in 0..5 {
        let mut world: World<Sound> = running(seed);
        cut(&mut world, 3, 4);
        let took = world.until(3_000, |world| {
            let gone = world.nodes[4].id;
            acting(world) == [0, 1, 2, 3]
                && world.nodes[3].view().is_some_and(|view| !view.contains(gone))
        });
        let took =
            took.unwrap_or_else(|| panic!("seed {seed}: {:?} {:?}", acting(&world), world.failure));
        assert!(took < (PAIR_NS + waited(MEMBER_LEASE_NS)) / MS + 300, "{took}");
        // It asks to come back, and is told why not.
        let next = world.time + 2_000 * MS;
        world.run_until(next);
        assert_eq!(acting(&world), [0, 1, 2, 3]);
        let now = world.nodes[4].clock(world.time);
        let status = world.nodes[4].views.as_ref().expect("it is up").status(now);
        assert_eq!(status.waits_for, [world.nodes[3].id]);
        let leader = world.leader().expect("somebody leads");
        let now = world.nodes[leader].clock(world.time);
        let status = world.nodes[leader].views.as_ref().expect("it is up").status(now);
        assert!(status.leads && status.lease_left_ns > 0 && status.waits_for.is_empty());
        assert_eq!((status.joiners, status.voters.len()), (vec![world.nodes[4].id], 5));
        world.cut.clear();
        world.tell_links();
        let back = world.until(1_500, |world| acting(world).len() == 5);
        assert!(back.is_some(), "seed {seed}: {:?}", world.failure);
    }
}

#[test]
fn voter_outlasts_who_does_not_vote_and_a_leader_everybody() {
    let mut world: World<Sound> = running(1);
    let [voter, _] = others(&world);
    cut(&mut world, voter, 3);
    let kept = (0..5).filter(|node| *node != 3).collect::<Vec<_>>();
    assert!(world.until(3_000, |world| acting(world) == kept).is_some());
    let mut world: World<Sound> = running(2);
    let [voter, other] = others(&world);
    let leads = world.leader().expect("somebody leads");
    cut(&mut world, voter, leads);
    world.run_until(8_000 * MS);
    assert!(world.failure.is_none() && !acting(&world).contains(&voter));
    assert!(acting(&world).contains(&leads) && acting(&world).contains(&other));
}

/// One member says that it reaches nobody but the leader, for a while. Who lost a lease?
fn liar<R: Rules>(seed: u64) -> Vec<u64> {
    let mut world: World<R> = running(seed);
    let leads = world.leader().expect("somebody leads");
    let before = world.nodes[leads].view().expect("a view").clone();
    for other in (0..4).filter(|other| *other != leads) {
        world.tell_link(4, other, true);
    }
    let next = world.time + 4_000 * MS;
    world.run_until(next);
    assert_eq!(world.failure, None);
    let after = world.nodes[leads].view().expect("a view").clone();
    let lost = before.roster().iter().filter(|member| after.member(member.node) != Some(member));
    lost.map(|member| u64::from(member.node.get())).collect()
}

#[test]
fn liar_alone_throws_out_nobody_unless_reports_need_no_confirmation() {
    break_rules(&[Rule::ConfirmsSuspects]);
    for seed in 0..3 {
        assert_eq!(liar::<Sound>(seed), [], "seed {seed}");
        assert_ne!(liar::<Broken>(seed), [], "seed {seed}");
    }
}

#[test]
fn joiner_that_one_member_slanders_is_late_but_comes() {
    let mut world: World<Sound> = running(4);
    world.crash(4);
    let next = world.time + 2_000 * MS;
    world.run_until(next);
    world.tell_link(3, 4, true);
    world.restart(4);
    let took = world.until(10_000, |world| acting(world).len() == 5).expect("it comes");
    let doubt = JOIN_DOUBT_NS / MS;
    assert!((doubt - 100..doubt + 1_000).contains(&took), "{took}");
}

/// Whoever it is, and in whatever order the links notice: nobody else goes.
#[test]
fn member_that_crashes_takes_nobody_with_it() {
    for seed in 0..10 {
        let mut world: World<Sound> = running(seed);
        let gone = seed as usize % 5;
        world.crash(gone);
        for _ in 0..4 {
            let next = world.time + world.rng.range(50, 300) * MS;
            world.run_until(next);
            let node = world.rng.range(0, 5) as usize;
            if node != gone {
                world.tell_link(node, gone, true);
            }
        }
        let next = world.time + 2_500 * MS;
        world.run_until(next);
        let view = world.nodes[(gone + 1) % 5].view().expect("a view").clone();
        let left = world.founding.roster().iter().filter(|m| view.member(m.node) != Some(m));
        let left: Vec<_> = left.map(|member| member.node).collect();
        assert_eq!(left, [world.nodes[gone].id], "seed {seed}");
    }
}
