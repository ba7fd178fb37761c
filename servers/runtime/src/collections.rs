// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hash tables whose order depends on nothing but what was done to them: a seed repeats a simulation exactly,
//! wherever it runs.
//!
//! # Limits
//! Who chooses keys can choose ones that collide. Keys are ids that servers give out, and page numbers, which
//! cost a program its own memory.

use foldhash::fast::FixedState;

/// A map.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, FixedState>;
/// A set.
pub type HashSet<T> = hashbrown::HashSet<T, FixedState>;
