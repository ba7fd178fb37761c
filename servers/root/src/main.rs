// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first program: owns all capabilities at boot, starts and watches the domains.

fn main() {}
