// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between noraft's names of things and ours.

use crate::limits::{APPEND_BYTES, APPEND_ENTRIES_MAX};
use crate::wire::{Entry, Position, VoterId, Voters};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use noraft::{ClusterConfig, LogEntry, LogIndex, LogPosition, NodeId as RaftId, Term};

pub(super) fn position(position: LogPosition) -> Position {
    Position { term: position.term.get(), index: position.index.get() }
}

pub(super) fn log_position(position: Position) -> LogPosition {
    LogPosition::new(Term::new(position.term), LogIndex::new(position.index))
}

pub(super) fn config(voters: &Voters) -> ClusterConfig {
    let set = |ids: &[VoterId]| ids.iter().map(|id| RaftId::new(id.0)).collect();
    let mut config = ClusterConfig::new();
    config.voters = set(&voters.now);
    config.new_voters = set(&voters.next);
    config
}

pub(super) fn voters(config: &ClusterConfig) -> Voters {
    let list = |set: &BTreeSet<RaftId>| set.iter().map(|id| VoterId(id.get())).collect();
    Voters { now: list(&config.voters), next: list(&config.new_voters) }
}

pub(super) fn log_entry(entry: &Entry) -> LogEntry {
    match entry {
        Entry::Term(term) => LogEntry::Term(Term::new(*term)),
        Entry::Voters(voters) => LogEntry::ClusterConfig(config(voters)),
        Entry::Change(_) => LogEntry::Command,
    }
}

/// Notes the contents of entries behind `prev`, and forgets what stood there.
pub(super) fn keep(contents: &mut BTreeMap<u64, Vec<u8>>, prev: Position, entries: &[Entry]) {
    drop(contents.split_off(&(prev.index + 1)));
    for (index, entry) in (prev.index + 1..).zip(entries) {
        if let Entry::Change(bytes) = entry {
            contents.insert(index, bytes.clone());
        }
    }
}

/// Leaves as many entries as one message takes; the rest follows when these are acknowledged.
pub(super) fn cut(entries: &mut Vec<Entry>) {
    let mut bytes = 0;
    let fits = |entry: &Entry| {
        bytes += if let Entry::Change(content) = entry { content.len() } else { 0 };
        bytes <= APPEND_BYTES
    };
    let len = entries.iter().take(APPEND_ENTRIES_MAX).take_while({
        let mut fits = fits;
        move |entry| fits(entry)
    });
    let len = len.count().max(1);
    entries.truncate(len);
}
