// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`runtime::Platform`] on seL4: a worker's clock, calls and notifications.
//!
//! A call to a server of the same domain is a function call; to another domain it is a message to
//! the worker of the same core there.

use crate::crash;
use crate::frame::{self, Lengths};
use crate::hosted::{Hosted, ProcHost};
use abi::limits::{CORES_MAX, WINDOW_BYTES};
use abi::startup::{
    DEAD_ROW, PERFORMED_ROW, Performed, STATUS_ADDR, Startup, client_window_addr, window_addr,
};
use abi::{CoreId, Errno, ServerId};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use microkernel_sys::{Cap, Endpoint, Notification};
use runtime::{Bulk, Msg, Platform, Service, Status};

/// A multiplication in place of a division, exact to 1 part in 2^30.
const NS_SHIFT: u32 = 32;
const SERVERS: usize = ServerId::ALL.len();

/// What all workers of the domain share.
pub struct Shared {
    /// What root told.
    pub startup: &'static Startup,
    /// The servers of this domain, by number.
    pub hosted: [Option<&'static dyn Service>; SERVERS],
    /// proc-server, if it is here.
    pub proc: Option<&'static ProcHost>,
    ports: [[Option<[u64; CORES_MAX]>; SERVERS]; SERVERS],
    signals: [[Option<[u64; CORES_MAX]>; SERVERS]; SERVERS],
    domain_of: [Option<u32>; SERVERS],
    /// Nanoseconds per tick of the time-stamp counter, times 2^[`NS_SHIFT`].
    ns_per_tick: u64,
}

impl Shared {
    /// Sorts root's lists into tables.
    pub fn new(startup: &'static Startup, hosted: Hosted) -> &'static Self {
        let hz = u128::from(startup.tsc_hz.max(1));
        let ns_per_tick = ((1_000_000_000u128 << NS_SHIFT) / hz) as u64;
        let mut ports = [[None; SERVERS]; SERVERS];
        for port in &startup.ports {
            ports[port.client as usize][port.server as usize] = Some(row(&port.endpoint_slots));
        }
        let mut signals = [[None; SERVERS]; SERVERS];
        for signal in &startup.signals {
            signals[signal.from as usize][signal.client as usize] =
                Some(row(&signal.notification_slots));
        }
        let mut domain_of = [None; SERVERS];
        for (index, domain) in startup.config.domains.iter().enumerate() {
            for server in &domain.servers {
                domain_of[usize::from(*server)] = Some(index as u32);
            }
        }
        Box::leak(Box::new(Self {
            startup,
            hosted: hosted.services,
            proc: hosted.proc,
            ports,
            signals,
            domain_of,
            ns_per_tick,
        }))
    }

    /// The servers of this domain.
    pub fn services(&self) -> impl Iterator<Item = &'static dyn Service> + '_ {
        self.hosted.iter().copied().flatten()
    }
}

fn status_word(row: usize) -> &'static AtomicU64 {
    let addr = STATUS_ADDR + row as u64 * 8;
    // SAFETY: root maps a zeroed page there, for good; it is only used through atomics.
    unsafe { AtomicU64::from_ptr(addr as *mut u64) }
}

fn row(slots: &[u64]) -> [u64; CORES_MAX] {
    let mut row = [0; CORES_MAX];
    let count = slots.len().min(CORES_MAX);
    row[..count].copy_from_slice(&slots[..count]);
    row
}

/// One worker's platform.
pub struct Sel4Platform {
    shared: &'static Shared,
    core: CoreId,
    /// Servers of this domain that hold something for another one here.
    pub pending: u64,
    /// Servers of the node of which this worker knows that they died, as bits.
    known_dead: u64,
}

impl Sel4Platform {
    /// The platform of the worker on `core`.
    pub fn new(shared: &'static Shared, core: CoreId) -> Self {
        Self { shared, core, pending: 0, known_dead: 0 }
    }

    /// Says what the worker performs, for root to name it if it faults.
    pub fn performing(&self, client: ServerId, server: ServerId, op: u16) {
        let performed = Performed { op, server, client };
        self.status(PERFORMED_ROW).store(performed.to_word(), Ordering::Relaxed);
    }

    /// The servers that died since the last time, as bits.
    pub fn newly_dead(&mut self) -> u64 {
        let dead = status_word(DEAD_ROW).load(Ordering::Acquire);
        let new = dead & !self.known_dead;
        self.known_dead = dead;
        new
    }

    fn status(&self, first_row: usize) -> &'static AtomicU64 {
        status_word(first_row + usize::from(self.core.0))
    }

    fn window(&self) -> &'static mut [u8] {
        // SAFETY: root mapped this worker's window there; only this worker uses it, and only inside
        // `call_domain`, which does not nest. mem, net and disk touch it while this worker waits for them.
        unsafe { core::slice::from_raw_parts_mut(window_addr(self.core) as *mut u8, WINDOW_BYTES) }
    }

    /// The window of `client`'s worker on this core, while it waits for an answer.
    pub fn client_window(&self, client: ServerId, len: usize) -> &'static mut [u8] {
        let domain = self.shared.domain_of[client as usize];
        let (true, Some(domain)) = (self.shared.startup.sees_windows, domain) else {
            return &mut [];
        };
        let addr = client_window_addr(domain, self.core);
        let len = len.min(WINDOW_BYTES);
        // SAFETY: root mapped all windows here; the client's worker waits for our answer, and all
        // servers are trusted not to touch a window that they lent.
        unsafe { core::slice::from_raw_parts_mut(addr as *mut u8, len) }
    }

    fn call_domain(
        &mut self,
        port: Cap<Endpoint>,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let lengths =
            Lengths { bulk: bulk.data().len(), capacity: bulk.buf.len().min(WINDOW_BYTES) };
        if lengths.bulk > 0 {
            self.window()[..lengths.bulk].copy_from_slice(bulk.data());
        }
        let info = frame::put(u64::from(op), msg, lengths);
        self.status(0).store(1 + to as u64, Ordering::Relaxed);
        let answer = port.call(info, msg.words);
        let (status, bulk_len) = frame::get_answer(answer.info, answer.words, msg);
        self.status(0).store(0, Ordering::Relaxed);
        if let Some(len) = bulk_len {
            let len = len.min(bulk.buf.len());
            bulk.buf[..len].copy_from_slice(&self.window()[..len]);
            bulk.len = len;
            bulk.answered = true;
        }
        status
    }
}

impl Platform for Sel4Platform {
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a counter.
        let ticks = unsafe { core::arch::x86_64::_rdtsc() };
        let since = ticks.saturating_sub(self.shared.startup.tsc_base);
        ((u128::from(since) * u128::from(self.shared.ns_per_tick)) >> NS_SHIFT) as u64
    }

    fn core(&self) -> CoreId {
        self.core
    }

    fn heap_left(&self) -> usize {
        let heap = microkernel_rt::heap::usage();
        heap.claimed_bytes.saturating_sub(heap.allocated_bytes)
    }

    fn call(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        if let Some(service) = self.shared.hosted[to as usize] {
            let before = self.status(PERFORMED_ROW).load(Ordering::Relaxed);
            self.performing(from, to, op);
            let status = match crash::asked(from, op) {
                Some(status) => status,
                None => service.request(self, from, op, msg, bulk),
            };
            self.status(PERFORMED_ROW).store(before, Ordering::Relaxed);
            return status;
        }
        let Some(row) = self.shared.ports[from as usize][to as usize] else {
            return Status::Failed(Errno::ENOSYS);
        };
        let port = Cap::new(row[usize::from(self.core.0)]);
        self.call_domain(port, to, op, msg, bulk)
    }

    fn notify(&mut self, from: ServerId, client: ServerId, core: CoreId) {
        if core == self.core && self.shared.hosted[client as usize].is_some() {
            self.pending |= 1 << from as u64;
            return;
        }
        if let Some(row) = self.shared.signals[from as usize][client as usize] {
            Cap::<Notification>::new(row[usize::from(core.0)]).signal();
        }
    }
}
