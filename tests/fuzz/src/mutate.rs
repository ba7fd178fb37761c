// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes scripts by chance: bytes anywhere, and operations as wholes.

use net_core::fuzz::OPERATION_BYTES;

/// Longest script.
const SCRIPT_BYTES_MAX: usize = 16 * 1024;
/// Changes of one script.
const CHANGES_MAX: u64 = 6;
/// Bytes at which decoders often err.
const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 64];

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }
}

/// Scripts, and the chance that changes them.
pub struct Mutator {
    rng: Rng,
    scripts: Vec<Vec<u8>>,
}

impl Mutator {
    /// Begins with these.
    pub fn new(rng: Rng, scripts: Vec<Vec<u8>>) -> Self {
        Self { rng, scripts }
    }

    /// How many scripts are kept.
    pub fn count(&self) -> usize {
        self.scripts.len()
    }

    /// One of them.
    pub fn script(&self, index: usize) -> Vec<u8> {
        self.scripts[index].clone()
    }

    /// Keeps one more.
    pub fn keep(&mut self, script: Vec<u8>) {
        self.scripts.push(script);
    }

    /// A script that was made of those that are kept.
    pub fn next(&mut self) -> Vec<u8> {
        let index = self.rng.below(self.scripts.len());
        let mut script = self.scripts.get(index).cloned().unwrap_or_default();
        for _ in 0..=self.rng.bits() % CHANGES_MAX {
            self.change(&mut script);
        }
        script.truncate(SCRIPT_BYTES_MAX);
        script
    }

    fn change(&mut self, script: &mut Vec<u8>) {
        let at = self.rng.below(script.len());
        match self.rng.below(9) {
            0..=2 if !script.is_empty() => script[at] ^= 1 << self.rng.below(8),
            3 if !script.is_empty() => script[at] = EDGES[self.rng.below(EDGES.len())],
            4 if !script.is_empty() => script[at] = self.rng.bits() as u8,
            5 => script.truncate(at),
            6 => {
                // An operation of chance.
                let len = self.rng.below(40);
                let mut operation = vec![self.rng.bits() as u8, len as u8, 0];
                operation.extend((0..len).map(|_| self.rng.bits() as u8));
                self.insert(script, &operation);
            }
            7 => {
                // An operation of some script, perhaps of this one.
                let index = self.rng.below(self.scripts.len());
                let other = self.scripts.get(index).cloned().unwrap_or_default();
                let starts = operations(&other);
                if let Some(&start) = starts.get(self.rng.below(starts.len())) {
                    let end = end_of(&other, start);
                    self.insert(script, &other[start..end]);
                }
            }
            _ => {
                let starts = operations(script);
                if let Some(&start) = starts.get(self.rng.below(starts.len())) {
                    let end = end_of(script, start);
                    script.drain(start..end);
                }
            }
        }
    }

    /// Puts an operation before another one, or at the end.
    fn insert(&mut self, script: &mut Vec<u8>, operation: &[u8]) {
        let mut places = operations(script);
        places.push(script.len());
        let place = places[self.rng.below(places.len())];
        script.splice(place..place, operation.iter().copied());
    }
}

/// Where operations begin.
fn operations(script: &[u8]) -> Vec<usize> {
    let (mut starts, mut at) = (Vec::new(), 0);
    while at + OPERATION_BYTES <= script.len() {
        starts.push(at);
        at = end_of(script, at);
    }
    starts
}

fn end_of(script: &[u8], start: usize) -> usize {
    let len = usize::from(u16::from_le_bytes([script[start + 1], script[start + 2]]));
    (start + OPERATION_BYTES + len).min(script.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_where_they_begin() {
        let script = [1, 2, 0, 9, 9, 4, 0, 0, 5, 255, 0, 1];
        assert_eq!(operations(&script), [0, 5, 8]);
        assert_eq!(end_of(&script, 8), script.len());
    }

    #[test]
    fn mutator_repeats_with_its_seed_and_keeps_its_bound() {
        let make = || Mutator::new(Rng::new(7), vec![vec![0, 3, 0, 1, 2, 3], vec![]]);
        let (mut a, mut b) = (make(), make());
        for _ in 0..2000 {
            let script = a.next();
            assert_eq!(script, b.next());
            assert!(script.len() <= SCRIPT_BYTES_MAX);
        }
    }
}
