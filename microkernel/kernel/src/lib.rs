// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the seL4 kernel from the source in the sel4-sys package, with Korrigan's edits (host code).
