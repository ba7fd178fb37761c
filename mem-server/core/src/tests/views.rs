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
        cluster.silence(0);
    }
    let view = views::without(&cluster.view, node(1));
    for at in [1, 2] {
        cluster.nodes[at].enter(&view);
    }
    cluster.view = view;
    if !link_first {
        cluster.silence(0);
    }
}

/// A store or load that fails.
fn fails(cluster: &mut Cluster, at: usize, space: SpaceId, page: u64, access: Access) {
    let op = Fault { space, addr: BASE + page * PAGE, access };
    match cluster.nodes[at].status(&op) {
        Err(Status::Pending(ticket)) => {
            cluster.settle(&mut Dice(5));
            let end = Completion::Ticket { ticket, result: Err(Errno::EIO) };
            assert_eq!(cluster.nodes[at].take(), Some(end));
        }
        other => assert_eq!(other, Err(Status::Failed(Errno::EIO))),
    }
}

#[test]
fn object_of_a_home_that_left_goes_on_with_what_the_others_have() {
    for link_first in [true, false] {
        let mut cluster = Cluster::new(3, 64);
        let spaces = spread(&mut cluster);
        first_leaves(&mut cluster, link_first);
        cluster.settle(&mut Dice(3));
        let at = |page: u64| BASE + page * PAGE;
        assert_eq!(cluster.nodes[1].load(spaces[1], at(0)), Ok(7));
        assert_eq!(cluster.nodes[2].load(spaces[2], at(0)), Ok(7));
        assert_eq!(cluster.nodes[1].store(spaces[1], at(1), 9), Ok(()));
        // Copies go when another node writes, and pages are fetched, as before.
        access(&mut cluster, 2, spaces[2], 0, Some(1));
        assert_eq!(cluster.nodes[1].with(|core| core.kept.len()), 0);
        access(&mut cluster, 1, spaces[1], 0, None);
        assert_eq!(cluster.nodes[1].load(spaces[1], at(0)), Ok(1));
        access(&mut cluster, 2, spaces[2], 1, None);
        assert_eq!(cluster.nodes[2].load(spaces[2], at(1)), Ok(9));
        // What nobody has may have been on the node that left.
        for (at, access) in [(1, Access::Read), (2, Access::Write)] {
            fails(&mut cluster, at, spaces[at], 2, access);
        }
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
fn fault_that_waits_for_a_home_that_left_is_served_by_the_new_one() {
    let mut cluster = Cluster::new(3, 64);
    let spaces = spread(&mut cluster);
    let op = Fault { space: spaces[2], addr: BASE + PAGE, access: Access::Write };
    let Err(Status::Pending(ticket)) = cluster.nodes[2].status(&op) else { panic!("it is away") };
    first_leaves(&mut cluster, false);
    cluster.settle(&mut Dice(2));
    let result = Ok(runtime::Msg::default());
    assert_eq!(cluster.nodes[2].take(), Some(Completion::Ticket { ticket, result }));
    assert_eq!(cluster.nodes[2].load(spaces[2], BASE + PAGE), Ok(8));
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
    ask_give(it, slot, node(to)).expect("it is answered at once")
}

/// Asks a slot's home to give it; the answer, if it comes at once.
pub(super) fn ask_give(it: &mut Node, slot: SlotNo, to: NodeId) -> Option<bool> {
    // What was answered in an earlier view is void.
    while given(it).is_some() {}
    let op = Give { slot: slot.index() as u16, to, really: true };
    match call(&it.host, &mut it.platform, ServerId::Views, &op, &mut []) {
        Ok((given, _)) => Some(given.given),
        Err(Status::Pending(_)) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// The answer that has come since; an end with an error counts as "not given".
pub(super) fn given(it: &mut Node) -> Option<bool> {
    match runtime::testing::take(&it.host, &mut it.platform, ServerId::Views)? {
        Completion::Ticket { result: Ok(msg), .. } => {
            let given: runtime::Given = runtime::Wire::get(&msg).expect("an answer");
            Some(given.given)
        }
        Completion::Ticket { result: Err(_), .. } => Some(false),
        Completion::Event { .. } => panic!("no event is due"),
    }
}

/// Moves a slot to a node with what lives in it.
fn move_slot(cluster: &mut Cluster, slot: SlotNo, to: u16) {
    let home = usize::from(cluster.view.home(slot).get()) - 1;
    cluster.turn(views::moving(&cluster.view, slot, node(to)));
    if ask_give(&mut cluster.nodes[home], slot, node(to)).is_none() {
        cluster.settle(&mut Dice(4));
        assert_eq!(given(&mut cluster.nodes[home]), Some(true));
    }
    cluster.turn(views::moved(&cluster.view, slot));
    cluster.settle(&mut Dice(6));
}

#[test]
fn slot_with_shared_memory_moves_and_its_former_home_can_leave() {
    let mut cluster = Cluster::new(3, 64);
    let (object, spaces) = cluster.shared();
    access(&mut cluster, 0, spaces[0], 0, Some(5));
    access(&mut cluster, 1, spaces[1], 1, Some(6));
    move_slot(&mut cluster, object.slot(), 3);
    // A page of the former home, one of another, and one that nobody touched.
    access(&mut cluster, 2, spaces[2], 0, None);
    assert_eq!(cluster.nodes[2].load(spaces[2], BASE), Ok(5));
    access(&mut cluster, 0, spaces[0], 1, Some(7));
    access(&mut cluster, 1, spaces[1], 2, None);
    assert_eq!(cluster.nodes[1].load(spaces[1], BASE + 2 * PAGE), Ok(0));
    // Nothing of it is left where nobody uses it any more.
    cluster.nodes[0].call(&SpaceDestroy { space: spaces[0] }).expect("a space");
    cluster.settle(&mut Dice(8));
    cluster.nodes[0].assert_empty();
    cluster.kill(0);
    cluster.settle(&mut Dice(9));
    access(&mut cluster, 1, spaces[1], 1, None);
    assert_eq!(cluster.nodes[1].load(spaces[1], BASE + PAGE), Ok(7));
    for at in [1, 2] {
        cluster.nodes[at].call(&SpaceDestroy { space: spaces[at] }).expect("a space");
        cluster.settle(&mut Dice(1));
    }
    cluster.nodes[1].assert_empty();
    cluster.nodes[2].assert_empty();
}

#[test]
fn node_that_leaves_keeps_a_slot_until_its_pages_are_elsewhere() {
    let mut cluster = Cluster::new(2, 64);
    let (object, spaces) = cluster.shared();
    access(&mut cluster, 0, spaces[0], 0, Some(5));
    let draining = views::draining(&cluster.view, node(1), true);
    cluster.turn(draining);
    let last = cluster.view.slots_of(node(1)).last().expect("it has slots");
    let stays = |cluster: &mut Cluster, slot| cluster.nodes[0].with(|core| core.slot_stays(slot));
    assert!(stays(&mut cluster, last) && !stays(&mut cluster, object.slot()));
    let named = cluster.view.slot(object.slot()).joining.is_some();
    if named {
        ask_give(&mut cluster.nodes[0], object.slot(), node(2));
        cluster.settle(&mut Dice(4));
        cluster.turn(views::moved(&cluster.view, object.slot()));
        cluster.settle(&mut Dice(5));
    } else {
        move_slot(&mut cluster, object.slot(), 2);
    }
    assert!(stays(&mut cluster, last), "its program has not moved");
    cluster.nodes[0].call(&SpaceDestroy { space: spaces[0] }).expect("a space");
    cluster.settle(&mut Dice(6));
    assert!(!stays(&mut cluster, last));
    assert_eq!(cluster.nodes[1].load(spaces[1], BASE), Ok(5));
}

#[test]
fn page_that_was_kept_when_its_taker_died_is_lost_and_untouched_ones_are_not() {
    let mut cluster = Cluster::new(3, 64);
    let (_, spaces) = cluster.shared();
    access(&mut cluster, 0, spaces[0], 0, Some(5));
    let op = Fault { space: spaces[1], addr: BASE, access: Access::Write };
    assert!(matches!(cluster.nodes[1].status(&op), Err(Status::Pending(_))));
    // The request, then the page, which is lost with the node.
    cluster.step(&mut Dice(1));
    assert_eq!(cluster.nodes[0].with(|core| core.kept.len()), 1);
    cluster.kill(1);
    cluster.settle(&mut Dice(2));
    fails(&mut cluster, 2, spaces[2], 0, Access::Read);
    access(&mut cluster, 2, spaces[2], 1, Some(3));
    assert_eq!(cluster.nodes[0].with(|core| core.kept.len()), 0);
}

#[test]
fn reports_of_nonsense_are_refused() {
    use mem_api::peer::{Held, Report, Row, Taker};
    let mut cluster = Cluster::new(3, 64);
    let (object, spaces) = cluster.shared();
    access(&mut cluster, 1, spaces[1], 0, Some(5));
    cluster.silence(2);
    let view = views::without(&cluster.view, node(3));
    cluster.view = view;
    let view = cluster.view.clone();
    cluster.nodes[0].enter(&view);
    // The home asks; the second node has not entered the view, and somebody speaks in its name.
    let it = &mut cluster.nodes[0];
    let round = it.with(|core| core.rounds[&object.slot()].number());
    let from = mem_api::peer::Place::default();
    let other = ObjectId::from_raw(object.raw() + 1);
    let rows = vec![
        Row::Run { first: 0, pages: 1, held: Held::Only },
        Row::Object { object: object.raw(), grants: u64::MAX },
        Row::Run { first: u64::MAX, pages: 2, held: Held::Only },
        Row::Run { first: 0, pages: u64::MAX, held: Held::Owner },
        Row::Object { object: other.raw(), grants: 1 },
        Row::Run { first: 0, pages: 1, held: Held::Kept(Taker { node: 7, number: 1 }) },
    ];
    let reported = |it: &mut Node, from_node: u16, op: Report| {
        it.host.step(&mut it.platform, |core, cx| core.reported(cx, node(from_node), &op));
    };
    let report = |round, rows: &Vec<Row>| Report { round, from, next: None, rows: rows.clone() };
    reported(it, 3, report(round, &rows));
    reported(it, 2, report(round - 1, &rows));
    reported(it, 2, report(round, &vec![rows[0]; 33]));
    assert!(it.with(|core| core.rebuild.slots.has(object.slot())), "nobody has reported");
    reported(it, 2, report(round, &rows));
    cluster.turn(view);
    cluster.settle(&mut Dice(1));
    cluster.nodes[0].with(|core| {
        assert!(core.rebuild.slots.is_empty(), "all have");
        let target = core.objects.get(object).expect("an object");
        assert_eq!(target.directory.hosts.len(), 1, "references are not taken from who is counted");
        assert!(core.objects.get(other).is_err(), "nobody refers to it");
    });
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
