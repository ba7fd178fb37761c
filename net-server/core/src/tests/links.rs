// SPDX-License-Identifier: MIT OR Apache-2.0
//! Order, exactly-once, loss of a node, back-pressure, frames per call.

use super::wire_sim::{BAD, Faults, MS, PERFECT, Sim, node_id};
use crate::limits::{
    INBOX_MESSAGES_MAX, MESSAGE_BYTES, OWED_MESSAGES_MAX, SEND_BYTES_MAX, SEND_MESSAGES_MAX,
    SILENCE_NS, WINDOW_BYTES,
};
use crate::{Item, Notice};
use abi::{Errno, ServerId};
use runtime::node::{Lane, NodeMessage, Urge};
use std::vec;
use std::vec::Vec;

fn message(from: usize, item: Item) -> Vec<u8> {
    match item {
        Item::Message(node, data) if node == node_id(from) => data,
        other => panic!("not a message of node {from}: {other:?}"),
    }
}

/// A message that says its number, with a length that depends on it.
fn numbered(number: u32, longest: usize) -> Vec<u8> {
    let len = 4 + (number as usize).wrapping_mul(7919) % longest;
    let mut data = vec![number as u8; len];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data
}

#[test]
fn links_come_up_and_carry_messages_of_every_length() {
    let sim = &mut Sim::new(3, 1, PERFECT);
    sim.meet();
    for len in [1, 1405, 1406, 1407, 1420, 1421, 4096, MESSAGE_BYTES] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        sim.send(0, 2, Lane::Pages, &data).expect("sent");
        sim.run(50 * MS);
        let item = sim.take(2).expect("arrived");
        assert_eq!(message(0, item), data);
    }
}

#[test]
fn links_refuse_what_cannot_be_sent() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(Errno::EHOSTDOWN));
    sim.meet();
    assert_eq!(sim.send(0, 0, Lane::Control, b"x"), Err(Errno::EINVAL));
    assert_eq!(sim.send(0, 9, Lane::Control, b"x"), Err(Errno::EINVAL));
    assert_eq!(sim.send(0, 1, Lane::Control, b""), Err(Errno::EMSGSIZE));
    assert_eq!(sim.send(0, 1, Lane::Pages, &[0; MESSAGE_BYTES + 1]), Err(Errno::EMSGSIZE));
    for _ in 0..SEND_MESSAGES_MAX {
        sim.send(0, 1, Lane::Control, b"x").expect("room");
    }
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(Errno::EAGAIN));
    for _ in 0..SEND_BYTES_MAX / MESSAGE_BYTES {
        sim.send(0, 1, Lane::Pages, &[0; MESSAGE_BYTES]).expect("room");
    }
    assert_eq!(sim.send(0, 1, Lane::Pages, b"x"), Err(Errno::EAGAIN));
}

/// Sends on both lanes both ways over a bad wire and checks order and exactly-once.
fn storm(seed: u64) {
    const COUNT: u32 = 150;
    let sim = &mut Sim::new(2, seed, BAD);
    sim.meet();
    let mut sent = [[0u32; 2]; 2];
    let mut got = [[0u32; 2]; 2];
    let end_ns = sim.now_ns + 60_000 * MS;
    while got != [[COUNT; 2]; 2] {
        assert!(sim.now_ns < end_ns, "seed {seed}: only {got:?} of {COUNT} arrived");
        for (from, sent) in sent.iter_mut().enumerate() {
            for (index, lane) in [Lane::Control, Lane::Pages].into_iter().enumerate() {
                let number = sent[index];
                // The lane's mark tells the receiver which count the message belongs to.
                let mut data = numbered(number, if index == 0 { 500 } else { 9000 });
                data.push(index as u8);
                let busy = sim.random(4) > 0;
                if number < COUNT && busy && sim.send(from, 1 - from, lane, &data) == Ok(()) {
                    sent[index] += 1;
                }
            }
        }
        let step = sim.random(5 * MS);
        sim.run(step);
        for (to, got) in got.iter_mut().enumerate() {
            for item in sim.take_all(to) {
                let data = message(1 - to, item);
                let lane = usize::from(data[data.len() - 1]);
                let expected = numbered(got[lane], if lane == 0 { 500 } else { 9000 });
                assert_eq!(data[..data.len() - 1], expected, "seed {seed}, lane {lane}");
                got[lane] += 1;
            }
        }
    }
}

#[test]
fn links_over_a_bad_wire_keep_order_and_lose_nothing() {
    for seed in 0..6 {
        storm(seed);
    }
}

#[test]
fn links_under_back_pressure_lose_nothing() {
    let sim = &mut Sim::new(2, 5, BAD);
    sim.meet();
    let mut sent = 0;
    let stuck = |sim: &mut Sim, sent: &mut u32| {
        let before = *sent;
        for _ in 0..40 {
            while sim.send(0, 1, Lane::Control, &numbered(*sent, 200)) == Ok(()) {
                *sent += 1;
            }
            sim.run(100 * MS);
        }
        *sent - before
    };
    stuck(sim, &mut sent);
    assert_eq!(stuck(sim, &mut sent), 0, "everything is full after a while");
    assert!(sent as usize >= INBOX_MESSAGES_MAX + SEND_MESSAGES_MAX);
    assert!(sim.nodes[0].figures(node_id(1)).expect("a link").up, "full is not down");
    let mut got = 0;
    while got < sent {
        let items = sim.take_all(1);
        for item in items {
            assert_eq!(message(0, item), numbered(got, 200));
            got += 1;
        }
        sim.run(10 * MS);
    }
}

#[test]
fn links_tell_within_two_seconds_that_a_node_is_gone() {
    let sim = &mut Sim::new(3, 7, PERFECT);
    sim.meet();
    sim.cut = vec![(1, 0), (0, 1), (1, 2), (2, 1)];
    sim.send(0, 1, Lane::Control, b"never").expect("still up");
    sim.run(SILENCE_NS + 300 * MS);
    assert_eq!(sim.take_all(0), [Item::Down(node_id(1))]);
    assert_eq!(sim.take_all(2), [Item::Down(node_id(1))]);
    assert_eq!(sim.take_all(1), [Item::Down(node_id(0)), Item::Down(node_id(2))]);
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(Errno::EHOSTDOWN));
    sim.cut.clear();
    sim.run(1000 * MS);
    assert_eq!(sim.take_all(0), [Item::Up(node_id(1))]);
    sim.send(0, 1, Lane::Control, b"again").expect("up");
    sim.run(100 * MS);
    let items = sim.take_all(1);
    assert_eq!(items.len(), 3, "two marks, and nothing of what was dropped: {items:?}");
    assert_eq!(items[2], Item::Message(node_id(0), b"again".to_vec()));
}

#[test]
fn links_full_of_new_messages_take_what_is_owed_and_then_go_down() {
    let mut sim = Sim::new(2, 9, PERFECT);
    sim.meet();
    let _ = sim.nodes[0].next_notice();
    while sim.send(0, 1, Lane::Control, b"new").is_ok() {}
    let owed = |sim: &mut Sim| {
        let how = (Lane::Control, Urge::Owed);
        sim.nodes[0].send(node_id(1), how, ServerId::Mem, b"owed".to_vec())
    };
    for _ in SEND_MESSAGES_MAX..OWED_MESSAGES_MAX {
        assert_eq!(owed(&mut sim), Ok(()));
    }
    assert_eq!(owed(&mut sim), Err(Errno::EHOSTDOWN), "never silently lost");
    assert!(!sim.figures(0, 1).up);
    assert_eq!(sim.take(0), Some(Item::Down(node_id(1))));
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Slow(node_id(1))));
}

#[test]
fn links_say_once_that_a_node_is_silent_and_that_it_answers() {
    let mut sim = Sim::new(2, 3, PERFECT);
    sim.meet();
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Answers(node_id(1))));
    sim.cut = vec![(1, 0)];
    sim.run(SILENCE_NS + 300 * MS);
    let silent_ms = SILENCE_NS / MS;
    assert_eq!(sim.nodes[0].next_notice(), Some(Notice::Silent { node: node_id(1), silent_ms }));
    assert_eq!(sim.nodes[0].next_notice(), None);
}

#[test]
fn links_of_a_node_that_stood_still_itself_stay_up() {
    let mut sim = Sim::new(2, 5, PERFECT);
    sim.meet();
    // Its host did not run it, and what the peer said meanwhile is lost.
    let stood_ns = 10 * SILENCE_NS;
    sim.nodes[0].tick(sim.now_ns + stood_ns);
    assert!(sim.figures(0, 1).up, "it cannot know");
    // From here on it can.
    for step in 1..=10 {
        sim.nodes[0].tick(sim.now_ns + stood_ns + step * SILENCE_NS / 9);
    }
    assert!(!sim.figures(0, 1).up);
}

#[test]
fn links_cut_one_way_are_down_both_ways() {
    let sim = &mut Sim::new(2, 7, PERFECT);
    sim.meet();
    sim.cut = vec![(0, 1)];
    sim.run(2 * SILENCE_NS);
    assert!(sim.take_all(1).contains(&Item::Down(node_id(0))));
    assert!(sim.take_all(0).contains(&Item::Down(node_id(1))));
    assert_eq!(sim.send(0, 1, Lane::Control, b"x"), Err(Errno::EHOSTDOWN));
    assert_eq!(sim.send(1, 0, Lane::Control, b"x"), Err(Errno::EHOSTDOWN));
}

#[test]
fn links_to_a_rebooted_node_go_down_and_up() {
    let sim = &mut Sim::new(2, 3, PERFECT);
    sim.meet();
    sim.send(0, 1, Lane::Control, b"old").expect("sent");
    sim.reboot(1, 2000);
    sim.run(1000 * MS);
    assert_eq!(sim.take_all(0), [Item::Down(node_id(1)), Item::Up(node_id(1))]);
    assert_eq!(sim.take_all(1), [Item::Up(node_id(0))], "nothing of the old life");
    sim.send(1, 0, Lane::Control, b"new").expect("sent");
    sim.run(100 * MS);
    assert_eq!(sim.take_all(0), [Item::Message(node_id(1), b"new".to_vec())]);
}

#[test]
fn links_that_flap_keep_order_within_each_life() {
    let sim = &mut Sim::new(2, 11, BAD);
    sim.meet();
    let (mut sent, mut last) = (0u32, None);
    for round in 0..20 {
        sim.cut = if round % 2 == 1 { vec![(0, 1), (1, 0)] } else { vec![] };
        for _ in 0..30 {
            if sim.send(0, 1, Lane::Pages, &numbered(sent, 3000)) == Ok(()) {
                sent += 1;
            }
            sim.run(100 * MS);
        }
        for item in sim.take_all(1) {
            if let Item::Message(_, data) = item {
                let number = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
                assert!(last.is_none_or(|last| number > last), "a message came twice or late");
                last = Some(number);
            }
        }
    }
    assert!(last.is_some());
}

#[test]
fn links_call_and_answer_take_two_frames() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    // Keepalives left just now, so none is due before the end.
    sim.run(20 * MS);
    let (calls, before) = (100, sim.frames);
    for _ in 0..calls {
        sim.send(0, 1, Lane::Control, &[1; 128]).expect("sent");
        sim.run(MS / 5);
        assert_eq!(sim.take_all(1).len(), 1);
        sim.send(1, 0, Lane::Control, &[2; 128]).expect("sent");
        sim.run(MS / 5);
        assert_eq!(sim.take_all(0).len(), 1);
    }
    assert_eq!(sim.frames - before, 2 * calls, "acknowledgements travel with the messages");
    sim.run(15 * MS);
    assert_eq!(sim.frames - before, 2 * calls + 1, "the last one travels alone, later");
}

#[test]
fn links_control_overtakes_pages() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    for _ in 0..8 {
        sim.send(0, 1, Lane::Pages, &[1; 60_000]).expect("sent");
    }
    sim.send(0, 1, Lane::Control, b"urgent").expect("sent");
    sim.run(MS / 2);
    assert_eq!(sim.take(1), Some(Item::Message(node_id(0), b"urgent".to_vec())));
}

/// The longest and the mean time of a control message, in microseconds, while `load` keeps the link
/// busy in its own direction.
fn control_us(mut load: impl FnMut(&mut Sim)) -> (u64, u64) {
    const COUNT: u64 = 200;
    // A line of 1 Gbit/s.
    let sim = &mut Sim::new(2, 1, Faults { byte_ns: 8, ..PERFECT });
    sim.meet();
    let (mut longest, mut sum) = (0, 0);
    for _ in 0..COUNT {
        load(sim);
        sim.run(MS);
        sim.take_all(1);
        sim.send(0, 1, Lane::Control, &[9; 128]).expect("room");
        let sent_ns = sim.now_ns;
        loop {
            load(sim);
            sim.run(MS / 100);
            let items = sim.take_all(1);
            if items.contains(&Item::Message(node_id(0), vec![9; 128])) {
                break;
            }
        }
        let took = (sim.now_ns - sent_ns) / 1000;
        (longest, sum) = (longest.max(took), sum + took);
    }
    (longest, sum / COUNT)
}

#[test]
fn links_full_of_pages_delay_control_by_one_window_at_most() {
    let idle = control_us(|_| {});
    let full = control_us(|sim| while sim.send(0, 1, Lane::Pages, &[1; 60_000]).is_ok() {});
    std::println!("control, longest and mean: idle {idle:?} us, full of pages {full:?} us");
    let window_us = (WINDOW_BYTES as u64 + 2 * 1500) * 8 / 1000;
    assert!(idle.0 <= 130, "{idle:?}");
    assert!(full.0 <= idle.0 + window_us + 100, "{full:?}, a window takes {window_us} us");
}

#[test]
fn links_server_that_takes_no_pages_gets_control_first() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    for _ in 0..60 {
        while sim.send(0, 1, Lane::Pages, &[1; 60_000]).is_ok() {}
        sim.run(50 * MS);
    }
    assert_eq!(sim.send(0, 1, Lane::Pages, &[1; 60_000]), Err(Errno::EAGAIN), "all is full");
    for number in 0..100 {
        sim.send(0, 1, Lane::Control, &[number]).expect("control has its own room");
    }
    sim.run(50 * MS);
    for number in 0..100 {
        assert_eq!(sim.take(1), Some(Item::Message(node_id(0), vec![number])));
    }
    assert!(matches!(sim.take(1), Some(Item::Message(_, data)) if data.len() == 60_000));
}

#[test]
fn links_message_never_passes_a_mark() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    sim.send(0, 1, Lane::Pages, &[1; 10]).expect("up");
    sim.run(50 * MS);
    sim.reboot(0, 9);
    sim.run(1000 * MS);
    sim.send(0, 1, Lane::Pages, &[2; 10]).expect("up");
    sim.run(50 * MS);
    sim.send(0, 1, Lane::Control, &[3; 10]).expect("up");
    sim.run(50 * MS);
    let message = |byte| Item::Message(node_id(0), vec![byte; 10]);
    let (down, up) = (Item::Down(node_id(0)), Item::Up(node_id(0)));
    assert_eq!(sim.take_all(1), [message(1), down, up, message(3), message(2)]);
    assert_eq!((sim.figures(1, 0).lives, sim.figures(0, 1).lives), (2, 1));
}

#[test]
fn links_idle_cost_five_frames_a_second_each_way() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    let before = sim.frames;
    sim.run(10_000 * MS);
    assert_eq!(sim.frames - before, 100);
}

#[test]
fn links_messages_for_a_server_that_does_not_run_are_counted() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    sim.nodes[0]
        .send(node_id(1), (Lane::Control, Urge::New), ServerId::Ckpt, vec![1])
        .expect("sent");
    sim.run(50 * MS);
    assert_eq!((sim.take(1), sim.nodes[1].unwanted()), (None, 1));
}

#[test]
fn links_tell_each_server_once_until_it_has_taken() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.run(1000 * MS);
    let told: Vec<_> = core::iter::from_fn(|| sim.nodes[1].next_to_tell()).collect();
    assert_eq!(told, [ServerId::Mem, ServerId::Proc]);
    sim.send(0, 1, Lane::Control, b"x").expect("sent");
    sim.run(50 * MS);
    assert_eq!(sim.nodes[1].next_to_tell(), None, "it has not taken yet");
    assert_eq!(sim.take_all(1).len(), 2);
    sim.send(0, 1, Lane::Control, b"x").expect("sent");
    sim.run(50 * MS);
    assert_eq!(sim.nodes[1].next_to_tell(), Some(ServerId::Mem));
}

#[test]
fn links_item_longer_than_the_buffer_stays() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    sim.send(0, 1, Lane::Control, b"hello").expect("sent");
    sim.run(50 * MS);
    let now_ns = sim.now_ns;
    assert_eq!(sim.nodes[1].take(ServerId::Mem, 4, now_ns), Err(Errno::EMSGSIZE));
    assert!(sim.take(1).is_some());
}

#[test]
fn links_round_trip_leaves_out_what_the_receiver_held() {
    let sim = &mut Sim::new(2, 1, PERFECT);
    sim.meet();
    for _ in 0..50 {
        sim.send(0, 1, Lane::Control, b"one way").expect("sent");
        sim.run(30 * MS);
    }
    let rtt_ns = sim.nodes[0].figures(node_id(1)).expect("a link").rtt_ns;
    assert!((2 * PERFECT.delay_ns..3 * PERFECT.delay_ns).contains(&rtt_ns), "{rtt_ns} ns");
}

#[test]
fn links_tell_of_a_dead_server_in_every_life_and_go_on() {
    let mut sim = Sim::new(2, 3, BAD);
    sim.meet();
    // Its inbox is full, so the lane stands still until it is dead.
    for number in 0..400u32 {
        while sim.send(0, 1, Lane::Control, &number.to_le_bytes()).is_err() {
            sim.run(10 * MS);
            if number > 256 {
                break;
            }
        }
    }
    let now_ns = sim.now_ns;
    sim.nodes[1].server_down(ServerId::Mem, now_ns);
    let gone = NodeMessage::gone(ServerId::Mem).encode().expect("short");
    sim.run(2000 * MS);
    assert_eq!(sim.take_all(0), [Item::Message(node_id(1), gone.clone())]);
    assert_eq!(sim.take(1), None);
    // Another server of the same node still gets its messages.
    sim.nodes[0]
        .send(node_id(1), (Lane::Control, Urge::New), ServerId::Proc, b"x".to_vec())
        .expect("room");
    sim.run(2000 * MS);
    let taken = core::iter::from_fn(|| {
        sim.nodes[1].take(ServerId::Proc, usize::MAX, 0).expect("it fits").map(|(item, _)| item)
    });
    assert_eq!(taken.last(), Some(Item::Message(node_id(0), b"x".to_vec())));
    sim.cut = [(0, 1), (1, 0)].to_vec();
    sim.run(3000 * MS);
    sim.cut.clear();
    sim.run(3000 * MS);
    let marks = [Item::Down(node_id(1)), Item::Up(node_id(1)), Item::Message(node_id(1), gone)];
    assert_eq!(sim.take_all(0), marks);
}
