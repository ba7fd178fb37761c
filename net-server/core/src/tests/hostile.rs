// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes off the wire is anything at all.

use super::wire_sim::{MS, PERFECT, Sim, config, node_id};
use crate::Net;
use crate::wire::{Ack, Body, Frame, Piece, decode};
use abi::ServerId;
use proptest::prelude::*;
use runtime::node::Lane;
use std::vec::Vec;

fn lane(pages: bool) -> Lane {
    if pages { Lane::Pages } else { Lane::Control }
}

proptest! {
    #[test]
    fn wire_frame_encoded_and_decoded_is_the_same(
        session: u64,
        peer_session: u64,
        numbers: [u64; 4],
        pages: bool,
        seq: u64,
        before in 0u32..60_000,
        payload in prop::collection::vec(any::<u8>(), 1..1420),
    ) {
        let message_len = before + payload.len() as u32;
        let server = ServerId::Fs;
        let lane = lane(pages);
        let piece = Piece { lane, server, seq, message_len, offset: before, payload: &payload };
        let [a, b, c, d] = numbers;
        let frame = Frame {
            from: node_id(0),
            to: node_id(1),
            session,
            peer_session,
            acks: [Ack { next: a, early: b }, Ack { next: c, early: d }],
            held_us: b as u16,
            body: Body::Data(piece),
        };
        let mut out = Vec::new();
        frame.encode([1; 6], [2; 6], &mut out);
        out.extend_from_slice(&[0; 7]);
        prop_assert_eq!(decode(&out), Some(frame));
    }

    #[test]
    fn wire_random_bytes_are_no_frame(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut net = Net::new(&config(0, 2, 1), 0);
        net.received(&data, 0);
        let mut framed = std::vec![0; 12];
        framed.extend_from_slice(&[0x88, 0xb5]);
        framed.extend_from_slice(&data);
        net.received(&framed, 0);
        prop_assert_eq!(decode(&framed), None);
    }

    /// A peer with the right sessions that sends any numbers it likes.
    #[test]
    fn links_survive_a_peer_that_speaks_nonsense(
        frames in prop::collection::vec(
            (any::<[u64; 4]>(), any::<bool>(), 0u64..70, any::<bool>(), 0u32..4000, 1usize..900),
            1..60,
        ),
    ) {
        let sim = &mut Sim::new(2, 1, PERFECT);
        let net = &mut sim.nodes[0];
        let mut out = Vec::new();
        let mut peer_session = 1000u64 << 20 | 1;
        for (step, (acks, small, seq, pages, offset, len)) in frames.into_iter().enumerate() {
            let [a, b, c, d] = if small { acks.map(|n| n % 70) } else { acks };
            let payload = std::vec![0; len];
            let message_len = offset + len as u32;
            let (lane, server) = (lane(pages), ServerId::Mem);
            let piece = Piece { lane, server, seq, message_len, offset, payload: &payload };
            let frame = Frame {
                from: node_id(1),
                to: node_id(0),
                session: 7,
                peer_session,
                acks: [Ack { next: a, early: b }, Ack { next: c, early: d }],
                held_us: b as u16,
                body: Body::Data(piece),
            };
            frame.encode([1; 6], [2; 6], &mut out);
            let now_ns = step as u64 * MS;
            net.received(&out, now_ns);
            net.tick(now_ns);
            let _ = net.send(node_id(1), lane, server, payload);
            while net.next_frame(now_ns, &mut out) {
                if let Some(sent) = decode(&out) {
                    peer_session = sent.session;
                }
            }
        }
    }
}
