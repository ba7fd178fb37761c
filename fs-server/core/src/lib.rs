// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of fs-server: name space, inodes, open files.
