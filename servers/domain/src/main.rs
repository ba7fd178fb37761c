// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that every domain runs: hosts the servers that the manifest names.

fn main() {}
