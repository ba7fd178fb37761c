// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views and changes as bytes.
//!
//! # Model
//! A version byte, then postcard. What is read is input: lengths are bounded before anything is
//! allocated for them, numbers are checked, and a view that could not be is refused as a whole.

use crate::delta::checked_voters;
use crate::keys::checked_keys;
use crate::limits::{EPOCH_MAX, FORMAT_VERSION, MEMBERS_MAX, VIEW_BYTES_MAX};
use crate::newcomer::ADDRESS_BYTES;
use crate::{
    ChangedKey, Delta, Goal, Incarnation, Joining, Member, Newcomer, PublicKey, Slot,
    StationAddress, View, Voter,
};
use abi::id::SLOTS;
use abi::image::KEY_BYTES;
use abi::{Epoch, NodeId, SlotNo};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why bytes are no view and no change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Longer than [`VIEW_BYTES_MAX`].
    Long,
    /// Of a version that this build does not read, or empty.
    Version,
    /// Cut short, stretched, or not of this shape.
    Shape,
    /// A number is out of range, or things stand twice or in the wrong order.
    Content,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Long => "longer than a view can be",
            Self::Version => "of a version that is not known here",
            Self::Shape => "not of a view's shape",
            Self::Content => "not a view that could be",
        })
    }
}

/// node, incarnation, boot, disk, draining.
type RawMember = (u16, u32, [u8; 8], u32, bool);
/// primary, backup or first keeper or 0, joiner or 0, flags, since, lost, broken, backed, held, second keeper or 0.
type RawSlot = (u16, u16, u16, u8, u64, u64, u64, u64, u64, u16);
/// The joiner is to be primary.
const MOVES: u8 = 1;
/// The second number is that of a keeper: a slot that is kept has no backup.
const KEPT: u8 = 2;
/// A public key; none if it was revoked.
type RawKey = Option<[u8; KEY_BYTES]>;
/// An Ethernet address.
type RawAddress = [u8; ADDRESS_BYTES];
/// node, key, address if it was added, since.
type RawChangedKey = (u16, RawKey, Option<RawAddress>, u64);
/// node, key, address.
type RawNewcomer = (u16, [u8; KEY_BYTES], RawAddress);

#[derive(Serialize, Deserialize)]
struct RawView {
    cluster: u64,
    epoch: u64,
    admitted: u32,
    members: Vec<RawMember>,
    voters: Vec<(u16, u32)>,
    slots: Vec<RawSlot>,
    keys: Vec<RawChangedKey>,
}

#[derive(Serialize, Deserialize)]
struct RawDelta {
    base: u64,
    leave: Vec<u16>,
    join: Vec<RawMember>,
    voters: Option<Vec<(u16, u32)>>,
    slots: Vec<(u16, RawSlot)>,
    keys: Vec<(u16, RawKey)>,
    added: Vec<RawNewcomer>,
}

fn pack<T: Serialize>(raw: &T) -> Vec<u8> {
    let bytes = postcard::to_extend(raw, vec![FORMAT_VERSION]).expect("a vector grows as it must");
    assert!(bytes.len() <= VIEW_BYTES_MAX, "the bound is computed from the largest view");
    bytes
}

fn unpack<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    if bytes.len() > VIEW_BYTES_MAX {
        return Err(Malformed::Long);
    }
    let (version, rest) = bytes.split_first().ok_or(Malformed::Version)?;
    if *version != FORMAT_VERSION {
        return Err(Malformed::Version);
    }
    match postcard::take_from_bytes(rest) {
        Ok((raw, [])) => Ok(raw),
        Ok(_) | Err(_) => Err(Malformed::Shape),
    }
}

fn node(raw: u16) -> Result<NodeId, Malformed> {
    NodeId::new(raw).ok_or(Malformed::Content)
}

fn optional(raw: u16) -> Result<Option<NodeId>, Malformed> {
    if raw == 0 { Ok(None) } else { node(raw).map(Some) }
}

fn incarnation(raw: u32) -> Result<Incarnation, Malformed> {
    Incarnation::new(raw).ok_or(Malformed::Content)
}

fn raw_member(member: &Member) -> RawMember {
    let Member { node, incarnation, boot, disk, draining } = *member;
    (node.get(), incarnation.get(), boot.to_le_bytes(), disk.get(), draining)
}

fn member(raw: RawMember) -> Result<Member, Malformed> {
    let (number, life, boot, disk, draining) = raw;
    let (incarnation, disk) = (incarnation(life)?, incarnation(disk)?);
    let boot = u64::from_le_bytes(boot);
    Ok(Member { node: node(number)?, incarnation, boot, disk, draining })
}

fn raw_slot(slot: &Slot) -> RawSlot {
    let (joining, moves) = match slot.joining {
        Some(Joining { node, goal }) => (node.get(), goal == Goal::Primary),
        None => (0, false),
    };
    let [first, second] = slot.kept.map(|node| node.map_or(0, NodeId::get));
    let backup = slot.backup.map_or(first, NodeId::get);
    let flags = if moves { MOVES } else { 0 } | if first > 0 { KEPT } else { 0 };
    let [since, lost, broken, backed, held] =
        [slot.since, slot.lost, slot.broken, slot.backed, slot.held].map(|epoch| epoch.0);
    (slot.primary.get(), backup, joining, flags, since, lost, broken, backed, held, second)
}

fn slot(raw: RawSlot) -> Result<Slot, Malformed> {
    let (primary, other, joining, flags, since, lost, broken, backed, held, second) = raw;
    let (moves, kept) = (flags & MOVES != 0, flags & KEPT != 0);
    if joining == 0 && moves || kept && other == 0 || flags > MOVES | KEPT {
        return Err(Malformed::Content);
    }
    let goal = if moves { Goal::Primary } else { Goal::Backup };
    let (other, second) = (optional(other)?, optional(second)?);
    Ok(Slot {
        primary: node(primary)?,
        backup: other.filter(|_| !kept),
        joining: optional(joining)?.map(|node| Joining { node, goal }),
        since: Epoch(since),
        lost: Epoch(lost),
        broken: Epoch(broken),
        backed: Epoch(backed),
        held: Epoch(held),
        kept: [other.filter(|_| kept), second],
    })
}

fn raw_voters(voters: &[Voter]) -> Vec<(u16, u32)> {
    voters.iter().map(|voter| (voter.node.get(), voter.disk.get())).collect()
}

fn voters(raw: &[(u16, u32)]) -> Result<Vec<Voter>, Malformed> {
    let voter = |&(number, disk)| Ok(Voter { node: node(number)?, disk: incarnation(disk)? });
    raw.iter().map(voter).collect()
}

fn raw_key(entry: &ChangedKey) -> RawChangedKey {
    let ChangedKey { node, key, address, since } = *entry;
    (node.get(), key.map(PublicKey::bytes), address.map(StationAddress::bytes), since.0)
}

fn key(raw: RawKey) -> Result<Option<PublicKey>, Malformed> {
    raw.map(|bytes| PublicKey::new(bytes).ok_or(Malformed::Content)).transpose()
}

fn address(raw: RawAddress) -> Result<StationAddress, Malformed> {
    StationAddress::new(raw).ok_or(Malformed::Content)
}

fn changed_key((number, raw, station, since): RawChangedKey) -> Result<ChangedKey, Malformed> {
    let address = station.map(address).transpose()?;
    Ok(ChangedKey { node: node(number)?, key: key(raw)?, address, since: Epoch(since) })
}

fn raw_newcomer(new: &Newcomer) -> RawNewcomer {
    (new.node.get(), new.key.bytes(), new.address.bytes())
}

fn newcomer((number, raw, station): RawNewcomer) -> Result<Newcomer, Malformed> {
    let key = PublicKey::new(raw).ok_or(Malformed::Content)?;
    Ok(Newcomer { node: node(number)?, key, address: address(station)? })
}

impl View {
    /// Its bytes, at most [`VIEW_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        pack(&RawView {
            cluster: self.cluster,
            epoch: self.epoch.0,
            admitted: self.admitted,
            members: self.roster.iter().map(raw_member).collect(),
            voters: raw_voters(&self.voters),
            slots: self.slots.iter().map(raw_slot).collect(),
            keys: self.keys.iter().map(raw_key).collect(),
        })
    }

    /// The view that `bytes` hold.
    ///
    /// # Errors
    /// They are no view, or one that could not be.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let raw: RawView = unpack(bytes)?;
        let roster: Vec<Member> = raw.members.into_iter().map(member).collect::<Result<_, _>>()?;
        let slots: Vec<Slot> = raw.slots.into_iter().map(slot).collect::<Result<_, _>>()?;
        let voters = checked_voters(&voters(&raw.voters)?, raw.admitted);
        let keys: Vec<ChangedKey> =
            raw.keys.into_iter().map(changed_key).collect::<Result<_, _>>()?;
        let keys = checked_keys(keys, Epoch(raw.epoch)).ok_or(Malformed::Content)?;
        let view = Self {
            cluster: raw.cluster,
            epoch: Epoch(raw.epoch),
            admitted: raw.admitted,
            members: Arc::new(roster.iter().map(|member| member.node).collect()),
            roster: Arc::new(roster),
            voters: Arc::new(voters.map_err(|_| Malformed::Content)?),
            slots: Arc::new(slots),
            keys: Arc::new(keys),
        };
        if view.could_be() { Ok(view) } else { Err(Malformed::Content) }
    }

    fn could_be(&self) -> bool {
        let roster = &self.roster;
        let known = |life: Incarnation| life.get() <= self.admitted;
        let members = (1..=MEMBERS_MAX).contains(&roster.len())
            && roster.is_sorted_by(|a, b| a.node < b.node)
            && roster.iter().all(|m| known(m.incarnation) && m.disk <= m.incarnation);
        let past = |epoch: Epoch| epoch <= self.epoch;
        let slots = self.slots.len() == usize::from(SLOTS)
            && self.slots.iter().all(|slot| {
                let times = slot.since.0 >= 1
                    && past(slot.since)
                    && past(slot.backed)
                    && past(slot.held)
                    && slot.lost <= slot.broken
                    && slot.broken <= slot.since
                    && (slot.backup.is_none() || slot.backed.0 >= 1);
                times && slot.is_well_formed(|node| self.contains(node))
            });
        (1..=EPOCH_MAX).contains(&self.epoch.0) && members && slots
    }
}

impl Delta {
    /// Its bytes, at most [`VIEW_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        pack(&RawDelta {
            base: self.base.0,
            leave: self.leave.iter().map(|node| node.get()).collect(),
            join: self.join.iter().map(raw_member).collect(),
            voters: self.voters.as_deref().map(raw_voters),
            slots: self.slots.iter().map(|(n, s)| (n.index() as u16, raw_slot(s))).collect(),
            keys: self.keys.iter().map(|(n, k)| (n.get(), k.map(PublicKey::bytes))).collect(),
            added: self.added.iter().map(raw_newcomer).collect(),
        })
    }

    /// The change that `bytes` hold. Whether it is void shows when it is applied.
    ///
    /// # Errors
    /// They are no change.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let raw: RawDelta = unpack(bytes)?;
        let changed =
            |(number, raw)| Ok((SlotNo::new(number).ok_or(Malformed::Content)?, slot(raw)?));
        Ok(Self {
            base: Epoch(raw.base),
            leave: raw.leave.into_iter().map(node).collect::<Result<_, _>>()?,
            join: raw.join.into_iter().map(member).collect::<Result<_, _>>()?,
            voters: raw.voters.map(|raw| voters(&raw)).transpose()?,
            slots: raw.slots.into_iter().map(changed).collect::<Result<_, _>>()?,
            keys: raw
                .keys
                .into_iter()
                .map(|(number, raw)| Ok((node(number)?, key(raw)?)))
                .collect::<Result<_, _>>()?,
            added: raw.added.into_iter().map(newcomer).collect::<Result<_, _>>()?,
        })
    }
}
