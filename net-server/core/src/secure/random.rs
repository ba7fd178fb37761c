// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random numbers of one boot, from its seed.

use super::Secret;
use super::keys::hmac;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The generator. Everything that a node's links choose by chance follows from its seed.
#[derive(Debug)]
pub(crate) struct Random(ChaCha20Rng);

impl Random {
    /// The generator of this boot. The private key goes in as well: if the seed is poor, others can
    /// guess no more than the seed's repetition.
    pub(crate) fn new(seed: &[u8; 32], secret: &Secret) -> Self {
        Self(ChaCha20Rng::from_seed(*hmac(secret.bytes(), seed)))
    }

    /// A number that is not 0.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64().max(1)
    }

    /// The seed of one handshake's generator.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}
