// SPDX-License-Identifier: MIT OR Apache-2.0
//! `node add` of a new node: who may, what is wished, and how it goes on.

use super::*;
use crate::tests::{Node, node};
use alloc::format;
use cluster::{Draft, Policy, PublicKey, Request, StationAddress};
use runtime::testing::{enter, take};
use runtime::{Completion, Wire};

fn view() -> View {
    View::fixed((1..=3).map(node).collect()).expect("a view")
}

fn line(number: u16, key: u8, address: u8) -> String {
    format!(
        "node add {number} --key {} --mac 02:00:00:00:00:{address:02x}",
        format!("{key:02x}").repeat(32)
    )
}

fn new(number: u16, byte: u8) -> Newcomer {
    let key = PublicKey::new([byte; 32]).expect("a key");
    let address = StationAddress::new([2, 0, 0, 0, 0, byte]).expect("an address");
    Newcomer { node: node(number), key, address }
}

/// The view after `change`, as node 1 may ask for it.
fn next(view: &View, change: impl FnOnce(&mut Draft<'_>)) -> View {
    let mut draft = Draft::new(view);
    change(&mut draft);
    draft.settle_voters(&[], |_| true);
    draft.settle(Policy { backups: false });
    view.apply(&draft.finish().expect("something changes")).expect("it is lawful")
}

fn with(view: &View, new: Newcomer) -> View {
    let life = view.member(node(1)).expect("a member").incarnation;
    next(view, |draft| {
        draft.request(node(1), life, view.epoch(), &Request::Add(new)).expect("it may");
    })
}

fn wished(it: &mut Node) -> Option<AddWish> {
    match take(&it.host, &mut it.world, ServerId::Views)? {
        Completion::Event { number: EVENT_ADD, msg } => AddWish::get(&msg).ok(),
        other => panic!("no wish: {other:?}"),
    }
}

#[test]
fn new_node_is_wished_known_and_waited_for() {
    let mut it = Node::new(3, true);
    assert_eq!(it.admin(&line(9, 7, 7)).1, None);
    let wish = AddWish { node: node(9), key: [7; 32], address: [2, 0, 0, 0, 0, 7] };
    assert_eq!(wished(&mut it), Some(wish));
    it.pass(3 * DRAIN_LOOK_NS);
    assert_eq!(it.answer().1, None);
    let known = with(&view(), new(9, 7));
    enter(&it.host, &mut it.world, &known);
    it.pass(DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(
        text.starts_with("node 9 is known to the cluster, from view 2 on\nnode 9 is no member yet"),
        "{text}"
    );
    assert_eq!(status, None);
    it.forget_answer();
    let nodes = it.admin("nodes").0;
    assert!(nodes.contains("\n   9 joins"), "{nodes}");
    assert!(
        nodes.contains("node 9: added while the cluster runs, its key is of view 2\n"),
        "{nodes}"
    );
    it.forget_answer();
    // Its key changes as any other's, and it is added once.
    assert_eq!(it.admin(&format!("node key 9 {}", "08".repeat(32))).1, None);
    it.forget_answer();
    let (text, _) = it.admin(&line(9, 7, 7));
    assert!(text.starts_with("node 9 is no member yet"), "{text}");
}

#[test]
fn new_node_that_may_not_be_is_refused_with_a_sentence() {
    for (what, says) in [
        (line(2, 7, 7), "there is a node 2 already"),
        (line(9, 7, 3), "Ethernet address of another node"),
        (line(9, 103, 7), "key of another node"),
        (line(9, 0, 7), "no key"),
    ] {
        let mut it = Node::new(3, true);
        let (text, status) = it.admin(&what);
        assert!(text.contains(says), "{what}: {text}");
        assert!(matches!(status, Some(1 | 2)), "{what}: {status:?}");
        assert_eq!(wished(&mut it), None);
    }
}

/// The image of this node is newer than those of others.
#[test]
fn new_node_that_this_image_names_alike_can_be_added_while_it_is_no_member() {
    let mut it = Node::new(3, true);
    let without = next(&view(), |draft| draft.leave(node(3)));
    enter(&it.host, &mut it.world, &without);
    let (text, _) = it.admin(&line(3, 7, 3));
    assert!(text.contains("there is a node 3 already"), "{text}");
    it.forget_answer();
    assert_eq!(it.admin(&line(3, 103, 3)).1, None);
    assert!(wished(&mut it).is_some());
}

#[test]
fn new_node_that_no_view_has_in_time_is_given_up() {
    let mut it = Node::new(3, true);
    it.admin(&line(9, 7, 7));
    it.pass(KEY_PATIENCE_NS + 2 * DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.contains("could not be agreed on in time"), "{text}");
    assert_eq!(status, Some(1));
}
