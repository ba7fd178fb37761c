// SPDX-License-Identifier: MIT OR Apache-2.0
//! What nodes say to each other about views.
//!
//! # Model
//! A version byte, then an [`Envelope`] in postcard. Links tell who speaks; the envelope says with
//! which disk, and to which, because a voter is a node with a disk. All of it is input: bounded here,
//! and checked by who receives it.

use crate::limits::{APPEND_ENTRIES_MAX, MESSAGE_BYTES_MAX, NAMED_MAX, NUMBER_MAX};
use abi::image::KEY_BYTES;
use abi::{NodeId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;
use cluster::limits::VOTERS_MAX;
use cluster::{
    ADDRESS_BYTES, Goal, Incarnation, Newcomer, PublicKey, Request, SlotSet, StationAddress, Voter,
};
use serde::{Deserialize, Serialize};

/// Version of this format.
pub const VERSION: u8 = 5;

/// A place in the log: term, index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Term in which the entry was made.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A voter as the log names it: disk and node in one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VoterId(pub u64);

impl VoterId {
    /// The number of `voter`.
    pub fn of(voter: &Voter) -> Self {
        Self(u64::from(voter.disk.get()) << 16 | u64::from(voter.node.get()))
    }

    /// The voter; `None` if it is none.
    pub fn voter(self) -> Option<Voter> {
        let node = NodeId::new(self.0 as u16)?;
        let disk = Incarnation::new(u32::try_from(self.0 >> 16).ok()?)?;
        Some(Voter { node, disk })
    }
}

/// Who votes: two sets while one follows the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Voters {
    /// Those who vote.
    pub now: Vec<VoterId>,
    /// Those who will, and whose majority is needed as well; empty if nothing changes.
    pub next: Vec<VoterId>,
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A leader begins its term.
    Term(u64),
    /// The voters change.
    Voters(Voters),
    /// The view changes: an encoded [`cluster::Delta`].
    Change(Vec<u8>),
}

/// All that the log up to a place amounts to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The place.
    pub position: Position,
    /// The voters there.
    pub voters: Voters,
    /// The view there, encoded.
    pub view: Vec<u8>,
}

/// A request, with plain numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// [`Request::Joined`]: slot, and whether to be primary.
    Joined(u16, bool),
    /// [`Request::Abort`].
    Abort(u16),
    /// [`Request::Drain`].
    Drain(bool),
    /// [`Request::Voters`].
    Voters(Vec<VoterId>),
    /// [`Request::Alone`].
    Alone(u16),
    /// [`Request::Key`]: node and key, none to revoke it.
    Key(u16, Option<[u8; KEY_BYTES]>),
    /// [`Request::Add`]: node, key and Ethernet address.
    Add(u16, [u8; KEY_BYTES], [u8; ADDRESS_BYTES]),
    /// [`Request::Missing`]: a bit for each slot.
    Missing(Vec<u64>),
}

impl Wish {
    /// The request as it travels.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Joined(slot, goal) => {
                Self::Joined(slot.index() as u16, *goal == Goal::Primary)
            }
            Request::Abort(slot) => Self::Abort(slot.index() as u16),
            Request::Alone(slot) => Self::Alone(slot.index() as u16),
            Request::Missing(slots) => Self::Missing(slots.words().to_vec()),
            Request::Drain(wish) => Self::Drain(*wish),
            Request::Voters(voters) => Self::Voters(voters.iter().map(VoterId::of).collect()),
            Request::Key(node, key) => Self::Key(node.get(), key.map(PublicKey::bytes)),
            Request::Add(Newcomer { node, key, address }) => {
                Self::Add(node.get(), key.bytes(), address.bytes())
            }
        }
    }

    /// The request; `None` if a number is out of range, or a key or address is none.
    pub fn request(&self) -> Option<Request> {
        Some(match self {
            Self::Joined(slot, primary) => {
                let goal = if *primary { Goal::Primary } else { Goal::Backup };
                Request::Joined(SlotNo::new(*slot)?, goal)
            }
            Self::Abort(slot) => Request::Abort(SlotNo::new(*slot)?),
            Self::Alone(slot) => Request::Alone(SlotNo::new(*slot)?),
            Self::Missing(words) => Request::Missing(SlotSet::from_words(words)?),
            Self::Drain(wish) => Request::Drain(*wish),
            Self::Voters(voters) => {
                Request::Voters(voters.iter().map(|id| id.voter()).collect::<Option<_>>()?)
            }
            Self::Key(node, None) => Request::Key(NodeId::new(*node)?, None),
            Self::Key(node, Some(key)) => {
                Request::Key(NodeId::new(*node)?, Some(PublicKey::new(*key)?))
            }
            Self::Add(node, key, address) => Request::Add(Newcomer {
                node: NodeId::new(*node)?,
                key: PublicKey::new(*key)?,
                address: StationAddress::new(*address)?,
            }),
        })
    }
}

/// What is said.
///
/// `term` is the speaker's term; `last` where its log ends; `round` a number that the answer repeats,
/// and `stamp` a time of the asker that it repeats; `incarnation` and `epoch` those of who asks, but in
/// an answer the asker's incarnation and the leader's epoch.
#[expect(missing_docs, reason = "the fields that recur are told of above, the others in place")]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Voter to voter: would you vote for me, whose log ends there?
    WouldVote { round: u64, last: Position },
    /// The answer; with my term, which yours must exceed.
    WouldVoteReply { round: u64, term: u64, granted: bool },
    /// Vote for me.
    Vote { term: u64, last: Position },
    /// The answer.
    VoteReply { term: u64, granted: bool },
    /// Leader to voter: entries behind `prev`, or none. `stamp` comes back with the answer.
    Append { term: u64, stamp: u64, commit: u64, prev: Position, entries: Vec<Entry> },
    /// The answer: where my log ends.
    AppendReply { term: u64, stamp: u64, last: Position },
    /// Leader to voter: this instead of entries that are gone.
    Install { term: u64, stamp: u64, snapshot: Snapshot },
    /// Member to leader: let me act for a while longer.
    Renew { incarnation: u32, round: u64, epoch: u64 },
    /// The answer: you may, counted from when you asked.
    Grant { incarnation: u32, round: u64, epoch: u64 },
    /// Leader or voter to whoever asked the wrong one, or to all: that one leads.
    Leader { node: u16 },
    /// Leader to member: the next view differs so; an encoded [`cluster::Delta`].
    Change(Vec<u8>),
    /// Leader to member: the view.
    Whole(Vec<u8>),
    /// Node outside to leader: admit me. `disk` is 0 if there is nothing on it; `unreachable` are the
    /// nodes to which it has no link.
    Join { boot: u64, disk: u32, unreachable: Vec<u16> },
    /// Member to leader.
    Ask { incarnation: u32, epoch: u64, wish: Wish },
    /// Member to leader: I have stopped acting, for good.
    Leave { incarnation: u32 },
    /// The decider's start `boot` to founders and others: is there a cluster? `missing` are the
    /// founders that it waits for.
    FoundAsk { boot: u64, round: u64, missing: Vec<u16> },
    /// The answer of the start `boot`: I know of none, and take a founding view only from your
    /// start `decider`.
    FoundPromise { decider: u64, round: u64, boot: u64 },
    /// To who is of another cluster, or of none: so am I, as the envelope says.
    Foreign,
    /// Member to leader: I have no link to these nodes; with the incarnations that are members, or 0.
    Suspect { incarnation: u32, nodes: Vec<(u16, u32)> },
    /// Leader to the start `boot` of a node outside: not while these members have no link to you.
    KeptOut { boot: u64, by: Vec<u16> },
    /// Leader to voters: I vote no more, and so lead no more; what you promised me is void.
    Resign { term: u64 },
}

/// A message with the disks that it goes between; 0 where no disk is meant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The cluster that who speaks is of; 0 if of none yet.
    pub cluster: u64,
    /// Disk of who speaks.
    pub from_disk: u32,
    /// Disk of who is spoken to.
    pub to_disk: u32,
    /// What is said.
    pub message: Message,
}

impl Envelope {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(self, vec![VERSION]).expect("a vector grows as it must");
        assert!(bytes.len() <= MESSAGE_BYTES_MAX, "what is sent is bounded where it is made");
        bytes
    }

    /// What `bytes` say; `None` if nothing that could be meant.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (envelope, rest): (Self, _) = postcard::take_from_bytes(rest).ok()?;
        (rest.is_empty() && envelope.message.is_sane()).then_some(envelope)
    }
}

impl Voters {
    /// Whether they could be: one to seven, each once, ascending.
    pub fn is_sane(&self) -> bool {
        let set = |ids: &[VoterId]| {
            ids.len() <= VOTERS_MAX
                && ids.is_sorted_by(|a, b| a < b)
                && ids.iter().all(|id| id.voter().is_some())
        };
        !self.now.is_empty() && set(&self.now) && set(&self.next)
    }
}

impl Position {
    fn is_sane(self) -> bool {
        self.term <= NUMBER_MAX && self.index <= NUMBER_MAX
    }
}

impl Message {
    /// The term that a voter's message is of, if it has one.
    pub fn term(&self) -> Option<u64> {
        match self {
            Self::WouldVoteReply { term, .. }
            | Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Append { term, .. }
            | Self::AppendReply { term, .. }
            | Self::Install { term, .. }
            | Self::Resign { term } => Some(*term),
            Self::WouldVote { .. }
            | Self::Renew { .. }
            | Self::Grant { .. }
            | Self::Leader { .. }
            | Self::Change(_)
            | Self::Whole(_)
            | Self::Join { .. }
            | Self::Ask { .. }
            | Self::Leave { .. }
            | Self::FoundAsk { .. }
            | Self::FoundPromise { .. }
            | Self::Foreign
            | Self::Suspect { .. }
            | Self::KeptOut { .. } => None,
        }
    }

    /// Whether a node of no cluster yet may say it to one of any.
    pub fn is_of_newcomers(&self) -> bool {
        matches!(self, Self::Join { .. } | Self::FoundAsk { .. } | Self::FoundPromise { .. })
    }

    /// Whether a node of no cluster yet takes it.
    pub fn is_for_newcomers(&self) -> bool {
        let tells = matches!(self, Self::Whole(_) | Self::Change(_) | Self::Leader { .. });
        tells || matches!(self, Self::Grant { .. } | Self::KeptOut { .. })
    }

    /// Whether it goes between voters.
    pub fn is_of_voters(&self) -> bool {
        self.term().is_some() || matches!(self, Self::WouldVote { .. })
    }

    fn is_sane(&self) -> bool {
        match self {
            Self::WouldVote { last, .. } => last.is_sane(),
            Self::Vote { term, last } => *term <= NUMBER_MAX && last.is_sane(),
            Self::AppendReply { term, last, .. } => *term <= NUMBER_MAX && last.is_sane(),
            Self::WouldVoteReply { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Resign { term } => *term <= NUMBER_MAX,
            Self::Append { term, prev, entries, commit, .. } => {
                *term <= NUMBER_MAX
                    && *commit <= NUMBER_MAX
                    && prev.is_sane()
                    && prev.term <= *term
                    && entries.len() <= APPEND_ENTRIES_MAX
                    && entries_are_sane(prev.term, *term, entries)
            }
            Self::Install { term, snapshot, .. } => {
                *term <= NUMBER_MAX && snapshot.is_sane() && snapshot.position.term <= *term
            }
            Self::Join { unreachable: nodes, .. }
            | Self::FoundAsk { missing: nodes, .. }
            | Self::KeptOut { by: nodes, .. } => nodes.len() <= NAMED_MAX,
            Self::Suspect { nodes, .. } => nodes.len() <= NAMED_MAX,
            Self::Renew { .. }
            | Self::Grant { .. }
            | Self::Leader { .. }
            | Self::Change(_)
            | Self::Whole(_)
            | Self::Ask { .. }
            | Self::Leave { .. }
            | Self::FoundPromise { .. }
            | Self::Foreign => true,
        }
    }
}

impl Snapshot {
    /// Whether it could be; its view is decoded by who installs it.
    pub fn is_sane(&self) -> bool {
        self.position.is_sane() && self.position.index >= 1 && self.voters.is_sane()
    }
}

/// Whether entries could follow an entry of term `from` in a message of term `to`.
pub fn entries_are_sane(from: u64, to: u64, entries: &[Entry]) -> bool {
    let mut last = from;
    entries.iter().all(|entry| match entry {
        Entry::Term(term) => {
            let rises = (last + 1..=to).contains(term);
            last = *term;
            rises
        }
        Entry::Voters(voters) => voters.is_sane(),
        Entry::Change(bytes) => bytes.len() <= cluster::limits::VIEW_BYTES_MAX,
    })
}
