// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ids, errno, limits and Linux ABI structures that every server shares.
