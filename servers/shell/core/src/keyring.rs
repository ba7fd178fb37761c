// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node's private key on its own disk, for nodes whose image holds none: typed once (`linkkey`), found at
//! each start.
//!
//! # Model
//! The first sector of the disk's region for keys, the rest is zeros:
//! ```text
//!   0  magic "KORRKEY1"     8  the key (32)     508  CRC-32C of all bytes before (4)
//! ```
//!
//! # Failure
//! A sector that is anything else holds no key: the node stays without one until it is typed again. Whether
//! it is this node's key net-server says, which knows its public half.

use crate::job::JobId;
use crate::{Machine, Shell, Wait, disk, text};
use abi::Errno;
use abi::image::KEY_BYTES;
use alloc::format;
use alloc::string::String;
use crc::{CRC_32_ISCSI, Crc};
use disk_api::limits::SECTOR_BYTES;
use disk_api::{Flush, Read, Region, Write};
use net_api::Enrol;
use runtime::{Bulk, Cx, NodeReply};

const MAGIC: [u8; 8] = *b"KORRKEY1";
const KEY: usize = MAGIC.len();
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
    /// Looks for the key. A node that has one already takes no other.
    pub(crate) fn load_key(&mut self, cx: &mut Cx<'_>) {
        let read = Read { region: Region::Keys, sector: 0, sectors: 1 };
        self.ask(cx, &read, Wait::Keyring(Step::Load));
    }

    /// A key was typed.
    pub(crate) fn take_key(&mut self, cx: &mut Cx<'_>, id: JobId, key: [u8; KEY_BYTES]) {
        let taken = cx.leaf(&Enrol { key });
        let (sentence, status) = text::enrolled(taken);
        self.print(cx, id, &sentence);
        if status != 0 {
            return self.end(cx, id, status);
        }
        self.write_key(cx, Step::Keep(id), &mut sector(&key));
    }

    pub(crate) fn forget_key(&mut self, cx: &mut Cx<'_>, id: JobId) {
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
        let Ok(Some(key)) = disk::fetch(cx, reply).map(|sector| key_of(&sector)) else { return };
        let node = cx.node();
        let line: String = match cx.leaf(&Enrol { key }) {
            Ok(()) => format!("node {node}: has its key from its disk\n"),
            // Its image holds it.
            Err(Errno::EEXIST) => return,
            Err(Errno::EINVAL) => format!(
                "node {node}: the key on its disk is not the one that the cluster knows as this node's: \
                 `linkkey KEY` replaces it\n"
            ),
            Err(errno) => format!("node {node}: the key on its disk: {errno}\n"),
        };
        self.print_console(cx, &line);
    }
}

fn sector(key: &[u8; KEY_BYTES]) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..KEY].copy_from_slice(&MAGIC);
    sector[KEY..KEY + KEY_BYTES].copy_from_slice(key);
    let checksum = CRC_32C.checksum(&sector[..CHECKSUM]);
    sector[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    sector
}

/// The key that a sector holds, if it holds one.
fn key_of(read: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let key: [u8; KEY_BYTES] = read.get(KEY..KEY + KEY_BYTES)?.try_into().ok()?;
    (read.get(..SECTOR_BYTES)? == sector(&key)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_holds_its_key_or_none() {
        let key = [7; KEY_BYTES];
        let whole = sector(&key);
        assert_eq!(key_of(&whole), Some(key));
        assert_eq!(key_of(&whole[..100]), None);
        assert_eq!(key_of(&[0; SECTOR_BYTES]), None);
        for at in 0..SECTOR_BYTES {
            let mut spoilt = whole;
            spoilt[at] ^= 1;
            assert_eq!(key_of(&spoilt), None, "byte {at}");
        }
    }
}
