// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shell server on seL4.
