// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that the configuration does not name, and addresses that may not be.

use super::wire_sim::{BAD, MS, PERFECT, Sim, config, mac, node_id, secret};
use crate::{Config, Item, Net, Notice, Secret};
use abi::Errno;
use net_api::Cause;
use runtime::node::Lane;

/// Three nodes; the configuration of the first two does not name the third.
fn sim(seed: u64, faults: super::wire_sim::Faults) -> Sim {
    let mut sim = Sim::new(3, seed, faults);
    for at in 0..2 {
        sim.nodes[at] = Net::new(&config(at, 2, 99), sim.now_ns);
    }
    sim
}

/// Node `at` hears of the third node.
fn hears(sim: &mut Sim, at: usize) {
    let now_ns = sim.now_ns;
    sim.nodes[at].add_peer(node_id(2), mac(2)).expect("nobody has that address");
    let key = Some(secret(2).public());
    sim.nodes[at].change_key(node_id(2), key, now_ns).expect("it is known now");
}

#[test]
fn newcomer_is_a_stranger_until_it_is_added_and_then_a_node_as_any_other() {
    for seed in 0..20 {
        let sim = &mut sim(seed, BAD);
        sim.run(3000 * MS);
        assert_eq!(sim.nodes[0].figures(node_id(2)), Err(Errno::EINVAL));
        assert!(sim.nodes[0].strays().of(Cause::UnknownNode) > 0, "it greets");
        assert!(sim.figures(0, 1).up, "the others do not mind");
        for at in [0, 1, 0] {
            hears(sim, at);
        }
        sim.run(8000 * MS);
        assert!(sim.figures(0, 2).up && sim.figures(2, 0).up && sim.figures(1, 2).up);
        (0..3).for_each(|node| drop(sim.take_all(node)));
        sim.send(2, 0, Lane::Control, b"hi").expect("up");
        sim.send(0, 2, Lane::Control, b"welcome").expect("up");
        sim.run(4000 * MS);
        assert_eq!(sim.take_all(0).pop(), Some(Item::Message(node_id(2), b"hi".to_vec())));
        assert_eq!(sim.take_all(2).pop(), Some(Item::Message(node_id(0), b"welcome".to_vec())));
    }
}

#[test]
fn newcomer_whose_key_is_another_stays_out_and_is_counted() {
    let sim = &mut sim(1, PERFECT);
    let other = Config { secret: Some(Secret::new([77; 32])), ..config(2, 3, 99) };
    sim.nodes[2] = Net::new(&other, sim.now_ns);
    hears(sim, 0);
    sim.run(5000 * MS);
    assert!(!sim.figures(0, 2).up && !sim.figures(2, 0).up);
    assert!(sim.drops(0, 2, Cause::Unauthentic) > 0);
}

#[test]
fn newcomer_that_is_revoked_is_a_stranger_again() {
    let sim = &mut sim(1, PERFECT);
    hears(sim, 0);
    sim.run(2000 * MS);
    assert!(sim.figures(0, 2).up);
    while sim.nodes[0].next_notice().is_some() {}
    let now_ns = sim.now_ns;
    sim.nodes[0].change_key(node_id(2), None, now_ns).expect("it is known");
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Revoked(node_id(2))));
    let before = sim.nodes[0].strays().of(Cause::UnknownNode);
    sim.run(2000 * MS);
    assert!(sim.nodes[0].strays().of(Cause::UnknownNode) > before);
}

#[test]
fn address_of_a_known_node_stays_and_one_that_nobody_may_have_is_refused() {
    let sim = &mut sim(1, PERFECT);
    hears(sim, 0);
    sim.run(2000 * MS);
    let net = &mut sim.nodes[0];
    for known in 0..3 {
        assert_eq!(net.add_peer(node_id(known), mac(9)), Err(Errno::EEXIST), "{known}");
        assert_eq!(net.add_peer(node_id(known), mac(known)), Ok(()));
    }
    for wrong in [mac(0), mac(1), mac(2), [0xff; 6], [1, 0, 0, 0, 0, 9], [0; 6]] {
        assert_eq!(net.add_peer(node_id(8), wrong), Err(Errno::EINVAL), "{wrong:?}");
        assert_eq!(net.figures(node_id(8)), Err(Errno::EINVAL), "{wrong:?}");
    }
    sim.run(2000 * MS);
    assert!(sim.figures(0, 1).up && sim.figures(0, 2).up);
}
