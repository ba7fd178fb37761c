// SPDX-License-Identifier: MIT OR Apache-2.0
//! virtio-net for net-server.
