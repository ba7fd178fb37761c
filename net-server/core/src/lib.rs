// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of net-server: links between nodes.
