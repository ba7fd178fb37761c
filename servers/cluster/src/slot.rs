// SPDX-License-Identifier: MIT OR Apache-2.0
//! A row of the slot table, and the only ways in which it changes.
//!
//! # Model
//! ```text
//!   (P, -, -) --joining--> (P, -, J) --joined--> (P, J, -)
//!   (P, B, -) --move-----> (P, B, J!) --moved--> (J, B, -)       J! : joins to be primary
//!   (P, B, -) --swap-----> (P, B, B!) --moved--> (B, P, -)
//!   P dies: (B, -, ..)     P and B die: (fresh, -, -), marked lost; or kept by their disks
//! ```
//! A slot that is *kept* has no copy in any memory, but on disks: of its last primary and backup, `kept`. If none of
//! those nodes is a member the slot waits: its primary is so in name only. As soon as one is, it is the primary, and
//! goes on with what its disk has; if that has not all, it says so, and the other is waited for.
//!
//! A disk has all that was acknowledged if it says that it has had the slot since the epoch that the row says of its node:
//! `backed` for whom the slot came to last, `held` for the other one.
//! The functions here are pure, so that the model checker runs the same ones.

use abi::{Epoch, NodeId};

/// What a joiner becomes once it has the slot's state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Goal {
    /// The backup, in place of the one there may be.
    Backup,
    /// The primary: a planned move.
    Primary,
}

/// A member that receives a slot's state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Joining {
    /// The member.
    pub node: NodeId,
    /// What for.
    pub goal: Goal,
}

/// Who holds a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    /// The slot's home: it alone acts.
    pub primary: NodeId,
    /// Holds all that was acknowledged.
    pub backup: Option<NodeId>,
    /// Receives the state.
    pub joining: Option<Joining>,
    /// Epoch of the last change of `primary`.
    pub since: Epoch,
    /// Epoch in which the slot last began empty because all its copies were gone: ids made before
    /// answer EIO. 0 if never.
    pub lost: Epoch,
    /// Epoch in which the primary was last gone without having given the slot away: what has no copy at
    /// the backup was lost then, whether there was one or not. 0 if never.
    pub broken: Epoch,
    /// Epoch in which the backup became that, or in which a primary that took its own backup's place had
    /// become the backup. 0 if there never was one.
    pub backed: Epoch,
    /// Epoch since when the primary has had all of it; or the backup, where that was the primary before it gave the
    /// slot away, and took its place. Of a slot that is kept: since when the first of `kept` has, as
    /// `backed` says of the second.
    pub held: Epoch,
    /// The nodes whose disks have it, when no memory had it any more: the primary's, and the backup's. None
    /// once another has it, too.
    pub kept: [Option<NodeId>; 2],
}

impl Slot {
    /// A slot that begins with the cluster.
    pub const fn new(primary: NodeId) -> Self {
        let (since, never) = (Epoch(1), Epoch(0));
        Self {
            primary,
            backup: None,
            joining: None,
            since,
            lost: never,
            broken: never,
            backed: never,
            held: since,
            kept: [None; 2],
        }
    }

    /// The same with a backup: nothing lives in it yet.
    pub const fn backed(self, backup: NodeId) -> Self {
        Self { backup: Some(backup), backed: Epoch(1), ..self }
    }

    /// Whether the slot is on disks only, or the primary, who has it from there, is alone.
    pub fn is_kept(&self) -> bool {
        self.kept != [None; 2]
    }

    /// Whether nobody who is there has it: nothing may happen in it.
    pub fn is_waiting(&self) -> bool {
        self.is_kept() && !self.kept.contains(&Some(self.primary))
    }

    /// Since when `node` has had all of it, as far as the view knows that it has.
    pub fn had_by(&self, node: NodeId) -> Option<Epoch> {
        // Who gave it away and became the backup has had it for longer than the primary.
        let gave = self.backup.is_some() && self.since == self.backed;
        match Some(node) {
            it if self.is_kept() => match self.kept {
                [first, _] if first == it => Some(self.held),
                [_, second] if second == it => Some(self.backed),
                [_, _] => None,
            },
            it if it == self.backup => Some(if gave { self.held } else { self.backed }),
            _ if node == self.primary => Some(if gave { self.backed } else { self.held }),
            _ => None,
        }
    }

    fn had_by_primary(&self) -> Epoch {
        self.had_by(self.primary).unwrap_or(self.held)
    }

    /// The same without its backup.
    pub fn alone(self) -> Self {
        Self { held: self.had_by_primary(), backup: None, ..self }
    }

    /// A slot that waits goes on if who keeps it is a member; in the view `next`.
    pub fn resumed(self, member: impl Fn(NodeId) -> bool, next: Epoch) -> Self {
        let keeper = self.kept.into_iter().flatten().find(|node| member(*node));
        match keeper.filter(|_| self.is_waiting()) {
            Some(primary) => {
                let joining = self.joining.filter(|joining| joining.node != primary);
                Self { primary, joining, since: next, broken: next, ..self }
            }
            None => self,
        }
    }

    /// The primary's disk has not all of it, after all; in the view `next`. If nobody else may have it, it begins anew.
    pub fn missing(self, next: Epoch) -> Option<Self> {
        let primary = Some(self.primary);
        if !self.kept.contains(&primary) {
            return None;
        }
        let kept = self.kept.map(|node| node.filter(|node| Some(*node) != primary));
        if kept == [None; 2] {
            let lost = Self { since: next, lost: next, broken: next, held: next, ..self };
            return Some(Self { kept, joining: None, ..lost });
        }
        Some(Self { kept, joining: None, ..self })
    }

    /// Whether `node` has a role in it.
    pub fn involves(&self, node: NodeId) -> bool {
        self.primary == node
            || self.backup == Some(node)
            || self.joining.is_some_and(|joining| joining.node == node)
    }

    /// The joiner has the state and becomes backup in the view `next`; `None` if none joins to be that.
    pub fn joined(self, next: Epoch) -> Option<Self> {
        match self.joining {
            Some(Joining { node, goal: Goal::Backup }) => {
                let held = self.had_by_primary();
                let kept = [None; 2];
                Some(Self { backup: Some(node), joining: None, backed: next, held, kept, ..self })
            }
            Some(Joining { goal: Goal::Primary, .. }) | None => None,
        }
    }

    /// The joiner has the state and becomes primary in the view `next`; the former one becomes
    /// backup if there is none else. `None` if none joins to be that.
    pub fn moved(self, next: Epoch) -> Option<Self> {
        match self.joining {
            Some(Joining { node, goal: Goal::Primary }) => {
                let other = self.backup.filter(|backup| *backup != node);
                Some(Self {
                    primary: node,
                    backup: other.or(Some(self.primary)),
                    joining: None,
                    since: next,
                    backed: if other.is_some() { self.backed } else { next },
                    held: if other.is_some() { next } else { self.had_by_primary() },
                    kept: [None; 2],
                    ..self
                })
            }
            Some(Joining { goal: Goal::Backup, .. }) | None => None,
        }
    }

    /// The slot in the view `next`, from which the members that `left` names are gone. If it loses
    /// all its copies, and is on no disk that `keeps` names, `fresh` begins it anew.
    pub fn without(
        self,
        left: impl Fn(NodeId) -> bool,
        keeps: impl Fn(NodeId) -> bool,
        next: Epoch,
        fresh: impl FnOnce() -> NodeId,
    ) -> Self {
        let backup = self.backup.filter(|node| !left(*node));
        let joining = self.joining.filter(|joining| !left(joining.node));
        if !left(self.primary) {
            let same = if backup == self.backup { self } else { self.alone() };
            return Self { joining, ..same };
        }
        let held_by = |node: Option<NodeId>| node.and_then(|node| self.had_by(node));
        match backup {
            Some(primary) => {
                // It was to become primary of a primary that is gone: now a backup is missing.
                let joining = joining.filter(|joining| joining.node != primary);
                let joining = joining.map(|j| Joining { goal: Goal::Backup, ..j });
                let held = held_by(backup).unwrap_or(self.backed);
                Self { primary, backup: None, joining, since: next, broken: next, held, ..self }
            }
            None if self.is_waiting() => {
                Self { primary: fresh(), joining: None, since: next, broken: next, ..self }
            }
            None => {
                let kept =
                    [Some(self.primary), self.backup].map(|node| node.filter(|it| keeps(*it)));
                if kept == [None; 2] {
                    let lost = Self { held: next, ..Self::new(fresh()) };
                    return Self { since: next, lost: next, broken: next, ..lost };
                }
                let held = self.had_by_primary();
                let backed = held_by(self.backup).unwrap_or(self.backed);
                let marks = Self { since: next, broken: next, held, backed, ..self };
                Self { primary: fresh(), backup: None, joining: None, kept, ..marks }
            }
        }
    }

    /// Whether `new` may follow this in the view `next`, when `left` names who is gone and `stays`
    /// who is a member then. It decides nothing about who ought to have which role: it keeps what
    /// must never happen out of any view, whoever proposed it.
    pub(crate) fn may_become(
        &self,
        new: &Self,
        left: impl Fn(NodeId) -> bool,
        stays: impl Fn(NodeId) -> bool,
        next: Epoch,
    ) -> bool {
        if !new.is_well_formed(stays) {
            return false;
        }
        let stayed_on = |node: NodeId| !left(node);
        let backup = self.backup.filter(|node| stayed_on(*node));
        // Nobody who is there has it: it waits, goes on from a disk, or begins anew.
        let gone = !stayed_on(self.primary) && backup.is_none();
        if gone
            || self.is_kept()
                && (self.is_waiting() || self.kept != new.kept && new.backup.is_none())
        {
            return self.may_be_kept(new, next);
        }
        let moved = self.joining.filter(|j| j.goal == Goal::Primary && stayed_on(j.node));
        let stayed = stayed_on(self.primary) && new.primary == self.primary;
        let primary = if stayed_on(self.primary) {
            stayed || moved.is_some_and(|joining| joining.node == new.primary)
        } else {
            Some(new.primary) == backup
        };
        let since = if stayed { self.since } else { next };
        // Nobody becomes backup who has not the state.
        let has_state = |node: NodeId| {
            let was = [Some(self.primary), self.backup, self.joining.map(|joining| joining.node)];
            stayed_on(node) && was.contains(&Some(node))
        };
        let broken = if stayed_on(self.primary) { self.broken } else { next };
        let backed = match new.backup {
            Some(_) if new.backup == backup => self.backed,
            Some(_) => next,
            // Whether this primary was the backup, and since when.
            None if !stayed_on(self.primary) && backup.is_some() => self.backed,
            None => new.backed.min(next),
        };
        // Once another has it, or somebody else is the home, it is not only on disks any more.
        let same = stayed && new.backup.is_none();
        let kept = if same { self.kept } else { [None; 2] };
        let held = [self.held, self.backed, next].contains(&new.held);
        primary
            && held
            && new.kept == kept
            && (new.lost, new.since, new.broken, new.backed) == (self.lost, since, broken, backed)
            && new.backup.is_none_or(has_state)
    }

    /// The same where no memory has it any more.
    fn may_be_kept(&self, new: &Self, next: Epoch) -> bool {
        if !new.is_kept() {
            // It begins anew.
            return new.lost == next && new.since == next && new.broken == next && new.held == next;
        }
        let had = if self.is_kept() { self.kept } else { [Some(self.primary), self.backup] };
        let from_there = new.kept.iter().all(|node| node.is_none() || had.contains(node));
        let moved = new.since == next && new.broken == next;
        let same =
            new.primary == self.primary && (new.since, new.broken) == (self.since, self.broken);
        let marks = [self.held, self.backed];
        from_there
            && new.lost == self.lost
            && (moved || same)
            && marks.contains(&new.held)
            && marks.contains(&new.backed)
    }

    /// Whether all roles are held by different members, but that the backup may join to be primary.
    pub(crate) fn is_well_formed(&self, member: impl Fn(NodeId) -> bool) -> bool {
        let swaps = self.joining.is_some_and(|joining| joining.goal == Goal::Primary);
        let joining = self.joining.map(|joining| joining.node);
        let apart = self.backup != Some(self.primary)
            && joining != Some(self.primary)
            && (joining.is_none() || swaps || joining != self.backup);
        let kept = !self.is_kept() || self.backup.is_none();
        apart
            && kept
            && [Some(self.primary), self.backup, joining].into_iter().flatten().all(member)
    }
}
