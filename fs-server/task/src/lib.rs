// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-server on seL4.
