// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host tool: builds kernel, servers and boot images; runs and tests QEMU clusters.

fn main() {}
