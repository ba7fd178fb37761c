// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which servers share a domain: the two compositions that ship, and the check of any other.

use super::fields::At;
use super::mistakes::{Mistakes, closest};
use abi::ServerId;
use abi::image::DomainEntry;

/// Names of the compositions that ship.
pub const NAMES: [&str; 2] = ["isolated", "fast"];

/// The servers of a node, in the order in which they start. ckpt-server has only its api yet.
pub const SERVERS: [ServerId; 10] = [
    ServerId::Console,
    ServerId::Timer,
    ServerId::Net,
    ServerId::Disk,
    ServerId::Mem,
    ServerId::Fs,
    ServerId::Ipc,
    ServerId::Proc,
    ServerId::Shell,
    ServerId::Views,
];

/// Servers that drive a device: a bug there is a dead server only in a domain of its own.
const DRIVERS: [ServerId; 4] = [ServerId::Console, ServerId::Timer, ServerId::Net, ServerId::Disk];

/// The composition of this name.
pub fn named(name: &str) -> Option<Vec<DomainEntry>> {
    match name {
        "isolated" => Some(isolated()),
        "fast" => Some(fast()),
        _ => None,
    }
}

/// A domain for each server.
pub fn isolated() -> Vec<DomainEntry> {
    SERVERS.into_iter().map(|server| domain(server.name(), &[server])).collect()
}

/// What serves system calls shares one domain, so that a call is a function call in it.
pub fn fast() -> Vec<DomainEntry> {
    let system = [ServerId::Mem, ServerId::Fs, ServerId::Ipc, ServerId::Proc];
    let mut domains: Vec<_> =
        DRIVERS.into_iter().map(|server| domain(server.name(), &[server])).collect();
    domains.push(domain("system", &system));
    domains.push(domain("shell", &[ServerId::Shell]));
    domains.push(domain("views", &[ServerId::Views]));
    domains
}

fn domain(name: &str, servers: &[ServerId]) -> DomainEntry {
    DomainEntry {
        name: name.to_owned(),
        servers: servers.iter().map(|&server| server as u8).collect(),
        heap_kib: heap_kib(servers),
    }
}

/// The heap of a domain that says nothing else: what its servers' tables need at their bounds.
pub fn heap_kib(servers: &[ServerId]) -> u32 {
    servers
        .iter()
        .map(|server| match server {
            ServerId::Console | ServerId::Timer | ServerId::Disk => 192,
            ServerId::Shell => 896,
            ServerId::Ipc => 2048,
            // Reads the journal as a whole when the node starts: 1 MiB, and what is found in it, three
            // times 256 KiB at most (as records, and as bytes for both copies).
            ServerId::Views => 2304,
            ServerId::Fs | ServerId::Proc => 3072,
            ServerId::Net => 3072,
            ServerId::Ckpt => 4096,
            ServerId::Mem => 6144,
        })
        .sum()
}

/// The servers that a domain names; a name that is none is a mistake.
pub fn servers(names: &[At<String>], mistakes: &mut Mistakes<'_>) -> Vec<At<ServerId>> {
    let known = SERVERS.map(ServerId::name);
    let mut servers = Vec::new();
    for name in names {
        match SERVERS.into_iter().find(|server| server.name() == name.value) {
            Some(server) => servers.push(At { value: server, span: name.span.clone() }),
            None => {
                let hint = match closest(&name.value, &known) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("the servers are {}", known.join(", ")),
                };
                mistakes
                    .add(name.span.clone(), format!("unknown server \"{}\": {hint}", name.value));
            }
        }
    }
    servers
}

/// Checks that a driver has its domain for itself.
pub fn check_drivers(servers: &[At<ServerId>], mistakes: &mut Mistakes<'_>) {
    for server in servers.iter().filter(|_| servers.len() > 1) {
        if DRIVERS.contains(&server.value) {
            let text = format!(
                "the driver \"{0}\" shares a domain with other servers: give it a [[domain]] of \
                 its own, with servers = [\"{0}\"]",
                server.value
            );
            mistakes.add(server.span.clone(), text);
        }
    }
}

/// Checks that every server stands in one domain, and in one only.
pub fn check_complete(all: &[At<ServerId>], first: usize, mistakes: &mut Mistakes<'_>) {
    for server in SERVERS {
        let mut places = all.iter().filter(|at| at.value == server);
        match places.next() {
            None => mistakes.add(
                first..first,
                format!("no domain hosts the server \"{server}\": name it in one of them"),
            ),
            Some(place) => {
                let line = mistakes.line(place.span.start);
                for again in places {
                    let text = format!(
                        "the server \"{server}\" is hosted on line {line} already: name it once"
                    );
                    mistakes.add(again.span.clone(), text);
                }
            }
        }
    }
}
