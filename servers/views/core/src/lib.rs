// SPDX-License-Identifier: MIT OR Apache-2.0
//! x
#![no_std]
#![forbid(unsafe_code)]
