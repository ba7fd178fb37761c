// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console joined to its ports.

use crate::core::{ConsoleCore, Uart};
use abi::ServerId;
use abi::startup::Startup;
use microkernel_sys::{Cap, IoPort};
use runtime::{Bulk, Host, Msg, Platform, Service, Status};

const COM1: u16 = 0x3f8;

/// The chip behind an I/O port capability.
pub struct PortUart(Cap<IoPort>);

impl Uart for PortUart {
    fn read(&mut self, register: u16) -> u8 {
        self.0.in8(COM1 + register).expect("root gave these ports")
    }

    fn write(&mut self, register: u16, value: u8) {
        self.0.out8(u64::from(COM1 + register), u64::from(value)).expect("root gave these ports");
    }
}

/// The console server.
pub struct ConsoleService(Host<ConsoleCore<PortUart>>);

impl ConsoleService {
    /// `None` if root gave this domain no serial port.
    pub fn new(
        startup: &Startup,
        make: impl FnOnce(ServerId, ConsoleCore<PortUart>) -> Host<ConsoleCore<PortUart>>,
    ) -> Option<Self> {
        let ports = startup.io_ports.iter().find(|ports| ports.first == COM1)?;
        let core = ConsoleCore::new(PortUart(Cap::new(ports.slot)));
        Some(Self(make(ServerId::Console, core)))
    }
}

impl Service for ConsoleService {
    fn id(&self) -> ServerId {
        ServerId::Console
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
