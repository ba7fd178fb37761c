// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disturbs a cluster from a seed, heals it, and requires progress.

use crate::checkers::progress;
use crate::rng::Rng;
use crate::world::{Event, GOOD, Network, Setup, World};
use cluster::{Policy, Request, Voter};
use views_core::limits::MS;
use views_core::rules::{Rules, Sound};

/// Virtual time that each cluster is disturbed for.
const CHAOS_NS: u64 = 15_000 * MS;

/// What is disturbed.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Whether a disk may be lost with all that is on it (one in half of the runs: a majority keeps theirs).
    pub disk_lost: bool,
    /// Whether a node that lost its disk takes itself for a founder: a mutant.
    pub amnesia: bool,
}

pub const ALL: Plan = Plan { disk_lost: true, amnesia: false };

/// Runs one seed; what was found, if anything.
pub fn run<R: Rules>(seed: u64, plan: Plan) -> Result<(), String> {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let (voters, others) =
        [(3, 0), (3, 2), (5, 0), (5, 3), (7, 2), (1, 2), (2, 1)][rng.range(0, 7) as usize];
    let setup = Setup {
        nodes: voters + others,
        voters,
        policy: Policy { backups: rng.chance(700) },
        network: bad(&mut rng),
        drift: true,
        sync_max_ns: rng.range(1, 30) * MS,
        founders: 0,
        disks: true,
    };
    let mut world: World<R> = World::new(seed, &setup);
    world.nodes.iter_mut().for_each(|node| node.amnesiac = plan.amnesia);
    // A cluster is founded when that is on the disks.
    world.run_until(100 * MS);
    // Whoever drains leaves fewer votes to lose: where a disk may be lost, one node drains of five voters.
    let loses = plan.amnesia || (plan.disk_lost && voters >= 3 && seed.is_multiple_of(2));
    let drains = if !loses { usize::MAX } else { usize::from(voters >= 5) };
    let mut disk_lost = !loses;
    while world.time < CHAOS_NS && world.failure.is_none() {
        disturb(&mut world, &mut rng, drains, &mut disk_lost);
        // Whoever takes itself for a founder again does so as often as it loses its disk.
        disk_lost &= !plan.amnesia;
        if rng.chance(300) {
            world.tell_links();
        }
        let pause = world.time + rng.range(30, 1200) * MS;
        world.run_until(pause);
    }
    heal(&mut world);
    let until = world.time + progress::TIME_NS;
    let mut found = Ok(());
    while world.failure.is_none() && world.time < until {
        let next = world.time + 50 * MS;
        world.run_until(next);
        found = progress::lacks(&world, setup.policy.backups);
        if found.is_ok() {
            break;
        }
    }
    if std::env::var("SIM_SEED").is_ok() {
        for node in &world.nodes {
            println!("{}", world.describe(node));
        }
    }
    match world.failure {
        Some(why) => Err(why),
        None => found,
    }
}

pub fn bad(rng: &mut Rng) -> Network {
    match rng.range(0, 4) {
        0 => GOOD,
        1 => Network { delay_max_ns: 20 * MS, ..GOOD },
        2 => Network { delay_max_ns: 60 * MS, loss: 50, twice: 20, ..GOOD },
        _ => Network { delay_max_ns: 150 * MS, loss: 150, twice: 60, ..GOOD },
    }
}

/// The first `drains` nodes may wish to leave.
fn disturb<R: Rules>(world: &mut World<R>, rng: &mut Rng, drains: usize, disk_lost: &mut bool) {
    let nodes = world.nodes.len() as u64;
    let node = rng.range(0, nodes) as usize;
    // Whoever leads is worth more trouble.
    let node = world.leader().filter(|_| rng.chance(300)).unwrap_or(node);
    match rng.range(0, 13) {
        0 | 1 => {
            world.crash(node);
            if !*disk_lost && rng.chance(200) {
                *disk_lost = true;
                world.nodes[node].disk.lose();
            }
            let at = world.time + rng.range(10, 2500) * MS;
            world.queue(at, Event::Start(node));
        }
        2 | 3 => world.nodes[node].paused_until = world.time + rng.range(50, 1800) * MS,
        4 => {
            let other = rng.range(0, nodes) as usize;
            world.cut.insert((node, other));
        }
        5 | 6 => {
            for other in 0..nodes as usize {
                let to = rng.chance(700);
                world.cut.extend(to.then_some((node, other)));
                world.cut.extend((!to || rng.chance(700)).then_some((other, node)));
            }
        }
        7 => {
            let side: Vec<bool> = (0..nodes).map(|_| rng.chance(500)).collect();
            for a in 0..nodes as usize {
                let others = (0..nodes as usize).filter(|b| side[a] != side[*b]);
                world.cut.extend(others.map(|b| (a, b)));
            }
        }
        8 | 9 => world.cut.clear(),
        10 => world.network = bad(rng),
        11 => lights_out(world, rng),
        _ => ask(world, rng, node, drains),
    }
}

/// The power fails everywhere, or for most.
fn lights_out<R: Rules>(world: &mut World<R>, rng: &mut Rng) {
    for node in 0..world.nodes.len() {
        if rng.chance(800) {
            world.crash(node);
            let at = world.time + rng.range(10, 300) * MS;
            world.queue(at, Event::Start(node));
        }
    }
}

/// A member asks to be drained, or for other voters.
fn ask<R: Rules>(world: &mut World<R>, rng: &mut Rng, node: usize, drains: usize) {
    let now = world.nodes[node].clock(world.time);
    let id = world.nodes[node].id;
    let Some(views) = &mut world.nodes[node].views else { return };
    let Some(view) = views.view().cloned() else { return };
    let draining = view.member(id).is_some_and(|member| member.draining);
    let request = if rng.chance(500) && node < drains {
        Request::Drain(!draining)
    } else {
        let as_voter = |member: &cluster::Member| Voter { node: member.node, disk: member.disk };
        let mut voters: Vec<Voter> = view.voters().to_vec();
        let roster = view.roster();
        let new = as_voter(&roster[rng.range(0, roster.len() as u64) as usize]);
        match voters.iter().position(|voter| voter.node == new.node) {
            // One disk may be lost, and one voter drained: two are left, a majority of three.
            Some(at) if voters.len() > 4 || (voters.len() > 1 && drains == usize::MAX) => {
                voters.remove(at);
            }
            Some(at) => voters[at] = new,
            None if voters.len() < 7 => voters.push(new),
            None => voters[0] = new,
        }
        Request::Voters(voters)
    };
    let _ = views.request(now, request);
    world.after(node);
}

/// Everything is well from now on; nodes that are down start.
pub fn heal<R: Rules>(world: &mut World<R>) {
    world.cut.clear();
    world.network = GOOD;
    for node in 0..world.nodes.len() {
        world.nodes[node].paused_until = 0;
        world.restart(node);
    }
    world.tell_links();
}

/// How many seeds CI runs; `SIM_SEEDS` for more, `SIM_SEED` for one.
pub fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(default),
    }
}

#[test]
fn cluster_disturbed_keeps_its_promises_and_goes_on() {
    let mut failed = Vec::new();
    for seed in seeds(40) {
        if let Err(why) = run::<Sound>(seed, ALL) {
            let again = format!("SIM_SEED={seed} cargo test -p views-core --test sim disturbed");
            failed.push(format!("{why}\n  repeat with: {again}"));
            if failed.len() == 5 {
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
