// SPDX-License-Identifier: MIT OR Apache-2.0
//! A row of the slot table, and the only ways in which it changes.
//!
//! # Model
//! ```text
//!   (P, -, -) --joining--> (P, -, J) --joined--> (P, J, -)
//!   (P, B, -) --move-----> (P, B, J!) --moved--> (J, B, -)       J! : joins to be primary
//!   (P, B, -) --swap-----> (P, B, B!) --moved--> (B, P, -)
//!   P dies: (B, -, ..)     P and B die: (fresh, -, -), marked lost
//! ```
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
        }
    }

    /// The same with a backup: nothing lives in it yet.
    pub const fn backed(self, backup: NodeId) -> Self {
        Self { backup: Some(backup), backed: Epoch(1), ..self }
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
                Some(Self { backup: Some(node), joining: None, backed: next, ..self })
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
                    ..self
                })
            }
            Some(Joining { goal: Goal::Backup, .. }) | None => None,
        }
    }

    /// The slot in the view `next`, from which the members that `left` names are gone. If it loses
    /// all its copies, `fresh` begins it anew.
    pub fn without(
        self,
        left: impl Fn(NodeId) -> bool,
        next: Epoch,
        fresh: impl FnOnce() -> NodeId,
    ) -> Self {
        let backup = self.backup.filter(|node| !left(*node));
        let joining = self.joining.filter(|joining| !left(joining.node));
        if !left(self.primary) {
            return Self { backup, joining, ..self };
        }
        match backup {
            Some(primary) => {
                // It was to become primary of a primary that is gone: now a backup is missing.
                let joining = joining.filter(|joining| joining.node != primary);
                let joining = joining.map(|j| Joining { goal: Goal::Backup, ..j });
                Self { primary, backup: None, joining, since: next, broken: next, ..self }
            }
            None => Self { since: next, lost: next, broken: next, ..Self::new(fresh()) },
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
        let kept = |node: NodeId| !left(node);
        let backup = self.backup.filter(|node| kept(*node));
        let moved = self.joining.filter(|j| j.goal == Goal::Primary && kept(j.node));
        let stayed = kept(self.primary) && new.primary == self.primary;
        let (primary, lost) = if kept(self.primary) {
            let is_move = moved.is_some_and(|joining| joining.node == new.primary);
            (stayed || is_move, self.lost)
        } else if let Some(backup) = backup {
            (new.primary == backup, self.lost)
        } else {
            (true, next)
        };
        let since = if stayed { self.since } else { next };
        // Nobody becomes backup who has not the state.
        let has_state = |node: NodeId| {
            let was = [Some(self.primary), self.backup, self.joining.map(|joining| joining.node)];
            kept(node) && was.contains(&Some(node))
        };
        let broken = if kept(self.primary) { self.broken } else { next };
        let backed = match new.backup {
            Some(_) if new.backup == backup => self.backed,
            Some(_) => next,
            // Whether this primary was the backup, and since when.
            None if !kept(self.primary) && backup.is_some() => self.backed,
            None => new.backed.min(next),
        };
        let marks = (lost, since, broken, backed);
        primary
            && (new.lost, new.since, new.broken, new.backed) == marks
            && new.backup.is_none_or(has_state)
    }

    /// Whether all roles are held by different members, but that the backup may join to be primary.
    pub(crate) fn is_well_formed(&self, member: impl Fn(NodeId) -> bool) -> bool {
        let swaps = self.joining.is_some_and(|joining| joining.goal == Goal::Primary);
        let joining = self.joining.map(|joining| joining.node);
        let apart = self.backup != Some(self.primary)
            && joining != Some(self.primary)
            && (joining.is_none() || swaps || joining != self.backup);
        apart && [Some(self.primary), self.backup, joining].into_iter().flatten().all(member)
    }
}
