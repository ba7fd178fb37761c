// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of a session's frames have been opened: none is opened twice.
//!
//! # Source
//! RFC 6479 for a window in words of bits.

use crate::limits::REPLAY_FRAMES;

const BITS: u64 = u64::BITS as u64;
const WORDS: usize = (REPLAY_FRAMES / BITS) as usize;

/// The numbers that were marked: all before the window, and those in it whose bit is set.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// One more than the greatest number marked.
    end: u64,
    bits: [u64; WORDS],
}

fn place(number: u64) -> (usize, u64) {
    ((number / BITS) as usize % WORDS, 1 << (number % BITS))
}

impl Window {
    /// Whether this number was not marked yet, as far as the window tells.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        number >= self.end
            || (number >= self.end.saturating_sub(REPLAY_FRAMES) && self.bits[word] & bit == 0)
    }

    /// Marks a number that is new.
    pub(crate) fn mark(&mut self, number: u64) {
        assert!(self.is_new(number), "no frame is opened twice");
        if number >= self.end {
            let skipped = (number - self.end).min(REPLAY_FRAMES);
            // What leaves the window makes place for what enters.
            for entered in number - skipped..=number {
                let (word, bit) = place(entered);
                self.bits[word] &= !bit;
            }
            self.end = number + 1;
        }
        let (word, bit) = place(number);
        self.bits[word] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn window_number_behind_it_is_not_new() {
        let mut window = Window::default();
        window.mark(REPLAY_FRAMES);
        assert!(window.is_new(1) && !window.is_new(0));
        window.mark(5 * REPLAY_FRAMES);
        assert!(!window.is_new(REPLAY_FRAMES + 1) && window.is_new(5 * REPLAY_FRAMES - 1));
    }

    proptest! {
        #[test]
        fn window_tells_what_a_set_tells(steps in prop::collection::vec(0..40_000u64, 1..200)) {
            let (mut window, mut set, mut end) = (Window::default(), BTreeSet::new(), 0u64);
            for number in steps {
                let number = if number % 3 == 0 { number } else { end.saturating_sub(number % 2000) };
                let inside = number >= end.saturating_sub(REPLAY_FRAMES);
                prop_assert_eq!(window.is_new(number), inside && !set.contains(&number));
                if window.is_new(number) {
                    window.mark(number);
                    set.insert(number);
                    end = end.max(number + 1);
                }
            }
        }
    }
}
