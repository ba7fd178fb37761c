// SPDX-License-Identifier: MIT OR Apache-2.0
//! Null requests: their number, their time, and how a series ends.

use super::wire_sim::{BAD, MS, PERFECT, Sim, node_id};
use crate::limits::{PINGS_MAX, SEND_MESSAGES_MAX, SILENCE_NS};
use abi::{Errno, ServerId};
use net_api::PingFigures;
use runtime::node::{Lane, Urge};

fn figures(sim: &Sim) -> PingFigures {
    sim.nodes[0].ping_figures(node_id(1)).expect("a link")
}

#[test]
fn series_is_answered_in_two_messages_and_one_round_trip_each() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    let before = sim.nodes[0].figures(node_id(1)).expect("a link");
    sim.nodes[0].ping(node_id(1), 20).expect("no other series");
    assert_eq!(sim.nodes[0].ping(node_id(1), 1), Err(Errno::EBUSY));
    sim.run(100 * MS);
    let it = figures(sim);
    let round_trip_ns = 2 * PERFECT.delay_ns;
    assert_eq!((it.running, it.sent, it.answered), (false, 20, 20));
    assert_eq!(
        (it.least_ns, it.most_ns, it.sum_ns),
        (round_trip_ns, round_trip_ns, 20 * round_trip_ns)
    );
    let after = sim.nodes[0].figures(node_id(1)).expect("a link");
    assert_eq!(after.messages_sent - before.messages_sent, 20);
    assert_eq!(after.messages_received - before.messages_received, 20);
}

#[test]
fn series_of_both_nodes_at_once_end_on_a_bad_wire() {
    let sim = &mut Sim::new(2, 7, BAD);
    sim.meet();
    sim.nodes[0].ping(node_id(1), 50).expect("no other series");
    sim.nodes[1].ping(node_id(0), 50).expect("no other series");
    sim.run(30_000 * MS);
    assert_eq!(figures(sim).answered, 50);
    assert_eq!(sim.nodes[1].ping_figures(node_id(0)).expect("a link").answered, 50);
}

#[test]
fn series_ends_with_its_link() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    assert_eq!(sim.nodes[0].ping(node_id(1), 1), Err(Errno::EHOSTDOWN));
    sim.meet();
    sim.cut = [(0, 1), (1, 0)].to_vec();
    sim.nodes[0].ping(node_id(1), 5).expect("no other series");
    sim.run(2 * SILENCE_NS);
    let it = figures(sim);
    assert_eq!((it.running, it.sent, it.answered), (false, 1, 0));
}

#[test]
fn request_waits_for_room_in_a_full_lane() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    for _ in 0..SEND_MESSAGES_MAX {
        sim.send(0, 1, Lane::Control, b"x").expect("room");
    }
    sim.nodes[0].ping(node_id(1), 3).expect("no other series");
    sim.run(1000 * MS);
    assert_eq!(sim.take_all(1).len(), SEND_MESSAGES_MAX);
    sim.run(1000 * MS);
    assert_eq!(figures(sim).answered, 3);
}

#[test]
fn series_is_refused_outside_of_its_bounds() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    assert_eq!(sim.nodes[0].ping(node_id(1), 0), Err(Errno::EINVAL));
    assert_eq!(sim.nodes[0].ping(node_id(1), PINGS_MAX + 1), Err(Errno::EINVAL));
    assert_eq!(sim.nodes[0].ping(node_id(0), 1), Err(Errno::EINVAL));
    assert_eq!(sim.nodes[0].ping_figures(node_id(0)), Err(Errno::EINVAL));
}

#[test]
fn message_that_is_no_null_request_is_left_alone() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    for message in [&b"x"[..], &[3; 9], &[2, 1, 0, 0, 0, 0, 0, 0, 0]] {
        let sent = sim.nodes[1].send(
            node_id(0),
            (Lane::Control, Urge::New),
            ServerId::Net,
            message.to_vec(),
        );
        sent.expect("room");
    }
    sim.run(100 * MS);
    assert_eq!(figures(sim), PingFigures::default());
}
