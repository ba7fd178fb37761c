// SPDX-License-Identifier: MIT OR Apache-2.0
//! `node key` and `node revoke`: who may, what is wished, and how they end.

use crate::limits::{DRAIN_LOOK_NS, KEY_PATIENCE_NS};
use crate::tests::{Node, node};
use abi::ServerId;
use alloc::format;
use alloc::string::String;
use cluster::{Draft, Policy, PublicKey, Request, View};
use runtime::testing::{enter, take, views};
use runtime::{Completion, Wire};
use shell_api::{EVENT_KEY, KeyWish};

fn view() -> View {
    View::fixed((1..=3).map(node).collect()).expect("a view")
}

fn key(byte: u8) -> Option<PublicKey> {
    PublicKey::new([byte; 32])
}

/// The view after the change that node 1 asked for.
fn changed(view: &View, to: u16, key: Option<PublicKey>) -> View {
    let life = view.member(node(1)).expect("a member").incarnation;
    let mut draft = Draft::new(view);
    let request = Request::Key(node(to), key);
    draft.request(node(1), life, view.epoch(), &request).expect("it may");
    draft.settle_voters(&[], |_| true);
    draft.settle(Policy { backups: false });
    view.apply(&draft.finish().expect("something changes")).expect("it is lawful")
}

/// What the views server was told last.
fn wished(it: &mut Node) -> Option<KeyWish> {
    match take(&it.host, &mut it.world, ServerId::Views)? {
        Completion::Event { number: EVENT_KEY, msg } => KeyWish::get(&msg).ok(),
        other => panic!("no wish: {other:?}"),
    }
}

#[test]
fn key_is_wished_and_the_command_ends_when_a_view_has_it() {
    let mut it = Node::new(3, true);
    let (_, status) = it.admin(&format!("node key 3 {}", "07".repeat(32)));
    assert_eq!(status, None);
    assert_eq!(wished(&mut it), Some(KeyWish { node: node(3), key: Some([7; 32]) }));
    it.pass(3 * DRAIN_LOOK_NS);
    assert_eq!(it.answer().1, None);
    enter(&it.host, &mut it.world, &changed(&view(), 3, key(7)));
    it.pass(DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.starts_with("node 3 has another key, from view 2 on\n"), "{text}");
    assert!(text.contains("linkkey"), "{text}");
    assert_eq!(status, Some(0));
    it.forget_answer();
    assert!(it.admin("nodes").0.contains("\nnode 3: its key was changed in view 2\n"));
}

#[test]
fn key_revoked_is_waited_for_until_the_node_is_no_member() {
    let mut it = Node::new(3, true);
    it.admin("node revoke 3");
    assert_eq!(wished(&mut it), Some(KeyWish { node: node(3), key: None }));
    let revoked = changed(&view(), 3, None);
    enter(&it.host, &mut it.world, &revoked);
    it.pass(2 * DRAIN_LOOK_NS);
    let said = String::from("node 3 has no key any more, from view 2 on\n");
    assert_eq!(it.answer(), (said.clone(), None));
    enter(&it.host, &mut it.world, &views::without(&revoked, node(3)));
    it.pass(DRAIN_LOOK_NS);
    let out = said + "node 3 is no member: it is a stranger to all others\n";
    assert_eq!(it.answer(), (out, Some(0)));
    it.forget_answer();
    assert!(it.admin("nodes").0.contains("\nnode 3: its key was revoked in view 2\n"));
}

#[test]
fn key_that_is_not_agreed_on_is_given_up() {
    let mut it = Node::new(3, true);
    it.admin("node revoke 3");
    it.pass(KEY_PATIENCE_NS + DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.contains("could not be agreed on in time"), "{text}");
    assert_eq!(status, Some(1));
}

#[test]
fn key_that_may_not_be_changed_is_refused_with_a_sentence_and_not_wished() {
    let mut it = Node::new(3, true);
    let digits = |byte: &str| byte.repeat(32);
    enter(&it.host, &mut it.world, &changed(&view(), 3, key(7)));
    for (line, says) in [
        (format!("node key 3 {}", digits("07")), "it is so already"),
        (format!("node key 2 {}", digits("07")), "the key of another node"),
        (format!("node key 9 {}", digits("08")), "there is no node 9"),
        (format!("node key 2 {}", digits("00")), "no key"),
        ("node revoke 1".into(), "cannot revoke its own key"),
    ] {
        it.forget_answer();
        let (text, status) = it.admin(&line);
        assert!(text.contains(says), "{line}: {text}");
        assert!(status.is_some_and(|status| status != 0), "{line}");
    }
    it.forget_answer();
    assert!(it.user(1000, "node revoke 3").0.contains("root"));
    let two = views::without(&changed(&view(), 3, key(7)), node(3));
    enter(&it.host, &mut it.world, &two);
    it.forget_answer();
    let (text, _) = it.admin("node revoke 2");
    assert!(text.contains("no majority of the voters"), "{text}");
    assert_eq!(wished(&mut it), None);
}

#[test]
fn key_is_changed_on_a_node_that_votes() {
    let mut it = Node::new(3, true);
    let three = View::founded((1..=3).map(node).collect(), 1).expect("a view");
    let mut draft = Draft::new(&three);
    draft.leave(node(1));
    draft.admit(node(1), 5, None).expect("there is room");
    draft.settle(Policy { backups: false });
    let mut next = three.apply(&draft.finish().expect("a change")).expect("lawful");
    // Node 1 is a member, and another one votes.
    let voter = next.member(node(2)).map(|it| cluster::Voter { node: it.node, disk: it.disk });
    let voters = voter.map(|voter| [voter].to_vec());
    let delta = cluster::Delta { voters, ..cluster::Delta::new(next.epoch()) };
    next = next.apply(&delta).expect("lawful");
    enter(&it.host, &mut it.world, &next);
    let (text, status) = it.admin("node revoke 3");
    assert!(text.contains("does not vote"), "{text}");
    assert_eq!(status, Some(1));
}
