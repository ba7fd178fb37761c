// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of views.

/// Nodes that vote on views: three survive one failure, seven survive three; more only make each
/// agreement slower.
pub const VOTERS_MAX: usize = 7;
/// Members of a view.
pub const MEMBERS_MAX: usize = abi::id::NODES_MAX as usize;
/// Slots that change hands for balance at the same time: each copies its state while it serves. A
/// member that comes to three others gets its 256 in four rounds; a change with so many rows is less than
/// 2 KiB.
pub const MOVES_MAX: usize = 64;
/// Nodes whose keys were changed or revoked, or that were added, while the cluster runs: what a view has room for beside its
/// largest slot table and roster.
pub const CHANGED_KEYS_MAX: usize = 64;
/// Version of the encoded form of a view and of a change.
pub const FORMAT_VERSION: u8 = 6;
/// Views that a cluster may have: with twenty in every second, for fifty years. It keeps views short.
pub const EPOCH_MAX: u64 = (1 << 35) - 1;
/// Longest encoded view or change: 1,024 slots of at most 34 bytes, as many members of at most
/// 21, and 64 keys of at most 47; one message between nodes holds it.
pub const VIEW_BYTES_MAX: usize = 59 * 1024;
