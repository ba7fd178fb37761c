// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each server of a node dies in turn, at several instants.

use abi::ServerId;
use sim::scenario::server_dies;
use sim::world::Setting;

/// Steps between two tries, where `SIM_STRIDE` does not say; each try is a whole run from boot.
const STRIDE: u64 = 50;
const STEPS_MAX: u64 = 120;

fn at_some_steps(server: ServerId) {
    let stride = std::env::var("SIM_STRIDE").ok().and_then(|stride| stride.parse().ok());
    for steps in (0..STEPS_MAX).step_by(stride.unwrap_or(STRIDE as usize).max(1)) {
        for cores in [1, 2] {
            let setting = Setting { cores, ..Setting::new(11 + steps) };
            // Shown if the try fails.
            println!("{server} dies after {steps} steps, {cores} cores, seed {}", setting.seed);
            server_dies(&setting, server, steps);
        }
    }
}

macro_rules! dies {
    ($($name:ident: $server:ident;)*) => {$(
        #[test]
        fn $name() {
            at_some_steps(ServerId::$server);
        }
    )*};
}

dies! {
    console_dies_and_programs_go_on: Console;
    timer_dies_and_other_nodes_go_on: Timer;
    net_dies_and_other_nodes_go_on: Net;
    mem_dies_and_other_nodes_go_on: Mem;
    fs_dies_and_no_thread_stays_blocked: Fs;
    ipc_dies_and_other_nodes_go_on: Ipc;
    proc_dies_and_other_nodes_go_on: Proc;
    shell_dies_and_programs_go_on: Shell;
    disk_dies_and_other_nodes_go_on: Disk;
}
