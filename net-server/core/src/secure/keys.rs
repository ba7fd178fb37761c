// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node's key pair, and the key that two nodes share before any handshake.

use super::Forged;
use alloc::boxed::Box;
use core::fmt;
use snow::params::{DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Dh, Hash};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of the code that authenticates a greeting: half of a BLAKE2s output.
pub(crate) const MAC_BYTES: usize = 16;
/// Bytes of a key, and of a BLAKE2s output.
const KEY_BYTES: usize = 32;

/// A node's private key: 32 random bytes, for X25519 (RFC 7748).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; KEY_BYTES]>);

/// A node's public key, an X25519 point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub [u8; KEY_BYTES]);

impl Secret {
    /// The private key of these bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        let mut public = [0; KEY_BYTES];
        public.copy_from_slice(self.dh().pubkey());
        PublicKey(public)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn dh(&self) -> Box<dyn Dh> {
        let dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519);
        let mut dh = dh.expect("snow is built with X25519");
        dh.set(&*self.0);
        dh
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// HMAC-BLAKE2s.
pub(super) fn hmac(key: &[u8; KEY_BYTES], data: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let hash = DefaultResolver.resolve_hash(&HashChoice::Blake2s);
    let mut hash: Box<dyn Hash> = hash.expect("snow is built with BLAKE2s");
    let mut out = Zeroizing::new([0; KEY_BYTES]);
    hash.hmac(key, data, &mut *out);
    out
}

/// What this node and one peer know of each other's keys.
#[derive(Debug)]
pub(crate) struct LinkKeys {
    pub(super) mine: Secret,
    pub(super) peer: PublicKey,
    /// Both ends compute it from their static keys; nobody else can.
    greeting: Secret,
}

impl LinkKeys {
    pub(crate) fn new(secret: &Secret, peer: PublicKey) -> Self {
        let mut shared = Zeroizing::new([0; KEY_BYTES]);
        // X25519 has no failures. A peer whose key is a point of low order would share a key that is no
        // secret: who writes images, and who agrees on views, names none.
        let _ = secret.dh().dh(&peer.0, &mut *shared);
        let greeting = Secret(hmac(&shared, b"korrigan greeting"));
        Self { mine: secret.clone(), peer, greeting }
    }

    /// The code of a greeting.
    pub(crate) fn mac(&self, data: &[u8]) -> [u8; MAC_BYTES] {
        let full = hmac(self.greeting.bytes(), data);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&full[..MAC_BYTES]);
        mac
    }

    /// Checks a greeting's code, in the same time wherever it differs.
    pub(crate) fn check(&self, data: &[u8], mac: &[u8]) -> Result<(), Forged> {
        if bool::from(self.mac(data).ct_eq(mac)) { Ok(()) } else { Err(Forged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        core::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
    }

    /// RFC 7748, 5.2, the first one.
    #[test]
    fn secret_with_the_standard_point_gives_the_standard_result() {
        let scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4";
        let point = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c";
        let result = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552";
        let mut out = [0; 32];
        let dh = Secret::new(bytes(scalar)).dh();
        dh.dh(&bytes::<32>(point), &mut out).expect("it cannot fail");
        assert_eq!(out, bytes(result));
    }

    /// What views refuse as keys is what hides nothing.
    #[test]
    fn points_of_low_order_share_zero_with_everybody() {
        for point in cluster::LOW_ORDER {
            for byte in 1..=50 {
                let mut out = [1; 32];
                let _ = Secret::new([byte; 32]).dh().dh(&point, &mut out);
                assert_eq!(out, [0; 32], "{point:?}");
            }
        }
    }

    #[test]
    fn link_keys_are_the_same_at_both_ends_and_nowhere_else() {
        let [a, b, c] = [1, 2, 3].map(|byte| Secret::new([byte; 32]));
        let at_a = LinkKeys::new(&a, b.public());
        let at_b = LinkKeys::new(&b, a.public());
        let at_c = LinkKeys::new(&c, b.public());
        let mac = at_a.mac(b"hello");
        assert_eq!(at_b.check(b"hello", &mac), Ok(()));
        assert_eq!(at_b.check(b"hellp", &mac), Err(Forged));
        assert_eq!(at_b.check(b"hello", &mac[1..]), Err(Forged));
        assert_eq!(at_c.check(b"hello", &mac), Err(Forged));
    }
}
