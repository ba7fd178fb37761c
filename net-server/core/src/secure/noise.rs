// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handshake that makes a session's keys: Noise_KK, by the library snow.
//!
//! # Model
//! Both sides know both static keys. The initiator's message carries nothing but its proof; the
//! responder's carries, encrypted, how it names the session. What both have said before stands in the
//! prologue, so that a handshake in which the two heard different things fails.

use super::keys::LinkKeys;
use super::random::Random;
use super::seal::{Key, Opener, Sealer};
use super::{Forged, Session};
use crate::limits::Versions;
use abi::NodeId;
use alloc::boxed::Box;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash};
use snow::{Builder, Error, HandshakeState};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{Immutable, IntoBytes, Unaligned};

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_BLAKE2s";
/// Bytes of the initiator's message: an ephemeral key and a tag.
pub(crate) const PROPOSAL_BYTES: usize = 32 + 16;
/// Bytes of the responder's message: an ephemeral key, its session number and a tag.
pub(crate) const RESPONSE_BYTES: usize = 32 + 8 + 16;

/// What a side of a link says of itself before the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Side {
    pub(crate) node: NodeId,
    pub(crate) versions: Versions,
}

/// What both sides must have heard alike, as bytes that go into the handshake.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Prologue {
    label: [u8; 15],
    version: u8,
    nodes: [U16; 2],
    versions: [[u8; 2]; 2],
    /// How the initiator names the session.
    session: U64,
    challenge: U64,
    /// How initiator and responder named the session that goes on under new keys; 0 if none does.
    renews: [U64; 2],
}

impl Prologue {
    pub(crate) fn new(
        initiator: Side,
        responder: Side,
        version: u8,
        session: u64,
        challenge: u64,
        renews: Option<[u64; 2]>,
    ) -> Self {
        let range = |versions: Versions| [versions.oldest, versions.newest];
        Self {
            label: *b"korrigan link 1",
            version,
            nodes: [initiator.node, responder.node].map(|node| node.get().into()),
            versions: [range(initiator.versions), range(responder.versions)],
            session: session.into(),
            challenge: challenge.into(),
            renews: renews.unwrap_or_default().map(U64::new),
        }
    }
}

/// snow's own primitives, with randomness that comes from the caller.
struct Seeded([u8; 32]);

struct Generator(ChaCha20Rng);

impl snow::types::Random for Generator {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Generator(ChaCha20Rng::from_seed(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn state(
    keys: &LinkKeys,
    prologue: &Prologue,
    random: &mut Random,
    initiates: bool,
) -> Result<HandshakeState, Error> {
    let params: NoiseParams = PATTERN.parse()?;
    let builder = Builder::with_resolver(params, Box::new(Seeded(random.seed())))
        .local_private_key(keys.mine.bytes())?
        .remote_public_key(&keys.peer.0)?
        .prologue(prologue.as_bytes())?;
    if initiates { builder.build_initiator() } else { builder.build_responder() }
}

const BUILT: &str = "snow is built with what the pattern names";

/// The initiator, which waits for the response.
#[derive(Debug)]
pub(crate) struct Initiator {
    state: Box<HandshakeState>,
    mine: u64,
    version: u8,
}

impl Initiator {
    /// Begins, and gives the first message.
    pub(crate) fn new(
        keys: &LinkKeys,
        prologue: &Prologue,
        random: &mut Random,
    ) -> (Self, [u8; PROPOSAL_BYTES]) {
        let mut state = state(keys, prologue, random, true).expect(BUILT);
        let mut proposal = [0; PROPOSAL_BYTES];
        let len = state.write_message(&[], &mut proposal).expect("the message has its place");
        assert_eq!(len, PROPOSAL_BYTES, "an ephemeral key and a tag");
        let (mine, version) = (prologue.session.get(), prologue.version);
        (Self { state: Box::new(state), mine, version }, proposal)
    }

    /// The session, if the response is right.
    pub(crate) fn finish(&mut self, response: &[u8]) -> Result<Session, Forged> {
        let mut theirs = U64::ZERO;
        let read = self.state.read_message(response, theirs.as_mut_bytes());
        if read.ok() != Some(size_of::<U64>()) {
            return Err(Forged);
        }
        let (to_peer, from_peer) = self.state.dangerously_get_raw_split();
        Ok(Session {
            mine: self.mine,
            theirs: theirs.get(),
            version: self.version,
            sealer: Sealer::new(Key::new(to_peer)),
            opener: Opener::new(Key::new(from_peer)),
        })
    }
}

/// The responder: the session that a proposal opens, and the message that answers it.
pub(crate) fn respond(
    keys: &LinkKeys,
    prologue: &Prologue,
    random: &mut Random,
    proposal: &[u8],
) -> Result<(Session, [u8; RESPONSE_BYTES]), Forged> {
    let mut state = state(keys, prologue, random, false).expect(BUILT);
    if state.read_message(proposal, &mut []).ok() != Some(0) {
        return Err(Forged);
    }
    let mine = random.number();
    let mut response = [0; RESPONSE_BYTES];
    let written = state.write_message(U64::new(mine).as_bytes(), &mut response);
    assert_eq!(written.expect("the message has its place"), RESPONSE_BYTES, "as stated");
    let (from_peer, to_peer) = state.dangerously_get_raw_split();
    let session = Session {
        mine,
        theirs: prologue.session.get(),
        version: prologue.version,
        sealer: Sealer::new(Key::new(to_peer)),
        opener: Opener::new(Key::new(from_peer)),
    };
    Ok((session, response))
}
