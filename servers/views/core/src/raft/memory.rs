// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a voter remembers: founding, starting again, checkpoints, snapshots.

use super::convert::{config, keep, log_entry, log_position, position, voters};
use super::{Outcome, Raft};
use crate::Rng;
use crate::journal::Record;
use crate::limits::{LEADER_LEASE_NS, LOG_ENTRIES_MAX, waited};
use crate::rules::{Rule, Rules};
use crate::wire::{Position, Snapshot, VoterId, Voters};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;
use core::marker::PhantomData;
use noraft::{ClusterConfig, Log, LogEntries, LogIndex, LogPosition, Node, NodeId as RaftId, Term};

impl<R: Rules> Raft<R> {
    /// A voter of a cluster that begins with `view`.
    pub fn found(now: u64, me: VoterId, view: View, rng: &mut Rng) -> Self {
        let mut ids: Vec<VoterId> = view.voters().iter().map(VoterId::of).collect();
        ids.sort_unstable();
        let voters = Voters { now: ids, next: Vec::new() };
        let place = Position { term: 0, index: 1 };
        let mut raft = Self::empty(me, view);
        raft.node = Node::restart(
            RaftId::new(me.0),
            Term::ZERO,
            None,
            Log::new(config(&voters), LogEntries::new(log_position(place))),
        );
        raft.applied = 1;
        raft.drain(now, 0, &BTreeMap::new(), rng);
        raft.outcomes.clear();
        raft
    }

    /// A node that knows nothing of the log yet. `view` stands in until it does.
    pub fn empty(me: VoterId, view: View) -> Self {
        Self {
            node: Node::start(RaftId::new(me.0)),
            contents: BTreeMap::new(),
            agreed: view.clone(),
            applied: 0,
            base: view,
            election_at: u64::MAX,
            promised_until: 0,
            asking: None,
            lead: None,
            outcomes: Vec::new(),
            broken: false,
            refused: 0,
            void: 0,
            rules: PhantomData,
        }
    }

    /// A voter that starts with what its disk remembers; `None` if that contradicts itself.
    pub fn recover(now: u64, me: VoterId, records: &[Record], rng: &mut Rng) -> Option<Self> {
        let (mut term, mut voted_for) = (0, None);
        let mut log: Option<Log> = None;
        let mut base = None;
        let mut contents = BTreeMap::new();
        for record in records {
            match record {
                Record::Disk { .. } => {
                    (term, voted_for) = (0, None);
                    (log, base) = (None, None);
                    contents.clear();
                }
                Record::Vote { term: new, voted_for: vote } => (term, voted_for) = (*new, *vote),
                Record::Install(snapshot) => {
                    if !snapshot.is_sane() {
                        return None;
                    }
                    let place = log_position(snapshot.position);
                    let kept = log.as_ref().and_then(|log| log.entries().since(place));
                    let entries = kept.unwrap_or_else(|| LogEntries::new(place));
                    base = Some(View::decode(&snapshot.view).ok()?);
                    log = Some(Log::new(config(&snapshot.voters), entries));
                }
                Record::Append { prev, entries } => {
                    let log = log.as_mut()?;
                    let suffix = entries.iter().map(log_entry);
                    let suffix = LogEntries::from_iter(log_position(*prev), suffix);
                    if !log.append_suffix(&suffix) {
                        return None;
                    }
                    keep(&mut contents, *prev, entries);
                }
            }
        }
        // A node that was never sent a log has a disk, a term, and no vote that counts.
        let stand_in = View::fixed(Vec::from([me.voter()?.node]))?;
        let mut raft = Self::empty(me, base.unwrap_or(stand_in));
        let first = log.as_ref().map_or(0, |log| log.snapshot_position().index.get());
        let empty = || Log::new(ClusterConfig::new(), LogEntries::new(LogPosition::ZERO));
        let voted_for = voted_for.map(|id| RaftId::new(id.0));
        let log = log.unwrap_or_else(empty);
        raft.node = Node::restart(RaftId::new(me.0), Term::new(term), voted_for, log);
        raft.contents = contents.split_off(&(first + 1));
        raft.applied = first;
        if R::holds(Rule::PromisesAtStart) {
            raft.promised_until = now + waited(LEADER_LEASE_NS);
        }
        raft.drain(now, 0, &BTreeMap::new(), rng);
        raft.outcomes.clear();
        Some(raft)
    }

    /// All there is to remember.
    pub fn checkpoint(&self) -> Vec<Record> {
        let vote = Record::Vote {
            term: self.node.current_term().get(),
            voted_for: self.node.voted_for().map(|id| VoterId(id.get())),
        };
        let mut records = Vec::from([vote]);
        if self.node.log().snapshot_position() != LogPosition::ZERO {
            records.push(Record::Install(self.snapshot()));
            let entries = self.node.log().entries();
            if !entries.is_empty() {
                let prev = position(entries.prev_position());
                records.push(Record::Append { prev, entries: self.filled(entries) });
            }
        }
        records
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let log = self.node.log();
        Snapshot {
            position: position(log.snapshot_position()),
            voters: voters(log.snapshot_config()),
            view: self.base.encode(),
        }
    }

    /// Replaces the beginning of the log by a snapshot, once it is long.
    pub(super) fn compact(&mut self) {
        let entries = self.node.log().entries();
        let first = entries.prev_position().index.get();
        let bytes: usize = self.contents.values().map(Vec::len).sum();
        let long = entries.len() > LOG_ENTRIES_MAX || bytes > cluster::limits::VIEW_BYTES_MAX;
        if !long || self.applied <= first {
            return;
        }
        let place = self.node.log().get_position_and_config(LogIndex::new(self.applied));
        let Some((place, config)) = place.map(|(place, config)| (place, config.clone())) else {
            return;
        };
        if self.node.handle_snapshot_installed(place, config) {
            self.contents = self.contents.split_off(&(self.applied + 1));
            self.base = self.agreed.clone();
            // What a restart finds is bounded as what is in memory.
            let snapshot = self.snapshot();
            self.outcomes.push(Outcome::Record(Record::Install(snapshot)));
        }
    }
}
