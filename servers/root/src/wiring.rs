// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may call and signal whom: the design's asks column, as capabilities.

use crate::domain::Domain;
use abi::ServerId;
use abi::startup::{Port, Signal, client_badge};
use alloc::vec::Vec;
use microkernel_sys::{CapData, Rights};

use ServerId::{Ckpt, Console, Disk, Fs, Ipc, Mem, Net, Proc, Shell, Timer, Views};

/// (client, server): the calls that the design allows. Everything else has no capability.
pub const ASKS: &[(ServerId, ServerId)] = &[
    (Net, Timer),
    (Disk, Timer),
    (Mem, Net),
    (Mem, Timer),
    (Fs, Mem),
    (Fs, Net),
    (Fs, Disk),
    (Fs, Timer),
    (Ipc, Mem),
    (Ipc, Net),
    (Ipc, Console),
    (Ipc, Timer),
    (Proc, Mem),
    (Proc, Fs),
    (Proc, Ipc),
    (Proc, Net),
    (Proc, Timer),
    (Ckpt, Proc),
    (Ckpt, Mem),
    (Ckpt, Fs),
    (Ckpt, Net),
    (Ckpt, Timer),
    (Shell, Proc),
    (Shell, Fs),
    (Shell, Ipc),
    (Shell, Net),
    (Shell, Mem),
    (Shell, Console),
    (Shell, Disk),
    (Shell, Timer),
    // From above all others: views and leases are pushed down.
    (Views, Shell),
    (Views, Proc),
    (Views, Fs),
    (Views, Ipc),
    (Views, Mem),
    (Views, Net),
    (Views, Disk),
    (Views, Timer),
];

/// The ports of domain `client_index`: calls to servers that other domains host.
pub fn ports(domains: &mut [Domain], client_index: usize) -> Vec<Port> {
    let mut ports = Vec::new();
    for &(client, server) in ASKS {
        let (here, there) = (&domains[client_index], host(domains, server));
        let Some(there) = there.filter(|there| *there != client_index) else { continue };
        if !here.hosts(client) {
            continue;
        }
        let endpoints: Vec<_> = domains[there].workers.iter().map(|w| w.endpoint).collect();
        let badge = CapData::badge(client_badge(client, server));
        let here = &mut domains[client_index];
        let endpoint_slots =
            endpoints.into_iter().map(|e| here.give_marked(e, Rights::CALL, badge)).collect();
        ports.push(Port { client, server, endpoint_slots });
    }
    ports
}

/// The signals of domain `from_index`: to the clients of its servers, in its own domain too, as they
/// may be on another core.
pub fn signals(domains: &mut [Domain], from_index: usize) -> Vec<Signal> {
    let mut signals = Vec::new();
    for &(client, from) in ASKS {
        let Some(there) = host(domains, client) else { continue };
        if !domains[from_index].hosts(from) {
            continue;
        }
        let targets: Vec<_> = domains[there].workers.iter().map(|w| w.notification).collect();
        let badge = CapData::badge(1 << from as u64);
        let here = &mut domains[from_index];
        let notification_slots =
            targets.into_iter().map(|n| here.give_marked(n, Rights::ALL, badge)).collect();
        signals.push(Signal { from, client, notification_slots });
    }
    signals
}

fn host(domains: &[Domain], server: ServerId) -> Option<usize> {
    domains.iter().position(|domain| domain.hosts(server))
}
