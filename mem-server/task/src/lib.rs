// SPDX-License-Identifier: MIT OR Apache-2.0
//! mem-server on seL4.
