// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the administrator should read: sentences for the log.

use crate::limits::Versions;
use abi::NodeId;
use core::fmt;

/// What became of a link, or what keeps it down and is not mended by time alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The nodes speak no common version.
    NoCommonVersion {
        /// The other node.
        node: NodeId,
        /// What this node speaks.
        mine: Versions,
        /// What it speaks.
        theirs: Versions,
    },
    /// A link goes on with a node's new key.
    Renewed(NodeId),
    /// A node's key was changed, and it has not shown the new one.
    OldKey(NodeId),
    /// A node's key was revoked.
    Revoked(NodeId),
    /// The cluster takes another key for this node's than any that it holds.
    OwnKey(NodeId),
    /// Who greets in the node's name has not its key.
    OtherKey(NodeId),
    /// This node has no private key.
    NoKey(NodeId),
    /// Nothing was heard of a node for too long.
    Silent {
        /// The other node.
        node: NodeId,
        /// For how long, milliseconds.
        silent_ms: u64,
    },
    /// A node takes what it is owed more slowly than it asks for more.
    Slow(NodeId),
    /// A link is up.
    Answers(NodeId),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommonVersion { node, mine, theirs } => write!(
                f,
                "node {node} speaks format {theirs} of links, this node {mine}: the link stays down \
                 until the older one of them is replaced"
            ),
            Self::Silent { node, silent_ms } => {
                write!(f, "node {node} counts as down: it was silent for {silent_ms} ms")
            }
            Self::Slow(node) => write!(
                f,
                "node {node} counts as down: it takes answers more slowly than it asks for them"
            ),
            Self::Answers(node) => write!(f, "node {node} answers"),
            Self::OtherKey(node) => write!(
                f,
                "somebody greets as node {node} with another key than this node knows, or for another of \
                 this node's: an older image, a key that was changed, or a stranger"
            ),
            Self::Renewed(node) => write!(f, "node {node} has shown its new key"),
            Self::OldKey(node) => write!(
                f,
                "node {node} counts as down: its key was changed, and it has not shown the new one"
            ),
            Self::Revoked(node) => {
                write!(f, "the key of node {node} was revoked: it is a stranger")
            }
            Self::OwnKey(node) => write!(
                f,
                "the cluster has another key for node {node} than those that it holds: `linkkey KEY` at the \
                 rescue prompt (Ctrl-]) gives it the one that belongs to it"
            ),
            Self::NoKey(node) => {
                write!(
                    f,
                    "the image holds no private key for node {node}: its links stay down until `linkkey KEY` \
                 is typed at the rescue prompt (Ctrl-])"
                )
            }
        }
    }
}
