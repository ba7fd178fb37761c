// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed bindings to seL4: capabilities, invocations, system calls, boot information.
