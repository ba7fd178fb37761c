// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of nodes that are changed and revoked, and nodes that are added, while the cluster runs.

use crate::world::{GOOD, Setup, World};
use abi::NodeId;
use cluster::{Newcomer, Policy, PublicKey, Request, StationAddress, View};
use views_core::limits::MS;
use views_core::rules::Sound;
use views_core::wire::{Envelope, Message, Wish};

/// A cluster in which everybody acts.
fn running(seed: u64, nodes: usize) -> World<Sound> {
    let setup = Setup {
        nodes,
        voters: 3,
        policy: Policy { backups: false },
        network: GOOD,
        drift: true,
        sync_max_ns: 5 * MS,
        founders: 0,
        disks: true,
    };
    let mut world = World::new(seed, &setup);
    passes(&mut world, 3_000);
    assert!(world.nodes.iter().all(|node| node.may_act(world.time)), "seed {seed}");
    world
}

fn passes(world: &mut World<Sound>, ms: u64) {
    let next = world.time + ms * MS;
    world.run_until(next);
    assert_eq!(world.failure, None);
}

fn key(byte: u8) -> Option<PublicKey> {
    PublicKey::new([byte; 32])
}

fn has(world: &World<Sound>, at: usize, node: usize, key: Option<PublicKey>) -> bool {
    let entry = |view: &View| view.changed_key(world.nodes[node].id).map(|entry| entry.key);
    world.nodes[at].view().and_then(entry) == Some(key)
}

/// As its server does: a node asks in each view until it is so.
fn change(world: &mut World<Sound>, from: usize, node: usize, key: Option<PublicKey>) {
    let began = world.time;
    while !has(world, from, node, key) {
        assert!(world.time < began + 5_000 * MS, "{:?}", world.failure);
        let (now, id) = (world.nodes[from].clock(world.time), world.nodes[node].id);
        let views = world.nodes[from].views.as_mut().expect("it is up");
        let _ = views.request(now, Request::Key(id, key));
        views.tick(now);
        world.after(from);
        passes(world, 10);
    }
}

/// Cut off by the others' net-servers, or not: then it goes on sending, and is heard.
fn revoked(seed: u64, leads: bool, cut: bool) {
    let mut world = running(seed, 3);
    let leader = world.leader().expect("somebody leads");
    let gone = if leads { leader } else { (leader + 1) % 3 };
    let [asks, other] = [(gone + 1) % 3, (gone + 2) % 3];
    change(&mut world, asks, gone, None);
    if cut {
        for of in [asks, other] {
            world.cut.extend([(of, gone), (gone, of)]);
        }
    }
    let what = format!("seed {seed}, leads {leads}, cut {cut}");
    let id = world.nodes[gone].id;
    let is_out = |world: &World<Sound>| {
        [asks, other].iter().all(|node| {
            let view = world.nodes[*node].view().expect("a view");
            let votes = view.voters().iter().any(|voter| voter.node == id);
            !view.contains(id) && !votes && world.nodes[*node].may_act(world.time)
        })
    };
    let took = world.until(4_000, is_out);
    took.unwrap_or_else(|| panic!("{what}: {:?}", world.failure));
    // It starts again and asks, in vain.
    world.restart(gone);
    for _ in 0..20 {
        passes(&mut world, 250);
        assert!(is_out(&world) && !world.nodes[gone].may_act(world.time), "{what}");
    }
    change(&mut world, asks, gone, key(9));
    world.cut.clear();
    let back = world.until(4_000, |world| world.nodes[gone].may_act(world.time));
    back.unwrap_or_else(|| panic!("{what}: with another key it comes back: {:?}", world.failure));
}

#[test]
fn node_whose_key_is_revoked_is_let_go_and_stays_out_until_it_has_another() {
    for seed in 0..8 {
        for (leads, cut) in [(false, false), (false, true), (true, false), (true, true)] {
            revoked(seed, leads, cut);
        }
    }
}

#[test]
fn key_that_is_changed_is_known_to_all_and_survives_a_power_failure() {
    let mut world = running(1, 4);
    change(&mut world, 0, 3, key(7));
    passes(&mut world, 500);
    assert!((0..4).all(|node| has(&world, node, 3, key(7))));
    assert!(world.nodes.iter().all(|node| node.may_act(world.time)), "nobody was let go");
    (0..4).for_each(|node| world.crash(node));
    (0..4).for_each(|node| world.restart(node));
    passes(&mut world, 4_000);
    assert!(
        (0..4).all(|node| has(&world, node, 3, key(7)) && world.nodes[node].may_act(world.time))
    );
}

/// What a voter asked for once is not asked for by saying it again.
#[test]
fn wish_that_is_replayed_in_a_later_view_changes_nothing() {
    let mut world = running(2, 4);
    let leader = world.leader().expect("somebody leads");
    let asks = (leader + 1) % 3;
    let view = world.nodes[asks].view().expect("a view").clone();
    let life = view.member(world.nodes[asks].id).expect("a member").incarnation.get();
    change(&mut world, asks, 3, key(7));
    change(&mut world, asks, 3, key(8));
    let wish = Wish::Key(4, Some([7; 32]));
    let message = Message::Ask { incarnation: life, epoch: view.epoch().0, wish };
    let envelope = Envelope { cluster: 0, from_disk: asks as u32 + 1, to_disk: 0, message };
    for _ in 0..10 {
        world.send(asks, leader, envelope.encode());
        passes(&mut world, 100);
    }
    assert!((0..4).all(|node| has(&world, node, 3, key(8))));
}

fn newcomer() -> Newcomer {
    let address = StationAddress::new([2, 0, 0, 0, 0, 9]).expect("an address");
    let (node, key) = (NodeId::new(9).expect("a node"), key(9).expect("a key"));
    Newcomer { node, key, address }
}

fn knows_newcomer(world: &World<Sound>, at: usize) -> bool {
    let it = world.nodes[at].view().and_then(|view| view.changed_key(newcomer().node));
    it.is_some_and(|it| (it.key, it.address) == (Some(newcomer().key), Some(newcomer().address)))
}

#[test]
fn node_that_is_added_is_known_to_all_and_after_a_power_failure_and_key_changes_go_on() {
    let mut world = running(3, 4);
    let began = world.time;
    while !knows_newcomer(&world, 1) {
        assert!(world.time < began + 5_000 * MS, "{:?}", world.failure);
        let now = world.nodes[1].clock(world.time);
        let views = world.nodes[1].views.as_mut().expect("it is up");
        let _ = views.request(now, Request::Add(newcomer()));
        views.tick(now);
        world.after(1);
        passes(&mut world, 10);
    }
    change(&mut world, 0, 3, key(7));
    passes(&mut world, 500);
    assert!((0..4).all(|node| knows_newcomer(&world, node) && has(&world, node, 3, key(7))));
    (0..4).for_each(|node| world.crash(node));
    (0..4).for_each(|node| world.restart(node));
    passes(&mut world, 4_000);
    assert!((0..4).all(|node| knows_newcomer(&world, node)));
}

/// A member that does not vote says what only voters may.
#[test]
fn node_is_not_added_by_a_member_that_does_not_vote() {
    let mut world = running(4, 4);
    let leader = world.leader().expect("somebody leads");
    let Newcomer { node, key, address } = newcomer();
    for asks in [3, (leader + 1) % 3] {
        let view = world.nodes[asks].view().expect("a view").clone();
        let life = view.member(world.nodes[asks].id).expect("a member").incarnation.get();
        let wish = Wish::Add(node.get(), key.bytes(), address.bytes());
        let message = Message::Ask { incarnation: life, epoch: view.epoch().0, wish };
        let envelope = Envelope { cluster: 0, from_disk: asks as u32 + 1, to_disk: 0, message };
        world.send(asks, leader, envelope.encode());
        passes(&mut world, 1_000);
        let votes = view.voters().iter().any(|voter| voter.node == world.nodes[asks].id);
        assert_eq!(knows_newcomer(&world, leader), votes, "node at {asks}");
    }
}
