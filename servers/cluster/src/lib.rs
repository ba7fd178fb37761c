// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views: epoch, members and the slot table.
