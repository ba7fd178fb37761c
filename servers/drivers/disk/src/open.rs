// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks whose disk it is, before anything else is done with it.

use crate::device::{Command, Device};
use abi::NodeId;
use disk_api::limits::SECTOR_BYTES;
use disk_api::superblock::Superblock;
use disk_api::{Absence, Extent};

/// A disk that is this node's.
pub struct Opened<D> {
    /// The device.
    pub device: D,
    /// How it is divided.
    pub superblock: Superblock,
}

/// Reads and checks the superblock. This waits for the device, which no server may do later: nobody
/// asks this one anything before it runs, and what is found is to stand on the console, which root has
/// only until then. `wait` is called between two looks at the device; `false` ends the patience.
///
/// # Errors
/// Why the disk is not used. The device is out of service then.
pub fn open<D: Device>(
    mut device: D,
    cluster: &str,
    node: NodeId,
    mut wait: impl FnMut() -> bool,
) -> Result<Opened<D>, Absence> {
    device.begin(0, Command::Read(Extent { first: 0, sectors: 1 }));
    let ended = loop {
        match device.ended() {
            Some((_, result)) => break result.map_err(|_| Absence::Unreadable),
            None if wait() => {}
            None => break Err(Absence::Unreadable),
        }
    };
    let superblock = ended.and_then(|()| {
        let mut sector = [0; SECTOR_BYTES];
        device.copy_out(0, &mut sector);
        let superblock = Superblock::decode(&sector).map_err(Absence::Refused)?;
        let checked = superblock.check(cluster, node, device.sectors());
        checked.map_err(Absence::Refused).map(|()| superblock)
    });
    match superblock {
        Ok(superblock) => Ok(Opened { device, superblock }),
        Err(absence) => {
            device.stop();
            Err(absence)
        }
    }
}
