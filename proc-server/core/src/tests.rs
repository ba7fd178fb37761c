// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts of system calls against small fakes of the other servers.
