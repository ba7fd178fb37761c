// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes off the network: see `net_core::fuzz`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    net_core::fuzz::script(data);
});
