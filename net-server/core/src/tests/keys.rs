// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys that are changed and revoked while nodes talk.

use super::wire_sim::{BAD, MS, PERFECT, Sim, config, node_id, secret};
use crate::limits::{RENEWAL_NS, SECRETS_MAX, SILENCE_NS};
use crate::{Config, Item, Net, Notice, PublicKey, Secret};
use abi::Errno;
use net_api::{Cause, Phase};
use runtime::node::Lane;

/// Another private key of any node.
fn new_secret(number: u8) -> Secret {
    Secret::new([100 + number; 32])
}

fn enrol(sim: &mut Sim, node: usize, secret: &Secret) {
    let now_ns = sim.now_ns;
    sim.nodes[node].enrol(secret, now_ns).expect("another one");
}

/// Node `at` hears that this is the key of node `of`.
fn hears(sim: &mut Sim, at: usize, of: usize, key: Option<PublicKey>) {
    let now_ns = sim.now_ns;
    sim.nodes[at].change_key(node_id(of), key, now_ns).expect("a node of the cluster");
}

fn both_up(sim: &Sim) -> bool {
    sim.figures(0, 1).up && sim.figures(1, 0).up
}

/// Both ends are up, and talk.
fn talks(sim: &mut Sim) {
    (0..2).for_each(|node| drop(sim.take_all(node)));
    for from in 0..2 {
        sim.send(from, 1 - from, Lane::Control, b"hi").expect("up");
    }
    sim.run(4000 * MS);
    for node in 0..2 {
        let last = sim.take_all(node).pop();
        assert_eq!(last, Some(Item::Message(node_id(1 - node), b"hi".to_vec())));
    }
}

/// Boots a node that has this private key only, and knows no other key of anybody than the images.
fn boots_with(sim: &mut Sim, node: usize, secret: &Secret) {
    let config = Config { secret: Some(secret.clone()), ..config(node, 2, 99) };
    sim.nodes[node] = Net::new(&config, sim.now_ns);
}

/// Messages both ways, numbered, that are under way all the time.
#[derive(Default)]
struct Traffic {
    sent: [u32; 2],
    got: [u32; 2],
}

impl Traffic {
    fn run(&mut self, sim: &mut Sim, ns: u64) {
        let end_ns = sim.now_ns + ns;
        while sim.now_ns < end_ns {
            for from in 0..2 {
                let mut data = std::vec![7; 900];
                data[..4].copy_from_slice(&self.sent[from].to_le_bytes());
                if sim.send(from, 1 - from, Lane::Pages, &data) == Ok(()) {
                    self.sent[from] += 1;
                }
            }
            sim.run(2 * MS);
            self.take(sim);
        }
    }

    fn take(&mut self, sim: &mut Sim) {
        for node in 0..2 {
            for item in sim.take_all(node) {
                let Item::Message(_, data) = item else { panic!("the link went down: {item:?}") };
                assert_eq!(data[..4], self.got[node].to_le_bytes(), "in order, each once");
                self.got[node] += 1;
            }
        }
    }
}

#[test]
fn key_changed_under_traffic_loses_nothing_and_no_link() {
    for seed in 0..20 {
        for changed in 0..2 {
            let sim = &mut Sim::new(2, seed, if seed % 2 == 0 { PERFECT } else { BAD });
            let traffic = &mut Traffic::default();
            sim.meet();
            traffic.run(sim, 300 * MS);
            let key = Some(new_secret(1).public());
            enrol(sim, changed, &new_secret(1));
            traffic.run(sim, 100 * MS);
            // Whoever hears of it first.
            let first = seed as usize / 2 % 2;
            hears(sim, first, changed, key);
            traffic.run(sim, 400 * MS);
            hears(sim, 1 - first, changed, key);
            traffic.run(sim, RENEWAL_NS + 500 * MS);
            sim.run(2000 * MS);
            traffic.take(sim);
            assert_eq!(traffic.got, [traffic.sent[1], traffic.sent[0]], "seed {seed}");
            assert!(traffic.sent[0] > 100 && both_up(sim), "seed {seed}: {:?}", traffic.sent);
            assert_eq!(sim.figures(0, 1).lives, 1, "seed {seed}: the same life");
            // And the old key is none any more.
            boots_with(sim, changed, &secret(changed));
            sim.run(3000 * MS);
            assert!(!both_up(sim) && sim.drops(1 - changed, changed, Cause::Unauthentic) > 5);
        }
    }
}

#[test]
fn key_that_is_shown_is_told_of_on_the_way() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    enrol(sim, 1, &new_secret(1));
    while sim.nodes[0].next_notice().is_some() {}
    hears(sim, 0, 1, Some(new_secret(1).public()));
    sim.run(10 * MS);
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Renewed(node_id(1))), "at once");
}

#[test]
fn keys_of_both_ends_changed_at_once_lose_nothing() {
    for seed in 0..20 {
        let sim = &mut Sim::new(2, seed, BAD);
        let traffic = &mut Traffic::default();
        sim.meet();
        (0..2).for_each(|node| enrol(sim, node, &new_secret(node as u8)));
        for of in 0..2 {
            for at in 0..2 {
                hears(sim, at, of, Some(new_secret(of as u8).public()));
            }
            let wait_ns = sim.random(50 * MS);
            traffic.run(sim, wait_ns);
        }
        traffic.run(sim, RENEWAL_NS + 500 * MS);
        sim.run(2000 * MS);
        traffic.take(sim);
        assert_eq!(traffic.got, [traffic.sent[1], traffic.sent[0]], "seed {seed}");
    }
}

#[test]
fn key_changed_while_nodes_restart_leaves_a_link_that_works() {
    for seed in 0..60 {
        let sim = &mut Sim::new(2, seed, BAD);
        sim.meet();
        let changed = seed as usize % 2;
        let key = Some(new_secret(1).public());
        enrol(sim, changed, &new_secret(1));
        let mut steps = [0, 1, 2];
        steps.rotate_left(seed as usize / 2 % 3);
        for step in steps {
            match step {
                0 => hears(sim, 1 - changed, changed, key),
                1 => {
                    sim.reboot(changed, 1000 + seed);
                    enrol(sim, changed, &new_secret(1));
                }
                _ => {
                    sim.reboot(1 - changed, 2000 + seed);
                    hears(sim, 1 - changed, changed, key);
                }
            }
            let wait_ns = sim.random(30 * MS);
            sim.run(wait_ns);
        }
        sim.run(8000 * MS);
        assert!(both_up(sim), "seed {seed}");
        talks(sim);
    }
}

#[test]
fn key_that_the_node_has_not_got_ends_its_link_until_it_has() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    hears(sim, 0, 1, Some(new_secret(1).public()));
    sim.run(RENEWAL_NS - 100 * MS);
    assert!(both_up(sim), "it has a while to show it");
    while sim.nodes[0].next_notice().is_some() {}
    sim.run(100 * MS);
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::OldKey(node_id(1))));
    sim.run(100 * MS + SILENCE_NS);
    assert_eq!(sim.take_all(0), [Item::Down(node_id(1))]);
    assert_eq!(sim.take_all(1), [Item::Down(node_id(0))]);
    assert!(sim.drops(0, 1, Cause::Unauthentic) > 0, "it is counted");
    // It learns it, and needs no restart.
    enrol(sim, 1, &new_secret(1));
    sim.run(500 * MS);
    assert!(both_up(sim));
    talks(sim);
}

#[test]
fn node_whose_key_is_revoked_is_a_stranger_though_it_goes_on_sending() {
    let sim = &mut Sim::new(3, 1, PERFECT);
    sim.meet();
    hears(sim, 0, 1, None);
    assert_eq!(sim.take_all(0), [Item::Down(node_id(1))], "at once");
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Revoked(node_id(1))));
    for _ in 0..20 {
        let _ = sim.send(1, 0, Lane::Control, b"let me in");
        sim.run(200 * MS);
    }
    assert_eq!(sim.take_all(0), [], "nothing of what it says arrives");
    assert!(sim.nodes[0].strays().of(Cause::UnknownNode) > 10, "it is counted");
    assert_eq!(sim.figures(0, 1).phase, Phase::NoKey);
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(Errno::EHOSTDOWN));
    sim.send(0, 2, Lane::Control, b"others").expect("they are friends still");
    // It comes back with another key only.
    hears(sim, 0, 1, Some(new_secret(1).public()));
    sim.run(1000 * MS);
    assert!(!sim.figures(0, 1).up);
    enrol(sim, 1, &new_secret(1));
    sim.run(1000 * MS);
    assert!(both_up(sim));
    talks(sim);
}

#[test]
fn node_that_boots_with_old_keys_is_known_by_one_that_its_disk_kept() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    hears(sim, 0, 1, Some(new_secret(2).public()));
    enrol(sim, 1, &new_secret(2));
    enrol(sim, 1, &new_secret(3));
    sim.run(1000 * MS);
    assert!(both_up(sim), "neither the image's key nor the newest counts");
    talks(sim);
    // Then it hears which one does, and forgets those that are older.
    hears(sim, 1, 1, Some(new_secret(2).public()));
    let now_ns = sim.now_ns;
    assert_eq!(sim.nodes[1].enrol(&new_secret(3), now_ns), Err(Errno::EEXIST));
    assert_eq!(sim.nodes[1].enrol(&new_secret(2), now_ns), Err(Errno::EEXIST));
    assert!(sim.nodes[1].enrol(&secret(1), now_ns).is_ok(), "that was forgotten");
}

#[test]
fn node_holds_few_private_keys_and_always_the_one_that_counts() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    for number in 0..20 {
        enrol(sim, 1, &new_secret(number));
    }
    let linked = sim.nodes[1].linked.as_ref().expect("it has keys");
    assert_eq!(linked.secrets.len(), SECRETS_MAX);
    assert!(linked.secrets.contains(&secret(1)) && linked.secrets.contains(&new_secret(19)));
    sim.meet();
    talks(sim);
}

#[test]
fn key_that_the_node_itself_has_not_got_is_told_of() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    while sim.nodes[1].next_notice().is_some() {}
    hears(sim, 1, 1, Some(new_secret(1).public()));
    assert_eq!(sim.nodes[1].next_notice(), Some(Notice::OwnKey(node_id(1))));
    let now_ns = sim.now_ns;
    let enrolled = sim.nodes[1].enrol(&new_secret(1), now_ns).expect("another one");
    assert!(enrolled.counts);
    assert_eq!(sim.nodes[1].change_key(node_id(9), None, now_ns), Err(Errno::EINVAL));
    assert!(both_up(sim), "what others take for its key is theirs to say");
}
