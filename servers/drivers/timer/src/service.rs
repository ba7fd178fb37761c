// SPDX-License-Identifier: MIT OR Apache-2.0
//! The deadlines joined to the PIT.

use crate::deadlines::{Deadlines, shot};
use abi::startup::Startup;
use abi::{Errno, ServerId};
use microkernel_sys::{Cap, IoPort};
use runtime::node::TIMER_ARM;
use runtime::{Bulk, Lock, Msg, Platform, Service, Status};

const COUNTER_0: u64 = 0x40;
const MODE: u64 = 0x43;
/// Counter 0, low byte then high byte, mode 0.
const ONE_SHOT: u64 = 0x30;

/// The timer server.
pub struct TimerService {
    ports: Cap<IoPort>,
    deadlines: Lock<Deadlines>,
}

impl TimerService {
    /// `None` if root gave this domain no timer.
    pub fn new(startup: &Startup) -> Option<Self> {
        let ports = startup.io_ports.iter().find(|ports| u64::from(ports.first) == COUNTER_0)?;
        Some(Self { ports: Cap::new(ports.slot), deadlines: Lock::new(Deadlines::default()) })
    }

    fn shoot(&self, now_ns: u64, deadline_ns: u64) {
        let counts = u64::from(shot(now_ns, deadline_ns));
        let writes = [(MODE, ONE_SHOT), (COUNTER_0, counts & 0xff), (COUNTER_0, counts >> 8)];
        for (port, value) in writes {
            self.ports.out8(port, value).expect("root gave these ports");
        }
    }
}

impl Service for TimerService {
    fn id(&self) -> ServerId {
        ServerId::Timer
    }

    fn start(&self, _platform: &mut dyn Platform) {}

    fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        _bulk: &mut Bulk<'_>,
    ) -> Status {
        if op != TIMER_ARM {
            return Status::Failed(Errno::ENOSYS);
        }
        let deadline_ns = msg.words[0];
        let mut deadlines = self.deadlines.lock();
        if deadlines.arm(client, platform.core(), deadline_ns) {
            self.shoot(platform.now_ns(), deadline_ns);
        }
        Status::Done
    }

    fn collect(&self, _platform: &mut dyn Platform, _from: ServerId) {}

    fn server_down(&self, _platform: &mut dyn Platform, server: ServerId) {
        self.deadlines.lock().forget(server);
    }

    fn interrupt(&self, platform: &mut dyn Platform, _bit: u8) {
        let mut deadlines = self.deadlines.lock();
        let expired = deadlines.expired(platform.now_ns());
        if let Some(next_ns) = deadlines.earliest() {
            self.shoot(platform.now_ns(), next_ns);
        }
        drop(deadlines);
        for (client, core) in expired {
            platform.notify(ServerId::Timer, client, core);
        }
    }
}
