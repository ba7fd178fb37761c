// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the servers that the manifest puts into this domain.

use abi::ServerId;
use abi::startup::Startup;
use runtime::Service;

/// All servers of this domain, by number.
pub fn services(startup: &'static Startup) -> [Option<&'static dyn Service>; ServerId::ALL.len()] {
    let mut hosted = [None; ServerId::ALL.len()];
    let domain = &startup.config.domains[startup.domain as usize];
    for server in domain.servers.iter().filter_map(|number| ServerId::from_number(*number)) {
        hosted[server as usize] = make(server, startup);
    }
    hosted
}

fn make(server: ServerId, _startup: &'static Startup) -> Option<&'static dyn Service> {
    match server {
        ServerId::Console
        | ServerId::Timer
        | ServerId::Net
        | ServerId::Mem
        | ServerId::Fs
        | ServerId::Ipc
        | ServerId::Proc
        | ServerId::Ckpt
        | ServerId::Shell => None,
    }
}
