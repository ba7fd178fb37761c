// SPDX-License-Identifier: MIT OR Apache-2.0
//! A leader's side of membership: who may act, who is gone, who comes, what members ask for.
//!
//! # Model
//! A desk exists while a node leads and has committed an entry of its term, so that it knows every
//! view that could ever have been agreed. It gives leases to members of the agreed view, and lets go
//! those whose leases are over. One change is under way at a time; nobody whom it lets go gets a lease
//! any more.
//!
//! # Invariants
//! A member leaves the view only when `waited(MEMBER_LEASE_NS)` have passed since this desk last gave
//! it a lease, and since this node began to lead or was last without a lease of its own: up to then
//! another leader may have given one. Or when the member said itself that it has stopped.

use crate::limits::*;
use crate::rules::{Rule, Rules};
use crate::suspects::Suspects;
use crate::views::Config;
use abi::{Epoch, NodeId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use cluster::{Delta, Draft, Incarnation, Request, View};

#[derive(Clone, Debug)]
struct Join {
    boot: u64,
    disk: Option<Incarnation>,
    /// To whom it has no link.
    unreachable: Vec<NodeId>,
    since: u64,
    asked_at: u64,
}

/// What a leader keeps while it leads.
#[derive(Debug)]
pub struct Desk {
    /// The term that it is of.
    pub term: u64,
    me: NodeId,
    /// Leases given before this may still hold.
    since: u64,
    /// When whom asked for a lease last.
    asked: BTreeMap<NodeId, u64>,
    /// When the last lease was given to whom.
    given: BTreeMap<NodeId, (Incarnation, u64)>,
    /// Members, and when they were admitted, if this leader did it.
    known: BTreeMap<NodeId, (Incarnation, Option<u64>)>,
    stopped: BTreeSet<(NodeId, Incarnation)>,
    joins: BTreeMap<NodeId, Join>,
    requests: Vec<(NodeId, Incarnation, Epoch, Request)>,
    /// When the last of them came.
    requested_at: u64,
    suspects: Suspects,
    /// Slots whose primaries said "not now", and when.
    aborted: BTreeMap<SlotNo, u64>,
    /// Who is to leave with the change that is under way.
    leaving: BTreeSet<NodeId>,
    /// The view in which nothing more is to be done unless something happens.
    settled: Option<Epoch>,
    /// As far as this node knows nobody else leads until then.
    good_until: u64,
    /// When a change was last sent to all.
    pub published_at: u64,
    /// When to look again.
    pub at: u64,
}

impl Desk {
    /// The desk of the node `me`, which leads `term` since `since`.
    pub fn new(me: NodeId, term: u64, since: u64, now: u64) -> Self {
        Self {
            term,
            me,
            since,
            asked: BTreeMap::new(),
            given: BTreeMap::new(),
            known: BTreeMap::new(),
            stopped: BTreeSet::new(),
            joins: BTreeMap::new(),
            requests: Vec::new(),
            requested_at: 0,
            suspects: Suspects::default(),
            aborted: BTreeMap::new(),
            leaving: BTreeSet::new(),
            settled: None,
            good_until: 0,
            published_at: 0,
            at: now,
        }
    }

    /// Whether this node may use its power: nobody else leads before `lease_until`. After a while in
    /// which it was not sure, members may have tried in vain to keep their leases: they get time.
    pub fn is_sure<R: Rules>(&mut self, now: u64, lease_until: u64) -> bool {
        if now >= self.good_until {
            self.since = self.since.max(now);
        }
        self.good_until = self.good_until.max(lease_until);
        now < lease_until || !R::holds(Rule::LeadsByLease)
    }

    /// Whether this incarnation may act for a while longer.
    pub fn grant(&mut self, now: u64, view: &View, node: NodeId, life: Incarnation) -> bool {
        let is_member = view.member(node).is_some_and(|member| member.incarnation == life);
        if is_member {
            self.asked.insert(node, now);
        }
        let stops = self.stopped.contains(&(node, life)) || self.leaving.contains(&node);
        if !is_member || stops || view.is_revoked(node) || self.suspects.is_victim(node, life) {
            return false;
        }
        let before = self.given.insert(node, (life, now));
        if before.is_none_or(|(of, at)| of != life || now > at + HEARS_NS) {
            // It lives (again), and may be a voter.
            self.settled = None;
        }
        true
    }

    /// A node asks to be admitted, and cannot reach `unreachable`. Returns the members that keep it
    /// out.
    pub fn join(
        &mut self,
        now: u64,
        node: NodeId,
        (boot, disk): (u64, Option<Incarnation>),
        unreachable: Vec<NodeId>,
    ) -> Vec<NodeId> {
        let before = self.joins.get(&node).filter(|join| join.boot == boot);
        let since = before.map_or(now, |join| join.since);
        let by = self.suspects.keeps_out(now, node, since, &unreachable);
        self.joins.insert(node, Join { boot, disk, unreachable, since, asked_at: now });
        by
    }

    /// A member says whom it cannot reach.
    pub fn suspect(
        &mut self,
        now: u64,
        view: &View,
        from: NodeId,
        life: Incarnation,
        nodes: &[(u16, u32)],
    ) {
        if view.member(from).is_some_and(|member| member.incarnation == life) {
            self.suspects.report(now, from, life, nodes);
        }
    }

    /// Who asks to be admitted.
    pub fn joiners(&self) -> Vec<NodeId> {
        self.joins.keys().copied().collect()
    }

    /// A member has stopped for good.
    pub fn leave(&mut self, view: &View, node: NodeId, life: Incarnation) {
        if view.member(node).is_some_and(|member| member.incarnation == life) {
            self.stopped.insert((node, life));
        }
    }

    /// A member asks for something. Returns whether there was room: else it asks again.
    pub fn ask(
        &mut self,
        now: u64,
        (node, life): (NodeId, Incarnation),
        epoch: Epoch,
        request: Request,
    ) -> bool {
        let asked = (node, life, epoch, request);
        let room = self.requests.len() < REQUESTS_MAX;
        if room && !self.requests.contains(&asked) {
            self.requests.push(asked);
            self.requested_at = now;
        }
        room
    }

    /// A view took effect.
    pub fn entered(&mut self, now: u64, view: &View) {
        self.leaving.clear();
        self.suspects.entered(now, view);
        let is_member = |node: &NodeId, life: &Incarnation| {
            view.member(*node).is_some_and(|member| member.incarnation == *life)
        };
        self.asked.retain(|node, _| view.contains(*node));
        self.given.retain(|node, (life, _)| is_member(node, life));
        // Who was just admitted has to hear of it before it can ask for a lease.
        self.known.retain(|node, (life, _)| is_member(node, life));
        self.know(view, Some(now));
        self.stopped.retain(|(node, life)| is_member(node, life));
    }

    fn know(&mut self, view: &View, admitted: Option<u64>) {
        for member in view.roster() {
            self.known.entry(member.node).or_insert((member.incarnation, admitted));
        }
    }

    /// The change to propose now, if there is any.
    pub fn change<R: Rules>(&mut self, now: u64, view: &View, config: &Config) -> Option<Delta> {
        self.look_again::<R>(now, view);
        if self.known.is_empty() {
            self.know(view, None);
        }
        let gone: Vec<NodeId> = view
            .roster()
            .iter()
            .filter(|member| self.is_gone::<R>(now, member.node, member.incarnation))
            .map(|member| member.node)
            .collect();
        let admitted = |(node, join): (&NodeId, &Join)| {
            view.member(*node).is_some_and(|member| member.boot == join.boot)
        };
        let urgent = !gone.is_empty() || !self.joins.iter().all(admitted);
        if !urgent && !self.requests.is_empty() {
            let comes = self.waits_for_slots(view) && now < self.requested_at + QUIET_NS;
            let wait = if comes { SLOTS_NS } else { REQUESTS_NS };
            if now < self.published_at + wait {
                return None;
            }
        }
        let news = urgent || !self.requests.is_empty();
        if !news && self.settled == Some(view.epoch()) {
            return None;
        }
        let mut draft = Draft::new(view);
        gone.iter().for_each(|node| draft.leave(*node));
        self.admit(now, &mut draft);
        self.answer_requests::<R>(now, view, &mut draft);
        // Who died a moment ago is still a member, and must not become a voter.
        draft.settle_voters(&config.founders, |member| {
            let given = self.given.get(&member.node);
            given.is_some_and(|(life, at)| *life == member.incarnation && now <= *at + HEARS_NS)
        });
        self.aborted.keys().for_each(|slot| draft.avoid(*slot));
        draft.settle(config.policy);
        // What would be void is not proposed: it would come again and again.
        let delta = draft.finish().filter(|delta| view.apply(delta).is_ok());
        self.settled = Some(view.epoch());
        if let Some(delta) = &delta {
            self.leaving = delta.leave.iter().copied().collect();
        }
        delta
    }

    /// Whether all that is asked for is about slots, and more of it may come: each view ends what is under way for
    /// all slots that wait, and names joiners again. But nothing happens in those that have been copied until then.
    fn waits_for_slots(&self, view: &View) -> bool {
        let is_one = |(.., epoch, request): &&(NodeId, Incarnation, Epoch, Request)| {
            let about = matches!(request, Request::Joined(..) | Request::Abort(_));
            about && *epoch == view.epoch()
        };
        let joining = View::slot_numbers().filter(|slot| view.slot(*slot).joining.is_some());
        self.requests.iter().all(|it| is_one(&it)) && self.requests.len() < joining.count()
    }

    /// Forgets what is over, and judges who is to go.
    fn look_again<R: Rules>(&mut self, now: u64, view: &View) {
        self.joins.retain(|_, join| now < join.asked_at + JOIN_KEPT_NS);
        let aborted = self.aborted.len();
        self.aborted.retain(|_, at| now < *at + ABORTED_NS);
        if self.aborted.len() < aborted {
            self.settled = None;
        }
        let joins: Vec<(NodeId, Vec<NodeId>)> =
            self.joins.iter().map(|(node, join)| (*node, join.unreachable.clone())).collect();
        let asked = |node| self.asked.get(&node).is_some_and(|at| now <= *at + HEARS_NS);
        let hears = |node| node == self.me || asked(node);
        self.suspects.judge::<R>(now, view, self.me, hears, &joins);
    }

    fn admit(&self, now: u64, draft: &mut Draft<'_>) {
        for (node, join) in &self.joins {
            if self.suspects.keeps_out(now, *node, join.since, &join.unreachable).is_empty() {
                // Refused as long as a former life's lease lasts, or its key is revoked: the node asks on.
                let _ = draft.admit(*node, join.boot, join.disk);
            }
        }
    }

    fn answer_requests<R: Rules>(&mut self, now: u64, view: &View, draft: &mut Draft<'_>) {
        for (node, life, epoch, request) in self.requests.drain(..) {
            let epoch = if R::holds(Rule::ChecksEpoch) { epoch } else { view.epoch() };
            // What is refused is void: who asked sees the next view, or asks again.
            let answer = draft.request(node, life, epoch, &request);
            if let (Ok(()), Request::Abort(slot) | Request::Alone(slot)) = (answer, request) {
                self.aborted.insert(slot, now);
            }
        }
    }

    fn is_gone<R: Rules>(&self, now: u64, node: NodeId, life: Incarnation) -> bool {
        if self.stopped.contains(&(node, life)) {
            return true;
        }
        let given = self.given.get(&node).filter(|(given, _)| *given == life).map(|(_, at)| *at);
        let admitted = self.known.get(&node).filter(|(known, _)| *known == life);
        let Some(last) = given.max(admitted.and_then(|(_, at)| *at)) else {
            return !R::holds(Rule::WaitsWhenNew) || now >= self.since + waited(MEMBER_LEASE_NS);
        };
        let last = last.max(self.since);
        let wait =
            if R::holds(Rule::WaitsForLease) { waited(MEMBER_LEASE_NS) } else { 2 * RENEW_NS };
        now >= last + wait
    }
}
