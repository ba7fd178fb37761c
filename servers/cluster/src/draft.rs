// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the next view: takes in who left, who comes and what members ask for, and then gives each
//! slot holders.
//!
//! # Model
//! A draft is a working copy of a view. [`Draft::settle`] promotes backups of the dead, begins slots
//! anew whose copies are all gone, names joiners where a backup is missing (or drops backups where none
//! are wanted), and lets some slots at a time ([`limits::MOVES_MAX`](crate::limits::MOVES_MAX)) move from
//! members with many to members with few. [`Draft::settle_voters`] does the like for those who vote.

mod voters;

use crate::delta::checked_voters;
use crate::limits::{MEMBERS_MAX, MOVES_MAX};
use crate::{
    Delta, Goal, Incarnation, Joining, Member, Newcomer, PublicKey, Refused, Request, Slot, View,
    Voter,
};
use abi::id::NODES_MAX;
use abi::{Epoch, NodeId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;

/// What an administrator wants of placement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whether slots have backups.
    pub backups: bool,
}

/// A view in the making.
#[derive(Debug)]
pub struct Draft<'a> {
    old: &'a View,
    next: Epoch,
    admitted: u32,
    members: Vec<Member>,
    left: Vec<NodeId>,
    voters: Option<Vec<Voter>>,
    slots: Vec<Slot>,
    /// Keys that change: one at most, as what may change depends on the others.
    keys: Vec<(NodeId, Option<PublicKey>)>,
    /// A node that is added, for the same reason only if no key changes.
    added: Option<Newcomer>,
    /// Slots that get no joiner in this view.
    avoided: Vec<bool>,
}

/// How many roles each node has, once all that moves has moved; by node number.
struct Loads {
    primaries: Vec<u32>,
    others: Vec<u32>,
}

impl<'a> Draft<'a> {
    /// Nothing changed yet.
    pub fn new(old: &'a View) -> Self {
        Self {
            old,
            next: Epoch(old.epoch.0 + 1),
            admitted: old.admitted,
            members: Vec::clone(&old.roster),
            left: Vec::new(),
            voters: None,
            slots: Vec::clone(&old.slots),
            keys: Vec::new(),
            added: None,
            avoided: vec![false; old.slots.len()],
        }
    }

    /// The member is gone. The last one stays until another came.
    pub fn leave(&mut self, node: NodeId) {
        if let Ok(at) = self.place(node) {
            self.members.remove(at);
            self.left.push(node);
        }
    }

    /// A node that started under the number `boot` asks to be a member; `disk` is what its disk
    /// says that it is, if it says anything. Idempotent.
    ///
    /// # Errors
    /// Another incarnation of it is still a member, its key is revoked, or there is no room or number left.
    pub fn admit(
        &mut self,
        node: NodeId,
        boot: u64,
        disk: Option<Incarnation>,
    ) -> Result<Member, Refused> {
        let at = match self.place(node) {
            Ok(at) if self.members[at].boot == boot => return Ok(self.members[at]),
            Ok(_) => return Err(Refused::StillMember),
            Err(at) => at,
        };
        if self.is_revoked(node) {
            return Err(Refused::Revoked);
        }
        let number = self.admitted.checked_add(1).ok_or(Refused::Full)?;
        if self.members.len() == MEMBERS_MAX {
            return Err(Refused::Full);
        }
        let incarnation = Incarnation::new(number).ok_or(Refused::Full)?;
        // A disk of another cluster, or a claim to a number that was not given yet, is no disk.
        let disk = disk.filter(|disk| disk.get() <= self.old.admitted).unwrap_or(incarnation);
        let member = Member { node, incarnation, boot, disk, draining: false };
        self.admitted = number;
        self.members.insert(at, member);
        Ok(member)
    }

    /// Takes in what the member `from`, at `epoch`, asks for.
    ///
    /// # Errors
    /// It may not ask it, or not in this view.
    pub fn request(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        epoch: Epoch,
        request: &Request,
    ) -> Result<(), Refused> {
        if epoch != self.old.epoch {
            return Err(Refused::Epoch(self.old.epoch));
        }
        let at = self.place(from).map_err(|_| Refused::NotMember)?;
        if self.members[at].incarnation != incarnation {
            return Err(Refused::NotMember);
        }
        match request {
            Request::Joined(slot, goal) => self.change_slot(from, *slot, |slot, next| match goal {
                Goal::Backup => slot.joined(next),
                Goal::Primary => slot.moved(next),
            }),
            Request::Abort(slot) => self.change_slot(from, *slot, |slot, _| {
                slot.joining.map(|_| Slot { joining: None, ..slot })
            }),
            Request::Alone(slot) => {
                self.change_slot(from, *slot, |slot, _| slot.backup.map(|_| slot.alone()))
            }
            Request::Missing(slots) => {
                let all = slots.iter().map(|slot| self.change_slot(from, slot, Slot::missing));
                let any = all.filter(Result::is_ok).count() > 0;
                if any { Ok(()) } else { Err(Refused::Nothing) }
            }
            Request::Drain(wish) if self.members[at].draining == *wish => Err(Refused::Nothing),
            Request::Drain(wish) => {
                self.members[at].draining = *wish;
                Ok(())
            }
            Request::Voters(voters) => self.change_voters(from, voters),
            // The next view takes the next one: it is asked for again.
            Request::Key(..) | Request::Add(_) if !self.keys.is_empty() || self.added.is_some() => {
                Err(Refused::Epoch(self.next))
            }
            Request::Key(node, key) => {
                self.old.may_change_key(from, *node, *key)?;
                self.keys.push((*node, *key));
                Ok(())
            }
            Request::Add(new) if self.place(new.node).is_ok() => Err(Refused::InUse),
            Request::Add(new) => {
                self.old.may_add(from, new)?;
                self.added = Some(*new);
                Ok(())
            }
        }
    }

    fn is_revoked(&self, node: NodeId) -> bool {
        let now = self.keys.iter().find(|(changed, _)| *changed == node);
        now.map_or(self.old.is_revoked(node), |(_, key)| key.is_none())
    }

    /// `slot` is not to be given a joiner: its primary said lately that it cannot be copied now.
    pub fn avoid(&mut self, slot: SlotNo) {
        self.avoided[slot.index()] = true;
    }

    /// Gives each slot the holders that it lacks, and begins a few moves for balance.
    pub fn settle(&mut self, policy: Policy) {
        if self.members.is_empty() {
            return;
        }
        if !policy.backups {
            self.drop_backups();
        }
        let mut loads = self.loads();
        if !self.left.is_empty() {
            self.without_left(&mut loads);
        }
        self.resume(&mut loads);
        if policy.backups {
            self.name_joiners(&mut loads);
        } else {
            // Who gave a slot away keeps nothing of it: it must not come back as if it had.
            self.slots.iter_mut().for_each(|slot| *slot = slot.alone());
        }
        self.balance(policy, &mut loads);
    }

    /// The change; `None` if nothing changed or nobody would be left.
    pub fn finish(self) -> Option<Delta> {
        if self.members.is_empty() {
            return None;
        }
        let mut leave = self.left;
        leave.sort_unstable();
        let known = |member: &&Member| self.old.roster.contains(member);
        let join: Vec<Member> = self.members.iter().filter(|m| !known(m)).copied().collect();
        // A slot may look the same and be held by another incarnation of a node.
        let reborn: Vec<NodeId> = leave
            .iter()
            .filter(|node| self.members.iter().any(|m| m.node == **node))
            .copied()
            .collect();
        let touched = |slot: &Slot| reborn.iter().any(|node| slot.involves(*node));
        let pairs = View::slot_numbers().zip(&self.slots);
        let slots: Vec<_> = pairs
            .filter(|(number, slot)| {
                let old = self.old.slot(*number);
                old != *slot || touched(old)
            })
            .map(|(number, slot)| (number, *slot))
            .collect();
        let nothing = leave.is_empty()
            && join.is_empty()
            && self.voters.is_none()
            && slots.is_empty()
            && self.keys.is_empty()
            && self.added.is_none();
        let base = self.old.epoch;
        (!nothing).then_some(Delta {
            base,
            leave,
            join,
            voters: self.voters,
            slots,
            keys: self.keys,
            added: self.added.into_iter().collect(),
        })
    }

    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&node, |member| member.node)
    }

    fn change_slot(
        &mut self,
        from: NodeId,
        number: SlotNo,
        change: impl FnOnce(Slot, Epoch) -> Option<Slot>,
    ) -> Result<(), Refused> {
        let slot = &mut self.slots[number.index()];
        if slot.primary != from || self.left.contains(&from) {
            return Err(Refused::NotYours);
        }
        *slot = change(*slot, self.next).ok_or(Refused::Nothing)?;
        Ok(())
    }

    fn change_voters(&mut self, from: NodeId, voters: &[Voter]) -> Result<(), Refused> {
        if !self.old.voters.iter().any(|voter| voter.node == from) {
            return Err(Refused::NotYours);
        }
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        let voters = checked_voters(&voters, self.old.admitted).map_err(|_| Refused::Voters)?;
        // Who cannot be reached would stop all further agreement.
        let member = |voter: &Voter| {
            self.members.iter().any(|m| (m.node, m.disk) == (voter.node, voter.disk))
        };
        if !voters.iter().all(|voter| self.old.voters.contains(voter) || member(voter)) {
            return Err(Refused::Voters);
        }
        if voters == *self.old.voters {
            return Err(Refused::Nothing);
        }
        self.voters = Some(voters);
        Ok(())
    }

    fn loads(&self) -> Loads {
        let len = usize::from(NODES_MAX) + 1;
        let mut loads = Loads { primaries: vec![0; len], others: vec![0; len] };
        for slot in &self.slots {
            let to_be = |goal| slot.joining.filter(|j| j.goal == goal).map(|j| j.node);
            let primary = to_be(Goal::Primary).unwrap_or(slot.primary);
            loads.primaries[usize::from(primary.get())] += 1;
            // Who gives a slot to its backup takes that one's place.
            let swapped = slot.backup.filter(|backup| *backup == primary).map(|_| slot.primary);
            if let Some(backup) = to_be(Goal::Backup).or(swapped).or(slot.backup) {
                loads.others[usize::from(backup.get())] += 1;
            }
        }
        loads
    }

    fn without_left(&mut self, loads: &mut Loads) {
        let mut left = vec![false; usize::from(NODES_MAX) + 1];
        for node in &self.left {
            left[usize::from(node.get())] = true;
        }
        for slot in &mut self.slots {
            let fresh = || least(&self.members, &loads.primaries, |_| true);
            let fresh = || fresh().expect("there is a member");
            let roster = &self.old.roster;
            let keeps = |node| {
                let at = roster.binary_search_by_key(&node, |member| member.node);
                at.is_ok_and(|at| roster[at].keeps())
            };
            *slot = slot.without(|node| left[usize::from(node.get())], keeps, self.next, fresh);
            // Where it was, if that can be.
            let members = &self.members;
            let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
            let keeper = slot.kept.into_iter().flatten().find(is_member);
            if let Some(keeper) = keeper.filter(|_| slot.since == self.next) {
                slot.primary = keeper;
            }
            loads.primaries[usize::from(slot.primary.get())] += u32::from(slot.since == self.next);
        }
        *loads = self.loads();
    }

    /// Slots that wait for a disk go on where it is.
    fn resume(&mut self, loads: &mut Loads) {
        let members = &self.members;
        let is_member = |node| members.binary_search_by_key(&node, |it: &Member| it.node).is_ok();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_waiting()) {
            *slot = slot.resumed(is_member, self.next);
        }
        *loads = self.loads();
    }

    /// Who gave a slot away stays behind as its backup, and must not where there are none. But what
    /// a backup of a dead member's slot has is not thrown away.
    fn drop_backups(&mut self) {
        let left = &self.left;
        for slot in self.slots.iter_mut().filter(|slot| !left.contains(&slot.primary)) {
            *slot = slot.alone();
            slot.joining = slot.joining.filter(|joining| joining.goal == Goal::Primary);
        }
    }

    /// Names joiners for slots without a backup, low ones first: these are in use.
    fn name_joiners(&mut self, loads: &mut Loads) {
        let mut joining = self.slots.iter().filter(|slot| slot.joining.is_some()).count();
        for (slot, avoided) in self.slots.iter_mut().zip(&self.avoided) {
            let done = slot.backup.is_some() || slot.joining.is_some();
            if done || slot.is_waiting() || *avoided {
                continue;
            }
            if joining >= MOVES_MAX {
                break;
            }
            joining += 1;
            if let Some(node) = least(&self.members, &loads.others, |n| !slot.involves(n)) {
                slot.joining = Some(Joining { node, goal: Goal::Backup });
                loads.others[usize::from(node.get())] += 1;
            }
        }
    }

    fn balance(&mut self, policy: Policy, loads: &mut Loads) {
        let mut moving = self.slots.iter().filter(|slot| slot.joining.is_some()).count();
        while moving < MOVES_MAX && self.move_primary(policy, loads) {
            moving += 1;
        }
        while policy.backups && moving < MOVES_MAX && self.move_backup(loads) {
            moving += 1;
        }
    }

    /// Lets one slot begin to move from a member with much to one with little.
    fn move_primary(&mut self, policy: Policy, loads: &mut Loads) -> bool {
        let ready = |slot: &Slot| slot.backup.is_some() == policy.backups;
        self.begin_move(&mut loads.primaries, Goal::Primary, |slot| {
            ready(slot).then_some(slot.primary)
        })
    }

    fn move_backup(&mut self, loads: &mut Loads) -> bool {
        self.begin_move(&mut loads.others, Goal::Backup, |slot| slot.backup)
    }

    /// Names a joiner for a slot whose `holder` has too much: at least two more than the joiner, or
    /// anything at all though it wishes to leave. High slots first: low ones are those in use. A slot may go to
    /// its backup, which has it.
    fn begin_move(
        &mut self,
        loads: &mut [u32],
        goal: Goal,
        holder: impl Fn(&Slot) -> Option<NodeId>,
    ) -> bool {
        let (leaving, staying): (Vec<&Member>, Vec<_>) =
            self.members.iter().partition(|member| member.draining);
        for (source, by) in sources(&leaving, &staying, loads) {
            let load = |node: NodeId| loads[usize::from(node.get())];
            let slots = self.slots.iter_mut().zip(&self.avoided).rev();
            let free = slots.filter(|(slot, avoided)| {
                slot.joining.is_none() && !slot.is_waiting() && !**avoided
            });
            for (slot, _) in free.filter(|(slot, _)| holder(slot) == Some(source)) {
                let free = |node| match goal {
                    Goal::Primary => slot.primary != node,
                    Goal::Backup => !slot.involves(node),
                };
                let may = |node| free(node) && (by == 0 || load(node) + by <= load(source));
                let Some(node) = least(staying.iter().copied(), loads, may) else { continue };
                slot.joining = Some(Joining { node, goal });
                loads[usize::from(source.get())] -= 1;
                loads[usize::from(node.get())] += 1;
                return true;
            }
        }
        false
    }
}

/// Who has slots to give, the first first, and how many more than who takes one.
fn sources(leaving: &[&Member], staying: &[&Member], loads: &[u32]) -> Vec<(NodeId, u32)> {
    let load = |node: NodeId| loads[usize::from(node.get())];
    let fewest = staying.iter().map(|member| load(member.node)).min().unwrap_or(0);
    let mut rich: Vec<NodeId> = staying.iter().map(|member| member.node).collect();
    rich.retain(|node| load(*node) >= fewest + 2);
    rich.sort_by_key(|node| core::cmp::Reverse(load(*node)));
    let leaving = leaving.iter().map(|member| member.node).filter(|node| load(*node) > 0);
    leaving.map(|node| (node, 0)).chain(rich.into_iter().map(|node| (node, 2))).collect()
}

/// The member with the smallest load that may take another; one that wishes to leave only if
/// there is no other.
fn least<'a>(
    members: impl IntoIterator<Item = &'a Member>,
    loads: &[u32],
    may: impl Fn(NodeId) -> bool,
) -> Option<NodeId> {
    let candidates = members.into_iter().filter(|member| may(member.node));
    let order = |member: &&Member| (member.draining, loads[usize::from(member.node.get())]);
    candidates.min_by_key(order).map(|member| member.node)
}
