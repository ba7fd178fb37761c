// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends pages from one node to another without a network between them, to be timed or counted:
//!
//! ```text
//! export RUSTFLAGS='--cfg chacha20_force_sse2 --cfg poly1305_force_soft'  # what runs on seL4
//! cargo build --release -p net-core --example traffic
//! valgrind --tool=callgrind target/release/examples/traffic 8
//! ```
//!
//! The argument is MiB of messages of 60,000 bytes. The difference between two amounts is free of what
//! the start costs.

use abi::{NodeId, ServerId};
use net_core::limits::VERSIONS;
use net_core::{Config, Net, Peer, Secret};
use runtime::node::{Lane, Urge};
use std::time::Instant;

const MESSAGE_BYTES: usize = 60_000;
/// Virtual time between two exchanges, in nanoseconds.
const STEP_NS: u64 = 100_000;

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a small number")
}

fn mac(number: u16) -> [u8; 6] {
    [2, 0, 0, 0, 0, number as u8]
}

fn secret(number: u16) -> Secret {
    Secret::new([number as u8; 32])
}

fn net(number: u16) -> Net {
    let peer = |it| Peer { node: node(it), mac: mac(it), key: Some(secret(it).public()) };
    let config = Config {
        node: node(number),
        mac: mac(number),
        peers: [1, 2].map(peer).to_vec(),
        mtu: 9000,
        servers: vec![ServerId::Mem],
        secret: Some(secret(number)),
        seed: [7; 32],
        versions: VERSIONS,
    };
    Net::new(&config, 0)
}

/// Carries what one says to the other; how many frames that was.
fn carry(from: &mut Net, to: &mut Net, frame: &mut Vec<u8>, now_ns: u64) -> u64 {
    let mut frames = 0;
    while from.next_frame(now_ns, frame) {
        to.received(frame, now_ns);
        frames += 1;
    }
    frames
}

fn exchange(a: &mut Net, b: &mut Net, frame: &mut Vec<u8>, now_ns: u64) -> u64 {
    let frames = carry(a, b, frame, now_ns) + carry(b, a, frame, now_ns);
    a.tick(now_ns);
    b.tick(now_ns);
    frames
}

fn main() {
    let mib: usize = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(64);
    let (mut a, mut b, mut frame) = (net(1), net(2), Vec::new());
    let mut now_ns = 0;
    while !a.figures(node(2)).is_ok_and(|it| it.up) || !b.figures(node(1)).is_ok_and(|it| it.up) {
        exchange(&mut a, &mut b, &mut frame, now_ns);
        now_ns += STEP_NS;
    }
    let (start, mut frames, mut got) = (Instant::now(), 0, 0);
    let wanted = mib << 20;
    while got < wanted {
        while a
            .send(node(2), (Lane::Pages, Urge::New), ServerId::Mem, vec![1; MESSAGE_BYTES])
            .is_ok()
        {}
        frames += exchange(&mut a, &mut b, &mut frame, now_ns);
        while let Ok(Some(_)) = b.take(ServerId::Mem, usize::MAX, now_ns) {
            got += MESSAGE_BYTES;
        }
        now_ns += STEP_NS;
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = (got as f64 / f64::from(1 << 20)) / seconds;
    println!("{} KiB in {frames} frames, {rate:.0} MiB/s, both ends in one thread", got >> 10);
}
