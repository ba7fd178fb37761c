// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer server: deadlines on the PIT.
