// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the shell server: administration.
