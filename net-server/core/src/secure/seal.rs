// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sealing and opening frames, and the change of keys on the way.
//!
//! # Model
//! Every frame of a direction has a number, which is its nonce. After [`REKEY_FRAMES`] frames the key
//! is replaced by a one-way function of itself, so that who takes a node's memory reads nothing that
//! was sent before. The frame's number says which key it is sealed with; the opener holds the present
//! one, the one before for frames that come late, and computes the next when the first frame for it
//! comes.
//!
//! # Invariants
//! No number is sealed twice with a key. Nothing changes in the opener unless a frame was authentic.
//!
//! # Source
//! Noise revision 34, 5.1 and 11.3 (rekey), RFC 8439 (ChaCha20-Poly1305).

use super::window::Window;
use crate::limits::{REKEY_FRAMES, REPLAY_FRAMES};
use alloc::vec::Vec;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use core::fmt;
use net_api::Cause;
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

/// A key of one direction.
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }

    /// Noise's REKEY.
    fn next(&self) -> Self {
        let mut next = Zeroizing::new([0; 32]);
        let tag = self.cipher().encrypt_in_place_detached(&nonce(u64::MAX), &[], &mut *next);
        tag.expect("32 bytes are not too long");
        Self(next)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Noise's nonce for ChaChaPoly: four zero bytes and the number, little-endian.
fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// The direction to the peer.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: Key,
    epoch: u64,
    /// Number of the next frame.
    number: u64,
}

impl Sealer {
    pub(crate) fn new(key: Key) -> Self {
        Self { key, epoch: 0, number: 0 }
    }

    /// The number that the next frame's header must carry.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Encrypts `frame` from `clear` on and appends the tag, which covers all of it.
    pub(crate) fn seal(&mut self, frame: &mut Vec<u8>, clear: usize) {
        if self.number / REKEY_FRAMES > self.epoch {
            self.key = self.key.next();
            self.epoch += 1;
        }
        assert_eq!(self.number / REKEY_FRAMES, self.epoch, "frames are numbered one by one");
        let (header, body) = frame.split_at_mut(clear);
        let sealed = self.key.cipher().encrypt_in_place_detached(&nonce(self.number), header, body);
        let tag = sealed.expect("a frame is shorter than the cipher's limit");
        frame.extend_from_slice(&tag);
        self.number += 1;
    }
}

/// The direction from the peer.
#[derive(Debug)]
pub(crate) struct Opener {
    epoch: u64,
    key: Key,
    /// The key of the epoch before, while late frames may need it.
    before: Option<Key>,
    window: Window,
}

impl Opener {
    pub(crate) fn new(key: Key) -> Self {
        Self { epoch: 0, key, before: None, window: Window::default() }
    }

    /// Decrypts `frame` from `clear` on, in place; what it says is `clear..len() - TAG_BYTES`.
    ///
    /// # Errors
    /// [`Cause::Replayed`], [`Cause::Stale`] or [`Cause::Unauthentic`]; the frame is as it was.
    pub(crate) fn open(
        &mut self,
        number: u64,
        frame: &mut [u8],
        clear: usize,
    ) -> Result<(), Cause> {
        if !self.window.is_new(number) {
            return Err(Cause::Replayed);
        }
        let epoch = number / REKEY_FRAMES;
        let mut next = None;
        let key = if epoch == self.epoch {
            &self.key
        } else if epoch == self.epoch + 1 {
            next.insert(self.key.next())
        } else if epoch + 1 == self.epoch {
            self.before.as_ref().ok_or(Cause::Stale)?
        } else {
            return Err(Cause::Stale);
        };
        let (header, sealed) = frame.split_at_mut(clear);
        let body_len = sealed.len().checked_sub(TAG_BYTES).ok_or(Cause::Truncated)?;
        let (body, tag) = sealed.split_at_mut(body_len);
        let tag = *Tag::from_slice(tag);
        key.cipher()
            .decrypt_in_place_detached(&nonce(number), header, body, &tag)
            .map_err(|_| Cause::Unauthentic)?;
        if let Some(next) = next {
            self.before = Some(core::mem::replace(&mut self.key, next));
            self.epoch = epoch;
        }
        self.window.mark(number);
        if epoch == self.epoch && number % REKEY_FRAMES >= REPLAY_FRAMES {
            // All frames of the epoch before are behind the window.
            self.before = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(Key::new([7; 32])), Opener::new(Key::new([7; 32])))
    }

    fn sealed(sealer: &mut Sealer, text: &[u8]) -> (u64, Vec<u8>) {
        let number = sealer.number();
        let mut frame = vec![9; 4];
        frame.extend_from_slice(text);
        sealer.seal(&mut frame, 4);
        (number, frame)
    }

    #[test]
    fn seal_opened_out_of_order_is_what_was_sealed_once() {
        let (mut sealer, mut opener) = pair();
        let mut frames: Vec<_> = (0..100u8).map(|i| sealed(&mut sealer, &[i; 9])).collect();
        frames.reverse();
        for (number, frame) in &frames {
            let mut copy = frame.clone();
            assert_eq!(opener.open(*number, &mut copy, 4), Ok(()));
            assert_eq!(copy[4..13], [*number as u8; 9]);
            assert_eq!(opener.open(*number, &mut frame.clone(), 4), Err(Cause::Replayed));
        }
    }

    #[test]
    fn seal_with_any_bit_flipped_or_number_changed_is_refused() {
        let (mut sealer, mut opener) = pair();
        let (number, frame) = sealed(&mut sealer, b"text");
        for bit in 0..frame.len() * 8 {
            let mut copy = frame.clone();
            copy[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opener.open(number, &mut copy, 4), Err(Cause::Unauthentic));
        }
        assert_eq!(opener.open(number + 1, &mut frame.clone(), 4), Err(Cause::Unauthentic));
        assert_eq!(opener.open(number, &mut frame.clone(), 4), Ok(()));
    }

    #[test]
    fn seal_over_changes_of_keys_opens_late_frames_too() {
        let (mut sealer, mut opener) = pair();
        let mut late = None;
        for _ in 0..3 * REKEY_FRAMES {
            let (number, mut frame) = sealed(&mut sealer, b"x");
            let held = number % REKEY_FRAMES >= REKEY_FRAMES - 2;
            if held && late.is_none() {
                late = Some((number, frame));
                continue;
            }
            assert_eq!(opener.open(number, &mut frame, 4), Ok(()), "frame {number}");
            if number % REKEY_FRAMES == 10
                && let Some((number, mut frame)) = late.take()
            {
                assert_eq!(opener.open(number, &mut frame, 4), Ok(()), "late frame {number}");
            }
        }
        assert_eq!(opener.epoch, 2);
        assert!(opener.before.is_none(), "the old key is forgotten");
    }

    #[test]
    fn seal_of_an_epoch_far_ahead_is_stale_and_changes_nothing() {
        let (mut sealer, mut opener) = pair();
        let (number, mut frame) = sealed(&mut sealer, b"x");
        for number in [2 * REKEY_FRAMES, u64::MAX] {
            assert_eq!(opener.open(number, &mut frame.clone(), 4), Err(Cause::Stale));
        }
        let next = REKEY_FRAMES;
        assert_eq!(opener.open(next, &mut frame.clone(), 4), Err(Cause::Unauthentic));
        assert_eq!(opener.open(number, &mut frame, 4), Ok(()));
    }
}
