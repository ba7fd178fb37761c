// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is no member, or repeats, cuts, stretches or changes what members said, changes nothing.

use super::wire_sim::{MS, PERFECT, Sim, config, mac, node_id, secret};
use crate::envelope::{self, BODY, Envelope, Kind};
use crate::greeting::Greeting;
use crate::limits::VERSIONS;
use crate::member::{frames, greeting};
use crate::secure::LinkKeys;
use crate::{Item, Net, Notice, Secret};
use net_api::{Cause, Phase};
use runtime::node::Lane;
use std::vec;
use std::vec::Vec;

/// Two nodes that have met and talked, and all that they said from the first frame on.
fn talk() -> (Sim, Vec<(usize, Vec<u8>)>) {
    let mut sim = Sim::new(2, 1, PERFECT);
    sim.tap = Some(Vec::new());
    sim.meet();
    for len in [1, 700, 5000] {
        for (from, lane) in [(0, Lane::Control), (1, Lane::Pages)] {
            sim.send(from, 1 - from, lane, &vec![3; len]).expect("up");
        }
    }
    sim.run(100 * MS);
    (0..2).for_each(|node| assert_eq!(sim.take_all(node).len(), 3));
    let said = sim.tap.take().expect("kept");
    (sim, said)
}

fn total(sim: &Sim, at: usize) -> u64 {
    sim.figures(at, 1 - at).drops.total() + sim.nodes[at].strays().total()
}

/// Gives a frame to a node; it must be dropped, counted once, and change nothing.
fn refused(sim: &mut Sim, to: usize, mut frame: Vec<u8>, what: &str) {
    let before = sim.nodes[to].state_text();
    let now_ns = sim.now_ns;
    sim.nodes[to].received(&mut frame, now_ns);
    assert_eq!(total(sim, to), 1, "{what}: counted once");
    assert_eq!(sim.nodes[to].state_text(), before, "{what}");
}

/// Runs a check at each frame, in the state in which it is expected: just before it arrives.
fn before_each_frame(mut check: impl FnMut(&mut Sim, usize, &[u8])) {
    let sim = &mut Sim::new(2, 1, PERFECT);
    let mut kinds = [false; 6];
    for step in 0..12 {
        if step == 8 {
            sim.send(0, 1, Lane::Pages, &[5; 2000]).expect("up by now");
        }
        for from in 0..2 {
            let now_ns = sim.now_ns;
            for mut frame in frames(&mut sim.nodes[from], now_ns) {
                kinds[usize::from(frame[envelope::ETHERNET_BYTES + 1])] = true;
                check(sim, 1 - from, &frame);
                sim.nodes[1 - from].received(&mut frame, now_ns);
            }
        }
        sim.now_ns += MS;
    }
    assert_eq!(kinds, [false, true, true, true, true, true], "every kind was seen");
    assert!(sim.figures(0, 1).up && sim.figures(1, 0).up, "the true frames still work");
    assert!(matches!(sim.take_all(1)[..], [Item::Up(_), Item::Message(..)]));
}

#[test]
fn frame_with_any_byte_changed_changes_nothing() {
    before_each_frame(|sim, to, frame| {
        for at in 0..frame.len() {
            let mut changed = frame.to_vec();
            changed[at] ^= 1 << (at % 8);
            refused(sim, to, changed, &std::format!("byte {at} of {}", frame.len()));
        }
    });
}

#[test]
fn frame_cut_anywhere_changes_nothing() {
    before_each_frame(|sim, to, frame| {
        for len in 0..frame.len() {
            let what = std::format!("{len} bytes of {}", frame.len());
            refused(sim, to, frame[..len].to_vec(), &what);
            if len > BODY {
                // One that also lies about its length.
                let mut cut = frame[..len].to_vec();
                envelope::set_len(&mut cut, len - BODY);
                refused(sim, to, cut, &what);
            }
        }
    });
}

#[test]
fn frame_made_longer_changes_nothing() {
    before_each_frame(|sim, to, frame| {
        for surplus in [1, 7, 64, 9000] {
            let mut long = frame.to_vec();
            long.resize(frame.len() + surplus, 0);
            refused(sim, to, long, "longer than it says");
        }
        let mut long = frame.to_vec();
        long.push(0);
        envelope::set_len(&mut long, frame.len() + 1 - BODY);
        refused(sim, to, long, "longer than it was");
    });
}

#[test]
fn frames_said_again_to_an_open_link_change_nothing() {
    let (mut sim, said) = talk();
    let (mut replayed, mut stale) = (0, 0);
    for (from, frame) in said {
        let to = 1 - from;
        let now_ns = sim.now_ns;
        let before = sim.nodes[to].state_text();
        sim.nodes[to].received(&mut frame.clone(), now_ns);
        // A Hello may be a new one, and a proposal may have been answered in vain: both are answered
        // again, and used for nothing.
        let answers = frames(&mut sim.nodes[to], now_ns).len();
        let kind = frame[envelope::ETHERNET_BYTES + 1];
        let answered = [Kind::Hello as u8, Kind::Proposal as u8].contains(&kind);
        assert!(answers <= usize::from(answered), "kind {kind}: {answers} answers");
        assert_eq!(total(&sim, to) + answers as u64, 1, "counted once or answered");
        assert_eq!(sim.nodes[to].state_text(), before);
        sim.nodes[to].received(&mut frame.clone(), now_ns);
        frames(&mut sim.nodes[to], now_ns);
        replayed += sim.drops(to, from, Cause::Replayed);
        stale += sim.drops(to, from, Cause::Stale);
    }
    assert!(replayed > 10 && stale == 0, "{replayed} replayed, {stale} stale");
    sim.send(0, 1, Lane::Control, b"still").expect("up");
    sim.run(50 * MS);
    assert_eq!(sim.take_all(1), [Item::Message(node_id(0), b"still".to_vec())]);
}

#[test]
fn frames_said_again_to_a_restarted_node_bring_nothing_back() {
    let (mut sim, said) = talk();
    sim.reboot(1, 2000);
    let before = sim.frames;
    for _ in 0..3 {
        for (from, frame) in &said {
            sim.put(*from, 1 - from, frame.clone());
        }
        sim.run(20 * MS);
    }
    assert!(sim.frames - before < 200, "answers are bounded by questions");
    sim.run(1000 * MS);
    assert_eq!(sim.take_all(1), [Item::Up(node_id(0))], "nothing of the old life");
    assert_eq!(sim.take_all(0), [Item::Down(node_id(1)), Item::Up(node_id(1))]);
}

#[test]
fn frames_of_the_session_before_are_stale() {
    let (mut sim, said) = talk();
    sim.reboot(1, 2000);
    sim.run(1000 * MS);
    let sealed = said.iter().filter(|(_, frame)| frame[15] == Kind::Sealed as u8);
    let mut count = 0;
    for (from, frame) in sealed {
        refused(&mut sim, 1 - from, frame.clone(), "an old session's frame");
        count += 1;
    }
    let now_ns = sim.now_ns;
    let (from, frame) = said.last().expect("they talked");
    sim.nodes[1 - from].received(&mut frame.clone(), now_ns);
    assert_eq!(sim.drops(1 - from, *from, Cause::Stale), 1);
    assert!(count > 10);
}

/// A cluster in which node 2 boots with a key that node 1 does not know.
fn with_wrong_key() -> Sim {
    let mut sim = Sim::new(2, 1, PERFECT);
    let wrong = config(1, 2, 5);
    sim.nodes[1] = Net::new(&crate::Config { secret: Some(Secret::new([66; 32])), ..wrong }, 0);
    sim
}

#[test]
fn node_with_another_key_is_refused_with_a_sentence() {
    let mut sim = with_wrong_key();
    sim.run(3000 * MS);
    assert!(!sim.figures(0, 1).up && !sim.figures(1, 0).up);
    assert!(sim.drops(0, 1, Cause::Unauthentic) >= 10);
    assert_eq!(sim.figures(0, 1).drops.total(), sim.drops(0, 1, Cause::Unauthentic));
    assert_eq!(sim.take_all(0), []);
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::OtherKey(node_id(1))));
    assert_eq!(sim.nodes[0].next_notice(), None, "said once");
    let text = std::format!("{}", Notice::OtherKey(node_id(1)));
    assert!(text.starts_with("somebody greets as node 2 with another key"), "{text}");
}

#[test]
fn node_that_is_no_member_any_more_is_unknown() {
    let mut sim = Sim::new(2, 1, PERFECT);
    let mut without = config(0, 2, 5);
    without.peers[1].key = None;
    sim.nodes[0] = Net::new(&without, 0);
    sim.run(3000 * MS);
    assert!(sim.nodes[0].strays().of(Cause::UnknownNode) >= 10);
    assert_eq!(sim.figures(0, 1).phase, Phase::NoKey);
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(abi::Errno::EHOSTDOWN));
    assert_eq!(sim.take_all(0), []);
}

#[test]
fn node_without_a_key_says_so_and_stays_alone() {
    let mut sim = Sim::new(2, 1, PERFECT);
    sim.nodes[0] = Net::new(&crate::Config { secret: None, ..config(0, 2, 5) }, 0);
    sim.run(3000 * MS);
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::NoKey(node_id(0))));
    assert_eq!(sim.nodes[0].deadline_ns(), None);
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(abi::Errno::EHOSTDOWN));
}

#[test]
fn node_that_gets_its_key_later_joins() {
    let mut sim = Sim::new(2, 1, PERFECT);
    sim.nodes[0] = Net::new(&crate::Config { secret: None, ..config(0, 2, 5) }, 0);
    sim.run(3000 * MS);
    let now_ns = sim.now_ns;
    let enrolled = sim.nodes[0].enrol(&secret(1), now_ns).expect("it has none");
    assert!(!enrolled.counts, "another's");
    let enrolled = sim.nodes[0].enrol(&secret(0), now_ns).expect("it has not this one");
    assert_eq!((enrolled.public, enrolled.counts), (secret(0).public(), true));
    assert_eq!(sim.nodes[0].enrol(&secret(0), now_ns), Err(abi::Errno::EEXIST));
    sim.run(500 * MS);
    assert!(sim.figures(0, 1).up && sim.figures(1, 0).up);
}

#[test]
fn frames_of_others_are_counted_by_cause() {
    let net = &mut Net::new(&config(0, 2, 1), 0);
    let keys = LinkKeys::new(&secret(1), secret(0).public());
    let hello = Greeting::Hello { session: 9, versions: VERSIONS };
    let good = greeting(&keys, 0, 0, &hello);
    let mut other_mac = good.clone();
    other_mac[5] = 9;
    net.received(&mut other_mac, 0);
    let (from, to) = (node_id(6), node_id(0));
    let stranger = Envelope { version: 0, kind: Kind::Hello, from, to, session: 0, number: 0 };
    let mut out = Vec::new();
    hello.encode(stranger, &keys, (mac(6), mac(0)), &mut out);
    net.received(&mut out, 0);
    let elsewhere = Envelope { from: node_id(1), to: node_id(7), ..stranger };
    hello.encode(elsewhere, &keys, (mac(1), mac(0)), &mut out);
    net.received(&mut out, 0);
    net.received(&mut [0; 10], 0);
    net.received(&mut [&good[..], &[0; 9000]].concat(), 0);
    let strays = net.strays();
    let of = [Cause::NotForMe, Cause::UnknownNode, Cause::Truncated, Cause::Oversized];
    assert_eq!(of.map(|cause| strays.of(cause)), [2, 1, 1, 1]);
    assert_eq!(strays.total(), 5);
    let mut old = greeting(&keys, 1, 0, &hello);
    net.received(&mut old, 0);
    let figures = net.figures(node_id(1)).expect("a link");
    assert_eq!(figures.drops.of(Cause::BadVersion), 1);
}

#[test]
fn stranger_that_floods_with_greetings_gets_no_answer() {
    let net = &mut Net::new(&config(0, 2, 1), 0);
    frames(net, 0);
    let keys = LinkKeys::new(&Secret::new([66; 32]), secret(0).public());
    for session in 0..1000 {
        let hello = Greeting::Hello { session, versions: VERSIONS };
        net.received(&mut greeting(&keys, 0, 0, &hello), MS);
        assert_eq!(frames(net, MS), Vec::<Vec<u8>>::new());
    }
}
