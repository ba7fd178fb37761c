// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may add which node, and what a view refuses.

use super::*;
use crate::keys::tests::next;
use crate::{Delta, Draft, Incarnation, Malformed, Request};
use alloc::sync::Arc;
use alloc::vec;

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node number")
}

/// Four nodes, of which three vote.
fn founded() -> View {
    View::founded((1..=4).map(node).collect(), 3).expect("a view")
}

fn key(byte: u8) -> PublicKey {
    PublicKey::new([byte; 32]).expect("a key")
}

fn address(byte: u8) -> StationAddress {
    StationAddress::new([2, 0, 0, 0, 0, byte]).expect("an address")
}

fn new(number: u16, byte: u8) -> Newcomer {
    Newcomer { node: node(number), key: key(byte), address: address(byte) }
}

fn asked(view: &View, from: u16, request: &Request) -> Result<View, Refused> {
    let life = view.member(node(from)).map(|member| member.incarnation);
    let life = life.or(Incarnation::new(1)).expect("a number");
    Draft::new(view).request(node(from), life, view.epoch(), request)?;
    Ok(next(view, |draft| {
        draft.request(node(from), life, view.epoch(), request).expect("it may");
    }))
}

fn added(view: &View, from: u16, new: Newcomer) -> Result<View, Refused> {
    asked(view, from, &Request::Add(new))
}

fn delta(view: &View, added: Vec<Newcomer>) -> Delta {
    Delta { added, ..Delta::new(view.epoch()) }
}

#[test]
fn newcomer_is_known_from_a_view_on_and_admitted_as_any_other() {
    let view = added(&founded(), 2, new(9, 7)).expect("it may");
    let since = view.epoch();
    let entry = ChangedKey { node: node(9), key: Some(key(7)), address: Some(address(7)), since };
    assert_eq!(view.keys(), [entry]);
    assert_eq!(view.added().collect::<Vec<_>>(), [node(9)]);
    assert!(!view.contains(node(9)), "it joins when it is started");
    assert_eq!(View::decode(&view.encode()), Ok(view.clone()));
    let view = next(&view, |draft| {
        draft.admit(node(9), 5, None).expect("it may come");
    });
    assert!(view.slot(abi::SlotNo::new(1023).expect("a slot")).joining.is_some());
}

#[test]
fn newcomer_keeps_its_address_when_its_key_changes_or_is_revoked() {
    let view = added(&founded(), 1, new(9, 7)).expect("it may");
    let view = asked(&view, 1, &Request::Key(node(9), Some(key(8)))).expect("it may");
    let entry = view.changed_key(node(9)).expect("an entry");
    assert_eq!((entry.key, entry.address), (Some(key(8)), Some(address(7))));
    let view = asked(&view, 1, &Request::Key(node(9), None)).expect("it may");
    assert!(view.is_revoked(node(9)));
    assert_eq!(view.added().collect::<Vec<_>>(), [node(9)]);
    assert_eq!(added(&view, 1, new(9, 9)), Err(Refused::InUse), "its key is changed instead");
}

#[test]
fn newcomer_is_refused_to_who_does_not_vote_and_where_something_is_in_use() {
    let view = added(&founded(), 1, new(9, 7)).expect("it may");
    assert_eq!(added(&view, 4, new(10, 8)), Err(Refused::NotYours), "it does not vote");
    assert_eq!(added(&view, 8, new(10, 8)), Err(Refused::NotMember));
    assert_eq!(added(&view, 1, new(9, 7)), Err(Refused::Nothing));
    assert_eq!(added(&view, 1, new(9, 8)), Err(Refused::InUse));
    assert_eq!(added(&view, 1, new(4, 8)), Err(Refused::InUse), "it is a member");
    let same_key = Newcomer { address: address(8), ..new(10, 7) };
    assert_eq!(added(&view, 1, same_key), Err(Refused::OthersKey));
    let same_address = Newcomer { key: key(8), ..new(10, 7) };
    assert_eq!(added(&view, 1, same_address), Err(Refused::OthersAddress));
}

#[test]
fn newcomer_that_joins_in_the_same_draft_waits_for_the_next_view() {
    let view = founded();
    let life = view.member(node(1)).expect("a member").incarnation;
    let mut draft = Draft::new(&view);
    draft.admit(node(9), 5, None).expect("the leader's image names it");
    let asked = draft.request(node(1), life, view.epoch(), &Request::Add(new(9, 7)));
    assert_eq!(asked, Err(Refused::InUse));
    let mut draft = Draft::new(&view);
    let mut ask = |request| draft.request(node(1), life, view.epoch(), &request);
    ask(Request::Add(new(9, 7))).expect("it may");
    let later = Err(Refused::Epoch(Epoch(2)));
    assert_eq!(ask(Request::Add(new(10, 8))), later, "what may be added depends on the others");
    assert_eq!(ask(Request::Key(node(4), None)), later);
}

#[test]
fn newcomers_beyond_the_bound_are_refused() {
    let mut view = founded();
    let entry = |number: u16| ChangedKey {
        node: node(number),
        key: Some(key(number as u8)),
        address: Some(address(number as u8)),
        since: Epoch(1),
    };
    let last = 9 + CHANGED_KEYS_MAX as u16;
    view.keys = Arc::new((10..=last).map(entry).collect());
    assert_eq!(added(&view, 1, new(200, 200)), Err(Refused::Keys));
    assert_eq!(view.apply(&delta(&view, vec![new(200, 200)])), Err(Void::Keys));
}

#[test]
fn newcomers_unlawful_in_a_change_or_a_view_are_refused() {
    let view = added(&founded(), 1, new(9, 7)).expect("it may");
    let same_key = Newcomer { address: address(8), ..new(10, 7) };
    let same_address = Newcomer { key: key(8), ..new(10, 7) };
    for wrong in [new(4, 8), new(9, 8), same_key, same_address] {
        let change = delta(&view, vec![wrong]);
        assert_eq!(view.apply(&change), Err(Void::Newcomer(wrong.node)), "{wrong:?}");
    }
    let twice = delta(&view, vec![new(10, 8), new(10, 9)]);
    assert_eq!(view.apply(&twice), Err(Void::Newcomer(node(10))));
    let entry = |number: u16, byte| ChangedKey {
        node: node(number),
        key: Some(key(byte)),
        address: Some(address(1)),
        since: Epoch(1),
    };
    let mut doubled = view;
    doubled.keys = Arc::new(vec![entry(9, 1), entry(10, 2)]);
    assert_eq!(View::decode(&doubled.encode()), Err(Malformed::Content));
}

#[test]
fn addresses_of_groups_and_of_nobody_are_none() {
    for wrong in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
        assert_eq!(StationAddress::new(wrong), None, "{wrong:?}");
        let mut bytes = delta(&founded(), vec![new(9, 7)]).encode();
        let at = bytes.len() - wrong.len();
        bytes[at..].copy_from_slice(&wrong);
        assert_eq!(Delta::decode(&bytes), Err(Malformed::Content));
    }
}
