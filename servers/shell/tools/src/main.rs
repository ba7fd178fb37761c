// SPDX-License-Identifier: MIT OR Apache-2.0
//! The administration programs that run as Linux programs: nodes, ps, onnode, migrate, mem, net, klog, halt, reboot.

fn main() {}
