// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root tells a domain when it starts it, in postcard on read-only pages at [`STARTUP_ADDR`],
//! behind two words: its length in bytes and the bytes of the heap.
//!
//! # Model
//! A *domain* is one seL4 process with one worker thread per CPU core, each with an endpoint of its
//! own. A capability to a domain's endpoint is badged with who calls and whom ([`client_badge`]).
//! Linux threads fault to the endpoints of proc's domain with a [`THREAD_BADGE`].
//!
//! Every worker has a notification bound to it. Its word has one bit per server ("I hold something
//! for a server of yours"), one by which root says that a server died, and, above, one bit per
//! interrupt.
//!
//! All numbers named `..._slot` index the domain's own CNode; `..._addr` are virtual addresses in it.

use crate::image::{KEY_BYTES, NodeConfig};
use crate::{CoreId, ServerId};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where the startup pages are mapped.
pub const STARTUP_ADDR: u64 = 0x2000_0000;
/// Where the status page is: the one page that a domain and root share. One word per core: 0, or
/// 1 + the number of the server that the worker calls. Behind these [`crate::limits::CORES_MAX`]
/// words as many more: what the worker performs, as [`Performed`]. These root reads, and the
/// domain's word is all that they are. Then one word that root writes: see [`DEAD_ROW`].
pub const STATUS_ADDR: u64 = 0x2080_0000;
/// First word of the status page that says what a worker performs.
pub const PERFORMED_ROW: usize = crate::limits::CORES_MAX;
/// The word of the status page in which root keeps one bit for each server of the node that died.
pub const DEAD_ROW: usize = 2 * crate::limits::CORES_MAX;
/// Where worker stacks are: each [`STACK_BYTES`], with an unmapped page below.
pub const STACKS_ADDR: u64 = 0x2100_0000;
/// Bytes of a worker's stack.
pub const STACK_BYTES: u64 = 64 * 1024;
/// Where IPC buffers are, a page each.
pub const IPC_BUFFERS_ADDR: u64 = 0x2200_0000;
/// Where the domain's own windows are: 64 KiB per core.
pub const WINDOWS_ADDR: u64 = 0x2300_0000;
/// Where the windows of other domains are in mem's, net's and disk's domain: 64 KiB per domain and core.
pub const CLIENT_WINDOWS_ADDR: u64 = 0x2800_0000;
/// Where the heap is.
pub const HEAP_ADDR: u64 = 0x4000_0000;
/// Where device registers are mapped.
pub const DEVICES_ADDR: u64 = 0x3000_0000;
/// Where memory for DMA is mapped.
pub const DMA_ADDR: u64 = 0x3800_0000;
/// Bytes of it that the disk's driver gets. Root makes so much at once, so it is consecutive.
pub const DISK_DMA_BYTES: u64 = 1 << 20;
/// Where mem's domain has RootData and fs's has RootIndex.
pub const ROOT_DATA_ADDR: u64 = 0x10_0000_0000;
/// See [`ROOT_DATA_ADDR`].
pub const ROOT_INDEX_ADDR: u64 = 0x18_0000_0000;
/// From here on mem-server maps every frame that it owns.
pub const FRAMES_ADDR: u64 = 0x100_0000_0000;

/// Bit of a badge that marks a fault of a Linux thread; below it stands the thread's id.
pub const THREAD_BADGE: u64 = 1 << 27;
/// First bit of a notification word that stands for an interrupt; below are the servers' bits.
pub const IRQ_BIT: u32 = 16;

/// Bit of a worker's notification by which root says that [`DEAD_ROW`] has changed.
pub const DEAD_BIT: u32 = IRQ_BIT - 2;

/// What a worker performs, for root to name it if it faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Performed {
    /// The operation's number.
    pub op: u16,
    /// The server that performs it.
    pub server: ServerId,
    /// Who asked; the server itself if nobody did.
    pub client: ServerId,
}

impl Performed {
    /// As a word of the status page; never 0.
    pub const fn to_word(self) -> u64 {
        1 << 32 | (self.client as u64) << 24 | (self.server as u64) << 16 | self.op as u64
    }

    /// Reads a word of the status page, which a broken domain may have overwritten.
    pub fn from_word(word: u64) -> Option<Self> {
        if word >> 32 != 1 {
            return None;
        }
        let server = ServerId::from_number((word >> 16) as u8)?;
        let client = ServerId::from_number((word >> 24) as u8)?;
        Some(Self { op: word as u16, server, client })
    }
}

/// The badge of `client`'s capability to call `server`. Never 0.
pub const fn client_badge(client: ServerId, server: ServerId) -> u64 {
    1 << 8 | (client as u64) << 4 | server as u64
}

/// Reads [`client_badge`].
pub fn badge_parties(badge: u64) -> Option<(ServerId, ServerId)> {
    if badge >> 8 != 1 {
        return None;
    }
    let client = ServerId::from_number((badge >> 4 & 15) as u8)?;
    let server = ServerId::from_number((badge & 15) as u8)?;
    Some((client, server))
}

/// Everything that a domain knows at its start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Startup {
    /// The node and the cluster.
    pub config: NodeConfig,
    /// This domain's index in `config.domains`.
    pub domain: u32,
    /// CPU cores of the node; one worker each.
    pub cores: u8,
    /// Ticks of the time-stamp counter per second.
    pub tsc_hz: u64,
    /// Time-stamp counter at time 0 of the node's clock.
    pub tsc_base: u64,
    /// Wall-clock time at time 0: nanoseconds since 1970.
    pub wall_base_ns: i64,
    /// Random bytes of this boot, other ones for each domain.
    pub seed: [u8; 32],
    /// The domain's CNode.
    pub cnode_slot: u64,
    /// log2 of its slots. It resolves 64 bits, so a slot's number is its capability pointer.
    pub cnode_bits: u32,
    /// The domain's address space.
    pub vspace_slot: u64,
    /// First slot that root left empty; all above are empty too. The first
    /// [`crate::limits::CORES_MAX`] of them are proc-server's, if it is here; those behind, up to
    /// [`MemoryStartup::slots_end`], mem-server's.
    pub free_slot: u64,
    /// Bytes of the heap.
    pub heap_bytes: u64,
    /// One worker per core.
    pub workers: Vec<Worker>,
    /// Servers in other domains that servers of this one may call.
    pub ports: Vec<Port>,
    /// Notifications of workers that servers of this domain may signal.
    pub signals: Vec<Signal>,
    /// Endpoint of root: log, halt ([`root_call`]).
    pub root_slot: u64,
    /// Whether root mapped all other domains' windows here (mem, net, disk).
    pub sees_windows: bool,
    /// What mem-server needs.
    pub memory: Option<MemoryStartup>,
    /// What fs-server needs: bytes of RootIndex at [`ROOT_INDEX_ADDR`].
    pub root_index_bytes: u64,
    /// I/O port capabilities.
    pub io_ports: Vec<IoPorts>,
    /// Interrupts.
    pub interrupts: Vec<Interrupt>,
    /// The network card, if the node has one and net is in this domain.
    pub nic: Option<VirtioStartup>,
    /// The disk, if the node has one and its driver is in this domain.
    pub disk: Option<VirtioStartup>,
    /// The node's private key, if the image holds it and net is in this domain: no other domain sees
    /// it.
    pub link_key: Option<[u8; KEY_BYTES]>,
}

/// A worker thread's capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// The endpoint it receives on, with all rights and no badge: proc mints it for Linux threads.
    pub endpoint_slot: u64,
    /// The notification bound to it.
    pub notification_slot: u64,
    /// Its TCB.
    pub tcb_slot: u64,
}

/// The capabilities of one server here to call one server elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Who may call.
    pub client: ServerId,
    /// Whom.
    pub server: ServerId,
    /// One endpoint per core, by index.
    pub endpoint_slots: Vec<u64>,
}

/// The capability by which `from` (a server here) tells `client`'s workers that it holds something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signal {
    /// The server that signals.
    pub from: ServerId,
    /// The server to be told.
    pub client: ServerId,
    /// One notification per core, by index.
    pub notification_slots: Vec<u64>,
}

/// What mem-server owns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoryStartup {
    /// Untyped memory, never retyped yet: (slot, physical address, log2 of bytes).
    pub untyped: Vec<(u64, u64, u8)>,
    /// ASID control.
    pub asid_control_slot: u64,
    /// The first ASID pool, of which root used some.
    pub asid_pool_slot: u64,
    /// Slots of the frames of RootData, in order: a copy each, unmapped, one per page.
    pub root_data_slot: u64,
    /// Bytes of RootData, mapped read-only at [`ROOT_DATA_ADDR`].
    pub root_data_bytes: u64,
    /// The slot behind the last one that mem-server may use in its own domain's CNode.
    pub slots_end: u64,
    /// The CNode of proc's domain, for threads' objects.
    pub proc_cnode_slot: u64,
    /// log2 of the slots of proc's CNode.
    pub proc_cnode_bits: u32,
    /// The slots there that are mem-server's: first, and behind the last.
    pub thread_slots: (u64, u64),
}

/// A capability for a range of I/O ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IoPorts {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The capability.
    pub slot: u64,
}

/// An interrupt that is delivered to worker 0 as bit [`IRQ_BIT`] + `bit` of its notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interrupt {
    /// The server that handles it.
    pub server: ServerId,
    /// Its bit.
    pub bit: u8,
    /// The handler, to acknowledge.
    pub handler_slot: u64,
}

/// A virtio device (virtio 1.1, over PCI), found and prepared by root: its registers are mapped, it may
/// reach memory, and its interrupts are messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VirtioStartup {
    /// Address of the common configuration.
    pub common_addr: u64,
    /// Address of the notification registers.
    pub notify_addr: u64,
    /// Bytes between the notification registers of two queues.
    pub notify_multiplier: u32,
    /// Address of the device's own configuration: an Ethernet address, a disk's size.
    pub device_addr: u64,
    /// Address of the MSI-X table.
    pub msix_addr: u64,
    /// The vector to program into it.
    pub msix_vector: u8,
    /// Physically consecutive memory for DMA: (mapped at, physical address, bytes).
    pub dma: (u64, u64, u64),
}

/// Calls of a domain to root: label is one of these.
pub mod root_call {
    /// Appends a line to the log, and prints it while the console is root's, or, if word 0 is
    /// [`ALARM`], whoever has it: bytes as in a message.
    pub const LOG: u64 = 1;
    /// See [`LOG`]: somebody must read this.
    pub const ALARM: u64 = 1;
    /// Stops the node; word 0: 0 halt, 1 reboot. Does not return.
    pub const HALT: u64 = 2;
    /// Reads the log from byte word 0 on: answers the offset behind what it gives, and bytes.
    pub const LOG_READ: u64 = 3;
    /// A domain is in service; word 0: its index; words 1 and 2: bytes of its heap in use, and all.
    pub const READY: u64 = 4;
}

/// Address of the top of worker `core`'s stack.
pub const fn stack_top(core: CoreId) -> u64 {
    STACKS_ADDR + (core.0 as u64 + 1) * (STACK_BYTES + 4096)
}

/// Address of the window of worker `core` in its own domain.
pub const fn window_addr(core: CoreId) -> u64 {
    WINDOWS_ADDR + core.0 as u64 * crate::limits::WINDOW_BYTES as u64
}

/// Address, in mem's, net's and disk's domain, of the window of `domain`'s worker on `core`.
pub const fn client_window_addr(domain: u32, core: CoreId) -> u64 {
    let row = domain as u64 * crate::limits::CORES_MAX as u64 + core.0 as u64;
    CLIENT_WINDOWS_ADDR + row * crate::limits::WINDOW_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn performed_word_round_trips_and_others_are_refused() {
        let performed = Performed { op: 0xff03, server: ServerId::Fs, client: ServerId::Shell };
        assert_eq!(Performed::from_word(performed.to_word()), Some(performed));
        assert_eq!(Performed::from_word(0), None);
        assert_eq!(Performed::from_word(u64::MAX), None);
        assert_eq!(Performed::from_word(1 << 32 | 0xff << 16), None);
    }

    #[test]
    fn notification_bits_do_not_overlap() {
        assert!(ServerId::ALL.len() as u32 <= DEAD_BIT);
        const { assert!(DEAD_ROW < crate::limits::PAGE_BYTES / 8) };
    }
}
