// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds and times of the views server. Times are nanoseconds of the node's own clock.
//!
//! A dead member's slots are taken over within [`MEMBER_LEASE_NS`], and if it led, within
//! [`ELECTION_MIN_NS`] + [`ELECTION_SPREAD_NS`] + [`MEMBER_LEASE_NS`] and a few round trips: less than
//! two seconds. A node that stands still for less than [`MEMBER_LEASE_NS`] - [`RENEW_NS`] (a virtual
//! machine on a busy host) loses nothing.

/// A millisecond.
pub const MS: u64 = 1_000_000;

/// By how much a clock may run too fast or too slow, in thousandths. Quartz is a hundred times
/// better; timers of emulated machines are not always.
pub const DRIFT_PER_MILLE: u64 = 10;
/// A leader says that it lives so often.
pub const HEARTBEAT_NS: u64 = 100 * MS;
/// A voter that heard from a leader votes for no other for so long (and by its own clock a little
/// longer, [`waited`]); the leader relies on it from the time at which it spoke.
pub const LEADER_LEASE_NS: u64 = 600 * MS;
/// A voter that heard of no leader for so long, and a random part of the spread, asks for votes.
/// Longer than [`waited`]`(`[`LEADER_LEASE_NS`]`)`: asking earlier is in vain.
pub const ELECTION_MIN_NS: u64 = 650 * MS;
/// See [`ELECTION_MIN_NS`].
pub const ELECTION_SPREAD_NS: u64 = 250 * MS;
/// A voter that got no majority asks again after so long, and a random part of as much again.
pub const RETRY_NS: u64 = 100 * MS;
/// A member may act for so long after it asked to, by its own clock.
pub const MEMBER_LEASE_NS: u64 = 600 * MS;
/// A member asks so often.
pub const RENEW_NS: u64 = 100 * MS;
/// A member that got no answer for so long asks all voters.
pub const UNANSWERED_NS: u64 = 250 * MS;
/// A node outside asks to be admitted, and a member repeats a request, so often.
pub const REPEAT_NS: u64 = 200 * MS;
/// A leader looks so often at who is gone, who comes, and what is asked for: what comes together
/// becomes one view.
pub const DESK_NS: u64 = 10 * MS;
/// What only members ask for waits so long after a view for more of its kind: every view makes
/// those who copy slots begin again.
pub const REQUESTS_NS: u64 = 50 * MS;
/// How long those about slots wait for the others of the same view, unless all are there.
pub const SLOTS_NS: u64 = 1000 * MS;
/// They wait no longer when nothing has been asked for so long: the rest are slots that take long.
pub const QUIET_NS: u64 = 150 * MS;
/// An admission that is not asked for again for so long is forgotten.
pub const JOIN_KEPT_NS: u64 = 1000 * MS;
/// A node that hears that another one leads asks it at once, but not more often than this.
pub const HURRY_NS: u64 = 20 * MS;
/// A member that was just sent a change is not sent the whole view as well for so long.
pub const PUBLISHED_NS: u64 = 50 * MS;

/// The decider of a founding asks again so often.
pub const FOUND_ASK_NS: u64 = 200 * MS;
/// An answer counts until the decider has asked so often again.
pub const FOUND_ROUNDS_MAX: u64 = 10;
/// When all founders have promised, the decider waits so long for the others. Then the leases of
/// those that it does not hear of are over.
pub const FOUND_OTHERS_NS: u64 = 1000 * MS;
/// Who spoke is taken to be there for so long.
pub const HEARD_NS: u64 = 2000 * MS;
/// A member without a lease takes its cluster for gone when a majority of its voters has belonged to
/// none, or to another one, for so long.
pub const ORPHANED_NS: u64 = 2000 * MS;
/// A member repeats whom it cannot reach so often.
pub const SUSPECT_NS: u64 = 200 * MS;
/// A report that is not repeated for so long is over.
pub const SUSPECTED_NS: u64 = 700 * MS;
/// Two members without a link to each other are given so long to find one, and others to report
/// whom they miss.
pub const PAIR_NS: u64 = 300 * MS;
/// A leader hears of a member that asked for a lease within so long. Only such a one becomes a voter.
pub const HEARS_NS: u64 = 250 * MS;
/// A report of one member keeps a node outside for so long, if that does not confirm it.
pub const JOIN_DOUBT_NS: u64 = 3000 * MS;
/// That another one left for a member's sake counts against it for so long.
pub const BLAMED_NS: u64 = 60_000 * MS;
/// Members that left for one other that count against it: it must not outweigh who is to blame.
pub const BLAMED_MAX: usize = 2;
/// A slot whose primary said "not now" is not named again for so long. Who drains waits for it, and what is
/// asked for again disturbs all that moves.
pub const ABORTED_NS: u64 = 3_000 * MS;

/// An administrator's wish for another key is given up after so long: with times stretched four-fold (what
/// hosts of emulated nodes need) sooner than the command that waits for it.
pub const KEY_WISH_NS: u64 = 8_000 * MS;

/// Nodes that one message names; more are not told of until these are settled.
pub const NAMED_MAX: usize = 64;
/// Renewals whose answers may still come.
pub const ROUNDS_MAX: usize = 16;
/// Requests that a leader keeps for one view; more are not taken, and asked again.
pub const REQUESTS_MAX: usize = 4096;
/// Requests of this node that wait for a view: one for each slot, and a few.
pub const ASKED_MAX: usize = 1024 + 8;
/// Nodes that a node outside asks at a time, of those that it takes for voters; and one of the others.
pub const CONTACTS_AT_A_TIME: usize = 3;
/// Messages that wait for the disk; later ones are lost, as on a network, and counted.
pub const HELD_MAX: usize = 1024;
/// Entries of the log after which it is replaced by a snapshot.
pub const LOG_ENTRIES_MAX: usize = 32;
/// Entries of one message; what is behind them follows when they are acknowledged.
pub const APPEND_ENTRIES_MAX: usize = 64;
/// Bytes of entries in one message, unless one entry alone is longer.
pub const APPEND_BYTES: usize = 4 * 1024;
/// Longest message: a snapshot with the largest view and its frame.
pub const MESSAGE_BYTES_MAX: usize = cluster::limits::VIEW_BYTES_MAX + 4 * 1024;
/// Terms that one message may skip. More means that somebody wants to use them up.
pub const TERMS_SKIPPED_MAX: u64 = 1 << 32;
/// Largest term and index of the log; nothing comes near it but a lie.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Bytes of each of the [`AREAS`] of the disk: several snapshots of the largest view.
pub const AREA_BYTES: usize = 256 * 1024;
/// Areas: two that are filled in turn, and a copy of each.
pub const AREAS: usize = 4;
/// Bytes that wait for the disk: two checkpoints in both copies, and as much as when all is wiped. A disk
/// that is slower counts as one that failed.
pub const QUEUED_BYTES_MAX: usize = AREAS * AREA_BYTES;

/// How long somebody must wait, by its own clock, to be sure that `ns` have passed by another's.
pub const fn waited(ns: u64) -> u64 {
    // (1 + d) / (1 - d) < 1 + 2d + 3d^2 for d = 0.01; one thousandth more covers rounding.
    ns / 1000 * (1000 + 2 * DRIFT_PER_MILLE + 2)
}

const _: () = assert!(FOUND_OTHERS_NS > waited(waited(MEMBER_LEASE_NS)));
const _: () = assert!(FOUND_ROUNDS_MAX <= u16::BITS as u64);
const _: () = assert!(ELECTION_MIN_NS > waited(LEADER_LEASE_NS));
const _: () = assert!(
    ELECTION_MIN_NS + ELECTION_SPREAD_NS + waited(MEMBER_LEASE_NS) + 2 * RETRY_NS < 2000 * MS
);
