// SPDX-License-Identifier: MIT OR Apache-2.0
//! Founding, searched exhaustively for a small size: three founders, two restarts at any point, with or
//! without what a disk remembers, any message lost, and every order of all of it.
//!
//! # Model
//! The founders run the very state machine that runs ([`Founding`]), without time: whatever may
//! happen by a timer may happen at any instant. A view is what is in
//! it that matters here, the starts that it names. Links are sessions: what a former start said is
//! gone. A cluster lives while a majority of its voters knows its view, and then admits who asks. In every
//! state that is found, restarts and losses end and the rest goes on in turn: then all must get into one
//! view. A member that hears of most voters that they know nothing is orphaned, and starts again.

use abi::NodeId;
use cluster::View;
use stateright::{Checker, Model, Property};
use views_core::founding::Founding;
use views_core::wire::Message;

const NODES: usize = 3;

fn node(at: usize) -> NodeId {
    NodeId::new(at as u16 + 1).expect("a node")
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Part {
    Nothing(Box<Founding>),
    /// It knows the view of these starts.
    Knows(Lives),
}

/// The starts that a founding view names.
type Lives = [u64; NODES];

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Said {
    Plain(Message),
    View(Lives),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    parts: Vec<Part>,
    /// The start of each node: 10 times its number, and how often it started.
    boots: Lives,
    /// What is under way, one place for each sender and receiver: a later message overtakes none, but
    /// an earlier one may be lost.
    links: Vec<Vec<Said>>,
    restarts: u8,
    decided: Vec<Lives>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Action {
    Ask,
    Deliver(usize, usize),
    Lose(usize, usize),
    Decide,
    /// A node of no cluster asks to be admitted by another one, which tells it of the first view.
    Tell(usize, usize),
    Restart {
        node: usize,
        keeps: bool,
    },
    /// A node of no cluster is admitted by a majority that is of one.
    Admit(usize),
}

#[derive(Clone, Copy)]
struct Founders {
    restarts: u8,
    /// Rules that are broken.
    any_start: bool,
    without_all: bool,
}

const SOUND: Founders = Founders { restarts: 2, any_start: false, without_all: false };
/// Rounds that each start of the decider asks, before it is quiet.
const ROUNDS: u64 = 2;
/// Messages on a link at a time.
const LINK_MAX: usize = 2;

fn nothing(at: usize, boot: u64) -> Part {
    let founders: Vec<NodeId> = (0..NODES).map(node).collect();
    let founding = Founding::new(0, node(at), boot, &founders, &[]);
    Part::Nothing(Box::new(founding.expect("there are founders")))
}

fn first_view(lives: &Lives) -> View {
    let founders: Vec<NodeId> = (0..NODES).map(node).collect();
    let members = founders.iter().copied().zip(lives.iter().copied()).collect();
    View::begun(1, members, &founders).expect("a view")
}

impl State {
    fn send(&mut self, from: usize, to: usize, said: Said) {
        let link = &mut self.links[from * NODES + to];
        if link.len() < LINK_MAX && !link.contains(&said) {
            link.push(said);
        }
    }

    fn known(&self) -> Vec<Option<Lives>> {
        let known = |part: &Part| match part {
            Part::Knows(lives) => Some(*lives),
            Part::Nothing(_) => None,
        };
        self.parts.iter().map(known).collect()
    }

    fn all_know_one(&self) -> bool {
        let known = self.known();
        known[0].is_some() && known.iter().all(|other| *other == known[0])
    }
}

impl Founders {
    fn takes(&self, state: &State, to: usize, lives: &Lives) -> bool {
        let Part::Nothing(founding) = &state.parts[to] else { return false };
        let named = state.boots[to] == lives[to];
        named && (self.any_start || founding.accepts(&first_view(lives)))
    }

    /// Whether this view has, or may still get, a majority of the starts that it names.
    fn may_live(&self, state: &State, lives: &Lives) -> bool {
        let counts = |at: &usize| match &state.parts[*at] {
            Part::Knows(known) => known == lives,
            Part::Nothing(_) => self.takes(state, *at, lives),
        };
        (0..NODES).filter(counts).count() > NODES / 2
    }

    fn deliver(&self, state: &mut State, from: usize, to: usize) {
        let said = state.links[from * NODES + to].remove(0);
        let takes =
            if let Said::View(lives) = &said { self.takes(state, to, lives) } else { false };
        let answer = match (&mut state.parts[to], said) {
            (part, Said::View(lives)) if takes => {
                *part = Part::Knows(lives);
                None
            }
            (Part::Nothing(founding), Said::View(_)) => {
                founding.knows(0, node(from));
                None
            }
            (Part::Nothing(founding), Said::Plain(Message::FoundAsk { boot, round, missing })) => {
                founding.asked(node(from), boot, round, &missing).map(Said::Plain)
            }
            (
                Part::Nothing(founding),
                Said::Plain(Message::FoundPromise { decider, round, boot }),
            ) => {
                founding.promised(0, node(from), decider, round, boot);
                None
            }
            (Part::Knows(lives), Said::Plain(Message::FoundAsk { .. })) => Some(Said::View(*lives)),
            (Part::Knows(_), _) | (Part::Nothing(_), Said::Plain(_)) => None,
        };
        if let Some(answer) = answer {
            state.send(to, from, answer);
        }
    }

    /// The starts of the view that the decider may decide.
    fn decision(&self, state: &State) -> Option<Lives> {
        let Part::Nothing(founding) = &state.parts[0] else { return None };
        let Some(members) = founding.decision(0) else {
            // The broken rule: the boots are known from elsewhere.
            return self.without_all.then_some(state.boots);
        };
        let mut lives = [0; NODES];
        members.iter().for_each(|(node, boot)| lives[usize::from(node.get()) - 1] = *boot);
        Some(lives)
    }

    /// Whether a majority of the voters knows nothing, or another view, so that this node's is gone.
    fn is_orphan(state: &State, at: usize) -> bool {
        let Part::Knows(lives) = &state.parts[at] else { return false };
        let strange = |part: &&Part| !matches!(part, Part::Knows(known) if known == lives);
        state.parts.iter().filter(strange).count() > NODES / 2
    }

    /// What a majority of the nodes knows.
    fn living(state: &State) -> Option<Lives> {
        let known: Vec<Lives> = state.known().into_iter().flatten().collect();
        let of = |lives: &&Lives| known.iter().filter(|other| other == lives).count();
        known.iter().find(|lives| of(lives) > NODES / 2).copied()
    }

    /// Whether all get into one view if nothing more goes wrong.
    fn settles(&self, state: &State) -> bool {
        let mut state = state.clone();
        let mut calm = 0;
        for _ in 0..40 {
            let before = state.known();
            for from in 0..NODES {
                for to in 0..NODES {
                    while !state.links[from * NODES + to].is_empty() {
                        self.deliver(&mut state, from, to);
                    }
                }
            }
            let mut turn = vec![Action::Ask, Action::Decide];
            for at in 0..NODES {
                turn.extend((0..NODES).map(|to| Action::Tell(at, to)));
                turn.push(Action::Admit(at));
            }
            for action in turn {
                state = self.next_state(&state, action).unwrap_or(state);
            }
            if state.all_know_one() {
                return true;
            }
            calm = if state.known() == before { calm + 1 } else { 0 };
            if calm == 3 {
                calm = 0;
                let orphans: Vec<usize> =
                    (0..NODES).filter(|at| Self::is_orphan(&state, *at)).collect();
                orphans.iter().for_each(|at| Self::restart(&mut state, *at, false));
                if orphans.is_empty() {
                    return false;
                }
            }
        }
        false
    }

    fn restart(state: &mut State, at: usize, keeps: bool) {
        state.boots[at] += 1;
        if !keeps || matches!(state.parts[at], Part::Nothing(_)) {
            state.parts[at] = nothing(at, state.boots[at]);
        }
        for other in 0..NODES {
            state.links[at * NODES + other].clear();
            state.links[other * NODES + at].clear();
        }
    }
}

impl Model for Founders {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let boots = [10, 20, 30];
        vec![State {
            parts: (0..NODES).map(|at| nothing(at, boots[at])).collect(),
            boots,
            links: vec![Vec::new(); NODES * NODES],
            restarts: 0,
            decided: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if let Part::Nothing(founding) = &state.parts[0] {
            actions.extend((founding.rounds() < ROUNDS).then_some(Action::Ask));
            actions.extend(self.decision(state).map(|_| Action::Decide));
        }
        for from in 0..NODES {
            for to in 0..NODES {
                if !state.links[from * NODES + to].is_empty() {
                    actions.extend([Action::Deliver(from, to), Action::Lose(from, to)]);
                }
                let knows = matches!(state.parts[from], Part::Knows(_));
                if knows && matches!(state.parts[to], Part::Nothing(_)) {
                    actions.push(Action::Tell(from, to));
                }
            }
            if state.restarts < self.restarts {
                actions.push(Action::Restart { node: from, keeps: false });
                if matches!(state.parts[from], Part::Knows(_)) {
                    actions.push(Action::Restart { node: from, keeps: true });
                }
            }
            let nothing = matches!(state.parts[from], Part::Nothing(_));
            if nothing && Self::living(state).is_some() {
                actions.push(Action::Admit(from));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Ask => {
                let Part::Nothing(founding) = &mut state.parts[0] else { return None };
                let (nodes, ask) = founding.asks(0);
                for to in nodes {
                    state.send(0, usize::from(to.get()) - 1, Said::Plain(ask.clone()));
                }
            }
            Action::Deliver(from, to) => self.deliver(&mut state, from, to),
            Action::Lose(from, to) => drop(state.links[from * NODES + to].remove(0)),
            Action::Decide => {
                let lives = self.decision(&state)?;
                state.parts[0] = Part::Knows(lives);
                state.decided.push(lives);
                for to in 1..NODES {
                    state.send(0, to, Said::View(lives));
                }
            }
            Action::Tell(from, to) => {
                let Part::Knows(lives) = state.parts[from] else { return None };
                let Part::Nothing(_) = state.parts[to] else { return None };
                state.send(from, to, Said::View(lives));
            }
            Action::Restart { node, keeps } => {
                state.restarts += 1;
                Self::restart(&mut state, node, keeps);
            }
            Action::Admit(at) => {
                let Part::Nothing(_) = state.parts[at] else { return None };
                state.parts[at] = Part::Knows(Self::living(&state)?);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one view may get a majority", |model: &Self, state: &State| {
                let mut decided = state.decided.clone();
                decided.sort_unstable();
                decided.dedup();
                decided.iter().filter(|lives| model.may_live(state, lives)).count() <= 1
            }),
            Property::always("all get into one view when it is quiet", |model: &Self, state| {
                model.settles(state)
            }),
            Property::sometimes("all are in one view", |_, state: &State| state.all_know_one()),
            Property::sometimes("a second view is decided", |_, state: &State| {
                state.decided.len() == 2
            }),
        ]
    }
}

#[test]
fn founding_restarted_twice_begins_one_cluster_and_all_get_into_it() {
    let found = SOUND.checker().threads(2).spawn_bfs().join();
    println!("{} states, depth {}", found.unique_state_count(), found.max_depth());
    found.assert_properties();
}

/// Each rule is needed: without it the search finds why.
#[test]
fn founding_without_one_of_the_rules_begins_two_clusters_or_none() {
    let quiet = "all get into one view when it is quiet";
    let one = "one view may get a majority";
    for (rule, model, broken) in [
        ("a founder promises to one start", Founders { any_start: true, ..SOUND }, one),
        ("all founders promise", Founders { without_all: true, ..SOUND }, quiet),
    ] {
        let search =
            model.checker().threads(2).finish_when(stateright::HasDiscoveries::AnyFailures);
        let found = search.spawn_bfs().join();
        let names: Vec<&str> = found.discoveries().into_keys().collect();
        println!("without {rule}: {names:?}");
        assert!(names.contains(&broken), "without {rule}: {names:?}");
    }
}
