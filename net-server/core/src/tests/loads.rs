// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads: all of it arrives or is dropped and counted, and other messages go on.

use super::wire_sim::{BAD, MS, PERFECT, Sim, node_id};
use crate::limits::LOAD_BYTES_MAX;
use abi::Errno;
use net_api::LoadFigures;

fn figures(sim: &Sim) -> LoadFigures {
    sim.nodes[0].load_figures(node_id(1)).expect("a link")
}

#[test]
fn sealed_load_arrives_whole_on_a_bad_wire() {
    let sim = &mut Sim::new(2, 3, BAD);
    sim.meet();
    let before = sim.nodes[1].figures(node_id(0)).expect("a link").bytes_received;
    sim.nodes[0].load(node_id(1), 1 << 20, false).expect("no other load");
    assert_eq!(sim.nodes[0].load(node_id(1), 1, false), Err(Errno::EBUSY));
    sim.run(60_000 * MS);
    let it = figures(sim);
    assert_eq!((it.running, it.bytes), (false, 1 << 20));
    assert!(it.took_ns > 0);
    let arrived = sim.nodes[1].figures(node_id(0)).expect("a link").bytes_received - before;
    assert_eq!(arrived, 1 << 20);
}

#[test]
fn raw_load_is_counted_and_dropped_and_the_link_goes_on() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    let dropped = |sim: &Sim| sim.nodes[1].figures(node_id(0)).expect("a link").drops.total();
    let before = dropped(sim);
    sim.nodes[0].load(node_id(1), 1_000_000, true).expect("no other load");
    sim.run(100 * MS);
    let it = figures(sim);
    assert_eq!((it.running, it.bytes), (false, 1_000_000));
    assert!(dropped(sim) - before >= 1_000_000 / 1500, "all frames are dropped");
    sim.nodes[0].ping(node_id(1), 5).expect("no other series");
    sim.run(100 * MS);
    assert_eq!(sim.nodes[0].ping_figures(node_id(1)).expect("a link").answered, 5);
}

#[test]
fn load_ends_with_its_link_and_has_bounds() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    assert_eq!(sim.nodes[0].load(node_id(1), 1, false), Err(Errno::EHOSTDOWN));
    assert_eq!(sim.nodes[0].load(node_id(5), 1, false), Err(Errno::EINVAL));
    sim.meet();
    for bytes in [0, LOAD_BYTES_MAX + 1] {
        assert_eq!(sim.nodes[0].load(node_id(1), bytes, true), Err(Errno::EINVAL));
    }
    sim.cut = [(0, 1), (1, 0)].to_vec();
    sim.nodes[0].load(node_id(1), 1 << 20, false).expect("the link counts as up");
    sim.run(3_000 * MS);
    let it = figures(sim);
    assert!(!it.running && it.took_ns == 0 && it.bytes < 1 << 20, "{it:?}");
}
