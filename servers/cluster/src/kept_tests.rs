// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that are on disks only.

use crate::{Draft, Goal, Incarnation, Joining, Member, Policy, Slot, SlotSet, View};
use abi::{Epoch, NodeId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;

const WITH_BACKUPS: Policy = Policy { backups: true };

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

fn slot(number: u16) -> SlotNo {
    SlotNo::new(number).expect("a slot")
}

/// Three nodes with disks, and a backup for each slot.
fn cluster() -> View {
    let members = (1..=3).map(|number| (node(number), Member::boot(u64::from(number), true)));
    let founders: Vec<NodeId> = (1..=3).map(node).collect();
    View::begun(5, members.collect(), &founders).expect("a view").with_backups()
}

/// What becomes of a view when some go and some come, these with the same disks.
fn change(view: &View, leave: &[u16], come: &[u16]) -> View {
    let mut draft = Draft::new(view);
    leave.iter().for_each(|number| draft.leave(node(*number)));
    for number in come {
        let disk = Incarnation::new(u32::from(*number));
        let boot = Member::boot(view.epoch().0 * 10 + u64::from(*number), true);
        draft.admit(node(*number), boot, disk).expect("it is no member");
    }
    draft.settle(WITH_BACKUPS);
    let delta = draft.finish().expect("something changes");
    let next = view.apply(&delta).expect("lawful");
    assert_eq!(View::decode(&next.encode()).as_ref(), Ok(&next));
    next
}

fn missing(view: &View, from: u16, slots: &[SlotNo]) -> View {
    let mut set = SlotSet::default();
    slots.iter().for_each(|slot| set.add(*slot));
    let mut draft = Draft::new(view);
    let life = view.member(node(from)).expect("a member").incarnation;
    let request = crate::Request::Missing(set);
    draft.request(node(from), life, view.epoch(), &request).expect("it may say so");
    draft.settle(WITH_BACKUPS);
    view.apply(&draft.finish().expect("something changes")).expect("lawful")
}

#[test]
fn slots_of_nodes_that_all_start_again_are_where_they_were() {
    let before = cluster();
    let after = change(&before, &[1, 2, 3], &[1, 2, 3]);
    for number in View::slot_numbers() {
        let (was, now) = (before.slot(number), after.slot(number));
        assert_eq!(now.primary, was.primary);
        assert_eq!(now.kept, [Some(was.primary), was.backup]);
        assert_eq!((now.lost, now.since, now.broken), (Epoch(0), Epoch(2), Epoch(2)));
        assert!(!after.is_waiting(number));
        assert_eq!(now.had_by(was.primary), Some(Epoch(1)));
        assert_eq!(was.backup.and_then(|backup| now.had_by(backup)), Some(Epoch(1)));
    }
}

#[test]
fn slots_wait_for_a_disk_that_has_them() {
    let before = cluster();
    let alone = change(&before, &[1, 2, 3], &[1]);
    let held = |row: &Slot| row.kept.contains(&Some(node(1)));
    for number in View::slot_numbers() {
        let row = alone.slot(number);
        assert_eq!((row.primary, row.lost), (node(1), Epoch(0)));
        assert_eq!(alone.is_waiting(number), !held(row));
        assert!(row.joining.is_none());
    }
    let two = change(&alone, &[], &[3]);
    for number in View::slot_numbers() {
        let (was, now) = (alone.slot(number), two.slot(number));
        assert!(!two.is_waiting(number), "each two have all");
        assert_eq!(now.primary, if held(was) { node(1) } else { node(3) });
        assert_eq!(now.since == two.epoch(), !held(was));
    }
}

/// A copy that came later than the crash, or never: the disk says that it has not what the view says.
#[test]
fn slots_that_a_disk_misses_go_to_the_other_or_begin_anew() {
    let before = cluster();
    let all = change(&before, &[1, 2, 3], &[1, 2, 3]);
    let of_one: Vec<SlotNo> = all.slots_of(node(1)).collect();
    let next = missing(&all, 1, &of_one[..2]);
    for number in &of_one[..2] {
        let (was, now) = (before.slot(*number), next.slot(*number));
        assert_eq!((Some(now.primary), now.kept), (was.backup, [None, was.backup]));
        assert_eq!((now.lost, now.since), (Epoch(0), next.epoch()));
    }
    assert_eq!(next.slot(of_one[2]), all.slot(of_one[2]), "others stay");
    let from = next.slot(of_one[0]).primary;
    let last = missing(&next, from.get(), &of_one[..1]);
    let row = last.slot(of_one[0]);
    assert_eq!((row.primary, row.lost, row.is_kept()), (from, last.epoch(), false));
}

#[test]
fn slots_of_nodes_without_disks_begin_anew() {
    let members = vec![(node(1), 5), (node(2), Member::boot(7, true))];
    let view = View::begun(5, members, &[node(1), node(2)]).expect("a view").with_backups();
    let after = change(&view, &[1, 2], &[1, 2]);
    assert!(View::slot_numbers().all(|it| after.slot(it).kept.contains(&Some(node(2)))));
    let members = vec![(node(1), 5)];
    let view = View::begun(5, members, &[node(1)]).expect("a view");
    let after = change(&view, &[1], &[1]);
    assert!(View::slot_numbers().all(|it| after.slot(it).lost == Epoch(2)));
}

/// Who died first has less than who went on.
#[test]
fn slot_is_kept_by_who_had_it_last() {
    let before = cluster();
    let two = change(&before, &[1], &[]);
    let number = before.slots_of(node(1)).find(|it| before.slot(*it).backup == Some(node(2)));
    let number = number.expect("some");
    let none = change(&two, &[2, 3], &[1]);
    assert_eq!(none.slot(number).kept, [Some(node(2)), None]);
    assert!(none.is_waiting(number), "node 1 has an old copy");
    let back = change(&none, &[], &[2]);
    assert_eq!((back.slot(number).primary, back.slot(number).lost), (node(2), Epoch(0)));
}

/// A slot that goes on from a disk gets a backup, and is a slot like others then.
#[test]
fn slot_from_a_disk_gets_a_backup() {
    let before = cluster();
    let all = change(&before, &[1, 2, 3], &[1, 2, 3]);
    let row = *all.slot(slot(0));
    let joining = Some(Joining { node: node(3), goal: Goal::Backup });
    let joined = Slot { joining, ..row }.joined(Epoch(9)).expect("one joins");
    assert_eq!((joined.held, joined.backed), (Epoch(1), Epoch(9)));
    assert!(!joined.is_kept());
    assert_eq!(joined.had_by(row.primary), Some(Epoch(1)));
    assert_eq!(joined.had_by(node(3)), Some(Epoch(9)));
}

/// Who gives a slot away has had it for longer than who got it.
#[test]
fn slot_that_moved_is_had_by_both_since_other_times() {
    let (from, to) = (node(1), node(2));
    let joining = Some(Joining { node: to, goal: Goal::Primary });
    let row = Slot { joining, ..Slot::new(from) }.moved(Epoch(7)).expect("one joins");
    assert_eq!((row.primary, row.backup), (to, Some(from)));
    assert_eq!((row.had_by(to), row.had_by(from)), (Some(Epoch(7)), Some(Epoch(1))));
    let alone = row.alone();
    assert_eq!(alone.had_by(to), Some(Epoch(7)));
    let gone = row.without(|node| node == to, |_| true, Epoch(8), || from);
    assert_eq!((gone.primary, gone.had_by(from)), (from, Some(Epoch(1))));
    let both = row.without(|_| true, |_| true, Epoch(8), || node(3));
    assert_eq!((both.had_by(to), both.had_by(from)), (Some(Epoch(7)), Some(Epoch(1))));
}
