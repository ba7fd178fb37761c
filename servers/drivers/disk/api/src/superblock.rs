// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first sector of a disk: whose it is, and how it is divided. The host tool writes it, once; the
//! disk server reads it.
//!
//! # Model
//! Little-endian, 512 bytes:
//!
//! ```text
//!   0  magic "KORRDISK"          16  sectors of the disk (8)
//!   8  version (4)               24  first sector and sectors of each region (4 times 16)
//!  12  node (2)                  88  bytes of the cluster's name (1), the name (32), zeros
//!  14  zero (2)                 508  CRC-32C of all bytes before (4)
//! ```
//!
//! # Failure
//! What a disk holds is input: each mistake has a [`Refusal`], and none is mended.

use crate::limits::{
    CHECK_SECTORS, CLUSTER_BYTES_MAX, JOURNAL_SECTORS, KEYS_SECTORS, SECTOR_BYTES,
};
use crate::{Extent, Region};
use abi::NodeId;
use alloc::string::{String, ToString};
use core::fmt;
use crc::{CRC_32_ISCSI, Crc};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"KORRDISK";
const VERSION: u32 = 1;
const REGIONS: usize = 24;
const NAME: usize = 88;
const CHECKSUM: usize = SECTOR_BYTES - 4;
/// Regions begin where pages and all sizes of devices' own sectors do.
const ALIGN_SECTORS: u64 = 8;

static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What a disk's first sector says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// The cluster's name.
    pub cluster: String,
    /// The node whose disk it is.
    pub node: NodeId,
    /// Sectors of the disk.
    pub sectors: u64,
    /// Its regions, by number.
    pub regions: [Extent; Region::ALL.len()],
}

/// Why a disk is not used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// It has no superblock: it is empty, or something else's.
    Foreign,
    /// Its format is another one than this program's.
    Version(u32),
    /// The checksum is wrong.
    Damaged,
    /// It is another cluster's.
    OtherCluster(String),
    /// It is another node's.
    OtherNode(u16),
    /// The device is smaller than the disk was when it was made.
    Cut,
    /// Its regions are outside of it, overlap, or are too small.
    Regions,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => {
                f.write_str("it is empty, or something else's: the host tool makes disks")
            }
            Self::Version(version) => {
                write!(f, "its format has version {version}, and {VERSION} is known here")
            }
            Self::Damaged => f.write_str("its superblock is damaged"),
            Self::OtherCluster(name) => write!(f, "it belongs to the cluster {name}"),
            Self::OtherNode(node) => write!(f, "it belongs to node {node}"),
            Self::Cut => f.write_str("it is smaller than it was when it was made"),
            Self::Regions => f.write_str("its regions make no sense"),
        }
    }
}

impl Superblock {
    /// How a disk of so many sectors is divided; `None` if it is too small, or the name too long.
    pub fn new(cluster: &str, node: NodeId, sectors: u64) -> Option<Self> {
        let journal = Extent { first: 2048, sectors: JOURNAL_SECTORS };
        let keys = Extent { first: 128, sectors: KEYS_SECTORS };
        let check = Extent { first: 256, sectors: CHECK_SECTORS };
        let first = journal.end()?;
        let files = Extent { first, sectors: sectors.checked_sub(first)? };
        let regions = [journal, keys, check, files];
        let superblock = Self { cluster: cluster.to_string(), node, sectors, regions };
        let fits = superblock.is_divided() && (1..=CLUSTER_BYTES_MAX).contains(&cluster.len());
        fits.then_some(superblock)
    }

    /// Where a region is.
    pub fn region(&self, region: Region) -> Extent {
        self.regions[region as usize]
    }

    /// The bytes of the first sector.
    ///
    /// # Panics
    /// If the name is longer than one that [`Self::new`] or [`Self::decode`] takes.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &self.node.get().to_le_bytes());
        put(16, &self.sectors.to_le_bytes());
        for (row, extent) in self.regions.iter().enumerate() {
            put(REGIONS + row * 16, &extent.first.to_le_bytes());
            put(REGIONS + row * 16 + 8, &extent.sectors.to_le_bytes());
        }
        assert!(self.cluster.len() <= CLUSTER_BYTES_MAX, "names are bounded where they come in");
        put(NAME, &[self.cluster.len() as u8]);
        put(NAME + 1, self.cluster.as_bytes());
        let checksum = CRC_32C.checksum(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a first sector.
    ///
    /// # Errors
    /// It is no superblock, or one that contradicts itself.
    pub fn decode(bytes: &[u8; SECTOR_BYTES]) -> Result<Self, Refusal> {
        if bytes[..8] != MAGIC {
            return Err(Refusal::Foreign);
        }
        if half(bytes, CHECKSUM) != CRC_32C.checksum(&bytes[..CHECKSUM]) {
            return Err(Refusal::Damaged);
        }
        if half(bytes, 8) != VERSION {
            return Err(Refusal::Version(half(bytes, 8)));
        }
        let len = usize::from(bytes[NAME]);
        let name = bytes.get(NAME + 1..NAME + 1 + len).filter(|_| len <= CLUSTER_BYTES_MAX);
        let name = name.and_then(|name| core::str::from_utf8(name).ok()).ok_or(Refusal::Damaged)?;
        let node = NodeId::new(half(bytes, 12) as u16).ok_or(Refusal::Damaged)?;
        let mut regions = [Extent::default(); Region::ALL.len()];
        for (row, extent) in regions.iter_mut().enumerate() {
            let at = REGIONS + row * 16;
            *extent = Extent { first: word(bytes, at), sectors: word(bytes, at + 8) };
        }
        let superblock =
            Self { cluster: name.to_string(), node, sectors: word(bytes, 16), regions };
        if superblock.is_divided() { Ok(superblock) } else { Err(Refusal::Regions) }
    }

    /// Whether this is the disk of `node` of `cluster`, on a device of so many sectors.
    ///
    /// # Errors
    /// It is another one's, or not whole.
    pub fn check(&self, cluster: &str, node: NodeId, sectors: u64) -> Result<(), Refusal> {
        if self.cluster != cluster {
            Err(Refusal::OtherCluster(self.cluster.clone()))
        } else if self.node != node {
            Err(Refusal::OtherNode(self.node.get()))
        } else if self.sectors > sectors {
            Err(Refusal::Cut)
        } else {
            Ok(())
        }
    }

    /// Whether each region is on the disk, behind the superblock, apart from the others and as large as
    /// its owner needs.
    fn is_divided(&self) -> bool {
        let superblock = Extent { first: 0, sectors: ALIGN_SECTORS };
        let sound = Region::ALL.into_iter().all(|region| {
            let extent = self.region(region);
            let inside = extent.end().is_some_and(|end| end <= self.sectors);
            let least = match region {
                Region::Journal => JOURNAL_SECTORS,
                Region::Keys => KEYS_SECTORS,
                Region::Check => CHECK_SECTORS,
                Region::Files => 0,
            };
            let aligned = extent.first.is_multiple_of(ALIGN_SECTORS);
            inside && aligned && extent.sectors >= least && !extent.overlaps(superblock)
        });
        let rows = || self.regions.iter().enumerate();
        let apart = rows().all(|(a, one)| rows().all(|(b, other)| a == b || !one.overlaps(*other)));
        sound && apart
    }
}

fn half(bytes: &[u8; SECTOR_BYTES], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(half)
}

fn word(bytes: &[u8; SECTOR_BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DISK_MIB_MIN;
    use proptest::prelude::*;

    const SECTORS: u64 = 64 * 2048;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node")
    }

    fn superblock() -> Superblock {
        Superblock::new("korrigan", node(3), SECTORS).expect("large enough")
    }

    /// The sector with a change, and a checksum that holds all the same.
    fn changed(change: impl Fn(&mut [u8; SECTOR_BYTES])) -> [u8; SECTOR_BYTES] {
        let mut bytes = superblock().encode();
        change(&mut bytes);
        let checksum = CRC_32C.checksum(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn superblock_round_trips_and_names_its_owner() {
        let superblock = superblock();
        assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock.clone()));
        assert_eq!(superblock.check("korrigan", node(3), SECTORS), Ok(()));
        assert_eq!(superblock.check("korrigan", node(3), SECTORS + 1), Ok(()), "it may grow");
        let other = superblock.check("other", node(3), SECTORS);
        assert_eq!(other, Err(Refusal::OtherCluster("korrigan".into())));
        let other = superblock.check("korrigan", node(4), SECTORS);
        assert_eq!(other, Err(Refusal::OtherNode(3)));
        assert_eq!(superblock.check("korrigan", node(3), SECTORS - 1), Err(Refusal::Cut));
    }

    /// Disks outlive programs: what was written stays readable.
    #[test]
    fn superblock_bytes_are_pinned() {
        let bytes = superblock().encode();
        assert_eq!(&bytes[..16], b"KORRDISK\x01\0\0\0\x03\0\0\0");
        assert_eq!(&bytes[88..97], b"\x08korrigan");
        let words: alloc::vec::Vec<u64> = (16..88).step_by(8).map(|at| word(&bytes, at)).collect();
        assert_eq!(words, [SECTORS, 2048, 2048, 128, 128, 256, 128, 4096, SECTORS - 4096]);
        assert_eq!(half(&bytes, CHECKSUM), 0x8f7a_2f7e);
    }

    #[test]
    fn superblock_of_least_disk_is_made_and_of_smaller_ones_not() {
        assert!(Superblock::new("c", node(1), u64::from(DISK_MIB_MIN) * 2048).is_some());
        assert!(Superblock::new("c", node(1), 4095).is_none());
        assert!(Superblock::new("", node(1), SECTORS).is_none());
        assert!(Superblock::new(&"c".repeat(33), node(1), SECTORS).is_none());
    }

    #[test]
    fn superblock_that_contradicts_itself_is_refused() {
        assert_eq!(Superblock::decode(&[0; SECTOR_BYTES]), Err(Refusal::Foreign));
        assert_eq!(Superblock::decode(&changed(|b| b[8] = 9)), Err(Refusal::Version(9)));
        for (what, at, value) in [
            ("a region over the superblock", 40, 0u64),
            ("regions that overlap", 40, 256),
            ("a region behind the end", 24, SECTORS),
            ("a region without end", 32, u64::MAX),
            ("a journal that is too small", 32, 2047),
            ("a region off its place", 40, 129),
            ("a disk that is smaller than its regions", 16, 5000),
        ] {
            let bytes = changed(|bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()));
            assert_eq!(Superblock::decode(&bytes), Err(Refusal::Regions), "{what}");
        }
        for (what, at, value) in
            [("no node", 12, 0u8), ("a long name", 88, 33), ("no text", 89, 0xff)]
        {
            let bytes = changed(|bytes| bytes[at] = value);
            assert_eq!(Superblock::decode(&bytes), Err(Refusal::Damaged), "{what}");
        }
    }

    proptest! {
        #[test]
        fn superblock_with_any_wrong_bit_is_refused(bit in 0usize..SECTOR_BYTES * 8) {
            let mut bytes = superblock().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Superblock::decode(&bytes).is_err());
        }

        #[test]
        fn superblock_of_any_bytes_is_no_panic(tail in proptest::collection::vec(any::<u8>(), 500)) {
            let bytes = changed(|bytes| bytes[8..CHECKSUM].copy_from_slice(&tail));
            if let Ok(superblock) = Superblock::decode(&bytes) {
                prop_assert!(superblock.is_divided());
            }
        }
    }
}
