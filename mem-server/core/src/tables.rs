// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of one hardware address space below its top one, and how many pages each page table maps:
//! for machines that keep them.
//!
//! A table without a mapping may stay where it is for the next program: the count tells what a space
//! uses from what it merely keeps.

use alloc::vec::Vec;

/// Bytes that a page table maps.
const TABLE_BYTES: u64 = 2 << 20;

/// A level of x86-64's translation tables below the top one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Maps 2 MiB.
    PageTable,
    /// Maps 1 GiB.
    PageDirectory,
    /// Maps 512 GiB.
    Pdpt,
}

impl Level {
    /// How many there are.
    pub const COUNT: usize = 3;

    fn span_bits(self) -> u32 {
        match self {
            Self::PageTable => TABLE_BYTES.trailing_zeros(),
            Self::PageDirectory => 30,
            Self::Pdpt => 39,
        }
    }
}

/// A page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    /// Number of the 2 MiB that it maps.
    number: u64,
    slot: u64,
    mapped: u32,
}

/// A table above the page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Upper {
    level: Level,
    addr: u64,
    slot: u64,
}

impl Upper {
    fn covers(&self, addr: u64) -> bool {
        addr >> self.level.span_bits() == self.addr >> self.level.span_bits()
    }
}

/// The tables of a space: page tables in the order of their addresses, and the few above them.
#[derive(Debug, Default)]
pub struct Tables {
    rows: Vec<Row>,
    /// The row that was found last: faults come in clusters.
    last: usize,
    uppers: Vec<Upper>,
}

impl Tables {
    /// Slot of the table that maps `addr`.
    pub fn slot(&self, addr: u64) -> Option<u64> {
        self.find(addr).ok().map(|at| self.rows[at].slot)
    }

    /// The table in `slot` maps its range around `addr` from now on. There was none.
    pub fn add(&mut self, level: Level, addr: u64, slot: u64) {
        if level != Level::PageTable {
            self.uppers.push(Upper { level, addr, slot });
            return;
        }
        let place = self.find(addr);
        assert!(place.is_err(), "the kernel maps one table at an address");
        let at = place.unwrap_or_else(|at| at);
        self.rows.insert(at, Row { number: addr / TABLE_BYTES, slot, mapped: 0 });
    }

    /// A page was mapped at `addr`.
    #[inline]
    pub fn mapped(&mut self, addr: u64) {
        if let Some(row) = self.row(addr) {
            row.mapped += 1;
        }
    }

    /// A page at `addr` is mapped no more.
    #[inline]
    pub fn unmapped(&mut self, addr: u64) {
        if let Some(row) = self.row(addr) {
            assert!(row.mapped > 0, "only mapped pages are unmapped");
            row.mapped -= 1;
        }
    }

    /// How many page tables map something, and how many pages that is. Looks at all of them.
    pub fn in_use(&self) -> (u64, u64) {
        let live = self.rows.iter().filter(|row| row.mapped > 0);
        live.fold((0, 0), |(tables, pages), row| (tables + 1, pages + u64::from(row.mapped)))
    }

    /// Takes page tables out, highest first, until `keep` are left, then the tables above that have
    /// nothing below them any more; their levels and slots, lower levels first.
    pub fn shrink(&mut self, keep: usize) -> Vec<(Level, u64)> {
        let first = keep.min(self.rows.len());
        let mut out: Vec<_> =
            self.rows.drain(first..).map(|row| (Level::PageTable, row.slot)).collect();
        // A directory has a table below it exactly if a page table lies in its range, and so has
        // what is above it.
        let rows = &self.rows;
        let holds = |upper: &Upper| rows.iter().any(|row| upper.covers(row.number * TABLE_BYTES));
        for level in [Level::PageDirectory, Level::Pdpt] {
            let bare = self.uppers.extract_if(.., |upper| upper.level == level && !holds(upper));
            out.extend(bare.map(|upper| (level, upper.slot)));
        }
        out
    }

    #[inline]
    fn row(&mut self, addr: u64) -> Option<&mut Row> {
        let number = addr / TABLE_BYTES;
        if self.rows.get(self.last).is_none_or(|row| row.number != number) {
            self.last = self.find(addr).ok()?;
        }
        self.rows.get_mut(self.last)
    }

    fn find(&self, addr: u64) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&(addr / TABLE_BYTES), |row| row.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_page_tables(numbers: &[u64]) -> Tables {
        let mut tables = Tables::default();
        for number in numbers {
            tables.add(Level::PageTable, number * TABLE_BYTES, number * 10);
        }
        tables
    }

    #[test]
    fn in_use_counts_tables_that_map_something_and_their_pages() {
        let mut tables = with_page_tables(&[5, 1]);
        assert_eq!(tables.in_use(), (0, 0));
        tables.mapped(TABLE_BYTES);
        tables.mapped(TABLE_BYTES + 4096);
        assert_eq!(tables.in_use(), (1, 2));
        tables.mapped(5 * TABLE_BYTES + 4096);
        assert_eq!(tables.in_use(), (2, 3));
        tables.unmapped(TABLE_BYTES);
        tables.unmapped(TABLE_BYTES + 4096);
        assert_eq!(tables.in_use(), (1, 1));
    }

    #[test]
    fn slot_is_that_of_the_page_table_around_the_address() {
        let tables = with_page_tables(&[7, 3]);
        assert_eq!(tables.slot(3 * TABLE_BYTES + 12345), Some(30));
        assert_eq!(tables.slot(8 * TABLE_BYTES - 1), Some(70));
        assert_eq!(tables.slot(8 * TABLE_BYTES), None);
    }

    #[test]
    fn shrink_keeps_the_lowest_page_tables() {
        let mut tables = with_page_tables(&[1, 2, 3, 4, 5]);
        let out = tables.shrink(3);
        assert_eq!(out, [(Level::PageTable, 40), (Level::PageTable, 50)]);
        assert_eq!(tables.shrink(3), []);
        assert_eq!(tables.slot(3 * TABLE_BYTES), Some(30));
    }

    #[test]
    fn shrink_takes_directories_that_have_nothing_below_them() {
        let far = 1 << 39;
        let mut tables = with_page_tables(&[1, far / TABLE_BYTES]);
        tables.add(Level::Pdpt, 0, 1);
        tables.add(Level::PageDirectory, 0, 2);
        tables.add(Level::PageDirectory, 1 << 30, 3);
        tables.add(Level::Pdpt, far, 4);
        tables.add(Level::PageDirectory, far, 5);
        let slot = far / TABLE_BYTES * 10;
        let out = [
            (Level::PageTable, slot),
            (Level::PageDirectory, 3),
            (Level::PageDirectory, 5),
            (Level::Pdpt, 4),
        ];
        assert_eq!(tables.shrink(1), out);
        assert_eq!(
            tables.shrink(0),
            [(Level::PageTable, 10), (Level::PageDirectory, 2), (Level::Pdpt, 1)]
        );
    }
}
