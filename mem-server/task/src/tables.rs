// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page tables of one address space, and how many pages each maps.
//!
//! A table without a mapping may stay where it is for the next program: the count tells what a space
//! uses from what it merely keeps.

use alloc::vec::Vec;

/// Bytes that a page table maps.
pub const TABLE_BYTES: u64 = 2 << 20;

/// A page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    /// Number of the 2 MiB that it maps.
    number: u64,
    slot: u64,
    mapped: u32,
}

/// The page tables of a space, in the order of their addresses.
#[derive(Debug, Default)]
pub struct Tables {
    rows: Vec<Row>,
}

impl Tables {
    /// Slot of the table that maps `addr`.
    pub fn slot(&self, addr: u64) -> Option<u64> {
        self.find(addr).ok().map(|at| self.rows[at].slot)
    }

    /// The table in `slot` maps the 2 MiB around `addr` from now on. There was none.
    pub fn add(&mut self, addr: u64, slot: u64) {
        let place = self.find(addr);
        assert!(place.is_err(), "the kernel maps one table at an address");
        let at = place.unwrap_or_else(|at| at);
        self.rows.insert(at, Row { number: addr / TABLE_BYTES, slot, mapped: 0 });
    }

    /// A page was mapped at `addr`; whether it is the first of its table.
    pub fn mapped(&mut self, addr: u64) -> bool {
        let Ok(at) = self.find(addr) else { return false };
        self.rows[at].mapped += 1;
        self.rows[at].mapped == 1
    }

    /// A page at `addr` is mapped no more; whether it was the last of its table.
    pub fn unmapped(&mut self, addr: u64) -> bool {
        let Ok(at) = self.find(addr) else { return false };
        let row = &mut self.rows[at];
        assert!(row.mapped > 0, "only mapped pages are unmapped");
        row.mapped -= 1;
        row.mapped == 0
    }

    /// Takes tables out, highest first, until `keep` are left; their slots.
    pub fn shrink(&mut self, keep: usize) -> impl Iterator<Item = u64> + '_ {
        let first = keep.min(self.rows.len());
        self.rows.drain(first..).map(|row| row.slot)
    }

    fn find(&self, addr: u64) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&(addr / TABLE_BYTES), |row| row.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_unmapped_tell_a_tables_first_and_last_page() {
        let mut tables = Tables::default();
        tables.add(5 * TABLE_BYTES, 50);
        tables.add(TABLE_BYTES, 10);
        assert!(tables.mapped(TABLE_BYTES));
        assert!(!tables.mapped(TABLE_BYTES + 4096));
        assert!(tables.mapped(5 * TABLE_BYTES + 4096));
        assert!(!tables.unmapped(TABLE_BYTES));
        assert!(tables.unmapped(TABLE_BYTES + 4096));
    }

    #[test]
    fn slot_is_that_of_the_address_s_table() {
        let mut tables = Tables::default();
        tables.add(7 * TABLE_BYTES, 70);
        tables.add(3 * TABLE_BYTES, 30);
        assert_eq!(tables.slot(3 * TABLE_BYTES + 12345), Some(30));
        assert_eq!(tables.slot(8 * TABLE_BYTES - 1), Some(70));
        assert_eq!(tables.slot(8 * TABLE_BYTES), None);
    }

    #[test]
    fn shrink_keeps_as_many_as_asked() {
        let mut tables = Tables::default();
        (0..5).for_each(|n| tables.add(n * TABLE_BYTES, n));
        assert_eq!(tables.shrink(3).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(tables.shrink(3).count(), 0);
        assert_eq!(tables.slot(2 * TABLE_BYTES), Some(2));
    }
}
