// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots and views, searched exhaustively for a small size: three nodes, one slot, two updates, one
//! crash at any instant, one planned move; every order of deliveries, view entries and proposals, and
//! nodes that skip views.
//!
//! # Model
//! The views are a register that changes by "if the epoch is still E"; the table's rows change by
//! the functions of [`cluster::Slot`], the ones that run. A crash and the end of a lease are the same
//! here: that no view without a member comes before its lease is over is the simulator's to show.
//!
//! The slot's own protocol (replication, snapshot, freeze) is modelled as it is to be built.

use abi::{Epoch, NodeId};
use cluster::{Goal, Joining, Slot};
use stateright::{Checker, Model, Property};

const NODES: usize = 3;

fn node(at: usize) -> NodeId {
    NodeId::new(at as u16 + 1).expect("a node")
}

fn at(node: NodeId) -> usize {
    usize::from(node.get()) - 1
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct View {
    epoch: u64,
    members: [bool; NODES],
    slot: Slot,
}

/// A copy of the slot's state: the updates in order, and what each was answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Copy {
    updates: Vec<u8>,
    results: Vec<(u8, u8)>,
}

impl Copy {
    fn lsn(&self) -> usize {
        self.updates.len()
    }

    fn execute(&mut self, update: u8) {
        self.results.push((update, self.updates.len() as u8));
        self.updates.push(update);
    }

    fn result(&self, update: u8) -> Option<u8> {
        self.results.iter().find(|(done, _)| *done == update).map(|(_, result)| *result)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Message {
    Call(u8),
    Reply(u8, u8),
    Repl(usize, u8),
    Ack(usize),
    Snap(Copy),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Node {
    alive: bool,
    view: View,
    copy: Option<Copy>,
    acked: [usize; NODES],
    /// The joiner has the snapshot.
    sync: bool,
    snap: usize,
    frozen: bool,
    proposed: bool,
    /// Answers that wait: update, its place.
    pending: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    view: View,
    nodes: Vec<Node>,
    /// In order, per sender and receiver, with the epoch.
    links: Vec<Vec<(u64, Message)>>,
    /// Proposals on their way: the epoch that they are for, and the row.
    proposals: Vec<(u64, Slot)>,
    /// What each update's client has been told.
    told: Vec<Option<u8>>,
    called: Vec<bool>,
    crashes: u8,
    moves: u8,
    /// A primary without the state, or a gap in what is replicated.
    broken: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Action {
    Call(usize),
    Deliver(usize, usize),
    Enter(usize),
    Decide(usize),
    Crash(usize),
    LetGo(usize),
    Move,
}

/// The model, and which rule it breaks.
#[derive(Clone, Copy, Default)]
struct Slots {
    no_freeze: bool,
    reply_first: bool,
    no_epoch: bool,
    no_resend: bool,
    snap_without_results: bool,
}

const UPDATES: usize = 2;

/// Where the client of an update runs.
fn client(update: usize) -> usize {
    [2, 1][update]
}

impl State {
    fn send(&mut self, from: usize, to: usize, message: Message) {
        let epoch = self.nodes[from].view.epoch;
        self.links[from * NODES + to].push((epoch, message));
    }

    fn is_primary(&self, n: usize) -> bool {
        self.nodes[n].view.slot.primary == node(n)
    }

    fn roles(&self, n: usize) -> (Option<usize>, Option<usize>) {
        let slot = &self.nodes[n].view.slot;
        (slot.backup.map(at), slot.joining.map(|joining| at(joining.node)))
    }

    fn lsn(&self, n: usize) -> usize {
        self.nodes[n].copy.as_ref().map_or(0, Copy::lsn)
    }

    fn call(&mut self, update: usize) {
        let from = client(update);
        let to = at(self.nodes[from].view.slot.primary);
        self.send(from, to, Message::Call(update as u8));
    }
}

impl Slots {
    fn deliver(&self, state: &mut State, from: usize, to: usize) {
        let (epoch, message) = state.links[from * NODES + to].remove(0);
        if !state.nodes[to].alive || epoch < state.nodes[to].view.epoch {
            return;
        }
        match message {
            Message::Call(update) => self.called(state, to, update),
            Message::Reply(update, result) => {
                state.told[usize::from(update)].get_or_insert(result);
            }
            Message::Repl(lsn, update) => {
                let Some(copy) = &mut state.nodes[to].copy else { return };
                state.broken |= lsn > copy.lsn() + 1;
                if lsn == copy.lsn() + 1 {
                    copy.execute(update);
                }
                let acked = copy.lsn();
                state.send(to, from, Message::Ack(acked));
            }
            Message::Snap(mut copy) => {
                if self.snap_without_results {
                    copy.results.clear();
                }
                let acked = copy.lsn();
                state.nodes[to].copy = Some(copy);
                state.send(to, from, Message::Ack(acked));
            }
            Message::Ack(lsn) => {
                let joiner = state.roles(to).1;
                let node = &mut state.nodes[to];
                node.acked[from] = node.acked[from].max(lsn);
                node.sync |= joiner == Some(from) && node.acked[from] >= node.snap;
                self.advance(state, to);
            }
        }
    }

    fn called(&self, state: &mut State, n: usize, update: u8) {
        if !state.is_primary(n) || (state.nodes[n].frozen && !self.no_freeze) {
            return;
        }
        let (backup, joiner) = state.roles(n);
        let Some(copy) = state.nodes[n].copy.as_mut() else {
            state.broken = true;
            return;
        };
        if copy.result(update).is_none() {
            copy.execute(update);
            let lsn = copy.lsn();
            for peer in backup.into_iter().chain(joiner) {
                state.send(n, peer, Message::Repl(lsn, update));
            }
        }
        if !state.nodes[n].pending.contains(&update) {
            state.nodes[n].pending.push(update);
        }
        self.advance(state, n);
    }

    /// Answers what is covered, and goes on with a join or a move.
    fn advance(&self, state: &mut State, n: usize) {
        if !state.is_primary(n) {
            return;
        }
        let (backup, joiner) = state.roles(n);
        let (node_n, lsn) = (state.nodes[n].clone(), state.lsn(n));
        let acked = |peer: Option<usize>| peer.map_or(usize::MAX, |peer| node_n.acked[peer]);
        let Some(copy) = node_n.copy.clone() else {
            state.broken = true;
            return;
        };
        let covered = acked(backup).min(if node_n.sync { acked(joiner) } else { usize::MAX });
        for update in node_n.pending.iter().copied() {
            let result = copy.result(update).expect("it was executed");
            if usize::from(result) < covered || self.reply_first {
                state.nodes[n].pending.retain(|pending| *pending != update);
                state.send(n, client(usize::from(update)), Message::Reply(update, result));
            }
        }
        let slot = node_n.view.slot;
        let (Some(joining), true, false) = (slot.joining, node_n.sync, node_n.proposed) else {
            return;
        };
        let all = acked(joiner) >= lsn;
        let next = match joining.goal {
            Goal::Backup => slot.joined(Epoch(node_n.view.epoch + 1)).filter(|_| all),
            Goal::Primary => {
                state.nodes[n].frozen = true;
                let quiet = acked(backup) >= lsn && state.nodes[n].pending.is_empty();
                slot.moved(Epoch(node_n.view.epoch + 1)).filter(|_| all && quiet)
            }
        };
        if let Some(next) = next {
            state.nodes[n].proposed = true;
            state.proposals.push((node_n.view.epoch, next));
        }
    }

    fn enter(&self, state: &mut State, n: usize) {
        let new = state.view.clone();
        let old = core::mem::replace(&mut state.nodes[n].view, new.clone());
        let me = node(n);
        let slot = new.slot;
        let held = old.slot.involves(me);
        let this = &mut state.nodes[n];
        (this.frozen, this.sync, this.proposed) = (false, false, false);
        if slot.primary == me {
            let was = old.slot.primary == me && slot.since.0 <= old.epoch;
            if !was {
                if slot.lost.0 > old.epoch || !held {
                    this.copy = Some(Copy::default());
                }
                let lsn = this.copy.as_ref().map_or(0, Copy::lsn);
                this.acked = [lsn; NODES];
                this.pending.clear();
            }
            self.resume(state, n, was);
        } else {
            this.pending.clear();
            let joins = slot.joining.is_some_and(|joining| joining.node == me);
            if joins || slot.backup != Some(me) {
                this.copy = None;
            }
        }
        for update in (0..UPDATES).filter(|update| client(*update) == n) {
            if state.called[update] && state.told[update].is_none() {
                state.call(update);
            }
        }
    }

    fn resume(&self, state: &mut State, n: usize, was: bool) {
        let (backup, joiner) = state.roles(n);
        let Some(copy) = state.nodes[n].copy.clone() else {
            state.broken = true;
            return;
        };
        if let Some(backup) = backup.filter(|_| was && !self.no_resend) {
            for lsn in state.nodes[n].acked[backup] + 1..=copy.lsn() {
                state.send(n, backup, Message::Repl(lsn, copy.updates[lsn - 1]));
            }
        }
        if let Some(joiner) = joiner {
            state.nodes[n].acked[joiner] = 0;
            state.nodes[n].snap = copy.lsn();
            state.send(n, joiner, Message::Snap(copy));
        }
        self.advance(state, n);
    }

    /// The next view: `slot`, with a joiner if a backup is missing and somebody is free.
    fn publish(state: &mut State, mut slot: Slot) {
        let free = (0..NODES).find(|n| state.view.members[*n] && !slot.involves(node(*n)));
        if slot.backup.is_none() && slot.joining.is_none() {
            slot.joining = free.map(|n| Joining { node: node(n), goal: Goal::Backup });
        }
        state.view.slot = slot;
        state.view.epoch += 1;
    }

    fn possible(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        let alive = |n: usize| state.nodes[n].alive;
        for update in (0..UPDATES).filter(|u| !state.called[*u] && alive(client(*u))) {
            actions.push(Action::Call(update));
        }
        for from in 0..NODES {
            for to in 0..NODES {
                if let Some((epoch, _)) = state.links[from * NODES + to].first()
                    && (*epoch <= state.nodes[to].view.epoch || !alive(to))
                {
                    actions.push(Action::Deliver(from, to));
                }
            }
        }
        for n in (0..NODES).filter(|n| alive(*n)) {
            if state.nodes[n].view.epoch < state.view.epoch {
                actions.push(Action::Enter(n));
            }
            if state.crashes == 0 {
                actions.push(Action::Crash(n));
            }
        }
        let dead = (0..NODES).filter(|n| !alive(*n) && state.view.members[*n]);
        actions.extend(dead.map(Action::LetGo));
        actions.extend((0..state.proposals.len()).map(Action::Decide));
        let slot = &state.view.slot;
        let free = (0..NODES).any(|n| state.view.members[n] && !slot.involves(node(n)));
        if state.moves == 0 && slot.joining.is_none() && slot.backup.is_some() && free {
            actions.push(Action::Move);
        }
        actions
    }
}

impl Model for Slots {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let slot = Slot { backup: Some(node(1)), ..Slot::new(node(0)) };
        let view = View { epoch: 1, members: [true; NODES], slot };
        let nodes = (0..NODES).map(|n| Node {
            alive: true,
            view: view.clone(),
            copy: slot.involves(node(n)).then(Copy::default),
            acked: [0; NODES],
            sync: false,
            snap: 0,
            frozen: false,
            proposed: false,
            pending: Vec::new(),
        });
        vec![State {
            nodes: nodes.collect(),
            view,
            links: vec![Vec::new(); NODES * NODES],
            proposals: Vec::new(),
            told: vec![None; UPDATES],
            called: vec![false; UPDATES],
            crashes: 0,
            moves: 0,
            broken: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.possible(state));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Call(update) => {
                state.called[update] = true;
                state.call(update);
            }
            Action::Deliver(from, to) => self.deliver(&mut state, from, to),
            Action::Enter(n) => self.enter(&mut state, n),
            Action::Crash(n) => {
                state.crashes += 1;
                state.nodes[n].alive = false;
            }
            Action::LetGo(n) => {
                state.view.members[n] = false;
                let next = Epoch(state.view.epoch + 1);
                let fresh = (0..NODES).find(|n| state.view.members[*n]).expect("one crash");
                let slot =
                    state.view.slot.without(|who| who == node(n), |_| false, next, || node(fresh));
                Self::publish(&mut state, slot);
            }
            Action::Decide(which) => {
                let (epoch, slot) = state.proposals.remove(which);
                if epoch == state.view.epoch || self.no_epoch {
                    Self::publish(&mut state, slot);
                }
            }
            Action::Move => {
                state.moves += 1;
                let slot = state.view.slot;
                let free = |n: &usize| state.view.members[*n] && !slot.involves(node(*n));
                let target = (0..NODES).find(free).expect("there is one");
                let joining = Some(Joining { node: node(target), goal: Goal::Primary });
                Self::publish(&mut state, Slot { joining, ..slot });
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one acting primary", |model: &Self, state: &State| {
                let acts = |n: &usize| {
                    let frozen = state.nodes[*n].frozen && !model.no_freeze;
                    state.nodes[*n].alive && state.is_primary(*n) && !frozen
                };
                (0..NODES).filter(acts).count() <= 1
            }),
            Property::always("what was told is there, in its place", |_, state: &State| {
                let primary = at(state.view.slot.primary);
                let entered = state.nodes[primary].view == state.view;
                let copy = state.nodes[primary].copy.as_ref().filter(|_| entered);
                copy.is_none_or(|copy| {
                    (0..UPDATES).all(|update| {
                        let told = state.told[update];
                        told.is_none_or(|told| copy.result(update as u8) == Some(told))
                    })
                })
            }),
            Property::always(
                "a primary has the state, and copies have no gaps",
                |_, state: &State| !state.broken,
            ),
            Property::always("no update twice", |_, state: &State| {
                state.nodes.iter().filter_map(|node| node.copy.as_ref()).all(|copy| {
                    let mut updates = copy.updates.clone();
                    updates.sort_unstable();
                    updates.windows(2).all(|pair| pair[0] != pair[1])
                })
            }),
            Property::always("nothing is lost with one crash", |_, state: &State| {
                state.view.slot.lost == Epoch(0)
            }),
            Property::always("at rest all is answered and nobody waits", |model, state: &State| {
                let only_crash =
                    |action: &Action| matches!(action, Action::Crash(_) | Action::Move);
                if !model.possible(state).iter().all(only_crash) {
                    return true;
                }
                let answered =
                    (0..UPDATES).all(|u| state.told[u].is_some() || !state.nodes[client(u)].alive);
                let frozen = state.nodes.iter().any(|node| node.alive && node.frozen);
                answered && !frozen && state.view.slot.joining.is_none()
            }),
        ]
    }
}

fn search(model: Slots) -> impl Checker<Slots> {
    model.checker().threads(2).spawn_bfs().join()
}

#[test]
fn slots_keep_what_they_told_through_a_crash_and_a_move() {
    let found = search(Slots::default());
    println!("{} states, depth {}", found.unique_state_count(), found.max_depth());
    found.assert_properties();
}

/// Each rule is needed: without it the search finds why.
#[test]
fn slots_without_one_of_the_rules_break_a_promise() {
    let whole = Slots::default();
    for (rule, model) in [
        ("freeze", Slots { no_freeze: true, ..whole }),
        ("reply after the backup has it", Slots { reply_first: true, ..whole }),
        ("proposals of an old epoch are void", Slots { no_epoch: true, ..whole }),
        ("sending again in a new view", Slots { no_resend: true, ..whole }),
        ("results travel with the state", Slots { snap_without_results: true, ..whole }),
    ] {
        let search = model.checker().threads(2).finish_when(stateright::HasDiscoveries::Any);
        let found = search.spawn_bfs().join();
        let names: Vec<&str> = found.discoveries().into_keys().collect();
        println!("without {rule}: {names:?}");
        assert!(!names.is_empty(), "without {rule} nothing is found");
    }
}
