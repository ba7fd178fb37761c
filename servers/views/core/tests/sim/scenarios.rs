// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named situations, with figures.

use crate::chaos::heal;
use crate::mutants::{Broken, break_rules};
use crate::world::{Event, GOOD, Network, Node, Setup, World};
use abi::NodeId;
use cluster::{Policy, Request, View};
use views_core::limits::{MEMBER_LEASE_NS, MS, waited};
use views_core::rules::{Rule, Rules, Sound};
use views_core::wire::{Entry, Envelope, Message, Position, VERSION, Wish};

fn setup(nodes: usize, voters: usize) -> Setup {
    let policy = Policy { backups: false };
    Setup {
        nodes,
        voters,
        policy,
        network: GOOD,
        drift: false,
        sync_max_ns: MS,
        founders: 0,
        disks: true,
    }
}

/// A cluster with a leader, in which everybody acts.
fn running<R: Rules>(seed: u64, setup: &Setup) -> World<R> {
    let mut world = World::new(seed, setup);
    world.run_until(3_000 * MS);
    assert!(world.leader().is_some(), "nobody leads");
    assert!(world.nodes.iter().all(|node| node.may_act(world.time)), "somebody does not act");
    world
}

fn epoch<R: Rules>(world: &World<R>, node: usize) -> u64 {
    world.nodes[node].view().map_or(0, |view| view.epoch().0)
}

/// Time until all other nodes are in a view without `gone`, and act.
fn takeover_ms(world: &mut World<Sound>, gone: usize) -> u64 {
    let (began, id) = (world.time, world.nodes[gone].id);
    world.crash(gone);
    let others: Vec<usize> = (0..world.nodes.len()).filter(|node| *node != gone).collect();
    while world.failure.is_none() && world.time < began + 10_000 * MS {
        let next = world.time + 5 * MS;
        world.run_until(next);
        let over = others.iter().all(|other| {
            let node = &world.nodes[*other];
            node.may_act(world.time) && node.view().is_some_and(|view| !view.contains(id))
        });
        if over {
            return (world.time - began) / MS;
        }
    }
    panic!("no takeover: {:?}", world.failure);
}

#[test]
fn dead_members_slots_are_taken_over_within_a_second_a_leaders_within_two() {
    let (mut member, mut leader) = (Vec::new(), Vec::new());
    for seed in 0..40 {
        let setup =
            Setup { drift: true, sync_max_ns: 5 * MS, ..setup(5, [3, 5][seed as usize % 2]) };
        let mut world = running(seed, &setup);
        let leads = world.leader().expect("somebody leads");
        member.push(takeover_ms(&mut world, (leads + 1) % 5));
        let mut world = running(seed, &setup);
        leader.push(takeover_ms(&mut world, leads));
    }
    let figures = |times: &mut Vec<u64>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() - 1])
    };
    let (member, leader) = (figures(&mut member), figures(&mut leader));
    println!("takeover, median and worst of 40: member {member:?} ms, leader {leader:?} ms");
    assert!(member.1 < 1000 && leader.1 < 2000, "{member:?} {leader:?}");
}

/// A busy host leaves virtual machines without time for several hundred milliseconds.
#[test]
fn node_that_stands_still_for_450_ms_stays_a_member() {
    for node in 0..5 {
        let mut world: World<Sound> = running(7, &setup(5, 3));
        let (before, term) = (epoch(&world, 0), world.nodes[0].views.as_ref().expect("up").term());
        for _ in 0..5 {
            world.nodes[node].paused_until = world.time + 450 * MS;
            let next = world.time + 1_000 * MS;
            world.run_until(next);
        }
        let after = world.nodes[0].views.as_ref().expect("up").term();
        assert_eq!((epoch(&world, 0), after), (before, term), "node {node}");
    }
}

/// A host that stops altogether for a while: when it goes on, nobody is thrown out.
#[test]
fn cluster_that_stands_still_for_five_seconds_goes_on_as_it_was() {
    let mut world: World<Sound> = running(7, &setup(5, 3));
    let before = epoch(&world, 0);
    let until = world.time + 5_000 * MS;
    world.nodes.iter_mut().for_each(|node| node.paused_until = until);
    world.run_until(until + 4_000 * MS);
    assert!(world.nodes.iter().all(|node| node.may_act(world.time)));
    assert_eq!(epoch(&world, 0), before);
}

/// Changes of leader after a voter that heard nobody for a while is back.
fn disruption<R: Rules>(seed: u64) -> u64 {
    let mut world: World<R> = running(seed, &setup(5, 5));
    let leads = world.leader().expect("somebody leads");
    let term = world.nodes[leads].views.as_ref().expect("up").term();
    let deaf = (leads + 1) % 5;
    for other in 0..5 {
        world.cut.insert((other, deaf));
    }
    let next = world.time + 5_000 * MS;
    world.run_until(next);
    heal(&mut world);
    let next = world.time + 3_000 * MS;
    world.run_until(next);
    let leads = world.leader().expect("somebody leads");
    u64::from(world.nodes[leads].views.as_ref().expect("up").term() != term)
}

#[test]
fn voter_that_was_deaf_disturbs_nobody_thanks_to_asking_first() {
    break_rules(&[Rule::AsksBeforeElection]);
    let (with, without): (u64, u64) = (0..10)
        .map(|seed| (disruption::<Sound>(seed), disruption::<Broken>(seed)))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("leaders deposed in 10 runs: {with} with asking first, {without} without");
    assert!(with == 0 && without >= 8, "{with} {without}");
}

/// Whoever may asks for another view.
fn ask<R: Rules>(world: &mut World<R>, node: usize) {
    let now = world.nodes[node].clock(world.time);
    let id = world.nodes[node].id;
    let views = world.nodes[node].views.as_mut().expect("it is up");
    let member = views.view().and_then(|view| view.member(id));
    let draining = member.is_some_and(|member| member.draining);
    // Who is fenced is no member for a moment.
    let _ = views.request(now, Request::Drain(!draining));
    views.tick(now);
    world.after(node);
}

/// What the leader and one voter say to each other as voters gets lost, and nothing else; when that voter leads,
/// members ask for views. Returns what a checker finds.
fn deaf_voter<R: Rules>(seed: u64) -> Option<String> {
    let mut world: World<R> = running(seed, &setup(5, 5));
    let leads = world.leader().expect("somebody leads");
    let deaf = (leads + 1) % 5;
    world.cut_of_voters.extend([(leads, deaf), (deaf, leads)]);
    for turn in 0..600 {
        if world.nodes[deaf].leads().is_some() {
            ask(&mut world, turn % 5);
        }
        let next = world.time + 3 * MS;
        world.run_until(next);
    }
    world.failure
}

#[test]
fn vote_in_spite_of_a_promise_lets_a_leader_read_what_is_old() {
    break_rules(&[Rule::KeepsPromise]);
    let seeds = 0..10;
    assert!(seeds.clone().all(|seed| deaf_voter::<Sound>(seed).is_none()));
    let found = seeds.clone().find_map(|seed| deaf_voter::<Broken>(seed).map(|why| (seed, why)));
    let (seed, why) = found.expect("ten seeds show it");
    println!("without KeepsPromise: seed {seed}: {why}");
    assert!(why.contains("never lost"), "{why}");
}

/// The power fails everywhere just when somebody hears that a view is agreed. The disks are slow.
fn lights_out<R: Rules>(seed: u64) -> Option<String> {
    let mut world: World<R> = running(seed, &Setup { sync_max_ns: 100 * MS, ..setup(3, 3) });
    let before = epoch(&world, 0);
    let asks = (world.leader().expect("somebody leads") + 1) % 3;
    ask(&mut world, asks);
    while (0..3).all(|node| epoch(&world, node) == before) {
        let next = world.time + MS;
        world.run_until(next);
    }
    (0..3).for_each(|node| world.crash(node));
    heal(&mut world);
    let next = world.time + 4_000 * MS;
    world.run_until(next);
    world.failure
}

#[test]
fn message_before_sync_loses_what_was_agreed() {
    break_rules(&[Rule::SyncsBeforeSending]);
    let seeds = 0..60;
    assert!(seeds.clone().all(|seed| lights_out::<Sound>(seed).is_none()));
    let found = seeds.clone().find_map(|seed| lights_out::<Broken>(seed).map(|why| (seed, why)));
    let (seed, why) = found.expect("sixty seeds show it");
    println!("without SyncsBeforeSending: seed {seed}: {why}");
    assert!(why.contains("never lost") || why.contains("one view"), "{why}");
}

/// Messages that belong to a change, and time from the wish for it until all are in the new view.
fn change(nodes: usize) -> (u64, u64) {
    let mut world: World<Sound> = running(1, &setup(nodes, (nodes.min(7) - 1) / 2 * 2 + 1));
    let asks = (world.leader().expect("somebody leads") + 1) % nodes;
    let now = world.nodes[asks].clock(world.time);
    world.kinds = Some(0);
    let (began, before) = (world.time, epoch(&world, asks));
    world.entered.clear();
    let views = world.nodes[asks].views.as_mut().expect("it is up");
    views.request(now, Request::Drain(true)).expect("it may");
    views.tick(now);
    world.after(asks);
    while world.entered.len() < nodes {
        assert!(world.time < began + 5_000 * MS, "not all entered");
        let next = world.time + MS;
        world.run_until(next);
    }
    let last = world.entered.values().map(|(_, at)| *at).max().expect("all entered");
    assert!(world.entered.values().all(|(epoch, _)| *epoch > before));
    (world.kinds.expect("they are counted"), (last - began) / (MS / 10))
}

#[test]
fn view_change_takes_less_than_100_ms_at_100_nodes() {
    for nodes in [3, 10, 100, 1000] {
        let (messages, tenths) = change(nodes);
        println!("{nodes} nodes: {messages} messages, {}.{} ms", tenths / 10, tenths % 10);
        assert!(tenths < 1000, "{nodes} nodes: {tenths} tenths of a ms");
    }
}

fn envelope(from_disk: u32, to_disk: u32, message: Message) -> Vec<u8> {
    Envelope { cluster: 0, from_disk, to_disk, message }.encode()
}

/// What a member that does not vote says to voters and members as if it did: nothing comes of it.
#[test]
fn hostile_member_changes_no_term_view_lease_or_slot() {
    // One that is alone in not voting does not become a voter.
    let mut world: World<Sound> = running(3, &setup(4, 3));
    let hostile = 3;
    world.crash(hostile);
    let term_of = |node: &Node<Sound>| node.views.as_ref().map(|views| views.term());
    let terms: Vec<Option<u64>> = world.nodes.iter().map(term_of).collect();
    let term = terms[0].expect("it is up");
    let view = world.nodes[0].view().expect("a view").clone();
    let id = |n: u16| NodeId::new(n).expect("a node");
    let leads = world.leader().expect("somebody leads");
    let follows = ((leads + 1) % 3 + 1) as u16;
    let forged = View::fixed(vec![id(4)]).expect("a view");
    let others = view.slots_of(id(1)).next().expect("it has some");
    let wish = Wish::Joined(others.index() as u16, true);
    let place = Position { term: term + 5, index: 9 };
    let change = Entry::Term(term + 6);
    let (stamp, boot) = (0, 9);
    let says = [
        Message::WouldVote { round: 1, last: place },
        Message::Vote { term: term + 9, last: place },
        Message::VoteReply { term: term + 9, granted: true },
        Message::Append { term: term + 9, stamp, commit: 9, prev: place, entries: vec![change] },
        Message::AppendReply { term: term + 9, stamp, last: place },
        Message::Grant { incarnation: 2, round: 1, epoch: 99 },
        Message::Leader { node: 4 },
        Message::Whole(forged.encode()),
        Message::Change(vec![1, 2, 3]),
        Message::Ask { incarnation: 4, epoch: view.epoch().0, wish: wish.clone() },
        Message::Ask { incarnation: 4, epoch: view.epoch().0, wish: Wish::Key(1, None) },
        Message::Ask { incarnation: 4, epoch: view.epoch().0, wish: Wish::Key(2, Some([7; 32])) },
        Message::Ask { incarnation: 1, epoch: view.epoch().0, wish: Wish::Key(2, None) },
        Message::Ask { incarnation: 1, epoch: view.epoch().0, wish },
        Message::Leave { incarnation: 1 },
        Message::Suspect { incarnation: 1, nodes: vec![(2, 2), (3, 3)] },
        Message::Suspect { incarnation: 4, nodes: vec![(follows, u32::from(follows))] },
        Message::Foreign,
        Message::FoundAsk { boot, round: 1, missing: vec![1] },
        Message::FoundPromise { decider: boot, round: 1, boot },
        Message::KeptOut { boot, by: vec![1] },
        Message::Join { boot, disk: 1, unreachable: Vec::new() },
        Message::Resign { term },
    ];
    // Often enough and for as long as the member's own lease lasts: it is still one.
    for round in 0..40 {
        for (to, says) in (0..3).flat_map(|to| says.iter().map(move |says| (to, says))) {
            let from_disk = [4, 1, 2][round % 3];
            world.send(hostile, to, envelope(from_disk, to as u32 + 1, says.clone()));
        }
        let next = world.time + 10 * MS;
        world.run_until(next);
    }
    assert_eq!(world.failure, None);
    for (node, term) in world.nodes[..3].iter().zip(terms) {
        let views = node.views.as_ref().expect("it is up");
        assert_eq!(Some(views.term()), term, "node {}", node.id);
        assert!(views.view() == Some(&view), "node {} is in another view", node.id);
        assert!(node.may_act(world.time));
        assert!(views.counts().strangers > 0);
    }
}

/// A voter can do much (see SECURITY.md), but not use up the terms, nor rewrite what is agreed.
#[test]
fn hostile_voter_cannot_use_up_terms_or_take_back_what_is_agreed() {
    let mut world: World<Sound> = running(3, &setup(3, 3));
    let leads = world.leader().expect("somebody leads");
    let (hostile, victim) = ((leads + 1) % 3, (leads + 2) % 3);
    world.crash(hostile);
    let views = world.nodes[victim].views.as_ref().expect("it is up");
    let (term, (applied, agreed)) = (views.term(), views.agreed().expect("it knows"));
    let (applied, agreed) = (applied, agreed.clone());
    let far = u64::MAX / 8;
    let zero = Position { term: 0, index: 0 };
    let rewrite = Message::Append {
        term: term + 1,
        stamp: 0,
        commit: applied,
        prev: zero,
        entries: vec![Entry::Term(term + 1)],
    };
    for says in [
        Message::Vote { term: far, last: Position { term: far, index: far } },
        Message::VoteReply { term: far, granted: false },
        rewrite,
    ] {
        world.send(hostile, victim, envelope(hostile as u32 + 1, victim as u32 + 1, says));
    }
    let next = world.time + 50 * MS;
    world.run_until(next);
    let views = world.nodes[victim].views.as_ref().expect("it is up");
    assert_eq!((views.term(), views.agreed()), (term, Some((applied, &agreed))));
    assert!(views.counts().refused >= 3);
}

#[test]
fn bytes_from_anybody_never_stop_a_node() {
    let mut world: World<Sound> = running(3, &setup(3, 3));
    for round in 0..3000 {
        let (from, to) = (round % 3, (round + 1) % 3);
        let len = world.rng.range(0, 60) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| world.rng.next() as u8 >> (round % 5)).collect();
        if let [version, cluster, from_disk, to_disk, ..] = bytes.as_mut_slice() {
            (*version, *cluster) = (VERSION, 0);
            (*from_disk, *to_disk) = (from as u8 + 1, to as u8 + 1);
        }
        world.send(from, to, bytes);
        let next = world.time + MS / 10;
        world.run_until(next);
    }
    heal(&mut world);
    let next = world.time + 5_000 * MS;
    world.run_until(next);
    assert!(world.leader().is_some());
}

/// A voter whose disk is gone is admitted as another one, and the lost vote is not missed.
#[test]
fn voter_without_its_disk_comes_back_as_another_voter() {
    let network = Network { delay_max_ns: 5 * MS, ..GOOD };
    let mut world: World<Sound> = running(5, &Setup { network, ..setup(3, 3) });
    let before = world.nodes[0].view().expect("a view").voters().to_vec();
    world.crash(1);
    world.nodes[1].disk.lose();
    let at = world.time + 100 * MS;
    world.queue(at, Event::Start(1));
    let next = world.time + 6_000 * MS;
    world.run_until(next);
    let after = world.nodes[0].view().expect("a view").voters().to_vec();
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert!(after[1].node == before[1].node && after[1].disk > before[1].disk);
    // The new vote counts: the two that are left are a majority.
    world.crash(0);
    let next = world.time + 4_000 * MS;
    world.run_until(next);
    assert!(world.leader().is_some() && world.nodes[1].may_act(world.time));
}

/// The member gives up its lease by itself: no waiting for it.
#[test]
fn member_that_leaves_is_let_go_at_once() {
    let mut world: World<Sound> = running(5, &setup(3, 1));
    let now = world.nodes[2].clock(world.time);
    world.nodes[2].views.as_mut().expect("it is up").leave(now);
    world.after(2);
    let next = world.time + 300 * MS;
    assert!(300 * MS < waited(MEMBER_LEASE_NS));
    world.run_until(next);
    let view = world.nodes[0].view().expect("a view");
    assert!(!view.contains(world.nodes[2].id) && !world.nodes[2].may_act(world.time));
}
