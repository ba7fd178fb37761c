// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between the proc-servers of two nodes. What comes in them is untrusted.

use abi::{NodeId, ObjectId, ServerId};
use alloc::string::String;
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// How a child stands, as wait(2) sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ChildState {
    /// It runs.
    Running,
    /// It was stopped by this signal; whether a wait has seen it.
    Stopped {
        /// The signal.
        signal: u32,
        /// A wait has answered it.
        seen: bool,
    },
    /// It was continued; a wait has not seen it.
    Continued,
    /// It ended with this wait status.
    Ended(u32),
}

/// Something that happened to a process, told to the node where another one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// To the parent: its child stands otherwise now.
    Child {
        /// The parent.
        parent: u32,
        /// The child.
        pid: u32,
        /// The child's group.
        group: u32,
        /// The child's user.
        uid: u32,
        /// How it stands.
        state: ChildState,
    },
    /// To the parent: its child is in another group.
    Grouped {
        /// The parent.
        parent: u32,
        /// The child.
        pid: u32,
        /// The group.
        group: u32,
    },
    /// To the parent: its child is on the sender's node now.
    Moved {
        /// The parent.
        parent: u32,
        /// The child.
        pid: u32,
    },
    /// To a child: its parent is on the sender's node now.
    ParentMoved {
        /// The child.
        pid: u32,
    },
    /// To a zombie: its parent has waited for it.
    Reaped {
        /// The zombie.
        pid: u32,
    },
    /// To a child: its parent has ended.
    Orphaned {
        /// The child.
        pid: u32,
    },
    /// To the home of an id: it is free.
    Freed {
        /// The id.
        pid: u32,
    },
    /// To the home of an id: what it named was given to a node that has left, or that does not have it.
    Missing {
        /// The id.
        pid: u32,
    },
    /// To all nodes, by an id's home: its process was lost with a node.
    Lost {
        /// The id.
        pid: u32,
    },
    /// To all nodes: what they told others may have been lost at the sender, which passes on.
    Again,
    /// To the node whose shell server made a process: it has ended.
    Watched {
        /// The process.
        pid: u32,
        /// Its wait status.
        status: u32,
    },
}

/// Tells a fact; for `about` != 0 it goes on to the node where that process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tell {
    /// The process that must hear it; 0: the receiving node.
    pub about: u32,
    /// What happened.
    pub fact: Fact,
    /// The node where it happened.
    pub from: NodeId,
    /// Nodes that it has passed.
    pub hops: u8,
}

/// Whom a signal is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Target {
    /// A process.
    Process(u32),
    /// All processes of a group.
    Group(u32),
    /// A thread; the process that it must be of, or 0.
    Thread(u32, u32),
    /// Every process but the sender, kill(-1).
    All(u32),
}

/// Sends a signal to what of the target is on the receiving node, or goes on to where the process
/// is. Answers how many got it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendSignal {
    /// For whom.
    pub target: Target,
    /// The signal, 0 to 64.
    pub signal: u32,
    /// si_code.
    pub code: i32,
    /// The words behind the head of siginfo_t.
    pub words: [u64; 3],
    /// User of the sender.
    pub uid: u32,
    /// Nodes that it has passed.
    pub hops: u8,
}
hot! {
    /// A number, as an answer.
    pub struct Count { pub count: u64 }
}
hot! {
    /// Group and session of a process.
    pub struct Identify { pub pid: u32, pub hops: u32 }
}
hot! {
    /// They are these.
    pub struct Identity { pub group: u32, pub session: u32, pub node: NodeId }
}
/// What a node has of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdRow {
    /// The id: of a process, a thread, a group or a session.
    pub id: u32,
    /// The node where its process or thread is: the reporter, or whom it gave it to; 0: it knows of
    /// none.
    pub at: u16,
    /// How often that process had moved by then.
    pub moves: u32,
    /// Somebody there is its child or waits for its end.
    pub wanted: bool,
}
/// A home asks what the receiving node has of ids above `after` in these slots (bit n of the whole is
/// slot n). Answered by a [`ReportIds`] with the same `round` and `after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueryIds {
    /// Number of the question: each one replaces all before.
    pub round: u64,
    /// 0 for the first part.
    pub after: u32,
    /// The slots.
    pub slots: [u64; 16],
}
/// The answer to a [`QueryIds`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportIds {
    /// Of the question.
    pub round: u64,
    /// Of the question.
    pub after: u32,
    /// There are more, above the last of these.
    pub more: bool,
    /// In ascending order of id, at most [`ID_ROWS_MAX`].
    pub rows: Vec<IdRow>,
}
/// Rows of a [`ReportIds`]: as many as fit a message.
pub const ID_ROWS_MAX: usize = 64;
/// To the home of these ids, by the node where they are since a process's `moves`th move. The home answers
/// with the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Located {
    /// The process.
    pub pid: u32,
    /// Number of its move.
    pub moves: u32,
    /// At most [`LOCATED_MAX`] ids.
    pub ids: Vec<u32>,
}
/// The home's answer to a [`Located`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocatedAck(pub Located);
/// Ids of a [`Located`]: as many as fit a message.
pub const LOCATED_MAX: usize = 128;
hot! {
    /// To the source of a move: the homes of its ids know where they are.
    pub struct Closed { pub pid: u32, pub moves: u32 }
}
hot! {
    /// The source's answer to a [`Closed`]: it has forgotten the process, which may move on.
    pub struct ClosedAck { pub pid: u32, pub moves: u32 }
}
hot! {
    /// The receiving node's processes with ids above `after`: a `Vec<ProcessInfo>` in postcard in
    /// the bulk data.
    pub struct ListProcesses { pub after: u32 }
}
/// The text of a file below /proc of a process on the receiving node, in the bulk data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadProc {
    /// Absolute path.
    pub path: String,
}
hot! {
    /// Moves a process from where it is to `to`, for user `uid`: root, or whose process it is; else
    /// EPERM. `hops`: nodes that the request has passed.
    pub struct MoveProcess { pub pid: u32, pub to: NodeId, pub hops: u32, pub uid: u32 }
}
hot! {
    /// A part of a moving process's state, the bulk data, from `offset` of `total` bytes on. `token`
    /// is the source's number for the move. The answer to the last part comes when the process
    /// stands ready; it must not run before [`MoveCommit`].
    pub struct MoveInstall { pub token: u64, pub part: u64, pub offset: u64, pub total: u64 }
}
hot! {
    /// The private object of the imported space; `ready` is false while parts are missing.
    pub struct MoveInstalled { pub object: ObjectId, pub ready: bool }
}
hot! {
    /// The source has given the process away, on its `moves`th move: it runs from now on at the receiver.
    /// May be repeated. ESRCH: it is not there.
    pub struct MoveCommit { pub token: u64, pub pid: u32, pub moves: u32 }
}
hot! {
    /// The move is off: the receiver forgets what it has of it.
    pub struct MoveDiscard { pub token: u64 }
}
/// By the source, after a silence: of its moves to the receiver with tokens up to `last`, these are
/// still under way. The receiver forgets what it has of others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MovesOpen {
    /// The last token that was given.
    pub last: u64,
    /// At most [`MOVES_OPEN_MAX`] tokens.
    pub tokens: Vec<u64>,
}
/// Tokens of a [`MovesOpen`]: as many moves as a node takes at a time.
pub const MOVES_OPEN_MAX: usize = 64;

hot! {
    /// A message was received that has descriptors of the asked node: the asking one is to hold each file. The
    /// files are the bulk data, postcard of their ids and kinds. ENOENT: they are gone. `keep`: the message stays.
    pub struct TakeRights { pub token: u64, pub keep: bool }
}
hot! {
    /// Nobody will receive these descriptors of the asked node.
    pub struct DropRights { pub token: u64 }
}

cold!(Tell, SendSignal, ReadProc, QueryIds, ReportIds, Located, LocatedAck, MovesOpen);

operations! {
    ServerId::Proc;
    0x100, slow, once: Tell => ();
    0x101, slow, once: SendSignal => Count;
    0x102, slow, repeat: Identify => Identity;
    0x103, slow, repeat: ListProcesses => Count;
    0x104, slow, repeat: ReadProc => Count;
    0x105, slow, repeat: QueryIds => ();
    0x106, slow, repeat: ReportIds => ();
    0x107, slow, repeat: Located => ();
    0x108, slow, repeat: LocatedAck => ();
    0x109, slow, repeat: Closed => ();
    0x10a, slow, repeat: ClosedAck => ();
    0x10b, slow, once: TakeRights => ();
    0x10c, slow, repeat: DropRights => ();
    0x110, slow, once: MoveProcess => crate::Migrated;
    0x111, slow, once: MoveInstall => MoveInstalled;
    0x112, slow, repeat: MoveCommit => ();
    0x113, slow, once: MoveDiscard => ();
    0x114, slow, repeat: MovesOpen => ();
}
