// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of nodes that were changed, or taken away, while the cluster runs, and those of nodes that were added.
//!
//! # Model
//! Images name a public key for each node. The view's table names those that differ since, ascending by
//! node: what it says counts more than any image, and where it says nothing the image counts. An entry
//! is replaced by the next change for its node, and never removed, as images of any age may still boot.
//!
//! # Limits
//! [`CHANGED_KEYS_MAX`] nodes: a change for one more is refused.

use crate::limits::CHANGED_KEYS_MAX;
use crate::newcomer::{addresses_differ, with_added};
use crate::{Delta, Refused, StationAddress, View, Void, Voter};
use abi::image::KEY_BYTES;
use abi::{Epoch, NodeId};
use alloc::vec::Vec;

/// A node's public key: a point of X25519 that hides a shared secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// `None` for a point of low order, zero among them: whoever names such a key shares no secret
    /// with anybody.
    ///
    /// # Source
    /// The points are those of <https://cr.yp.to/ecdh.html#validate>; X25519 ignores the highest bit.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        let mut point = bytes;
        point[KEY_BYTES - 1] &= 0x7f;
        (!LOW_ORDER.contains(&point)).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; KEY_BYTES] {
        self.0
    }
}

const fn near_prime(first: u8) -> [u8; KEY_BYTES] {
    let mut point = [0xff; KEY_BYTES];
    (point[0], point[KEY_BYTES - 1]) = (first, 0x7f);
    point
}

const fn small(number: u8) -> [u8; KEY_BYTES] {
    let mut point = [0; KEY_BYTES];
    point[0] = number;
    point
}

/// All encodings of points whose order divides 8, without the highest bit: 0, 1, two of order 8, and
/// p - 1, p, p + 1 for the prime p = 2^255 - 19.
pub const LOW_ORDER: [[u8; KEY_BYTES]; 7] = [
    small(0),
    small(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_prime(0xec),
    near_prime(0xed),
    near_prime(0xee),
];

/// What has become of a node's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChangedKey {
    /// The node.
    pub node: NodeId,
    /// Its key; `None` if it was revoked: the node is a stranger.
    pub key: Option<PublicKey>,
    /// Its Ethernet address, if it was added while the cluster runs: images of others need not name it.
    pub address: Option<StationAddress>,
    /// The view that changed it.
    pub since: Epoch,
}

impl View {
    /// Keys that differ from those of the images, ascending by node.
    pub fn keys(&self) -> &[ChangedKey] {
        &self.keys
    }

    /// What has become of the key of `node`, if it was changed.
    pub fn changed_key(&self, node: NodeId) -> Option<&ChangedKey> {
        let at = self.keys.binary_search_by_key(&node, |entry| entry.node).ok()?;
        Some(&self.keys[at])
    }

    /// Whether the key of `node` was taken away.
    pub fn is_revoked(&self, node: NodeId) -> bool {
        self.changed_key(node).is_some_and(|entry| entry.key.is_none())
    }

    /// Whether the member `from` may ask that the key of `node` be `key`, or none.
    ///
    /// # Errors
    /// [`Refused::NotYours`]: it does not vote. [`Refused::Nothing`]: it is so already.
    /// [`Refused::Itself`], [`Refused::Majority`], [`Refused::OthersKey`], [`Refused::Keys`].
    pub fn may_change_key(
        &self,
        from: NodeId,
        node: NodeId,
        key: Option<PublicKey>,
    ) -> Result<(), Refused> {
        if !self.voters.iter().any(|voter| voter.node == from) {
            return Err(Refused::NotYours);
        }
        if key.is_none() && node == from {
            return Err(Refused::Itself);
        }
        // A voter that is no member does not help to agree on who votes in its place.
        let member = |voter: &Voter| self.member(voter.node).is_some_and(|m| m.disk == voter.disk);
        let stays =
            |voter: &&Voter| voter.node != node && !self.is_revoked(voter.node) && member(voter);
        let votes = self.voters.iter().any(|voter| voter.node == node);
        if key.is_none()
            && votes
            && 2 * self.voters.iter().filter(stays).count() <= self.voters.len()
        {
            return Err(Refused::Majority);
        }
        match changed(&self.keys, &[(node, key)], self.epoch) {
            Ok(_) => Ok(()),
            Err(Void::Keys) => Err(Refused::Keys),
            Err(_) if self.changed_key(node).is_some_and(|entry| entry.key == key) => {
                Err(Refused::Nothing)
            }
            Err(_) => Err(Refused::OthersKey),
        }
    }

    /// The table after `delta`, which makes the view `epoch`.
    pub(crate) fn keys_after(&self, delta: &Delta, epoch: Epoch) -> Result<Vec<ChangedKey>, Void> {
        let keys = changed(&self.keys, &delta.keys, epoch)?;
        with_added(keys, &delta.added, &self.roster, epoch)
    }
}

fn changed(
    keys: &[ChangedKey],
    changes: &[(NodeId, Option<PublicKey>)],
    since: Epoch,
) -> Result<Vec<ChangedKey>, Void> {
    let mut keys = keys.to_vec();
    if !changes.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Void::Key(changes[0].0));
    }
    for (node, key) in changes {
        let entry = ChangedKey { node: *node, key: *key, address: None, since };
        match keys.binary_search_by_key(node, |entry| entry.node) {
            Ok(at) if keys[at].key == *key => return Err(Void::Key(*node)),
            Ok(at) => keys[at] = ChangedKey { address: keys[at].address, ..entry },
            Err(at) => keys.insert(at, entry),
        }
    }
    if keys.len() > CHANGED_KEYS_MAX {
        return Err(Void::Keys);
    }
    match doubled(&keys) {
        Some(node) => Err(Void::Key(node)),
        None => Ok(keys),
    }
}

/// A node whose key is another one's, too.
fn doubled(keys: &[ChangedKey]) -> Option<NodeId> {
    let same = |(at, entry): (usize, &ChangedKey)| {
        let others = keys[..at].iter().filter(|it| it.key.is_some());
        others.into_iter().any(|it| it.key == entry.key).then_some(entry.node)
    };
    keys.iter().enumerate().find_map(same)
}

/// The table, if it is one that a view of this epoch may have.
pub(crate) fn checked_keys(keys: Vec<ChangedKey>, epoch: Epoch) -> Option<Vec<ChangedKey>> {
    let sorted = keys.is_sorted_by(|a, b| a.node < b.node);
    let past = keys.iter().all(|entry| entry.since.0 >= 1 && entry.since <= epoch);
    let unique = doubled(&keys).is_none() && addresses_differ(&keys);
    (sorted && past && unique && keys.len() <= CHANGED_KEYS_MAX).then_some(keys)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Draft, Incarnation, Malformed, Policy, Request};
    use alloc::sync::Arc;
    use alloc::vec;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node number")
    }

    fn founded(nodes: u16, voters: usize) -> View {
        View::founded((1..=nodes).map(node).collect(), voters).expect("a view")
    }

    fn key(byte: u8) -> Option<PublicKey> {
        Some(PublicKey::new([byte; KEY_BYTES]).expect("a key"))
    }

    /// The next view, as all members that are no strangers live.
    pub(crate) fn next(view: &View, change: impl FnOnce(&mut Draft<'_>)) -> View {
        let mut draft = Draft::new(view);
        change(&mut draft);
        draft.settle_voters(&[], |_| true);
        draft.settle(Policy { backups: false });
        view.apply(&draft.finish().expect("something changes")).expect("it is lawful")
    }

    fn asked(view: &View, from: u16, to: u16, key: Option<PublicKey>) -> Result<View, Refused> {
        let life = view.member(node(from)).map(|member| member.incarnation);
        let life = life.or(Incarnation::new(1)).expect("a number");
        let mut draft = Draft::new(view);
        draft.request(node(from), life, view.epoch(), &Request::Key(node(to), key))?;
        draft.settle_voters(&[], |_| true);
        draft.settle(Policy { backups: false });
        Ok(view.apply(&draft.finish().expect("something changes")).expect("it is lawful"))
    }

    fn delta(view: &View, keys: Vec<(NodeId, Option<PublicKey>)>) -> Delta {
        Delta { keys, ..Delta::new(view.epoch()) }
    }

    #[test]
    fn key_is_changed_replaced_and_revoked_and_says_since_when() {
        let view = founded(4, 3);
        assert_eq!(view.keys(), []);
        let view = asked(&view, 1, 4, key(7)).expect("it may");
        let entry = ChangedKey { node: node(4), key: key(7), address: None, since: view.epoch() };
        assert_eq!(view.keys(), [entry]);
        let view = asked(&view, 2, 4, None).expect("it may");
        assert!(view.is_revoked(node(4)) && !view.is_revoked(node(1)));
        let view = asked(&view, 2, 4, key(8)).expect("it may");
        assert_eq!(view.changed_key(node(4)).map(|entry| entry.key), Some(key(8)));
        assert_eq!(View::decode(&view.encode()), Ok(view));
    }

    #[test]
    fn key_change_is_refused_to_who_does_not_vote_and_where_it_makes_no_sense() {
        let view = asked(&founded(4, 3), 1, 3, key(7)).expect("it may");
        assert_eq!(asked(&view, 4, 1, key(9)), Err(Refused::NotYours), "it does not vote");
        assert_eq!(asked(&view, 9, 1, key(9)), Err(Refused::NotMember));
        assert_eq!(asked(&view, 1, 3, key(7)), Err(Refused::Nothing));
        assert_eq!(asked(&view, 1, 2, key(7)), Err(Refused::OthersKey));
        assert_eq!(asked(&view, 1, 1, None), Err(Refused::Itself));
        asked(&view, 1, 1, key(9)).expect("its own key it may change");
    }

    #[test]
    fn key_change_said_again_later_is_void() {
        let view = founded(4, 3);
        let change = delta(&view, vec![(node(4), None)]);
        let after = view.apply(&change).expect("it may");
        let back = asked(&after, 1, 4, key(8)).expect("it may");
        assert_eq!(back.apply(&change), Err(Void::Epoch(back.epoch())));
        let mut draft = Draft::new(&back);
        let life = back.member(node(1)).expect("a member").incarnation;
        let old = draft.request(node(1), life, view.epoch(), &Request::Key(node(4), None));
        assert_eq!(old, Err(Refused::Epoch(back.epoch())));
    }

    #[test]
    fn key_revoked_takes_the_vote_and_is_not_admitted_again() {
        let view = asked(&founded(3, 3), 1, 3, None).expect("it may");
        let votes: Vec<u16> = view.voters().iter().map(|voter| voter.node.get()).collect();
        assert_eq!(votes, [1, 2]);
        let view = next(&view, |draft| {
            draft.leave(node(3));
            assert_eq!(draft.admit(node(3), 5, None), Err(Refused::Revoked));
        });
        let number = view.admitted + 1;
        let life = Incarnation::new(number).expect("a number");
        let comes =
            crate::Member { node: node(3), incarnation: life, disk: life, ..view.roster()[0] };
        let join = Delta { join: vec![comes], ..delta(&view, Vec::new()) };
        assert_eq!(view.apply(&join), Err(Void::Member(node(3))));
        let view = asked(&view, 1, 3, key(9)).expect("it may");
        next(&view, |draft| {
            draft.admit(node(3), 5, None).expect("it may come back");
        });
    }

    #[test]
    fn key_revoked_gives_the_vote_to_a_member_that_has_none() {
        let view = asked(&founded(4, 3), 1, 2, None).expect("it may");
        let votes: Vec<u16> = view.voters().iter().map(|voter| voter.node.get()).collect();
        assert_eq!(votes, [1, 3, 4]);
    }

    #[test]
    fn keys_of_a_majority_of_voters_are_not_revoked() {
        assert_eq!(asked(&founded(2, 2), 1, 2, None), Err(Refused::Majority));
        // One voter is away: the others would be one of three.
        let view = next(&founded(3, 3), |draft| draft.leave(node(3)));
        assert_eq!(view.voters().len(), 3);
        assert_eq!(asked(&view, 1, 2, None), Err(Refused::Majority));
        asked(&view, 1, 3, None).expect("who is away can go");
        let view = founded(5, 5);
        let change = delta(&view, [3, 4, 5].map(|number| (node(number), None)).to_vec());
        assert_eq!(view.apply(&change), Err(Void::Key(node(3))));
    }

    #[test]
    fn keys_beyond_the_bound_are_refused() {
        let mut view = founded(1, 1);
        let (max, since) = (CHANGED_KEYS_MAX as u16, Epoch(1));
        let entry = |number| ChangedKey {
            node: node(number),
            key: key(number as u8),
            address: None,
            since,
        };
        view.keys = Arc::new((2..max + 2).map(entry).collect());
        assert_eq!(asked(&view, 1, max + 2, None), Err(Refused::Keys));
        let change = delta(&view, vec![(node(max + 2), None)]);
        assert_eq!(view.apply(&change), Err(Void::Keys));
        asked(&view, 1, 2, None).expect("it has its place");
    }

    #[test]
    fn keys_unlawful_in_a_change_or_a_view_are_refused() {
        let view = founded(4, 3);
        let twice = delta(&view, vec![(node(4), None), (node(4), key(3))]);
        assert_eq!(view.apply(&twice), Err(Void::Key(node(4))));
        let same = delta(&view, vec![(node(3), key(3)), (node(4), key(3))]);
        assert_eq!(view.apply(&same), Err(Void::Key(node(4))));
        let since = Epoch(1);
        let entry = |number, byte, since| ChangedKey {
            node: node(number),
            key: key(byte),
            address: None,
            since,
        };
        for keys in [
            vec![entry(2, 9, Epoch(2))],
            vec![entry(2, 9, Epoch(0))],
            vec![entry(3, 9, since), entry(2, 8, since)],
            vec![entry(2, 9, since), entry(3, 9, since)],
            (1..=65).map(|number| entry(number, number as u8 + 9, since)).collect(),
        ] {
            let mut wrong = view.clone();
            wrong.keys = Arc::new(keys);
            assert_eq!(View::decode(&wrong.encode()), Err(Malformed::Content), "{:?}", wrong.keys);
        }
    }

    #[test]
    fn keys_of_low_order_are_none() {
        let view = founded(2, 1);
        for mut point in LOW_ORDER {
            assert_eq!(PublicKey::new(point), None, "{point:?}");
            point[31] |= 0x80;
            assert_eq!(PublicKey::new(point), None, "{point:?}");
            let change = delta(&view, vec![(node(2), Some(PublicKey(point)))]);
            assert_eq!(Delta::decode(&change.encode()), Err(Malformed::Content));
        }
    }
}
