// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links over a simulated wire.

mod hostile;
mod keys;
mod links;
mod loads;
mod newcomers;
mod pings;
mod sessions;
mod strangers;
mod wire_sim;
