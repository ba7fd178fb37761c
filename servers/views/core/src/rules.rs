// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules that keep views safe, each with a switch.
//!
//! What runs is [`Sound`]: all rules hold, which the compiler knows, so nothing is left of the switches.
//! Tests break one rule at a time, to show that their checkers would notice.

/// One rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Rule {
    /// Term and vote are on the disk before anybody hears of them.
    PersistsVote,
    /// What a message tells of is on the disk before the message leaves.
    SyncsBeforeSending,
    /// A vote is asked for only if a majority would give it.
    AsksBeforeElection,
    /// A voter that heard from a leader votes for no other until the leader's lease is over.
    KeepsPromise,
    /// A voter that starts waits as if it had just heard from a leader.
    PromisesAtStart,
    /// A leader gives leases only while its own is good, and stops leading without a majority.
    LeadsByLease,
    /// A leader lets a member go only when the member's lease is over.
    WaitsForLease,
    /// A new leader takes every member's lease to have been given just before.
    WaitsWhenNew,
    /// A member whose lease is over does not act.
    Fences,
    /// A lease counts from when it was asked for, not from when the answer came.
    CountsFromRequest,
    /// A request holds in the view it was made in only.
    ChecksEpoch,
    /// A primary that gives its slot away does not act for it meanwhile.
    Freezes,
    /// A founder takes the first view only from the start of the decider that it promised to.
    FoundersPromise,
    /// A suspect is let go only if the report is confirmed.
    ConfirmsSuspects,
    /// What is of another cluster is dropped.
    KnowsCluster,
}

/// Which rules hold.
pub trait Rules: 'static {
    /// Whether this one does.
    #[inline(always)]
    fn holds(_rule: Rule) -> bool {
        true
    }
}

/// All rules hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sound;

impl Rules for Sound {}
