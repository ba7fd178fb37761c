// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of proc-server: the Linux personality.
