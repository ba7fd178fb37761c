// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of mem-server: memory objects, address spaces, coherence, futexes.
