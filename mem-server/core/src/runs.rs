// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of page numbers, kept as runs: what has not arrived yet of a moved space is few ranges of
//! many pages.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// The set.
#[derive(Default, Debug)]
pub(crate) struct Runs {
    /// Start to end of each run; runs neither meet nor overlap.
    map: BTreeMap<u64, u64>,
}

impl Runs {
    pub(crate) fn contains(&self, page: u64) -> bool {
        self.map.range(..=page).next_back().is_some_and(|(_, &end)| page < end)
    }

    /// Adds a run above all others; false if it is not.
    pub(crate) fn append(&mut self, run: Range<u64>) -> bool {
        let above = self.map.last_key_value().is_none_or(|(_, &end)| end <= run.start);
        if above && !run.is_empty() {
            self.map.insert(run.start, run.end);
        }
        above && !run.is_empty()
    }

    /// Takes the range out; how many pages of it were in.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> u64 {
        let mut count = 0;
        if range.is_empty() {
            return count;
        }
        while let Some((&start, &end)) = self.map.range(..range.end).next_back() {
            if end <= range.start {
                break;
            }
            self.map.remove(&start);
            if end > range.end {
                self.map.insert(range.end, end);
            }
            let cut = start.max(range.start)..end.min(range.end);
            count += cut.end - cut.start;
            if start < range.start {
                self.map.insert(start, range.start);
                break;
            }
        }
        count
    }

    /// The first page of the set at or above this one.
    pub(crate) fn next_from(&self, page: u64) -> Option<u64> {
        self.next_run(page).map(|run| run.start)
    }

    /// The pages from there on that follow each other without a gap.
    pub(crate) fn next_run(&self, page: u64) -> Option<Range<u64>> {
        let before = self.map.range(..=page).next_back().filter(|(_, end)| page < **end);
        let run = before.or_else(|| self.map.range(page..).next());
        run.map(|(&start, &end)| start.max(page)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_agree_with_a_plain_set(
            ends in proptest::collection::vec((1u64..9, 1u64..9), 1..6),
            cuts in proptest::collection::vec((0u64..90, 0u64..20), 0..12),
        ) {
            let (mut runs, mut plain, mut at) = (Runs::default(), BTreeSet::new(), 0);
            for (gap, len) in ends {
                prop_assert!(runs.append(at + gap..at + gap + len));
                plain.extend(at + gap..at + gap + len);
                at += gap + len;
            }
            for (start, len) in cuts {
                let before = plain.len();
                plain.retain(|page| !(start..start + len).contains(page));
                prop_assert_eq!(runs.remove(start..start + len), (before - plain.len()) as u64);
                for page in 0..100 {
                    prop_assert_eq!(runs.contains(page), plain.contains(&page));
                    prop_assert_eq!(runs.next_from(page), plain.range(page..).next().copied());
                    let run = runs.next_run(page).unwrap_or(0..0);
                    prop_assert!(run.clone().all(|it| plain.contains(&it)) && !plain.contains(&run.end));
                }
            }
        }
    }
}
