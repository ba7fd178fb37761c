// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk server joined to its device.

use crate::blk::Blk;
use crate::core::DiskCore;
use crate::open::{Opened, open};
use abi::startup::Startup;
use abi::{NodeId, ServerId};
use disk_api::Absence;
use disk_api::limits::OPEN_POLLS_MAX;
use runtime::{Bulk, Host, Msg, Platform, Service, Status};

/// The disk server.
pub struct DiskService(Host<DiskCore<Blk>>);

impl DiskService {
    /// The server of this node's disk, or of none; `say` logs a sentence.
    ///
    /// # Safety
    /// `startup` is root's, and this is called once: the device and its memory are nobody else's.
    pub unsafe fn start(
        startup: &Startup,
        node: NodeId,
        say: fn(&str),
        make: impl FnOnce(DiskCore<Blk>) -> Host<DiskCore<Blk>>,
    ) -> Self {
        // SAFETY: as the caller says.
        let opened = unsafe { opened(startup, node) };
        if let Err(absence) = &opened
            && *absence != Absence::Unwanted
        {
            say(&alloc::format!("this node goes on without a disk: {absence}"));
        }
        Self(make(DiskCore::new(opened, say)))
    }
}

/// # Safety
/// As for [`DiskService::start`].
unsafe fn opened(startup: &Startup, node: NodeId) -> Result<Opened<Blk>, Absence> {
    let config = &startup.config;
    let own = config.nodes.iter().find(|entry| entry.id == node.get());
    let is_wanted = own.is_some_and(|entry| entry.disk_mib > 0);
    let absence = if is_wanted { Absence::NotFound } else { Absence::Unwanted };
    let found = startup.disk.as_ref().ok_or(absence)?;
    // SAFETY: root found the device, mapped its registers and the memory, and gave them to this domain
    // alone; the caller does this once.
    let device = unsafe { Blk::start(found) }?;
    let mut polls = 0;
    open(device, &config.cluster, node, || {
        microkernel_sys::yield_now();
        polls += 1;
        polls < OPEN_POLLS_MAX
    })
}

impl Service for DiskService {
    fn id(&self) -> ServerId {
        ServerId::Disk
    }

    fn start(&self, platform: &mut dyn Platform) {
        Service::start(&self.0, platform);
    }

    fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        self.0.request(platform, client, op, msg, bulk)
    }

    fn collect(&self, platform: &mut dyn Platform, from: ServerId) {
        self.0.collect(platform, from);
    }

    fn server_down(&self, platform: &mut dyn Platform, server: ServerId) {
        Service::server_down(&self.0, platform, server);
    }

    fn interrupt(&self, platform: &mut dyn Platform, _bit: u8) {
        self.0.step(platform, |core, cx| core.interrupt(cx));
    }
}
