// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views that change: objects whose home is gone, and slots that come and go.

use super::nodes::{BASE, Cluster, Dice, PAGE};
use super::*;
use abi::{ObjectId, SlotNo};
use runtime::Completion;
use runtime::testing::views;

fn view_of(nodes: u16) -> View {
    View::fixed((1..=nodes).map(node).collect()).expect("a view")
}

fn slot(number: u16) -> SlotNo {
    SlotNo::new(number).expect("a slot")
}

fn occupies(it: &Node, slot: SlotNo) -> bool {
    it.host.freeze(slot).expect("its home")
}

fn zeroes(it: &mut Node) -> Result<ObjectId, Errno> {
    it.call(&ObjectCreate { content: Content::Zero, slot: None }).map(|created| created.object)
}

/// A store or load that may have to fetch.
fn access(cluster: &mut Cluster, at: usize, space: SpaceId, page: u64, write: Option<u8>) {
    let addr = BASE + page * PAGE;
    let access = if write.is_some() { Access::Write } else { Access::Read };
    match cluster.nodes[at].status(&Fault { space, addr, access }) {
        Ok(()) => {}
        Err(Status::Pending(_)) => {
            cluster.settle(&mut Dice(5));
            cluster.nodes[at].take().expect("the fault ends");
        }
        Err(other) => panic!("{other:?}"),
    }
    if let Some(byte) = write {
        cluster.nodes[at].store(space, addr, byte).expect("it is here now");
    }
}

/// Page 0: owned by the second node, a copy on the third. Page 1: the second node's alone.
fn spread(cluster: &mut Cluster) -> Vec<SpaceId> {
    let (_, spaces) = cluster.shared();
    access(cluster, 1, spaces[1], 0, Some(7));
    access(cluster, 2, spaces[2], 0, None);
    access(cluster, 1, spaces[1], 1, Some(8));
    spaces
}

fn first_leaves(cluster: &mut Cluster, link_first: bool) {
    if link_first {
        cluster.kill(0);
    }
    let view = views::without(&view_of(3), node(1));
    for at in [1, 2] {
        cluster.nodes[at].enter(&view);
    }
    if !link_first {
        cluster.kill(0);
    }
}

#[test]
fn object_of_a_home_that_left_keeps_the_pages_that_are_here() {
    for link_first in [true, false] {
        let mut cluster = Cluster::new(3, 64);
        let spaces = spread(&mut cluster);
        first_leaves(&mut cluster, link_first);
        let [_, second, third] = &mut cluster.nodes[..] else { panic!("three nodes") };
        let at = |page: u64| BASE + page * PAGE;
        assert_eq!(second.load(spaces[1], at(0)), Ok(7));
        assert_eq!(third.load(spaces[2], at(0)), Ok(7));
        assert_eq!(second.load(spaces[1], at(1)), Ok(8));
        assert_eq!(second.store(spaces[1], at(1), 9), Ok(()));
        // A copy may be elsewhere, and nobody can be asked.
        assert_eq!(second.store(spaces[1], at(0), 1), Err(Errno::EIO));
        assert_eq!(third.store(spaces[2], at(0), 1), Err(Errno::EIO));
        assert_eq!(third.load(spaces[2], at(1)), Err(Errno::EIO));
        assert_eq!(second.load(spaces[1], at(2)), Err(Errno::EIO));
        assert_eq!(second.peek(spaces[1], at(1), 1), Ok(vec![9]));
        for at in [1, 2] {
            cluster.nodes[at].call(&SpaceDestroy { space: spaces[at] }).expect("a space");
        }
        cluster.settle(&mut Dice(1));
        for at in [1, 2] {
            cluster.nodes[at].assert_empty();
        }
    }
}

#[test]
fn fault_that_waits_for_a_home_that_left_ends() {
    let mut cluster = Cluster::new(3, 64);
    let spaces = spread(&mut cluster);
    let op = Fault { space: spaces[2], addr: BASE + PAGE, access: Access::Write };
    let Err(Status::Pending(ticket)) = cluster.nodes[2].status(&op) else { panic!("it is away") };
    first_leaves(&mut cluster, false);
    let end = Completion::Ticket { ticket, result: Err(Errno::EIO) };
    assert_eq!(cluster.nodes[2].take(), Some(end));
}

#[test]
fn new_home_of_a_lost_slot_does_not_know_its_objects() {
    let mut cluster = Cluster::new(2, 64);
    let object = zeroes(&mut cluster.nodes[0]).expect("made");
    cluster.nodes[1].enter(&views::without(&view_of(2), node(1)));
    let it = &mut cluster.nodes[1];
    assert_eq!(it.call(&ObjectHold { object, node: node(2) }), Err(Errno::EIO));
    assert_eq!(it.call(&ObjectAdopt { object }), Err(Errno::EIO));
}

#[test]
fn object_of_another_home_of_the_slot_has_another_id() {
    let mut cluster = Cluster::new(2, 64);
    let first = zeroes(&mut cluster.nodes[0]).expect("made");
    let moved = views::moved(&views::moving(&view_of(2), slot(0), node(2)), slot(0));
    cluster.nodes[1].enter(&moved);
    let second = zeroes(&mut cluster.nodes[1]).expect("made");
    assert_eq!(second.slot(), first.slot());
    assert_ne!(second, first);
}

#[test]
fn slot_is_occupied_by_its_objects_but_not_by_files_that_every_node_has() {
    let mut it = Node::alone(64);
    let content = Content::Root { offset: 0, len: 4096 };
    let file = it.call(&ObjectCreate { content, slot: None }).expect("an object").object;
    let object = zeroes(&mut it).expect("made");
    assert_eq!((file.slot(), object.slot()), (slot(0), slot(0)));
    assert!(occupies(&it, slot(0)));
    it.call(&ObjectRelease { object }).expect("held");
    assert!(!occupies(&it, slot(0)));
    assert_ne!(zeroes(&mut it).expect("made").slot(), slot(0), "it is frozen");
    it.call(&ObjectRelease { object: file }).expect("held");
}

#[test]
fn file_that_every_node_has_outlives_the_slot_of_its_id() {
    let mut cluster = Cluster::new(2, 64);
    let content = Content::Root { offset: 0, len: 4096 };
    let it = &mut cluster.nodes[0];
    let file = it.call(&ObjectCreate { content, slot: None }).expect("an object").object;
    let space = it.space();
    let before = it.with_bulk(&ObjectRead { object: file, offset: 0, len: 4 }, &mut [0; 4]);
    let moved = views::moved(&views::moving(&view_of(2), slot(0), node(2)), slot(0));
    it.enter(&moved);
    it.enter(&views::without(&moved, node(2)));
    let after = it.with_bulk(&ObjectRead { object: file, offset: 0, len: 4 }, &mut [0; 4]);
    assert_eq!(after, before);
    let backing = Backing::Object { object: file, offset: 0 };
    let addr = it.map(Map { backing, ..anonymous(space, 1) });
    assert!(it.load(space, addr).is_ok());
    it.call(&SpaceDestroy { space }).expect("a space");
    it.call(&ObjectRelease { object: file }).expect("held");
    it.assert_empty();
}

#[test]
fn node_that_is_no_member_yet_makes_nothing() {
    let mut it = Node::alone(64);
    it.host = Host::outside(ServerId::Mem, node(1), MemCore::new(Fake::new(64)).expect("a core"));
    assert_eq!(zeroes(&mut it), Err(Errno::ENODEV));
}

fn give(it: &mut Node, slot: SlotNo, to: u16) -> bool {
    let op = Give { slot: slot.index() as u16, to: node(to), really: true };
    let given = call(&it.host, &mut it.platform, ServerId::Views, &op, &mut []);
    given.expect("it is answered at once").0.given
}

#[test]
fn slot_with_objects_that_others_use_stays() {
    let mut cluster = Cluster::new(2, 64);
    let (object, spaces) = cluster.shared();
    let named = views::moving(&view_of(2), object.slot(), node(2));
    cluster.nodes.iter_mut().for_each(|it| it.enter(&named));
    assert!(!give(&mut cluster.nodes[0], object.slot(), 2));
    let stayed = views::stayed(&named, object.slot());
    cluster.nodes.iter_mut().for_each(|it| it.enter(&stayed));
    access(&mut cluster, 1, spaces[1], 0, Some(3));
}

#[test]
fn object_that_its_client_alone_uses_does_not_hold_its_slot() {
    let mut it = Cluster::new(2, 64).nodes.remove(0);
    let wanted = Some(slot(4));
    let create = ObjectCreate { content: Content::Zero, slot: wanted };
    let object = it.call(&create).expect("made").object;
    assert_eq!(object.slot(), slot(4));
    let elsewhere = ObjectCreate { slot: Some(slot(1)), ..create };
    let other = it.call(&elsewhere).expect("made").object;
    assert_eq!(other.slot(), slot(0), "the other is not this node's");
    it.with_bulk(&ObjectWrite { object, offset: 0 }, &mut [7; 10]).expect("written");
    assert_eq!(it.call(&ObjectUse { object }), Ok(ObjectUsers { alone: true }));
    it.call(&ObjectHold { object, node: node(1) }).expect("held");
    assert_eq!(it.call(&ObjectUse { object }), Ok(ObjectUsers { alone: false }));
    it.call(&ObjectRelease { object }).expect("held");
    let named = views::moving(&view_of(2), slot(4), node(2));
    it.enter(&named);
    assert!(give(&mut it, slot(4), 2));
    it.enter(&views::moved(&named, slot(4)));
    // Its client gives it up now.
    let mut buf = [0; 10];
    it.with_bulk(&ObjectRead { object, offset: 0, len: 10 }, &mut buf).expect("it is here");
    assert_eq!(buf, [7; 10]);
    for object in [object, other] {
        it.call(&ObjectRelease { object }).expect("held");
    }
    it.assert_empty();
}

#[test]
fn object_whose_slot_was_given_away_is_as_before_once_it_is_renamed() {
    let mut it = Cluster::new(2, 64).nodes.remove(0);
    let create = ObjectCreate { content: Content::Zero, slot: Some(slot(4)) };
    let object = it.call(&create).expect("made").object;
    it.call(&ObjectResize { object, len: 4 * PAGE }).expect("it is whole");
    it.with_bulk(&ObjectWrite { object, offset: 0 }, &mut [7; 10]).expect("written");
    let named = views::moving(&view_of(2), slot(4), node(2));
    it.enter(&named);
    assert!(give(&mut it, slot(4), 2));
    it.enter(&views::moved(&named, slot(4)));
    let rename = |object, to| ObjectRename { object, slot: slot(to) };
    // What it has not yet, its home would have to say.
    let written = it.with_bulk(&ObjectWrite { object, offset: PAGE }, &mut [8; 10]);
    assert_eq!(written, Err(Errno::EIO));
    assert_eq!(it.call(&rename(object, 4)), Err(Errno::EINVAL), "it is the other's");
    let renamed = it.call(&rename(object, 2)).expect("it is whole").object;
    assert_eq!(renamed.slot(), slot(2));
    assert_eq!(it.call(&ObjectUse { object }), Err(Errno::ESTALE));
    it.with_bulk(&ObjectWrite { object: renamed, offset: PAGE }, &mut [8; 10]).expect("written");
    let mut buf = [0; 10];
    it.with_bulk(&ObjectRead { object: renamed, offset: 0, len: 10 }, &mut buf).expect("here");
    assert_eq!(buf, [7; 10]);
    // Others may use it again, and then it keeps its id.
    assert_eq!(it.call(&ObjectUse { object: renamed }), Ok(ObjectUsers { alone: true }));
    it.call(&ObjectHold { object: renamed, node: node(2) }).expect("held");
    assert_eq!(it.call(&rename(renamed, 0)), Err(Errno::EBUSY));
    it.call(&ObjectRelease { object: renamed }).expect("held");
    it.call(&ObjectRelease { object: renamed }).expect("held");
    it.assert_empty();
}
