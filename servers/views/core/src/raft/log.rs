// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: entries that come, entries that go out, and their contents.

use super::convert::{config, cut, keep, log_entry, log_position, position, voters};
use super::{Outcome, Raft};
use crate::Rng;
use crate::journal::Record;
use crate::limits::{AREA_BYTES, LEADER_LEASE_NS, LOG_ENTRIES_MAX, waited};
use crate::rules::Rules;
use crate::wire::{Entry, Message, Position, Snapshot, VoterId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;
use noraft::{LogEntries, LogEntry, LogIndex, NodeId as RaftId, Role, Term};

impl<R: Rules> Raft<R> {
    pub(super) fn append(
        &mut self,
        now: u64,
        from: VoterId,
        (term, stamp, commit): (u64, u64, u64),
        prev: Position,
        entries: &[Entry],
        rng: &mut Rng,
    ) {
        let suffix = entries.iter().map(log_entry);
        let suffix = LogEntries::from_iter(log_position(prev), suffix);
        if term >= self.term() && !self.is_consistent(prev, entries, &suffix) {
            self.refused += 1;
            return;
        }
        let mut contents = BTreeMap::new();
        keep(&mut contents, prev, entries);
        let call = noraft::Message::AppendEntriesCall {
            from: RaftId::new(from.0),
            term: Term::new(term),
            commit_index: LogIndex::new(commit),
            entries: suffix,
        };
        self.handle(now, stamp, call, contents, rng);
        self.promise(now, term);
    }

    /// What an honest leader's message never does: contradict what is committed, or grow the log
    /// beyond what a leader lets it.
    pub(super) fn is_consistent(
        &self,
        prev: Position,
        entries: &[Entry],
        suffix: &LogEntries,
    ) -> bool {
        let log = self.node.log().entries();
        let committed = self.node.commit_index().get().max(self.applied);
        let until = committed.min(suffix.last_position().index.get());
        let from = prev.index.max(log.prev_position().index.get());
        let agrees = (from..=until).all(|index| {
            let index = LogIndex::new(index);
            !log.contains_index(index) || log.get_term(index) == suffix.get_term(index)
        });
        let len = |entry: &Entry| if let Entry::Change(bytes) = entry { bytes.len() } else { 0 };
        let old: usize = self.contents.values().map(Vec::len).sum();
        let new: usize = entries.iter().map(len).sum();
        let room = old + new <= AREA_BYTES - 2 * cluster::limits::VIEW_BYTES_MAX;
        agrees && room && log.len() < 64 * LOG_ENTRIES_MAX
    }

    /// Whoever took a leader's message votes for no other for a while.
    pub(super) fn promise(&mut self, now: u64, term: u64) {
        if self.term() == term && self.node.role() == Role::Follower {
            self.asking = None;
            self.promised_until = self.promised_until.max(now + waited(LEADER_LEASE_NS));
        }
    }

    pub(super) fn append_reply(
        &mut self,
        now: u64,
        from: VoterId,
        (term, stamp): (u64, u64),
        last: Position,
        rng: &mut Rng,
    ) {
        let id = RaftId::new(from.0);
        if let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term)
            && (lead.since..=now).contains(&stamp)
        {
            let heard = lead.heard.entry(id).or_insert(stamp);
            *heard = stamp.max(*heard);
        }
        let (term, last_position) = (Term::new(term), log_position(last));
        let reply = noraft::Message::AppendEntriesReply { from: id, term, last_position };
        self.handle(now, 0, reply, BTreeMap::new(), rng);
    }

    pub(super) fn install(
        &mut self,
        now: u64,
        from: VoterId,
        (term, stamp): (u64, u64),
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) {
        let Ok(view) = View::decode(&snapshot.view) else {
            self.refused += 1;
            return;
        };
        // To noraft it is a message that the log there cannot follow, which brings the term with it,
        // then the snapshot, and then a message that it can follow, which is answered.
        self.append(now, from, (term, stamp, 0), snapshot.position, &[], rng);
        if self.term() != term || self.lead.is_some() || self.broken {
            return;
        }
        let place = log_position(snapshot.position);
        if self.node.handle_snapshot_installed(place, config(&snapshot.voters)) {
            self.contents = self.contents.split_off(&(snapshot.position.index + 1));
            self.base = view.clone();
            if snapshot.position.index > self.applied {
                self.applied = snapshot.position.index;
                self.agreed = view;
            }
            self.outcomes.push(Outcome::Record(Record::Install(snapshot.clone())));
            self.append(now, from, (term, stamp, 0), snapshot.position, &[], rng);
        }
    }

    pub(super) fn append_own(
        &mut self,
        now: u64,
        entries: &LogEntries,
        contents: &BTreeMap<u64, Vec<u8>>,
    ) {
        let is_config = |entry| matches!(entry, LogEntry::ClusterConfig(_));
        if let Some(lead) = self.lead.as_mut().filter(|_| entries.iter().any(is_config)) {
            lead.changed_at = now;
        }
        let prev = position(entries.prev_position());
        drop(self.contents.split_off(&(prev.index + 1)));
        let last = entries.last_position().index.get();
        let new = contents.range(prev.index + 1..=last);
        self.contents.extend(new.map(|(index, bytes)| (*index, bytes.clone())));
        let entries = self.filled(entries);
        self.outcomes.push(Outcome::Record(Record::Append { prev, entries }));
    }

    /// Entries with their contents.
    pub(super) fn filled(&self, entries: &LogEntries) -> Vec<Entry> {
        let positions = entries.iter_with_positions();
        let filled = positions.map(|(place, entry)| match entry {
            LogEntry::Term(term) => Entry::Term(term.get()),
            LogEntry::ClusterConfig(config) => Entry::Voters(voters(&config)),
            LogEntry::Command => {
                let content = self.contents.get(&place.index.get());
                Entry::Change(content.cloned().expect("a change in the log has its content"))
            }
        });
        filled.collect()
    }

    pub(super) fn translate(
        &mut self,
        now: u64,
        stamp: u64,
        to: RaftId,
        message: &noraft::Message,
    ) {
        let message = match message {
            noraft::Message::RequestVoteCall { term, last_position, .. } => {
                Message::Vote { term: term.get(), last: position(*last_position) }
            }
            noraft::Message::RequestVoteReply { term, vote_granted, .. } => {
                Message::VoteReply { term: term.get(), granted: *vote_granted }
            }
            noraft::Message::AppendEntriesCall { term, commit_index, entries, .. } => {
                let mut filled = self.filled(entries);
                cut(&mut filled);
                Message::Append {
                    term: term.get(),
                    stamp: now,
                    commit: commit_index.get(),
                    prev: position(entries.prev_position()),
                    entries: filled,
                }
            }
            noraft::Message::AppendEntriesReply { term, last_position, .. } => {
                Message::AppendReply { term: term.get(), stamp, last: position(*last_position) }
            }
        };
        self.send(to, message);
    }
}
