// SPDX-License-Identifier: MIT OR Apache-2.0
//! A member that a test plays: it has a key and a session, and seals what it likes. And the small
//! clusters that tests are made of.

use crate::envelope::{self, BODY, Envelope, Kind};
use crate::greeting::{self, Greeting};
use crate::limits::{VERSIONS, Versions};
use crate::opening::{Attempt, Myself, Peer};
use crate::secure::{LinkKeys, Random, Session, Side, TAG_BYTES};
use crate::{Config, Mac, Net, Secret};
use abi::{NodeId, ServerId};
use alloc::vec::Vec;

/// The node at this index.
pub(crate) fn node_id(index: usize) -> NodeId {
    NodeId::new(index as u16 + 1).expect("a node number")
}

/// Its Ethernet address.
pub(crate) fn mac(index: usize) -> Mac {
    [2, 0, 0, 0, 0, index as u8 + 1]
}

/// Its private key.
pub(crate) fn secret(index: usize) -> Secret {
    Secret::new([index as u8 + 1; 32])
}

/// The configuration of a node's boot; `boot` is what differs from boot to boot.
pub(crate) fn config(index: usize, count: usize, boot: u64) -> Config {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&boot.to_le_bytes());
    let key = |i| Some(secret(i).public());
    Config {
        node: node_id(index),
        mac: mac(index),
        peers: (0..count)
            .map(|i| crate::Peer { node: node_id(i), mac: mac(i), key: key(i) })
            .collect(),
        mtu: 1500,
        servers: alloc::vec![ServerId::Mem, ServerId::Proc],
        secret: Some(secret(index)),
        seed,
        versions: VERSIONS,
    }
}

/// Node 2 of a cluster whose node 1 is tested.
pub(crate) struct Member {
    session: Session,
}

fn myself(secret: &Secret, versions: Versions) -> Myself {
    let random = Random::new(&[77; 32], secret);
    Myself { side: Side { node: node_id(1), versions }, random }
}

/// All that the node wants to send now.
pub(crate) fn frames(net: &mut Net, now_ns: u64) -> Vec<Vec<u8>> {
    let (mut frame, mut frames) = (Vec::new(), Vec::new());
    while net.next_frame(now_ns, &mut frame) {
        frames.push(frame.clone());
    }
    frames
}

/// A greeting of node 2 to node 1.
pub(crate) fn greeting(keys: &LinkKeys, version: u8, session: u64, greeting: &Greeting) -> Vec<u8> {
    let (from, to) = (node_id(1), node_id(0));
    let envelope = Envelope { version, kind: Kind::Hello, from, to, session, number: 0 };
    let mut out = Vec::new();
    greeting.encode(envelope, keys, (mac(1), mac(0)), &mut out);
    out
}

impl Member {
    /// Comes to a session with `net`, which is node 1 of two.
    pub(crate) fn connect(net: &mut Net, now_ns: u64) -> Self {
        let mut me = myself(&secret(1), VERSIONS);
        let keys = LinkKeys::new(&secret(1), secret(0).public());
        let peer = Peer { node: node_id(0), keys: &keys };
        let mut attempt = Attempt::new(&mut me.random, now_ns);
        let mut session = None;
        for _ in 0..2 {
            let (version, number, said) = attempt.next(&mut me, now_ns).expect("it is due");
            net.received(&mut greeting(&keys, version, number, &said), now_ns);
            for frame in frames(net, now_ns) {
                let envelope = envelope::read(&frame, node_id(1), mac(1)).expect("a good frame");
                match greeting::read(&envelope, &frame, &keys) {
                    Ok(Greeting::Challenge { challenge, versions }) => {
                        let said = (envelope.session, challenge);
                        let met = attempt.challenged(&mut me, peer, said, versions, None, now_ns);
                        met.expect("asked");
                    }
                    Ok(Greeting::Response { noise }) => {
                        let answered = attempt.answered(envelope.version, envelope.session, &noise);
                        session = Some(answered.expect("proposed"));
                    }
                    Ok(Greeting::Hello { .. } | Greeting::Proposal { .. }) | Err(_) => {}
                }
            }
        }
        Self { session: session.expect("the node answers a member") }
    }

    /// How the tested node names the session.
    pub(crate) fn session_there(&self) -> u64 {
        self.session.theirs
    }

    /// A sealed frame with this content.
    pub(crate) fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let envelope = Envelope {
            version: self.session.version,
            kind: Kind::Sealed,
            from: node_id(1),
            to: node_id(0),
            session: self.session.theirs,
            number: self.session.sealer.number(),
        };
        let mut out = Vec::new();
        envelope.begin(mac(1), mac(0), content.len() + TAG_BYTES, &mut out);
        out.extend_from_slice(content);
        self.session.sealer.seal(&mut out, BODY);
        out
    }
}
