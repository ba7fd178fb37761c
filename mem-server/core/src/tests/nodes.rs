// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several nodes over a network whose every interleaving a seed decides: coherence of shared
//! objects (PROTOCOLS B1, B2), moves of spaces, crashes.

use super::*;
use crate::object::Store;
use abi::{ObjectId, Ticket};
use proptest::prelude::*;
use runtime::Completion;
use runtime::testing::views;
use std::collections::BTreeMap;

pub(super) const PAGE: u64 = 4096;
const PAGES: u64 = 3;
pub(super) const BASE: u64 = 0x10_0000;

/// A small generator: what a failing test prints repeats it.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % sides
    }
}

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) net: Rc<RefCell<Net>>,
    pub(super) dead: Vec<usize>,
    /// The last view that there is.
    pub(super) view: View,
}

impl Cluster {
    pub(super) fn new(count: u16, frames: usize) -> Self {
        let net = Net::shared();
        let nodes = (1..=count).map(|id| Node::new(id, count, net.clone(), frames)).collect();
        let view = View::fixed((1..=count).map(node).collect()).expect("a view");
        Self { nodes, net, dead: vec![], view }
    }

    pub(super) fn collect(&mut self) {
        for (at, it) in self.nodes.iter_mut().enumerate() {
            if self.dead.contains(&at) {
                continue;
            }
            if it.platform.armed_ns.take().is_some() {
                it.platform.now_ns += 2_000_000;
                it.host.collect(&mut it.platform, ServerId::Timer);
            }
            it.host.collect(&mut it.platform, ServerId::Net);
        }
    }

    /// Delivers one message; false if there is none.
    pub(super) fn step(&mut self, dice: &mut Dice) -> bool {
        let choice = dice.roll(64);
        let delivered = self.net.borrow_mut().deliver(choice);
        self.collect();
        delivered
    }

    pub(super) fn settle(&mut self, dice: &mut Dice) {
        let mut idle = 0;
        for _ in 0..100_000 {
            // A timer may send what was put off after the last message.
            idle = if self.step(dice) { 0 } else { idle + 1 };
            if idle == 3 {
                return;
            }
        }
        panic!("the network never comes to rest");
    }

    /// A node dies, and all others enter the view without it.
    pub(super) fn kill(&mut self, at: usize) {
        self.silence(at);
        self.turn(views::without(&self.view, node(at as u16 + 1)));
    }

    /// A node dies; no view says so yet.
    pub(super) fn silence(&mut self, at: usize) {
        self.net.borrow_mut().kill(node(at as u16 + 1));
        self.dead.push(at);
        self.collect();
    }

    /// All enter a view.
    pub(super) fn turn(&mut self, view: View) {
        self.view = view;
        for at in 0..self.nodes.len() {
            if !self.dead.contains(&at) {
                self.nodes[at].enter(&self.view);
            }
        }
    }

    /// An object of the first node's, mapped shared on all.
    pub(super) fn shared(&mut self) -> (ObjectId, Vec<SpaceId>) {
        let created = self.nodes[0].call(&ObjectCreate { content: Content::Zero, slot: None });
        let object = created.unwrap().object;
        self.nodes[0].call(&ObjectResize { object, len: PAGES * PAGE }).unwrap();
        let mut spaces = vec![];
        for at in 0..self.nodes.len() {
            if at > 0 {
                let op = ObjectHold { object, node: node(at as u16 + 1) };
                self.nodes[0].call(&op).unwrap();
                self.nodes[at].call(&ObjectAdopt { object }).unwrap();
            }
            let it = &mut self.nodes[at];
            let space = it.space();
            let backing = Backing::Object { object, offset: 0 };
            let map =
                Map { addr: BASE, fixed: true, shared: true, backing, ..anonymous(space, PAGES) };
            it.map(map);
            it.call(&ObjectRelease { object }).unwrap();
            spaces.push(space);
        }
        (object, spaces)
    }

    /// B1 and B2: one writer or several readers, and every readable copy holds the last value.
    pub(super) fn check(&mut self, object: ObjectId, spaces: &[SpaceId], last: &BTreeMap<u64, u8>) {
        for page in 0..PAGES {
            let (mut writers, mut readers) = (0, 0);
            for (at, &space) in spaces.iter().enumerate() {
                if self.dead.contains(&at) {
                    continue;
                }
                let addr = BASE + page * PAGE;
                let value = last.get(&page).copied().unwrap_or(0);
                self.nodes[at].with(|core| {
                    let hard = core.spaces.get(space).unwrap().hard;
                    if let Some(byte) = core.frames.machine.load(hard, addr) {
                        assert_eq!(byte, value, "node {at} shows an old page {page}");
                        readers += 1;
                        writers += usize::from(core.frames.machine.writable(hard, addr));
                    }
                    if let Store::Pages { pages, .. } = &core.objects.get(object).unwrap().store
                        && let Some((frame, _)) = pages.get(page).page
                    {
                        assert_eq!(core.frames.machine.bytes(frame)[0], value);
                    }
                });
            }
            assert!(writers == 0 || readers == 1, "page {page}: {writers} of {readers} may write");
        }
    }
}

/// What a thread does: one access, as often as it faults.
#[derive(Clone, Copy)]
pub(super) struct Thread {
    pub(super) page: u64,
    pub(super) write: Option<u8>,
    pub(super) waits: Option<Ticket>,
}

use crate::machine::Machine;

impl Thread {
    /// Tries the access; true when it is done, or has failed.
    fn run(&mut self, it: &mut Node, space: SpaceId, last: &mut BTreeMap<u64, u8>) -> bool {
        self.try_run(it, space, last).is_some()
    }

    /// Tries the access; when it is done, whether it has failed.
    pub(super) fn try_run(
        &mut self,
        it: &mut Node,
        space: SpaceId,
        last: &mut BTreeMap<u64, u8>,
    ) -> Option<bool> {
        if let Some(ticket) = self.waits {
            match it.take() {
                Some(Completion::Ticket { ticket: ended, result }) => {
                    assert_eq!(ended, ticket);
                    self.waits = None;
                    if result.is_err() {
                        assert_eq!(result, Err(Errno::EIO));
                        return Some(true);
                    }
                }
                Some(Completion::Event { .. }) => panic!("no event is due"),
                None => return None,
            }
        }
        let addr = BASE + self.page * PAGE;
        let done = it.with(|core| {
            let hard = core.spaces.get(space).unwrap().hard;
            match self.write {
                Some(byte) => core.machine().store(hard, addr, byte),
                None => core.machine().load(hard, addr).is_some(),
            }
        });
        if done {
            if let Some(byte) = self.write {
                last.insert(self.page, byte);
            }
            return Some(false);
        }
        let access = if self.write.is_some() { Access::Write } else { Access::Read };
        match it.status(&Fault { space, addr, access }) {
            Ok(()) => {}
            Err(Status::Pending(ticket)) => self.waits = Some(ticket),
            Err(Status::Failed(Errno::EIO)) => return Some(true),
            Err(other) => panic!("{other:?}"),
        }
        None
    }
}

/// Runs accesses on all nodes in any interleaving, and kills a node after so many steps.
fn race(seed: u64, tight: bool, kill: Option<(usize, usize)>) {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::new(3, 64);
    cluster.net.borrow_mut().lane_messages_max = tight.then_some(1);
    let (object, spaces) = cluster.shared();
    let mut last = BTreeMap::new();
    let mut threads: Vec<Option<Thread>> = vec![None; 3];
    let (mut begun, mut ended) = (0, 0);
    for step in 0..20_000 {
        if begun == 60 && ended == 60 {
            break;
        }
        if let Some((victim, when)) = kill
            && step == when
        {
            cluster.kill(victim);
            ended += usize::from(threads[victim].take().is_some());
        }
        let at = dice.roll(4);
        if at == 3 {
            cluster.step(&mut dice);
        } else if cluster.dead.contains(&at) {
            continue;
        } else if let Some(thread) = &mut threads[at] {
            if thread.run(&mut cluster.nodes[at], spaces[at], &mut last) {
                threads[at] = None;
                ended += 1;
            }
        } else if begun < 60 {
            begun += 1;
            let page = dice.roll(PAGES as usize) as u64;
            let write = (dice.roll(2) == 0).then_some(begun as u8);
            threads[at] = Some(Thread { page, write, waits: None });
        }
        cluster.check(object, &spaces, &last);
    }
    assert_eq!(ended, 60, "an access never ends");
    cluster.settle(&mut dice);
    let alive: Vec<usize> = (0..3).filter(|at| !cluster.dead.contains(at)).collect();
    for &at in &alive {
        cluster.nodes[at].call(&SpaceDestroy { space: spaces[at] }).unwrap();
        cluster.settle(&mut dice);
    }
    for at in alive {
        cluster.nodes[at].assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..Default::default() })]
    #[test]
    fn shared_pages_stay_coherent_in_any_interleaving(seed in any::<u64>(), tight in any::<bool>()) {
        race(seed, tight, None);
    }

    #[test]
    fn shared_pages_of_survivors_stay_coherent_and_nothing_hangs(
        seed in any::<u64>(),
        victim in 0..3usize,
        when in 0..600usize,
    ) {
        race(seed, false, Some((victim, when)));
    }
}

#[test]
fn page_of_an_owner_that_died_is_an_error_and_not_a_hang() {
    let mut cluster = Cluster::new(3, 64);
    let mut dice = Dice(7);
    let (_, spaces) = cluster.shared();
    let write = Access::Write;
    let addr = BASE;
    let fault = |cluster: &mut Cluster, at: usize| {
        let op = Fault { space: spaces[at], addr, access: write };
        cluster.nodes[at].status(&op)
    };
    assert!(matches!(fault(&mut cluster, 1), Err(Status::Pending(_))));
    cluster.settle(&mut dice);
    assert!(matches!(fault(&mut cluster, 2), Err(Status::Pending(_))));
    cluster.kill(1);
    cluster.settle(&mut dice);
    let Some(Completion::Ticket { result, .. }) = cluster.nodes[2].take() else {
        panic!("the waiting fault ends");
    };
    assert_eq!(result, Err(Errno::EIO));
    for at in [0, 2] {
        cluster.nodes[at].call(&SpaceDestroy { space: spaces[at] }).unwrap();
    }
    cluster.settle(&mut dice);
    cluster.nodes[0].assert_empty();
    cluster.nodes[2].assert_empty();
}

/// A space on the first node: patterned pages, some shared with a fork, a file, a shared object.
fn furnish(cluster: &mut Cluster) -> (SpaceId, SpaceId, ObjectId) {
    let it = &mut cluster.nodes[0];
    let space = it.space();
    it.map(Map { addr: BASE, fixed: true, ..anonymous(space, 40) });
    for page in 0..20 {
        it.poke(space, BASE + page * PAGE, &[page as u8 + 1; 4096]).unwrap();
    }
    let content = Content::Root { offset: 4096, len: 4096 };
    let file = it.call(&ObjectCreate { content, slot: None }).unwrap().object;
    let backing = Backing::Object { object: file, offset: 0 };
    it.map(Map { addr: BASE + 60 * PAGE, fixed: true, backing, ..anonymous(space, 1) });
    it.call(&ObjectRelease { object: file }).unwrap();
    it.map(Map { addr: BASE + 80 * PAGE, fixed: true, shared: true, ..anonymous(space, 2) });
    it.store(space, BASE + 80 * PAGE, 77).unwrap();
    let regions = it.call(&Regions { space, after: BASE + 80 * PAGE }).unwrap().0;
    let Backing::Object { object, .. } = regions[0].backing else { panic!("shared memory") };
    let child = it.call(&SpaceFork { space }).unwrap().space;
    it.store(space, BASE, 99).unwrap();
    (space, child, object)
}

fn import(cluster: &mut Cluster, space: SpaceId, step: usize) -> SpaceImported {
    let (mut offset, mut imported) = (0, None);
    loop {
        let mut buf = vec![0; step];
        let op = SpaceExport { space, offset };
        let (total, len) = cluster.nodes[0].with_bulk(&op, &mut buf).unwrap();
        if offset == total.count {
            return imported.expect("the last part names the space");
        }
        let op = SpaceImport { from: node(1), token: 5, offset, total: total.count };
        let (reply, _) = cluster.nodes[1].with_bulk(&op, &mut buf[..len]).unwrap();
        offset += len as u64;
        assert_eq!(reply.complete, offset == total.count);
        imported = Some(reply);
    }
}

/// Loads until the page is here.
fn load(cluster: &mut Cluster, dice: &mut Dice, at: usize, space: SpaceId, addr: u64) -> u8 {
    for _ in 0..1000 {
        let it = &mut cluster.nodes[at];
        let hard = it.with(|core| core.spaces.get(space).unwrap().hard);
        if let Some(byte) = it.with(|core| core.machine().load(hard, addr)) {
            return byte;
        }
        match it.status(&Fault { space, addr, access: Access::Read }) {
            Ok(()) | Err(Status::Pending(_)) => {}
            Err(other) => panic!("{other:?} at {addr:#x}"),
        }
        cluster.step(dice);
    }
    panic!("the page at {addr:#x} never comes");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..Default::default() })]
    #[test]
    fn moved_space_has_every_page_and_leaves_nothing_behind(seed in any::<u64>(), demand in 0..40u64) {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(2, 128);
        let (space, child, _) = furnish(&mut cluster);
        let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 50);
        cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
        prop_assert_eq!(cluster.nodes[0].call(&SpaceSize { space }), Err(Errno::ESRCH));
        for step in 0..demand {
            let page = (step * 7) % 40;
            let expected = if page == 0 { 99 } else if page < 20 { page as u8 + 1 } else { 0 };
            let addr = BASE + page * PAGE;
            prop_assert_eq!(load(&mut cluster, &mut dice, 1, moved, addr), expected);
        }
        prop_assert_eq!(load(&mut cluster, &mut dice, 1, moved, BASE + 60 * PAGE), b'b');
        prop_assert_eq!(load(&mut cluster, &mut dice, 1, moved, BASE + 80 * PAGE), 77);
        cluster.settle(&mut dice);
        let state = cluster.nodes[1].call(&MoveState { space: moved }).unwrap();
        prop_assert_eq!((state.left, state.on_demand + state.prefetched), (0, 20));
        let mut done = 0;
        while let Some(end) = cluster.nodes[1].take() {
            if let Completion::Event { number, msg } = end {
                prop_assert_eq!(number, EVENT_MOVE_DONE);
                let event: MoveDone = runtime::Wire::get(&msg).unwrap();
                prop_assert_eq!(event.on_demand + event.prefetched, 20);
                done += 1;
            }
        }
        prop_assert_eq!(done, 1);
        for page in 1..20 {
            let there = cluster.nodes[1].peek(moved, BASE + page * PAGE, 4096).unwrap();
            prop_assert_eq!(there, vec![page as u8 + 1; 4096]);
        }
        // Shared memory is still one memory.
        let shared = BASE + 80 * PAGE;
        cluster.nodes[0].call(&Fault { space: child, addr: shared, access: Access::Read }).unwrap();
        let write = Fault { space: moved, addr: shared, access: Access::Write };
        prop_assert!(matches!(cluster.nodes[1].status(&write), Err(Status::Pending(_))));
        cluster.settle(&mut dice);
        cluster.nodes[1].store(moved, shared, 78).unwrap();
        prop_assert_eq!(load(&mut cluster, &mut dice, 0, child, shared), 78);
        cluster.settle(&mut dice);
        cluster.nodes[0].call(&SpaceDestroy { space: child }).unwrap();
        cluster.nodes[1].call(&SpaceDestroy { space: moved }).unwrap();
        cluster.settle(&mut dice);
        for it in &mut cluster.nodes {
            it.assert_empty();
        }
    }

    #[test]
    fn move_that_is_cut_off_anywhere_loses_the_space_or_completes(seed in any::<u64>(), steps in 0..120usize) {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(2, 128);
        let (space, child, _) = furnish(&mut cluster);
        let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 4000);
        cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
        for _ in 0..steps {
            cluster.step(&mut dice);
        }
        let left = cluster.nodes[1].call(&MoveState { space: moved }).unwrap().left;
        let victim = dice.roll(2);
        cluster.kill(victim);
        cluster.settle(&mut dice);
        if victim == 0 {
            let end = cluster.nodes[1].take();
            let Some(Completion::Event { number, .. }) = end else { panic!("{end:?}") };
            let expected = if left > 0 { EVENT_SPACE_LOST } else { EVENT_MOVE_DONE };
            prop_assert_eq!(number, expected);
            if left > 0 {
                let mut ends = (0..20).map(|page| {
                    let (addr, access) = (BASE + page * PAGE, Access::Read);
                    cluster.nodes[1].status(&Fault { space: moved, addr, access })
                });
                prop_assert!(ends.any(|end| end == Err(Status::Failed(Errno::EIO))));
            }
            cluster.nodes[1].call(&SpaceDestroy { space: moved }).unwrap();
            cluster.nodes[1].assert_empty();
        } else {
            cluster.nodes[0].call(&SpaceDestroy { space: child }).unwrap();
            cluster.nodes[0].assert_empty();
        }
    }

    #[test]
    fn move_that_is_given_up_at_the_target_frees_both_sides(seed in any::<u64>(), steps in 0..60usize, give in any::<bool>()) {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(2, 128);
        let (space, child, _) = furnish(&mut cluster);
        let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 4000);
        if give {
            cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
        }
        for _ in 0..steps {
            cluster.step(&mut dice);
        }
        cluster.nodes[1].call(&SpaceDestroy { space: moved }).unwrap();
        cluster.settle(&mut dice);
        cluster.nodes[1].assert_empty();
        if !give {
            prop_assert_eq!(cluster.nodes[0].peek(space, BASE, 1), Ok(vec![99]));
            cluster.nodes[0].call(&SpaceDestroy { space }).unwrap();
        }
        cluster.nodes[0].call(&SpaceDestroy { space: child }).unwrap();
        cluster.settle(&mut dice);
        cluster.nodes[0].assert_empty();
    }
}

#[test]
fn copy_from_a_page_that_rests_elsewhere_restarts_and_fork_waits_for_all() {
    let mut dice = Dice(3);
    let mut cluster = Cluster::new(2, 256);
    let (space, child, _) = furnish(&mut cluster);
    let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 4000);
    cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
    let addr = BASE + 3 * PAGE;
    let it = &mut cluster.nodes[1];
    assert_eq!(it.peek(moved, addr, 4), Err(Errno::ERESTART));
    assert!(matches!(it.status(&FetchAbsent { space: moved }), Err(Status::Pending(_))));
    let fork = it.status(&SpaceFork { space: moved });
    assert!(matches!(fork, Err(Status::Pending(_))), "{fork:?}");
    cluster.settle(&mut dice);
    let it = &mut cluster.nodes[1];
    assert_eq!(it.peek(moved, addr, 4), Ok(vec![4; 4]));
    assert_eq!(it.call(&FetchAbsent { space: moved }), Ok(()));
    let twin = it.call(&SpaceFork { space: moved }).unwrap().space;
    assert_eq!(it.peek(twin, addr, 4), Ok(vec![4; 4]));
    // Home again: the node that it came from.
    for space in [moved, twin] {
        it.call(&SpaceDestroy { space }).unwrap();
    }
    cluster.nodes[0].call(&SpaceDestroy { space: child }).unwrap();
    cluster.settle(&mut dice);
    for it in &mut cluster.nodes {
        it.assert_empty();
    }
}

#[test]
fn unmapping_what_rests_elsewhere_forgets_it() {
    let mut dice = Dice(11);
    let mut cluster = Cluster::new(2, 256);
    let (space, child, _) = furnish(&mut cluster);
    let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 4000);
    cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
    for _ in 0..9 {
        cluster.step(&mut dice);
    }
    let it = &mut cluster.nodes[1];
    it.call(&Unmap { space: moved, addr: BASE, len: 15 * PAGE }).unwrap();
    it.map(Map { addr: BASE, fixed: true, ..anonymous(moved, 15) });
    assert_eq!(it.peek(moved, BASE + 2 * PAGE, 1), Ok(vec![0]));
    cluster.settle(&mut dice);
    let it = &mut cluster.nodes[1];
    assert_eq!(it.peek(moved, BASE + 2 * PAGE, 1), Ok(vec![0]));
    assert_eq!(it.peek(moved, BASE + 17 * PAGE, 1), Ok(vec![18]));
    it.call(&SpaceDestroy { space: moved }).unwrap();
    cluster.nodes[0].call(&SpaceDestroy { space: child }).unwrap();
    cluster.settle(&mut dice);
    for it in &mut cluster.nodes {
        it.assert_empty();
    }
}

#[test]
fn page_of_a_moved_space_costs_two_messages() {
    let mut dice = Dice(1);
    let mut cluster = Cluster::new(2, 64);
    let space = cluster.nodes[0].space();
    cluster.nodes[0].map(Map { addr: BASE, fixed: true, ..anonymous(space, 1) });
    cluster.nodes[0].poke(space, BASE, &[5]).unwrap();
    let SpaceImported { space: moved, object, .. } = import(&mut cluster, space, 4000);
    cluster.nodes[0].call(&SpaceGive { space, object, to: node(2) }).unwrap();
    let before = cluster.net.borrow().sent;
    assert_eq!(load(&mut cluster, &mut dice, 1, moved, BASE), 5);
    cluster.settle(&mut dice);
    // Pull and Pulled; and once per move Settled and Forget.
    assert_eq!(cluster.net.borrow().sent - before, 4);
}

#[test]
fn description_that_lies_is_refused_and_leaves_nothing() {
    let mut cluster = Cluster::new(2, 64);
    let op = SpaceImport { from: node(1), token: 1, offset: 0, total: 9 };
    let mut junk = vec![0xff; 9];
    assert!(cluster.nodes[1].with_bulk(&op, &mut junk).is_err());
    let far = SpaceImport { offset: 4, ..op };
    assert_eq!(cluster.nodes[1].with_bulk(&far, &mut junk), Err(Errno::EINVAL));
    let own = SpaceImport { from: node(2), ..op };
    assert_eq!(cluster.nodes[1].with_bulk(&own, &mut junk), Err(Errno::EINVAL));
    let long = SpaceImport { total: u64::MAX, ..op };
    assert_eq!(cluster.nodes[1].with_bulk(&long, &mut junk), Err(Errno::E2BIG));
    cluster.nodes[1].assert_empty();
}
