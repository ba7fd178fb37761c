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

/// Entries that one request adds to a table at most: two ends, and what they need.
const ADDED_AT_ONCE: usize = 8;

/// Bytes that a table needs for its next entries: it doubles when it is full, and both are there for a moment.
pub fn growth_bytes<K, V>(table: &HashMap<K, V>) -> usize {
    if table.len() + ADDED_AT_ONCE <= table.capacity() {
        return 0;
    }
    // An eighth of the places stays free.
    let places = (table.capacity() * 2).max(4).next_power_of_two();
    places * (size_of::<(K, V)>() + 1)
}
