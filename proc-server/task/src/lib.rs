// SPDX-License-Identifier: MIT OR Apache-2.0
//! proc-server on seL4.
