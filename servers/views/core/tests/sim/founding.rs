// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clusters that nobody founds: nodes that start with nothing find out that there is none.

use crate::chaos::{bad, heal, seeds};
use crate::checkers::progress;
use crate::mutants::{Broken, break_rules};
use crate::rng::Rng;
use crate::world::{Event, GOOD, Setup, World};
use abi::NodeId;
use cluster::{Policy, Request, View};
use views_core::limits::MS;
use views_core::rules::{Rule, Rules, Sound};

/// Longer than usual: first some may have to notice that their cluster is gone.
const TIME_NS: u64 = progress::TIME_NS + 8_000 * MS;

fn setup(founders: usize, others: usize) -> Setup {
    Setup {
        nodes: founders + others,
        voters: founders,
        policy: Policy { backups: false },
        network: GOOD,
        drift: false,
        sync_max_ns: MS,
        founders,
        disks: false,
    }
}

fn all_act<R: Rules>(world: &World<R>) -> bool {
    world.nodes.iter().all(|node| node.may_act(world.time))
}

fn ids(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().map(|number| NodeId::new(*number).expect("a node")).collect()
}

fn waits_for(world: &World<Sound>, node: usize) -> Vec<NodeId> {
    let now = world.nodes[node].clock(world.time);
    world.nodes[node].views.as_ref().expect("it is up").waits_for(now)
}

#[test]
fn nodes_with_nothing_found_a_cluster_and_all_are_members_of_its_first_view() {
    for (founders, others) in [(1, 0), (1, 2), (2, 0), (3, 0), (3, 2), (4, 1), (7, 3)] {
        let mut world: World<Sound> = World::new(1, &setup(founders, others));
        let took = world.until(2_000, all_act).expect("all act");
        println!("{founders} founders and {others} others: {took} ms");
        assert!(took < 500, "{took}");
        let view = world.nodes[0].view().expect("a view");
        // It is the first one, or already one with more voters.
        let first = (founders - 1) / 2 * 2 + 1;
        let grown = u64::from(view.voters().len() > first);
        assert_eq!((view.epoch().0, view.members().len()), (1 + grown, founders + others));
        assert!(view.cluster() != 0 && view.roster().iter().all(|member| member.boot != 0));
    }
}

#[test]
fn founders_that_are_missing_are_named_and_waited_for_others_only_a_second() {
    let mut world: World<Sound> = World::new(1, &setup(3, 2));
    for down in [1, 2, 3] {
        world.crash(down);
    }
    world.run_until(3_000 * MS);
    assert_eq!((waits_for(&world, 0), waits_for(&world, 4)), (ids(&[2, 3]), ids(&[2, 3])));
    world.restart(2);
    world.run_until(4_000 * MS);
    assert_eq!((waits_for(&world, 0), waits_for(&world, 2)), (ids(&[2]), ids(&[2])));
    world.restart(1);
    let up = |world: &World<Sound>| [0, 1, 2, 4].map(|n| world.nodes[n].may_act(world.time));
    let took = world.until(3_000, |world| up(world) == [true; 4]).expect("all act");
    assert!((1_000..2_000).contains(&took), "{took}");
    let view = world.nodes[0].view().expect("a view").clone();
    assert_eq!(view.members(), ids(&[1, 2, 3, 5]));
    // Who comes later joins as anybody does.
    world.restart(3);
    world.until(2_000, all_act).expect("all act");
    assert_eq!(world.nodes[3].view().map(View::cluster), Some(view.cluster()));
    assert_eq!(waits_for(&world, 3), []);
}

/// Starts a node again so often, and so makes views.
fn age<R: Rules>(world: &mut World<R>, node: usize, times: usize) {
    for _ in 0..times {
        world.crash(node);
        let at = world.time + 1_000 * MS;
        world.queue(at, Event::Start(node));
        world.run_until(at + 1_500 * MS);
    }
}

/// All founders lose everything, and found a new cluster: those who are left notice, and all get into it.
/// The old cluster's view is the newer one at first, or the new one's.
fn reborn<R: Rules>(seed: u64) -> World<R> {
    let mut world: World<R> = World::new(seed, &setup(3, 2));
    world.until(3_000, all_act).expect("all act");
    age(&mut world, 4, seed as usize % 2);
    (0..3).for_each(|node| world.crash(node));
    let next = world.time + 1_000 * MS;
    world.run_until(next);
    (0..3).for_each(|node| world.restart(node));
    world.until(3_000, |world| (0..3).all(|node| world.nodes[node].may_act(world.time)));
    // Slots that move make views at once: before the others notice anything.
    for wish in [true, false] {
        let now = world.nodes[1].clock(world.time);
        let views = world.nodes[1].views.as_mut().expect("it is up");
        let _ = views.request(now, Request::Drain(wish));
        views.tick(now);
        world.after(1);
        let next = world.time + 500 * MS;
        world.run_until(next);
    }
    age(&mut world, 2, 3);
    world.until(15_000, |world| progress::lacks(world, false).is_ok());
    world
}

#[test]
fn survivors_of_a_cluster_that_lost_its_voters_start_again_and_never_mix() {
    for seed in 0..5 {
        let world: World<Sound> = reborn(seed);
        assert_eq!(world.failure, None, "seed {seed}");
        assert_eq!(progress::lacks(&world, false), Ok(()), "seed {seed}");
        assert_eq!(world.orphans, 2, "seed {seed}");
        let foreign =
            |node: usize| world.nodes[node].views.as_ref().expect("it is up").counts().foreign;
        assert!((0..3).any(|node| foreign(node) > 0), "seed {seed}");
    }
}

#[test]
fn survivors_that_take_what_is_of_another_cluster_are_noticed() {
    break_rules(&[Rule::KnowsCluster]);
    let found = (0..5).find_map(|seed| reborn::<Broken>(seed).failure);
    let why = found.expect("five seeds show it");
    println!("without KnowsCluster: {why}");
    assert!(why.contains("monotonic"), "{why}");
}

/// A few voters that say that they know nothing frighten nobody away.
#[test]
fn members_whose_cluster_lives_are_never_orphaned() {
    let mut world: World<Sound> = World::new(3, &setup(3, 2));
    world.until(3_000, all_act).expect("all act");
    for turn in 0..6 {
        world.crash(turn % 3);
        let at = world.time + 300 * MS;
        world.queue(at, Event::Start(turn % 3));
        world.run_until(at + 4_000 * MS);
        assert!(all_act(&world), "turn {turn}: {:?}", world.failure);
    }
    assert_eq!((world.orphans, &world.failure), (0, &None));
}

/// Nodes start, crash and start again while they found, over links that lose messages.
fn run<R: Rules>(seed: u64, hurry: bool) -> Result<(), String> {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let founders = rng.range(1, 6) as usize;
    let others = rng.range(0, 3) as usize;
    let disks = rng.chance(400);
    let network = bad(&mut rng);
    let sync_max_ns = rng.range(1, 30) * MS;
    let plan = Setup { network, drift: true, sync_max_ns, disks, ..setup(founders, others) };
    let mut world: World<R> = World::new(seed, &plan);
    let (chaos_ns, most_ms) = if hurry { (3_000 * MS, 120) } else { (12_000 * MS, 900) };
    while world.time < chaos_ns && world.failure.is_none() {
        let node = rng.range(0, (founders + others) as u64) as usize;
        // The decider and what is said to it are worth more trouble.
        let node = if hurry && rng.chance(500) { 0 } else { node };
        match rng.range(0, 6) {
            0..3 => {
                world.crash(node);
                let at = world.time + rng.range(5, most_ms) * MS;
                world.queue(at, Event::Start(node));
            }
            3 => {
                let other = rng.range(0, (founders + others) as u64) as usize;
                world.cut.extend([(node, other), (other, node)]);
            }
            4 => world.cut.clear(),
            _ => world.nodes[node].paused_until = world.time + rng.range(10, 900) * MS,
        }
        let pause = world.time + rng.range(5, most_ms) * MS;
        world.run_until(pause);
    }
    heal(&mut world);
    world.until(TIME_NS / MS, |world| progress::lacks(world, false).is_ok());
    if std::env::var("SIM_SEED").is_ok() {
        world.nodes.iter().for_each(|node| println!("{}", world.describe(node)));
    }
    match world.failure.take() {
        Some(why) => Err(why),
        None => progress::lacks(&world, false),
    }
}

#[test]
fn founding_disturbed_ends_with_all_nodes_in_one_cluster() {
    let mut failed = Vec::new();
    for seed in seeds(60) {
        for hurry in [false, true] {
            if let Err(why) = run::<Sound>(seed, hurry) {
                failed.push(format!("{why}\n  SIM_SEED={seed}, hurry {hurry}"));
            }
        }
    }
    failed.truncate(5);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn founder_that_takes_a_view_it_did_not_promise_to_is_noticed() {
    break_rules(&[Rule::FoundersPromise]);
    let found = (0..400).find_map(|seed| {
        let why = run::<Broken>(seed, true).err()?;
        why.contains("founders:").then_some((seed, why))
    });
    let (seed, why) = found.expect("400 seeds show it");
    println!("without FoundersPromise: seed {seed}: {why}");
}
