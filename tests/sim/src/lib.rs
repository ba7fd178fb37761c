// SPDX-License-Identifier: MIT OR Apache-2.0
//! Simulator: the servers' cores of several nodes in one thread, from one seed, with faults.
