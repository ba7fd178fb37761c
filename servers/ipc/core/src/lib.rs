// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of the ipc server.
