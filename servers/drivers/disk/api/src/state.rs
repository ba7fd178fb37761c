// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a node has for a disk, and why it has none.

use crate::superblock::Refusal;
use crate::{Extent, Region};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What is known of a disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskInfo {
    /// What it is.
    pub state: State,
    /// What was done with it since boot.
    pub figures: Figures,
}

/// Whether there is a disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// None, or none that can be used.
    Absent(Absence),
    /// In service.
    Ready {
        /// Sectors of the device.
        sectors: u64,
        /// Whether it can be written.
        writable: bool,
        /// Its regions, by number.
        regions: [Extent; Region::ALL.len()],
    },
    /// It did not answer, and was taken out of service: all is answered with EIO.
    Stopped,
}

/// Requests since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that read.
    pub reads: u64,
    /// Requests that wrote.
    pub writes: u64,
    /// Flushes of the device: one may serve several that were asked for.
    pub flushes: u64,
    /// Requests that the device failed.
    pub errors: u64,
    /// Things that the device said and that make no sense.
    pub strange: u64,
}

/// Why a node has no disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Absence {
    /// The configuration gives it none.
    Unwanted,
    /// There is no virtio disk in the machine.
    NotFound,
    /// The device is older than virtio 1.0, or refuses what it offers.
    TooOld,
    /// The device's queue is too small.
    SmallQueue,
    /// There is too little memory for buffers.
    LittleMemory,
    /// The device does not end its reset.
    Stuck,
    /// It cannot flush, and does not say that it writes through.
    NoFlush,
    /// Its sectors are larger than 512 bytes.
    LargeSectors,
    /// It takes less data in one piece than a request has.
    SmallPieces,
    /// Its first sector could not be read.
    Unreadable,
    /// It is not this node's, or damaged.
    Refused(Refusal),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwanted => "cluster.toml gives the node none",
            Self::NotFound => "there is no virtio disk in the machine",
            Self::TooOld => "the device is older than virtio 1.0, or refuses what it offers",
            Self::SmallQueue => "the device's queue is too small",
            Self::LittleMemory => "there is too little memory for its buffers",
            Self::Stuck => "the device does not end its reset",
            Self::NoFlush => "the device cannot flush, and does not say that it writes through",
            Self::LargeSectors => "the device's sectors are larger than 512 bytes",
            Self::SmallPieces => "the device takes less than 64 KiB in one piece",
            Self::Unreadable => "its first sector cannot be read",
            Self::Refused(refusal) => return write!(f, "it was refused: {refusal}"),
        })
    }
}
