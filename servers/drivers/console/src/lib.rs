// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console server: a 16550 UART.
