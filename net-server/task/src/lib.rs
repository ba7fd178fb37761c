// SPDX-License-Identifier: MIT OR Apache-2.0
//! net-server on seL4.
