// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mistakes made on purpose, for tests that must notice them. Outside of tests none is ever on.

use crate::MemCore;

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// Messages of an earlier round count.
    OldRoundsCount,
    /// A home serves slots before all members have changed what it told them to.
    OpensUnobeyed,
    /// What nobody has reported to a home that knows nothing was never touched.
    NothingIsZero,
    /// A page that was kept is good, whoever may have had it since.
    KeptIsGood,
}

impl<M> MemCore<M> {
    /// Whether this mistake is made.
    pub(crate) fn makes(&self, mutant: Mutant) -> bool {
        #[cfg(test)]
        let made = self.mutant == Some(mutant);
        #[cfg(not(test))]
        let made = {
            let _ = mutant;
            false
        };
        made
    }
}
