// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes off the wire is anything at all, and a member may say anything at all.

use super::wire_sim::{MS, config, mac, node_id};
use crate::Net;
use crate::envelope::{self, Envelope, Kind};
use crate::member::{Member, frames};
use crate::wire::{Ack, Body, Frame, Piece, decode};
use abi::ServerId;
use net_api::Cause;
use proptest::prelude::*;
use runtime::node::{Lane, Urge};
use std::vec::Vec;

fn lane(pages: bool) -> Lane {
    if pages { Lane::Pages } else { Lane::Control }
}

fn acks([a, b, c, d]: [u64; 4]) -> [Ack; 2] {
    [Ack { next: a, early: b }, Ack { next: c, early: d }]
}

proptest! {
    #[test]
    fn wire_content_encoded_and_decoded_is_the_same(
        numbers: [u64; 4],
        pages: bool,
        seq: u64,
        before in 0u32..60_000,
        payload in prop::collection::vec(any::<u8>(), 1..1420),
    ) {
        let message_len = before + payload.len() as u32;
        let (lane, server) = (lane(pages), ServerId::Fs);
        let piece = Piece { lane, server, seq, message_len, offset: before, payload: &payload };
        let held_us = numbers[1] as u16;
        let frame = Frame { acks: acks(numbers), held_us, body: Body::Data(piece) };
        let mut out = Vec::new();
        frame.encode(&mut out);
        prop_assert_eq!(out.len(), frame.bytes());
        prop_assert_eq!(decode(&out), Some(frame));
        out.push(0);
        prop_assert_eq!(decode(&out), None);
    }

    #[test]
    fn wire_envelope_encoded_and_read_is_the_same(
        version: u8, session: u64, number: u64, body in 40usize..9000,
    ) {
        let (from, to) = (node_id(1), node_id(0));
        let envelope = Envelope { version, kind: Kind::Sealed, from, to, session, number };
        let mut out = Vec::new();
        envelope.begin(mac(1), mac(0), body, &mut out);
        out.resize(envelope::BODY + body, 7);
        let read = envelope::read(&out, to, mac(0));
        if body + envelope::HEADER_BYTES <= 9000 {
            prop_assert_eq!(read, Ok(envelope));
        } else {
            prop_assert_eq!(read, Err((None, Cause::Oversized)));
        }
    }

    /// Bytes that a stranger sends are counted, each frame once, and change nothing else.
    #[test]
    fn wire_random_bytes_change_nothing(
        data in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..8,
        honest_len: bool,
    ) {
        let mut net = Net::new(&config(0, 2, 1), 0);
        let before = net.state_text();
        net.received(&mut data.clone(), 0);
        prop_assert_eq!(net.strays().total(), 1);
        let (from, to) = (node_id(1), node_id(0));
        let envelope = Envelope { version: 2, kind: Kind::Hello, from, to, session: 1, number: 0 };
        let mut framed = Vec::new();
        envelope.begin(mac(1), mac(0), data.len().max(40), &mut framed);
        framed[envelope::ETHERNET_BYTES + 1] = kind;
        framed.extend_from_slice(&data);
        if honest_len {
            let len = framed.len() - envelope::BODY;
            envelope::set_len(&mut framed, len);
        }
        net.received(&mut framed, 0);
        let drops = net.figures(node_id(1)).expect("a link").drops;
        prop_assert_eq!(drops.total(), 1);
        prop_assert_eq!(net.state_text(), before);
    }

    /// A member with a right session that sends any content it likes.
    #[test]
    fn links_survive_a_member_that_speaks_nonsense(
        steps in prop::collection::vec(
            (any::<[u64; 4]>(), any::<bool>(), 0u64..70, any::<bool>(), 0u32..4000, 1usize..900),
            1..60,
        ),
        garbage in prop::collection::vec(any::<u8>(), 6..120),
    ) {
        let net = &mut Net::new(&config(0, 2, 1), 0);
        let mut member = Member::connect(net, 0);
        for (step, (numbers, small, seq, pages, offset, len)) in steps.into_iter().enumerate() {
            let numbers = if small { numbers.map(|n| n % 70) } else { numbers };
            let payload = std::vec![0; len];
            let message_len = offset + len as u32;
            let (lane, server) = (lane(pages), ServerId::Mem);
            let piece = Piece { lane, server, seq, message_len, offset, payload: &payload };
            let held_us = numbers[1] as u16;
            let frame = Frame { acks: acks(numbers), held_us, body: Body::Data(piece) };
            let mut content = Vec::new();
            frame.encode(&mut content);
            let now_ns = step as u64 * MS;
            net.received(&mut member.seal(&content), now_ns);
            net.received(&mut member.seal(&garbage), now_ns);
            net.tick(now_ns);
            let _ = net.send(node_id(1), (lane, Urge::New), server, payload);
            frames(net, now_ns);
            if !net.figures(node_id(1)).expect("a link").up {
                member = Member::connect(net, now_ns);
            }
        }
    }
}

#[test]
fn links_frame_that_a_member_sealed_and_that_is_no_frame_is_malformed() {
    let net = &mut Net::new(&config(0, 2, 1), 0);
    let mut member = Member::connect(net, 0);
    net.received(&mut member.seal(&[0; 100]), 0);
    let figures = net.figures(node_id(1)).expect("a link");
    assert_eq!((figures.up, figures.drops.of(Cause::Malformed)), (true, 1));
}
