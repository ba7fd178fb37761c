// SPDX-License-Identifier: MIT OR Apache-2.0
//! How sessions come about, are replaced and change their keys.

use super::wire_sim::{BAD, MS, PERFECT, Sim, config, node_id};
use crate::limits::{ATTEMPT_NS, REKEY_FRAMES, Versions};
use crate::member::frames;
use crate::{Config, Item, Net, Notice};
use net_api::{Cause, Phase};
use runtime::node::Lane;
use std::string::ToString;
use std::vec;

fn both_up(sim: &Sim) -> bool {
    sim.figures(0, 1).up && sim.figures(1, 0).up
}

/// Runs until both ends are up and neither wants to say more about it; when that was.
fn meet_within(sim: &mut Sim, limit_ns: u64) -> u64 {
    while !both_up(sim) {
        assert!(sim.now_ns < limit_ns, "the link is not up after {limit_ns} ns");
        sim.run(MS);
    }
    sim.now_ns
}

#[test]
fn session_of_two_that_boot_at_once_is_up_after_two_round_trips() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    let up_ns = meet_within(sim, 10 * MS);
    assert!(up_ns <= 2 * MS, "{up_ns} ns");
    sim.run(3000 * MS);
    assert_eq!(sim.take_all(0), [Item::Up(node_id(1))], "once");
    assert_eq!(sim.take_all(1), [Item::Up(node_id(0))], "once");
}

#[test]
fn session_of_a_node_that_boots_later_is_up_at_once() {
    for late in 0..2 {
        let sim = &mut Sim::new(2, 1, PERFECT);
        sim.cut = vec![(0, 1), (1, 0)];
        sim.run(1010 * MS);
        sim.cut.clear();
        sim.reboot(late, 7);
        let up_ns = meet_within(sim, 2000 * MS);
        assert!(up_ns <= 1012 * MS, "node {late} late: {up_ns} ns");
        sim.run(3000 * MS);
        assert_eq!(sim.take_all(0), [Item::Up(node_id(1))]);
    }
}

#[test]
fn session_comes_about_whichever_greeting_is_lost() {
    for lost in 0..12 {
        let sim = &mut Sim::new(2, 1, PERFECT);
        let mut count = 0;
        while !both_up(sim) {
            assert!(sim.now_ns < ATTEMPT_NS + 1000 * MS, "frame {lost} lost: never up");
            let now_ns = sim.now_ns;
            for from in 0..2 {
                for mut frame in frames(&mut sim.nodes[from], now_ns) {
                    if count != lost {
                        sim.nodes[1 - from].received(&mut frame, now_ns);
                    }
                    count += 1;
                }
            }
            (0..2).for_each(|node| sim.nodes[node].tick(now_ns));
            sim.now_ns += MS;
        }
        sim.run(3000 * MS);
        for node in 0..2 {
            let marks = sim.take_all(node);
            assert_eq!(marks, [Item::Up(node_id(1 - node))], "frame {lost} lost, node {node}");
        }
    }
}

#[test]
fn session_comes_about_when_every_frame_arrives_twice() {
    let faults = super::wire_sim::Faults { repeated: 1000, ..PERFECT };
    let sim = &mut Sim::new(2, 1, faults);
    meet_within(sim, 10 * MS);
    sim.run(3000 * MS);
    assert_eq!(sim.take_all(0), [Item::Up(node_id(1))]);
    assert_eq!(sim.take_all(1), [Item::Up(node_id(0))]);
}

#[test]
fn session_over_a_bad_wire_comes_about_within_three_seconds() {
    for seed in 0..100 {
        let sim = &mut Sim::new(2, seed, BAD);
        let up_ns = meet_within(sim, 3000 * MS);
        assert!(up_ns < 3000 * MS, "seed {seed}");
    }
}

#[test]
fn session_of_a_node_that_restarts_again_and_again_is_replaced() {
    let sim = &mut Sim::new(2, 1, BAD);
    for boot in 1..20 {
        let node = boot as usize % 2;
        let wait_ns = sim.random(400 * MS);
        sim.run(wait_ns);
        sim.reboot(node, boot);
    }
    let now_ns = sim.now_ns;
    meet_within(sim, now_ns + 4000 * MS);
    sim.take_all(1);
    sim.run(200 * MS);
    sim.send(0, 1, Lane::Control, b"here").expect("up");
    sim.run(500 * MS);
    assert_eq!(sim.take_all(1), [Item::Message(node_id(0), b"here".to_vec())]);
}

#[test]
fn session_changes_keys_under_traffic_and_loses_nothing() {
    let sim =
        &mut Sim::new(2, 3, super::wire_sim::Faults { jitter_ns: MS / 2, lost: 10, ..PERFECT });
    sim.meet();
    let (mut sent, mut got) = (0u32, 0u32);
    // One message a frame.
    while u64::from(got) < 2 * REKEY_FRAMES + 1000 {
        while sim.send(0, 1, Lane::Pages, &sent.to_le_bytes()) == Ok(()) {
            sent += 1;
        }
        sim.run(5 * MS);
        for item in sim.take_all(1) {
            assert_eq!(item, Item::Message(node_id(0), got.to_le_bytes().to_vec()));
            got += 1;
        }
    }
    assert_eq!(sim.drops(1, 0, Cause::Unauthentic), 0);
    assert!(both_up(sim));
}

fn versions(oldest: u8, newest: u8) -> Versions {
    Versions { oldest, newest }
}

fn with_versions(a: Versions, b: Versions) -> Sim {
    let mut sim = Sim::new(2, 1, PERFECT);
    for (index, versions) in [a, b].into_iter().enumerate() {
        sim.nodes[index] = Net::new(&Config { versions, ..config(index, 2, 1) }, 0);
    }
    sim
}

#[test]
fn session_speaks_the_newest_version_that_both_know() {
    for (a, b, common) in [
        (versions(2, 3), versions(2, 2), 2),
        (versions(2, 3), versions(3, 4), 3),
        (versions(3, 4), versions(3, 4), 4),
    ] {
        let sim = &mut with_versions(a, b);
        sim.meet();
        assert_eq!((sim.figures(0, 1).version, sim.figures(1, 0).version), (common, common));
        sim.send(0, 1, Lane::Control, b"hi").expect("up");
        sim.run(50 * MS);
        assert_eq!(sim.take_all(1), [Item::Message(node_id(0), b"hi".to_vec())]);
    }
}

#[test]
fn session_without_common_version_is_refused_with_a_sentence() {
    let (a, b) = (versions(3, 4), versions(2, 2));
    let sim = &mut with_versions(a, b);
    sim.run(3000 * MS);
    for (node, mine, theirs) in [(0, a, b), (1, b, a)] {
        let figures = sim.figures(node, 1 - node);
        assert_eq!((figures.up, figures.phase), (false, Phase::Refused));
        assert_eq!(figures.state(), "refused");
        let notice = Notice::NoCommonVersion { node: node_id(1 - node), mine, theirs };
        assert_eq!(sim.nodes[node].next_notice(), Some(notice));
        assert_eq!(sim.nodes[node].next_notice(), None, "said once");
    }
    let notice = Notice::NoCommonVersion { node: node_id(1), mine: a, theirs: b };
    assert_eq!(
        notice.to_string(),
        "node 2 speaks format 2 of links, this node 3 and 4: the link stays down until the older one \
         of them is replaced"
    );
    sim.nodes[1] = Net::new(&Config { versions: versions(3, 3), ..config(1, 2, 2) }, sim.now_ns);
    sim.run(1000 * MS);
    assert!(both_up(sim), "replaced by a newer one");
}
