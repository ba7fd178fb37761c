// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one shape of every server: messages, answers, tickets, and the loop that drives a core.
