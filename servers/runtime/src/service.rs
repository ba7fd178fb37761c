// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server as its domain sees it, whatever its core is.

use crate::{Bulk, Core, Host, Msg, Platform, Status};
use abi::ServerId;

/// What a domain does with the servers that it hosts. [`Host`] implements it; a driver, which also
/// gets interrupts, wraps a host or implements it itself.
pub trait Service: Send + Sync {
    /// Which server it is.
    fn id(&self) -> ServerId;

    /// Called once, on the first core, when all servers of the domain exist.
    fn start(&self, platform: &mut dyn Platform);

    /// A request of `client`, a server of this node. The reply replaces `msg` and `bulk`.
    fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status;

    /// `from` holds something for this server.
    fn collect(&self, platform: &mut dyn Platform, from: ServerId);

    /// Another server of this node died, for good.
    fn server_down(&self, platform: &mut dyn Platform, server: ServerId);

    /// An interrupt came: bit `bit` of those that root gave to this server. Acknowledged already.
    fn interrupt(&self, _platform: &mut dyn Platform, _bit: u8) {}
}

/// Acknowledges an interrupt and has it handled, in this order: the kernel masks the line until then,
/// and what comes at a masked line is lost. A shot that the timer's handler fires may be over before
/// it returns. No line here is level-triggered: timer and console are edges, the card sends messages.
pub fn handle_interrupt(
    service: &dyn Service,
    platform: &mut dyn Platform,
    bit: u8,
    acknowledge: impl FnOnce(),
) {
    acknowledge();
    service.interrupt(platform, bit);
}

impl<C: Core + Send> Service for Host<C> {
    fn id(&self) -> ServerId {
        Host::id(self)
    }

    fn start(&self, platform: &mut dyn Platform) {
        self.step(platform, |core, cx| core.start(cx));
    }

    fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        Host::request(self, platform, client, op, msg, bulk)
    }

    fn collect(&self, platform: &mut dyn Platform, from: ServerId) {
        Host::collect(self, platform, from);
    }

    fn server_down(&self, platform: &mut dyn Platform, server: ServerId) {
        Host::server_down(self, platform, server);
    }
}
