// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node's private keys on its own disk, for nodes whose image holds none, or an older one: typed once
//! (`linkkey`), found at each start. The one before is kept too, as the cluster may not know the new one yet.
//!
//! # Model
//! The first sector of the disk's region for keys, the rest is zeros:
//! ```text
//!   0  magic "KORRKEY1"     8  the newest key (32)     40  the one before, or zeros (32)
//! 508  CRC-32C of all bytes before (4)
//! ```
//!
//! # Failure
//! A sector that is anything else holds no key: the node stays without one until it is typed again. Whether
//! it is this node's key the other nodes say, which know its public half.

use crate::job::JobId;
use crate::limits::KEYS_KEPT_MAX;
use crate::{Machine, Shell, Wait, disk, text};
use abi::Errno;
use abi::image::KEY_BYTES;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crc::{CRC_32_ISCSI, Crc};
use disk_api::limits::SECTOR_BYTES;
use disk_api::{Flush, Read, Region, Write};
use net_api::{Enrol, Enrolled};
use runtime::{Bulk, Cx, NodeReply};

const MAGIC: [u8; 8] = *b"KORRKEY1";
const KEYS: usize = MAGIC.len();
const CHECKSUM: usize = SECTOR_BYTES - 4;

static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What is done with the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The key is looked for, at the start.
    Load,
    /// A key that was typed is being kept.
    Keep(JobId),
    /// What is there is being removed.
    Forget(JobId),
}

impl<M: Machine> Shell<M> {
    /// Looks for the keys.
    pub(crate) fn load_key(&mut self, cx: &mut Cx<'_>) {
        let read = Read { region: Region::Keys, sector: 0, sectors: 1 };
        self.ask(cx, &read, Wait::Keyring(Step::Load));
    }

    /// A key was typed.
    pub(crate) fn take_key(&mut self, cx: &mut Cx<'_>, id: JobId, key: [u8; KEY_BYTES]) {
        let taken = cx.leaf(&Enrol { key });
        let (sentence, status) = text::enrolled(cx.node(), taken);
        self.print(cx, id, &sentence);
        if status != 0 {
            return self.end(cx, id, status);
        }
        self.keyring.retain(|kept| *kept != key);
        self.keyring.insert(0, key);
        self.keyring.truncate(KEYS_KEPT_MAX);
        self.write_key(cx, Step::Keep(id), &mut sector(&self.keyring));
    }

    pub(crate) fn forget_key(&mut self, cx: &mut Cx<'_>, id: JobId) {
        self.keyring.clear();
        self.write_key(cx, Step::Forget(id), &mut [0; SECTOR_BYTES]);
    }

    fn write_key(&mut self, cx: &mut Cx<'_>, step: Step, sector: &mut [u8; SECTOR_BYTES]) {
        let write = Write { region: Region::Keys, sector: 0 };
        match cx.leaf_bulk(&write, &mut Bulk::new(sector)) {
            Ok(()) => self.ask(cx, &Flush { region: Region::Keys }, Wait::Keyring(step)),
            Err(errno) => self.key_step(cx, step, &Err(errno)),
        }
    }

    /// The disk has answered.
    pub(crate) fn key_step(
        &mut self,
        cx: &mut Cx<'_>,
        step: Step,
        result: &Result<NodeReply, Errno>,
    ) {
        let (id, done, undone) = match step {
            Step::Load => return self.key_read(cx, result),
            Step::Keep(id) => {
                let undone = "with the next start of the node it is gone";
                (id, "its disk keeps it, unencrypted: who has the disk has the key", undone)
            }
            Step::Forget(id) => {
                let undone = "what its disk holds is as it was";
                (id, "its disk holds no key any more; what it has in memory it keeps", undone)
            }
        };
        match result {
            Ok(_) => self.end_with(cx, id, &format!("{done}\n"), 0),
            // The key itself has been taken: only forgetting has failed.
            Err(errno) => {
                let status = u8::from(matches!(step, Step::Forget(_)));
                let sentence = format!("its disk cannot be written ({errno}): {undone}\n");
                self.end_with(cx, id, &sentence, status);
            }
        }
    }

    fn key_read(&mut self, cx: &mut Cx<'_>, result: &Result<NodeReply, Errno>) {
        // Who has no disk has no key there.
        let Ok(reply) = result else { return };
        let Ok(keys) = disk::fetch(cx, reply).map(|sector| keys_of(&sector)) else { return };
        let node = cx.node();
        // The newest last, as it is the one to use if nobody says another.
        for key in keys.iter().rev() {
            let line: String = match cx.leaf(&Enrol { key: *key }) {
                Ok(Enrolled { counts: true, .. }) => {
                    format!("node {node}: has its key from its disk\n")
                }
                Ok(Enrolled { counts: false, .. }) => format!(
                    "node {node}: has a key from its disk that its image does not name: it is used where \
                     other nodes know it\n"
                ),
                // Its image holds it.
                Err(Errno::EEXIST) => continue,
                Err(errno) => format!("node {node}: the key on its disk: {errno}\n"),
            };
            self.print_console(cx, &line);
        }
        self.keyring = keys;
    }
}

/// `keys`: at most [`KEYS_KEPT_MAX`].
fn sector(keys: &[[u8; KEY_BYTES]]) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..KEYS].copy_from_slice(&MAGIC);
    for (at, key) in keys.iter().enumerate() {
        sector[KEYS + at * KEY_BYTES..][..KEY_BYTES].copy_from_slice(key);
    }
    let checksum = CRC_32C.checksum(&sector[..CHECKSUM]);
    sector[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    sector
}

/// The keys that a sector holds, the newest first; none if it is anything else.
fn keys_of(read: &[u8]) -> Vec<[u8; KEY_BYTES]> {
    let places = read.get(KEYS..).unwrap_or_default().chunks_exact(KEY_BYTES);
    let keys = places.take(KEYS_KEPT_MAX).filter_map(|key| <[u8; KEY_BYTES]>::try_from(key).ok());
    let keys: Vec<_> = keys.take_while(|key| *key != [0; KEY_BYTES]).collect();
    let is_whole = read.get(..SECTOR_BYTES).is_some_and(|read| read == sector(&keys));
    if is_whole { keys } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_holds_its_keys_or_none() {
        let key = [7; KEY_BYTES];
        for keys in [Vec::from([key]), Vec::from([key, [8; KEY_BYTES]])] {
            let whole = sector(&keys);
            assert_eq!(keys_of(&whole), keys);
            assert_eq!(keys_of(&whole[..100]), Vec::<[u8; KEY_BYTES]>::new());
            for at in 0..SECTOR_BYTES {
                let mut spoilt = whole;
                spoilt[at] ^= 1;
                assert!(keys_of(&spoilt).is_empty(), "byte {at}");
            }
        }
        assert!(keys_of(&[0; SECTOR_BYTES]).is_empty());
    }
}
