// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of mem-server.

use abi::limits::{PAGE_BYTES, USER_TOP, WINDOW_BYTES};

/// Bytes of a page, as addresses count.
pub const PAGE: u64 = PAGE_BYTES as u64;
/// Page number of the first page that no program may map.
pub const PAGE_TOP: u64 = USER_TOP / PAGE;
/// First page that a program may map: Linux's default `vm.mmap_min_addr`, 64 KiB. Mapping below gets
/// EPERM.
pub const PAGE_MIN: u64 = 16;
/// Page below which mappings without a wanted address are placed, downwards: 256 MiB stay for the
/// stack and what else the loader puts at the top.
pub const PLACE_TOP: u64 = PAGE_TOP - 0x1000_0000 / PAGE;
/// Mappings of one space, Linux's default `vm.max_map_count`. The next gets ENOMEM.
pub const AREAS_MAX: usize = 65_530;
/// Areas that are taken out of a space at a time.
pub const AREAS_AT_ONCE: usize = 512;
/// What an area takes of the heap, at most: its row, and room in the tree's nodes.
pub const AREA_BYTES: usize = 160;
/// Bytes of the heap that stay free of areas: a program that wants more of them gets ENOMEM, and calls of others go on.
pub const HEAP_RESERVE_BYTES: usize = 640 * 1024;
/// Pages that a stack may grow to: 8 MiB, Linux's default RLIMIT_STACK. Beyond: EFAULT.
pub const STACK_PAGES_MAX: u64 = 8 * 1024 * 1024 / PAGE;
/// Pages that stay free between a growing stack and the mapping below it, Linux's
/// `stack_guard_gap`.
pub const STACK_GUARD_PAGES: u64 = 256;
/// Spaces of a node: seL4 gives 4,094 address space ids. The next gets EAGAIN.
pub const SPACES_MAX: usize = 4_000;
/// Memory objects of a node, those of other homes included. The next gets ENFILE.
pub const OBJECTS_MAX: usize = 65_536;
/// Pages that one copy of a window's length can touch.
pub const COPY_PAGES_MAX: usize = WINDOW_BYTES / PAGE_BYTES + 1;
/// Longest object in pages: 16 TiB, Linux's limit on 32-bit page indices. Beyond: EFBIG.
pub const OBJECT_PAGES_MAX: u64 = 1 << 32;
/// Pages that are fetched ahead at a time while a moved space's pages rest elsewhere: enough to
/// fill the link during one round trip, few enough that a wanted page does not wait long.
pub const PREFETCH_PAGES: u64 = 32;
/// Bytes of a space's description on its way between nodes: 65,530 mappings need about 2 MiB.
pub const DESCRIPTION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Descriptions that may be on their way to a node at a time. The next gets EAGAIN.
pub const IMPORTS_MAX: usize = 16;
/// Nanoseconds that a page fetched for a fault stays, so that the access comes first. Within it a
/// woken thread runs; another node's wait grows by no more than a few round trips.
pub const LINGER_NS: u64 = 1_000_000;
/// Pages that stay so at a time; beyond, a page may go at once, which costs a fault and no more.
pub const LINGERING_MAX: usize = 1024;
/// Requests for one page that wait at its home. The next is answered with EAGAIN; one request per
/// page and node makes it unreachable below this many nodes.
pub const QUEUE_MAX: usize = abi::limits::NODES_CONFIGURED_MAX;
/// Messages that wait for room in the link to one node: one per page in flight and per waiting
/// fault. Beyond, the link is taken for broken.
pub const OUTBOX_MAX: usize = 16_384;
/// Nanoseconds after which messages that found the link full are sent again.
pub const OUTBOX_RETRY_NS: u64 = 1_000_000;
/// Low bits of a round's number that count the rounds which a home begins in one view; above them is the
/// view's epoch. Beyond, what is unsettled waits for the next view.
pub const ROUND_COUNT_BITS: u32 = 24;
/// Pages that one part of a report looks at, at most: bounds the time under the lock. Parts are asked for one
/// at a time.
pub const REPORT_PAGES_MAX: usize = 4096;
/// Pages that a home takes down of what others report when it asks all members: 32 MiB, some 2 MiB of its
/// heap. Beyond, a page that others hold counts as lost for everybody else, and a slot that holds more is not
/// given away.
pub const REBUILT_PAGES_MAX: usize = 8_192;
/// Calls of other nodes that wait until a home has asked all members. The next gets EAGAIN.
pub const HOLDS_MAX: usize = 1024;
