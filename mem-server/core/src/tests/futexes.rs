// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process-shared futexes between nodes, in any interleaving.

use super::nodes::{BASE, Cluster, Dice};
use super::*;
use abi::Ticket;
use mem_api::{Count, FetchAbsent, FutexRequeue, FutexWait, FutexWake};
use proptest::prelude::*;
use runtime::{Completion, Wire};

/// Process-shared, any bitset.
const SHARED: u64 = 1 << 32 | 0xffff_ffff;

/// A thread that waits until the word is 1, or one that makes it 1 and wakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Look,
    Sleep,
    Write,
    Wake,
    End,
}

#[derive(Debug)]
struct Thread {
    at: usize,
    stage: Stage,
    waits: Option<Ticket>,
    /// Waiters to wake.
    count: u32,
}

impl Thread {
    /// Collects what it waits for; false while it has not come.
    fn is_awake(&mut self, it: &mut Node) -> bool {
        let Some(ticket) = self.waits else { return true };
        match it.take() {
            Some(Completion::Ticket { ticket: ended, result }) => {
                assert_eq!(ended, ticket);
                self.waits = None;
                match (self.stage, result) {
                    // It was woken, or is to look again.
                    (Stage::Sleep, Ok(_) | Err(Errno::EAGAIN)) => self.stage = Stage::Look,
                    (Stage::Wake, Ok(_)) => self.stage = Stage::End,
                    (Stage::Look | Stage::Write, Ok(_)) => {}
                    // The page is lost: the program has a signal to care about.
                    (_, Err(Errno::EIO)) => self.stage = Stage::End,
                    (stage, other) => panic!("{stage:?} ended with {other:?}"),
                }
                true
            }
            Some(Completion::Event { .. }) => panic!("no event is due"),
            None => false,
        }
    }

    fn fetch(&mut self, it: &mut Node, space: SpaceId) {
        match it.status(&FetchAbsent { space }) {
            Ok(()) => {}
            Err(Status::Pending(ticket)) => self.waits = Some(ticket),
            Err(Status::Failed(Errno::EIO)) => self.stage = Stage::End,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn run(&mut self, it: &mut Node, space: SpaceId) {
        if !self.is_awake(it) || self.stage == Stage::End {
            return;
        }
        match self.stage {
            Stage::Look => match it.peek(space, BASE, 4) {
                Ok(word) if word == [0; 4] => self.stage = Stage::Sleep,
                Ok(_) | Err(Errno::EIO | Errno::EFAULT) => self.stage = Stage::End,
                Err(Errno::ERESTART) => self.fetch(it, space),
                Err(errno) => panic!("{errno:?}"),
            },
            Stage::Sleep => {
                let op = FutexWait { space, addr: BASE, value: 0, bitset_shared: SHARED };
                match it.status(&op) {
                    Err(Status::Pending(ticket)) => self.waits = Some(ticket),
                    Err(Status::Failed(Errno::EAGAIN)) => self.stage = Stage::Look,
                    Err(Status::Failed(Errno::ERESTART)) => self.fetch(it, space),
                    Err(Status::Failed(Errno::EIO | Errno::EFAULT)) => self.stage = Stage::End,
                    other => panic!("{other:?}"),
                }
            }
            Stage::Write => match it.poke(space, BASE, &[1, 0, 0, 0]) {
                Ok(()) => self.stage = Stage::Wake,
                Err(Errno::EIO | Errno::EFAULT) => self.stage = Stage::End,
                Err(Errno::ERESTART) => self.fetch(it, space),
                Err(errno) => panic!("{errno:?}"),
            },
            Stage::Wake => {
                let op = FutexWake { space, addr: BASE, count: self.count, bitset_shared: SHARED };
                match it.status(&op) {
                    Ok(Count { .. }) => self.stage = Stage::End,
                    Err(Status::Pending(ticket)) => self.waits = Some(ticket),
                    other => panic!("{other:?}"),
                }
            }
            Stage::End => {}
        }
    }
}

/// Two threads wait and one wakes both; a node that has no thread of its own, or a waiter's, may die.
fn race(seed: u64, kill: Option<usize>) {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::new(3, 64);
    let (_, spaces) = cluster.shared();
    let waker = dice.roll(3);
    let victim = (waker + 1 + dice.roll(2)) % 3;
    let mut threads: Vec<Thread> = (0..3)
        .map(|at| Thread {
            at,
            stage: if at == waker { Stage::Write } else { Stage::Look },
            waits: None,
            count: u32::MAX,
        })
        .collect();
    let begins = dice.roll(200);
    for step in 0..20_000 {
        if threads.iter().all(|it| it.stage == Stage::End) {
            break;
        }
        if kill == Some(step) {
            cluster.kill(victim);
            threads[victim].stage = Stage::End;
        }
        if dice.roll(50) == 0 {
            // For a while nothing comes from one node to another.
            let pair = (node(dice.roll(3) as u16 + 1), node(dice.roll(3) as u16 + 1));
            let held = &mut cluster.net.borrow_mut().held;
            held.clear();
            held.insert(pair);
        }
        let at = dice.roll(4);
        match threads.get_mut(at) {
            None => {
                cluster.step(&mut dice);
            }
            Some(_) if at == waker && step < begins || cluster.dead.contains(&at) => {}
            Some(thread) => thread.run(&mut cluster.nodes[at], spaces[at]),
        }
    }
    cluster.net.borrow_mut().held.clear();
    assert!(
        threads.iter().all(|it| it.stage == Stage::End),
        "somebody sleeps for ever: {threads:?}"
    );
    cluster.settle(&mut dice);
    for at in
        threads.iter().map(|it| it.at).filter(|at| !cluster.dead.contains(at)).collect::<Vec<_>>()
    {
        cluster.nodes[at].call(&SpaceDestroy { space: spaces[at] }).unwrap();
        cluster.settle(&mut dice);
    }
    for at in 0..3 {
        if !cluster.dead.contains(&at) {
            cluster.nodes[at].with(|core| assert!(core.futexes.is_empty(), "futexes"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..Default::default() })]
    #[test]
    fn nobody_sleeps_through_a_wake_up(seed in any::<u64>()) {
        race(seed, None);
    }

    #[test]
    fn nobody_sleeps_for_ever_when_a_node_dies(seed in any::<u64>(), when in 0..400usize) {
        race(seed, Some(when));
    }
}

fn wait(it: &mut Node, space: SpaceId) -> Ticket {
    let op = FutexWait { space, addr: BASE, value: 0, bitset_shared: SHARED };
    match it.status(&op) {
        Err(Status::Pending(ticket)) => ticket,
        Err(Status::Failed(Errno::ERESTART)) => panic!("the page is to be here"),
        other => panic!("{other:?}"),
    }
}

fn woken(it: &mut Node) -> u64 {
    match it.take() {
        Some(Completion::Ticket { result: Ok(msg), .. }) => Count::get(&msg).unwrap().count,
        other => panic!("{other:?}"),
    }
}

/// Three nodes that all have the page to read.
fn with_page(dice: &mut Dice) -> (Cluster, Vec<SpaceId>) {
    let mut cluster = Cluster::new(3, 64);
    let (_, spaces) = cluster.shared();
    for (at, space) in spaces.iter().copied().enumerate() {
        if cluster.nodes[at].peek(space, BASE, 4) == Err(Errno::ERESTART) {
            let fetch = FetchAbsent { space };
            assert!(matches!(cluster.nodes[at].status(&fetch), Err(Status::Pending(_))));
            cluster.settle(dice);
            assert!(cluster.nodes[at].take().is_some());
        }
    }
    (cluster, spaces)
}

/// The wait is on its way to the home when the word is written and its waiters are woken.
#[test]
fn wait_that_is_late_looks_again() {
    let dice = &mut Dice(1);
    let (mut cluster, spaces) = with_page(dice);
    let late = (node(3), node(1));
    cluster.net.borrow_mut().held.insert(late);
    let ticket = wait(&mut cluster.nodes[2], spaces[2]);
    while cluster.nodes[1].poke(spaces[1], BASE, &[1, 0, 0, 0]) == Err(Errno::ERESTART) {
        let fetch = FetchAbsent { space: spaces[1] };
        assert!(matches!(cluster.nodes[1].status(&fetch), Err(Status::Pending(_))));
        cluster.settle(dice);
        assert!(cluster.nodes[1].take().is_some());
    }
    let wake = FutexWake { space: spaces[1], addr: BASE, count: 9, bitset_shared: SHARED };
    assert!(matches!(cluster.nodes[1].status(&wake), Err(Status::Pending(_))));
    cluster.settle(dice);
    assert_eq!(woken(&mut cluster.nodes[1]), 0);
    cluster.net.borrow_mut().held.clear();
    cluster.settle(dice);
    let end = Some(Completion::Ticket { ticket, result: Err(Errno::EAGAIN) });
    assert_eq!(cluster.nodes[2].take(), end);
}

#[test]
fn waiters_of_all_nodes_are_one_queue() {
    let dice = &mut Dice(1);
    let (mut cluster, spaces) = with_page(dice);
    for (at, space) in spaces.iter().copied().enumerate() {
        wait(&mut cluster.nodes[at], space);
        cluster.settle(dice);
    }
    let wake = FutexWake { space: spaces[2], addr: BASE, count: 2, bitset_shared: SHARED };
    assert!(matches!(cluster.nodes[2].status(&wake), Err(Status::Pending(_))));
    cluster.settle(dice);
    assert_eq!(woken(&mut cluster.nodes[2]), 2);
    assert!(cluster.nodes[0].take().is_some() && cluster.nodes[1].take().is_some());
    assert_eq!(cluster.nodes[2].take(), None);
    // A requeue from afar wakes those that it would move.
    let requeue = FutexRequeue {
        space: spaces[1],
        addr: BASE,
        to: BASE + 4,
        wake: 0,
        requeue: 7,
        expected: Some(0),
        shared: true,
    };
    assert!(matches!(cluster.nodes[1].status(&requeue), Err(Status::Pending(_))));
    cluster.settle(dice);
    assert_eq!(woken(&mut cluster.nodes[1]), 1);
    assert!(cluster.nodes[2].take().is_some());
}

#[test]
fn wait_from_afar_is_cancelled_or_ends_with_its_space() {
    let dice = &mut Dice(1);
    let (mut cluster, spaces) = with_page(dice);
    let ticket = wait(&mut cluster.nodes[1], spaces[1]);
    cluster.settle(dice);
    let mut msg = runtime::Msg { words: [ticket.to_word(), 0, 0, 0], ..Default::default() };
    let it = &mut cluster.nodes[1];
    let bulk = &mut runtime::Bulk::none();
    it.host.request(&mut it.platform, CLIENT, system::CANCEL, &mut msg, bulk);
    cluster.settle(dice);
    let cancelled = |ticket| Some(Completion::Ticket { ticket, result: Err(Errno::ECANCELED) });
    assert_eq!(cluster.nodes[1].take(), cancelled(ticket));
    let ticket = wait(&mut cluster.nodes[1], spaces[1]);
    cluster.settle(dice);
    cluster.nodes[1].call(&SpaceDestroy { space: spaces[1] }).unwrap();
    assert_eq!(cluster.nodes[1].take(), cancelled(ticket));
    cluster.settle(dice);
    for at in [0, 1] {
        cluster.nodes[at].with(|core| assert!(core.futexes.is_empty(), "futexes"));
    }
}

#[test]
fn waiter_of_a_silent_node_takes_no_wake_up_from_another() {
    let dice = &mut Dice(1);
    let (mut cluster, spaces) = with_page(dice);
    for at in [1, 2] {
        wait(&mut cluster.nodes[at], spaces[at]);
        cluster.settle(dice);
    }
    cluster.silence(1);
    cluster.settle(dice);
    let wake = FutexWake { space: spaces[0], addr: BASE, count: 1, bitset_shared: SHARED };
    assert_eq!(cluster.nodes[0].call(&wake).unwrap().count, 1);
    cluster.settle(dice);
    assert!(matches!(cluster.nodes[2].take(), Some(Completion::Ticket { result: Ok(_), .. })));
}

#[test]
fn false_words_of_other_nodes_wake_and_change_nothing() {
    let dice = &mut Dice(1);
    let (mut cluster, spaces) = with_page(dice);
    wait(&mut cluster.nodes[1], spaces[1]);
    cluster.settle(dice);
    let sender = &mut cluster.nodes[2];
    for number in [0, 1, 2, u32::MAX] {
        let note = mem_api::peer::Asleep { number };
        sender.host.step(&mut sender.platform, |_, cx| {
            cx.tell_node(node(2), &note, vec![]).expect("the link is up");
        });
    }
    cluster.settle(dice);
    assert_eq!(cluster.nodes[1].take(), None);
    let wake = FutexWake { space: spaces[0], addr: BASE, count: 9, bitset_shared: SHARED };
    assert_eq!(cluster.nodes[0].call(&wake).unwrap().count, 1);
}
