// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server of a node that is alone in its cluster, over a disk that the test plays.

use super::*;
use crate::limits::SECTOR_BYTES;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec;
use core::cell::{Cell, RefCell};
use disk_api::limits::JOURNAL_SECTORS;
use disk_api::testing::{Medium, TestDisk};
use disk_api::{Flush, Write};
use net_api::PeerKey;
use runtime::testing::{Net, TestNode};
use runtime::{Host, Status};
use shell_api::{AddWish, KeyWish};

#[derive(Default)]
struct Lines {
    said: Vec<String>,
    restarts: usize,
}

impl Machine for Lines {
    fn say(&mut self, line: &str) {
        self.said.push(line.to_string());
    }

    fn alarm(&mut self, line: &str) {
        self.said.push(alloc::format!("alarm: {line}"));
    }

    fn restart(&mut self) {
        self.restarts += 1;
    }
}

/// One start of the node.
struct World {
    views: Host<ViewsServer<Lines>>,
    around: TestNode,
    disk: Rc<Host<TestDisk>>,
    disk_around: Rc<RefCell<TestNode>>,
    /// Operations that the disk server was asked for, and how they were answered.
    asked: Rc<RefCell<Vec<(u16, Status)>>>,
    dead: Rc<Cell<bool>>,
    /// What net-server was told.
    keys: Rc<RefCell<Vec<PeerKey>>>,
}

const MS_NS: u64 = 1_000_000;

fn node() -> NodeId {
    NodeId::new(1).expect("a node")
}

fn medium() -> Rc<RefCell<Medium>> {
    let medium = Medium::new(JOURNAL_SECTORS);
    medium.borrow_mut().delay_ns = MS_NS;
    medium
}

impl World {
    fn new(medium: Option<&Rc<RefCell<Medium>>>, seed: u64) -> Self {
        let setup = Setup::of(Vec::new(), Vec::new(), Vec::from([(node(), false)]), 1, seed);
        let net = Net::shared();
        let mut around = TestNode::new(node(), ServerId::Views, Rc::clone(&net));
        let disk_around = Rc::new(RefCell::new(TestNode::new(node(), ServerId::Disk, net)));
        let core = TestDisk::new(medium.cloned());
        let disk = Rc::new(Host::new(ServerId::Disk, node(), View::outside(node()), core));
        let (asked, dead) = (Rc::<RefCell<Vec<_>>>::default(), Rc::<Cell<bool>>::default());
        let keys = Rc::<RefCell<Vec<_>>>::default();
        let below =
            (Rc::clone(&disk), Rc::clone(&disk_around), Rc::clone(&asked), Rc::clone(&dead));
        let told = Rc::clone(&keys);
        around.below = Some(Box::new(move |from, to, op, msg, bulk| {
            let (disk, around, asked, dead) = &below;
            if (to, op) == (ServerId::Net, PeerKey::NUMBER) {
                told.borrow_mut().push(PeerKey::get(msg).expect("a key"));
                *msg = Msg::default();
                return Status::Done;
            }
            assert_eq!(to, ServerId::Disk, "there is no other server");
            if dead.get() {
                return Status::Failed(Errno::EIO);
            }
            let status = disk.request(&mut *around.borrow_mut(), from, op, msg, bulk);
            asked.borrow_mut().push((op, status));
            status
        }));
        let views =
            Host::outside(ServerId::Views, node(), ViewsServer::new(Lines::default(), setup));
        let mut world = Self { views, around, disk, disk_around, asked, dead, keys };
        world.views.step(&mut world.around, |core, cx| core.start(cx));
        world
    }

    /// Lets so much time pass.
    fn run(&mut self, ns: u64) {
        let end = self.around.now_ns + ns;
        loop {
            while let Some((client, _)) = { self.disk_around.borrow_mut().notified.pop_front() } {
                assert_eq!(client, ServerId::Views);
                self.views.collect(&mut self.around, ServerId::Disk);
            }
            let disk_ns = self.disk_around.borrow().armed_ns.filter(|_| !self.dead.get());
            let next = self.around.armed_ns.into_iter().chain(disk_ns).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            let now_ns = next.max(self.around.now_ns);
            self.around.now_ns = now_ns;
            self.disk_around.borrow_mut().now_ns = now_ns;
            if disk_ns == Some(next) {
                let around = &mut *self.disk_around.borrow_mut();
                around.armed_ns = None;
                self.disk.collect(around, ServerId::Timer);
            } else {
                self.around.armed_ns = None;
                self.views.collect(&mut self.around, ServerId::Timer);
            }
        }
        self.around.now_ns = end;
        self.disk_around.borrow_mut().now_ns = end;
    }

    fn look<T>(&mut self, look: impl FnOnce(&mut ViewsServer<Lines>) -> T) -> T {
        self.views.step(&mut self.around, |core, _| look(core))
    }

    fn acts(&mut self) -> bool {
        let now = self.around.now_ns;
        self.look(|it| it.views().is_some_and(|views| views.may_act(now)))
    }

    /// Epoch, cluster and disk, while the node takes part.
    fn known(&mut self) -> Option<(u64, u64, Option<cluster::Incarnation>)> {
        let known = |views: &Views| Some((views.view()?.epoch().0, views.cluster, views.disk));
        self.look(|it| it.views().and_then(known))
    }

    fn said(&mut self) -> String {
        self.look(|it| it.machine().said.join("\n"))
    }

    fn restarts(&mut self) -> usize {
        self.look(|it| it.machine().restarts)
    }

    fn disk_dies(&mut self) {
        self.dead.set(true);
        self.views.server_down(&mut self.around, ServerId::Disk);
    }
}

/// What a node knows that founded its cluster on the medium.
fn founded(medium: &Rc<RefCell<Medium>>) -> (u64, u64, Option<cluster::Incarnation>) {
    let mut world = World::new(Some(medium), 7);
    world.run(5000 * MS_NS);
    assert!(world.acts(), "{}", world.said());
    world.known().expect("it is in a view")
}

#[test]
fn node_without_disk_founds_and_says_so_once() {
    let mut world = World::new(None, 1);
    world.run(5000 * MS_NS);
    assert!(world.acts());
    let said = world.said();
    assert_eq!(said.matches("in memory only").count(), 1, "{said}");
}

impl World {
    fn wishes(&mut self, leaves: bool) {
        let msg = Msg::of(&Wish { leaves }).expect("it fits");
        let event = Event::Upcall { from: ServerId::Shell, number: EVENT_WISH, msg };
        self.views.step(&mut self.around, |it, cx| it.event(cx, event));
    }

    fn drains(&mut self) -> Option<bool> {
        self.look(|it| it.views().and_then(Views::drains))
    }
}

#[test]
fn node_that_is_told_to_leave_drains_until_it_is_told_to_stay() {
    let mut world = World::new(None, 1);
    world.run(5000 * MS_NS);
    assert_eq!(world.drains(), Some(false), "nobody has said anything");
    for leaves in [true, true, false] {
        world.wishes(leaves);
        world.run(1000 * MS_NS);
        assert_eq!(world.drains(), Some(leaves));
    }
    let (epoch, ..) = world.known().expect("it is in a view");
    world.run(5000 * MS_NS);
    assert_eq!(world.known().map(|(later, ..)| later), Some(epoch), "it is what it wishes to be");
}

#[test]
fn wish_is_kept_until_the_node_is_a_member_and_ends_with_its_start() {
    let medium = medium();
    let mut world = World::new(Some(&medium), 1);
    world.wishes(true);
    assert_eq!(world.drains(), None);
    world.run(5000 * MS_NS);
    assert_eq!(world.drains(), Some(true));
    let mut world = World::new(Some(&medium), 2);
    world.run(10_000 * MS_NS);
    assert_eq!(world.drains(), Some(false), "{}", world.said());
}

/// Another view makes the request void.
#[test]
fn wish_is_repeated_in_the_next_view() {
    let mut world = World::new(None, 1);
    world.run(5000 * MS_NS);
    world.wishes(true);
    let requests = |views: &mut Views| core::mem::take(&mut views.asked.requests);
    let lost = world.look(|it| it.views.as_mut().map(requests));
    assert_eq!(lost, Some(vec![Request::Drain(true)]));
    world.run(1000 * MS_NS);
    assert_eq!(world.drains(), Some(true));
}

#[test]
fn wish_of_any_other_server_or_event_is_none() {
    let mut world = World::new(None, 1);
    world.run(5000 * MS_NS);
    let msg = Msg::of(&Wish { leaves: true }).expect("it fits");
    for (from, number) in [(ServerId::Proc, EVENT_WISH), (ServerId::Shell, EVENT_WISH + 1)] {
        let event = Event::Upcall { from, number, msg: msg.clone() };
        world.views.step(&mut world.around, |it, cx| it.event(cx, event));
    }
    world.run(1000 * MS_NS);
    assert_eq!(world.drains(), Some(false));
}

impl World {
    fn wishes_key(&mut self, from: ServerId, to: u16, key: Option<[u8; 32]>) {
        let to = NodeId::new(to).expect("a node");
        let msg = Msg::of(&KeyWish { node: to, key }).expect("it fits");
        let event = Event::Upcall { from, number: EVENT_KEY, msg };
        self.views.step(&mut self.around, |it, cx| it.event(cx, event));
        self.run(1000 * MS_NS);
    }

    fn changed(&mut self, to: u16) -> Option<Option<[u8; 32]>> {
        let to = NodeId::new(to).expect("a node");
        self.look(|it| {
            let entry = it.views()?.view()?.changed_key(to)?;
            Some(entry.key.map(cluster::PublicKey::bytes))
        })
    }

    fn epoch(&mut self) -> u64 {
        self.known().expect("it is in a view").0
    }
}

#[test]
fn key_that_an_administrator_wishes_is_agreed_told_to_net_server_and_remembered() {
    let medium = medium();
    let mut world = World::new(Some(&medium), 1);
    world.run(5000 * MS_NS);
    let before = world.epoch();
    world.wishes_key(ServerId::Shell, 2, Some([7; 32]));
    world.wishes_key(ServerId::Shell, 3, None);
    world.wishes_key(ServerId::Shell, 3, None);
    assert_eq!((world.changed(2), world.changed(3)), (Some(Some([7; 32])), Some(None)));
    let node = |number| NodeId::new(number).expect("a node");
    let entry = |number, key| PeerKey { node: node(number), key, address: None };
    let told = [entry(2, Some([7; 32])), entry(3, None)];
    assert_eq!(world.keys.borrow()[..], told, "once each");
    world.run(20_000 * MS_NS);
    assert_eq!(world.epoch(), before + 2, "a wish ends when it is fulfilled");
    let mut world = World::new(Some(&medium), 2);
    world.run(10_000 * MS_NS);
    assert_eq!(world.keys.borrow()[..], told, "once each");
}

#[test]
fn key_that_nobody_may_wish_or_that_is_none_is_not_asked_for() {
    let mut world = World::new(None, 1);
    world.run(5000 * MS_NS);
    let before = world.epoch();
    world.wishes_key(ServerId::Proc, 2, Some([7; 32]));
    world.wishes_key(ServerId::Shell, 2, Some([0; 32]));
    world.wishes_key(ServerId::Shell, 1, None);
    assert_eq!((world.epoch(), world.changed(1), world.changed(2)), (before, None, None));
    assert_eq!(world.keys.borrow()[..], []);
}

impl World {
    fn wishes_node(&mut self, from: ServerId, wish: AddWish) {
        let msg = Msg::of(&wish).expect("it fits");
        let event = Event::Upcall { from, number: EVENT_ADD, msg };
        self.views.step(&mut self.around, |it, cx| it.event(cx, event));
        self.run(1000 * MS_NS);
    }
}

#[test]
fn node_that_an_administrator_adds_is_agreed_told_to_net_server_and_remembered() {
    let medium = medium();
    let mut world = World::new(Some(&medium), 1);
    world.run(5000 * MS_NS);
    let before = world.epoch();
    let node = NodeId::new(9).expect("a node");
    let wish = AddWish { node, key: [7; 32], address: [2, 0, 0, 0, 0, 9] };
    for wrong in [
        AddWish { key: [0; 32], ..wish },
        AddWish { address: [0xff; 6], ..wish },
        AddWish { node: NodeId::new(1).expect("a node"), ..wish },
    ] {
        world.wishes_node(ServerId::Shell, wrong);
    }
    world.wishes_node(ServerId::Proc, wish);
    assert_eq!((world.epoch(), world.changed(9)), (before, None));
    world.wishes_node(ServerId::Shell, wish);
    world.wishes_node(ServerId::Shell, wish);
    assert_eq!((world.epoch(), world.changed(9)), (before + 1, Some(Some([7; 32]))));
    let told = [PeerKey { node, key: Some([7; 32]), address: Some([2, 0, 0, 0, 0, 9]) }];
    assert_eq!(world.keys.borrow()[..], told, "once");
    let mut world = World::new(Some(&medium), 2);
    world.run(10_000 * MS_NS);
    assert_eq!(world.keys.borrow()[..], told, "once");
}

#[test]
fn founders_are_the_first_nodes_that_do_not_join() {
    let nodes = (1..=6).map(|number| (NodeId::new(number).expect("a node"), number < 3));
    let setup = Setup::of(Vec::new(), Vec::new(), nodes.collect(), 1, 1);
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
    assert_eq!(numbers(&setup.config.founders), [3, 4, 5]);
    assert_eq!(numbers(&setup.config.others), [1, 2, 6]);
}

/// It could not be agreed on meanwhile, and the administrator was told so.
#[test]
fn key_that_was_wished_too_long_ago_is_given_up() {
    let mut world = World::new(None, 1);
    world.run(10_000 * MS_NS);
    let before = world.epoch();
    world.views.step(&mut world.around, |it, cx| {
        let two = NodeId::new(2).expect("a node");
        let msg = Msg::of(&KeyWish { node: two, key: None }).expect("it fits");
        let long_ago = it.time(cx) - crate::limits::KEY_WISH_NS;
        it.wish_key(long_ago, &msg);
        let views = it.views.as_mut().expect("it takes part");
        views.asked.requests.push(Request::Key(two, None));
        it.act(cx);
    });
    world.run(5000 * MS_NS);
    assert_eq!((world.epoch(), world.changed(2)), (before, None));
}

#[test]
fn node_that_starts_again_is_the_same_voter_in_a_later_view() {
    let medium = medium();
    let (epoch, cluster, disk) = founded(&medium);
    for seed in 0..20 {
        medium.borrow_mut().crash(|| seed % 2 == 0);
        let mut world = World::new(Some(&medium), 100 + seed);
        world.run(10_000 * MS_NS);
        assert!(world.acts(), "{}", world.said());
        let (later, same, still) = world.known().expect("it is in a view");
        assert!(later > epoch && same == cluster && still == disk, "{}", world.said());
    }
}

#[test]
fn writes_reach_the_disk_before_what_they_promise_and_wait_for_room() {
    let medium = medium();
    // A disk that is slow: a writer that does not wait would find no room.
    medium.borrow_mut().delay_ns = 40 * MS_NS;
    let mut world = World::new(Some(&medium), 1);
    world.run(600 * MS_NS);
    assert_eq!(world.known(), None, "it still reads");
    world.run(9000 * MS_NS);
    assert!(world.acts(), "{}", world.said());
    let asked = world.asked.borrow();
    let first = |op: u16| asked.iter().position(|(asked, _)| *asked == op);
    assert!(first(Write::NUMBER) < first(Flush::NUMBER));
}

#[test]
fn repair_of_a_full_journal_waits_for_room() {
    let medium = medium();
    founded(&medium);
    let (_, cluster, disk) = {
        // Many starts fill the areas.
        let mut known = None;
        for seed in 0..60 {
            let mut world = World::new(Some(&medium), seed);
            world.run(3000 * MS_NS);
            known = world.known();
        }
        known.expect("it is in a view")
    };
    medium.borrow_mut().delay_ns = 20 * MS_NS;
    let mut world = World::new(Some(&medium), 1000);
    world.run(10_000 * MS_NS);
    assert_eq!(world.known().map(|(_, cluster, disk)| (cluster, disk)), Some((cluster, disk)));
}

#[test]
fn disk_that_fails_ends_the_nodes_part_for_good() {
    for dies in [false, true] {
        let medium = medium();
        let mut world = World::new(Some(&medium), 3);
        world.run(5000 * MS_NS);
        assert!(world.acts());
        if dies {
            world.disk_dies();
        } else {
            medium.borrow_mut().fails = true;
            // The next thing that it has to remember.
            let now = world.around.now_ns;
            world.views.step(&mut world.around, |it, cx| {
                it.views.as_mut().expect("it takes part").record(&[]);
                assert_eq!(it.time(cx), now);
                it.act(cx);
            });
        }
        let asked = world.asked.borrow().len();
        world.run(20_000 * MS_NS);
        assert_eq!(world.known(), None, "it takes no part");
        assert_eq!(world.restarts(), 0, "starting again does not help");
        let said = world.said();
        assert_eq!(said.matches("Replace the disk").count(), 1, "{said}");
        assert!(said.contains("alarm: node 1: its disk fails"), "{said}");
        assert!(!said.contains("waits for its disk"), "{said}");
        assert!(world.asked.borrow().len() <= asked + 2, "nothing is written any more");
    }
}

#[test]
fn disk_that_fails_at_the_start_leaves_the_node_in_memory() {
    let medium = medium();
    let (_, cluster, _) = founded(&medium);
    medium.borrow_mut().fails = true;
    let mut world = World::new(Some(&medium), 4);
    world.run(5000 * MS_NS);
    assert!(world.acts(), "{}", world.said());
    assert!(world.said().contains("in memory only: its disk fails"), "{}", world.said());
    assert_ne!(world.known().expect("a view").1, cluster, "it is another voter");
    // What the disk remembers is as it was.
    medium.borrow_mut().fails = false;
    let mut world = World::new(Some(&medium), 5);
    world.run(5000 * MS_NS);
    assert_eq!(world.known().expect("a view").1, cluster);
    let mut world = World::new(Some(&medium), 6);
    world.run(3 * MS_NS);
    world.disk_dies();
    world.run(5000 * MS_NS);
    assert!(world.acts(), "{}", world.said());
}

/// Spoils what was agreed in both copies, so that its loss can be told.
fn damage(medium: &Rc<RefCell<Medium>>) {
    let mut medium = medium.borrow_mut();
    let area = crate::limits::AREA_BYTES;
    for at in 0..4 {
        medium.safe[at * area..][..SECTOR_BYTES].fill(0xff);
    }
}

#[test]
fn damaged_disk_makes_another_voter_and_is_good_again() {
    let medium = medium();
    let (_, cluster, _) = founded(&medium);
    // Another start, so that there are records behind the beginning.
    let mut world = World::new(Some(&medium), 8);
    world.run(5000 * MS_NS);
    damage(&medium);
    let mut world = World::new(Some(&medium), 9);
    world.run(5000 * MS_NS);
    let said = world.said();
    assert!(world.acts() && said.contains("its disk lost"), "{said}");
    let (_, other, disk) = world.known().expect("a view");
    assert_ne!(other, cluster);
    let mut world = World::new(Some(&medium), 10);
    world.run(5000 * MS_NS);
    assert_eq!(world.known().map(|(_, cluster, disk)| (cluster, disk)), Some((other, disk)));
}

#[test]
fn wiping_that_is_cut_short_never_leaves_an_older_memory() {
    let fresh = medium();
    let (_, cluster, _) = founded(&fresh);
    for seed in 0..3 {
        let mut world = World::new(Some(&fresh), 20 + seed);
        world.run(5000 * MS_NS);
    }
    damage(&fresh);
    let damaged = fresh.borrow().safe.clone();
    for cut_ms in 15..60 {
        let medium = medium();
        medium.borrow_mut().safe.clone_from(&damaged);
        let mut world = World::new(Some(&medium), 30);
        world.run(cut_ms * MS_NS);
        medium.borrow_mut().crash(|| cut_ms % 3 == 0);
        let mut world = World::new(Some(&medium), 31);
        world.run(8000 * MS_NS);
        assert!(world.acts(), "{}", world.said());
        assert_ne!(world.known().expect("a view").1, cluster, "cut after {cut_ms} ms");
    }
}

#[test]
fn one_copy_that_cannot_be_read_is_enough_and_two_are_damage() {
    let medium = medium();
    let (_, cluster, _) = founded(&medium);
    let area = (crate::limits::AREA_BYTES / SECTOR_BYTES) as u64;
    medium.borrow_mut().unreadable = Vec::from([0, 2 * area]);
    let mut world = World::new(Some(&medium), 11);
    world.run(5000 * MS_NS);
    assert_eq!(world.known().expect("a view").1, cluster, "{}", world.said());
    medium.borrow_mut().unreadable = Vec::from([2 * area, 3 * area]);
    let mut world = World::new(Some(&medium), 12);
    world.run(5000 * MS_NS);
    assert_ne!(world.known().expect("a view").1, cluster, "{}", world.said());
}

#[test]
fn orphan_forgets_before_it_starts_again() {
    let medium = medium();
    let (_, cluster, _) = founded(&medium);
    let mut world = World::new(Some(&medium), 13);
    world.run(5000 * MS_NS);
    world.views.step(&mut world.around, |it, cx| {
        let now = it.time(cx);
        it.perform(cx, now, Output::Orphaned);
        it.act(cx);
    });
    assert_eq!(world.restarts(), 0, "not yet");
    world.run(1000 * MS_NS);
    assert_eq!((world.restarts(), world.known()), (1, None));
    assert!(medium.borrow().safe.iter().all(|byte| *byte == 0));
    let mut world = World::new(Some(&medium), 14);
    world.run(5000 * MS_NS);
    assert_ne!(world.known().expect("a view").1, cluster);
}
