// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use alloc::vec;
use proptest::prelude::*;

const WITH_BACKUPS: Policy = Policy { backups: true };
const WITHOUT: Policy = Policy { backups: false };

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node number")
}

fn fixed(nodes: u16) -> View {
    View::fixed((1..=nodes).map(node).collect()).expect("a view")
}

fn settled(view: &View, policy: Policy, change: impl FnOnce(&mut Draft<'_>)) -> View {
    let mut draft = Draft::new(view);
    change(&mut draft);
    draft.settle(policy);
    let delta = draft.finish().expect("something changes");
    view.apply(&delta).expect("it is lawful")
}

/// All joiners get there, until nothing changes any more.
fn at_rest(mut view: View, policy: Policy) -> View {
    for _ in 0..2000 {
        let mut draft = Draft::new(&view);
        for number in View::slot_numbers() {
            let slot = view.slot(number);
            if let Some(joining) = slot.joining {
                let life = view.member(slot.primary).expect("a member").incarnation;
                let request = Request::Joined(number, joining.goal);
                draft.request(slot.primary, life, view.epoch(), &request).expect("it may");
            }
        }
        draft.settle(policy);
        match draft.finish() {
            Some(delta) => view = view.apply(&delta).expect("it is lawful"),
            None => return view,
        }
    }
    panic!("balancing does not come to an end");
}

#[test]
fn view_every_slot_has_one_home_among_the_members() {
    let view = View::fixed(vec![node(3), node(1), node(2)]).expect("a view");
    let total: usize = view.members().iter().map(|n| view.slots_of(*n).count()).sum();
    assert_eq!(total, usize::from(SLOTS));
}

#[test]
fn view_with_a_node_twice_is_refused() {
    assert_eq!(View::fixed(vec![node(1), node(1)]), None);
}

#[test]
fn view_fixed_has_an_odd_number_of_voters() {
    let voters: Vec<usize> = [1, 2, 3, 4, 7, 8, 100].map(|n| fixed(n).voters().len()).into();
    assert_eq!(voters, [1, 1, 3, 3, 7, 7, 7]);
}

#[test]
fn backup_missing_gets_a_joiner_and_becomes_one() {
    let view = at_rest(fixed(3), WITH_BACKUPS);
    for number in View::slot_numbers() {
        assert!(view.slot(number).backup.is_some() && view.slot(number).joining.is_none());
    }
}

#[test]
fn dead_member_its_slots_go_to_their_backups() {
    let before = at_rest(fixed(3), WITH_BACKUPS);
    let after = settled(&before, WITH_BACKUPS, |draft| draft.leave(node(2)));
    for number in before.slots_of(node(2)) {
        assert_eq!(Some(after.home(number)), before.slot(number).backup);
        assert_eq!((after.slot(number).since, after.slot(number).lost), (after.epoch(), Epoch(0)));
    }
    // As many as may join at a time, the low ones first; the others follow.
    let alone = |number: &SlotNo| after.slot(*number).backup.is_none();
    let mut alone = View::slot_numbers().filter(alone);
    let joins = |number: SlotNo| after.slot(number).joining.is_some();
    assert!(alone.by_ref().take(limits::MOVES_MAX).all(joins));
    assert!(!alone.any(joins));
    let rest = at_rest(after.clone(), WITH_BACKUPS);
    assert!(View::slot_numbers().all(|number| rest.slot(number).backup.is_some()));
}

#[test]
fn first_view_with_backups_has_all_of_them_at_once() {
    let view = fixed(4).with_backups();
    for number in View::slot_numbers() {
        let slot = view.slot(number);
        assert!(slot.backup.is_some_and(|backup| backup != slot.primary), "{slot:?}");
    }
    assert_eq!(View::decode(&view.encode()), Ok(view.clone()));
    let of = |n| view.slots_of(node(1)).filter(|it| view.slot(*it).backup == Some(node(n))).count();
    assert!([2, 3, 4].into_iter().all(|n| (80..90).contains(&of(n))));
    // It is at rest: nothing is missing.
    let mut draft = Draft::new(&view);
    draft.settle(WITH_BACKUPS);
    assert_eq!(draft.finish(), None);
    assert_eq!(fixed(1).with_backups(), fixed(1));
}

#[test]
fn slot_that_its_backup_took_over_says_what_had_no_copy() {
    let before = fixed(3).with_backups();
    let number = before.slots_of(node(2)).next().expect("it has slots");
    let made = before.slot(number).serial(1).expect("it counts");
    let after = settled(&before, WITH_BACKUPS, |draft| draft.leave(node(2)));
    assert!(after.has_broken(number, made) && !after.has_lost(number, made));
    assert_eq!((after.slot(number).backed, after.slot(number).broken), (Epoch(1), Epoch(2)));
    // A new backup is one from its own epoch on, and of what is moved nothing is lost.
    let moved = settled(&at_rest(after, WITH_BACKUPS), WITH_BACKUPS, |draft| {
        draft.admit(node(4), 5, None).expect("there is room");
    });
    let moved = at_rest(moved, WITH_BACKUPS);
    let row = moved.slot(number);
    assert!(row.backed > Epoch(2) && row.broken == Epoch(2) && row.lost == Epoch(0));
}

#[test]
fn member_that_leaves_gives_its_slots_to_their_backups_if_nobody_else_is_there() {
    let view = fixed(2).with_backups();
    let life = view.member(node(2)).expect("a member").incarnation;
    let leaving = settled(&view, WITH_BACKUPS, |draft| {
        draft.request(node(2), life, view.epoch(), &Request::Drain(true)).expect("it may");
    });
    let view = at_rest(leaving, WITH_BACKUPS);
    assert_eq!(view.slots_of(node(2)).count(), 0);
    assert!(View::slot_numbers().all(|number| view.slot(number).backup == Some(node(2))));
    let after = settled(&view, WITH_BACKUPS, |draft| draft.leave(node(2)));
    assert!(View::slot_numbers().all(|number| after.slot(number).broken == Epoch(0)));
}

#[test]
fn member_that_comes_to_one_gets_copies_and_then_slots() {
    let view = settled(&fixed(1), WITH_BACKUPS, |draft| {
        draft.admit(node(2), 5, None).expect("there is room");
    });
    let view = at_rest(view, WITH_BACKUPS);
    assert_eq!([1, 2].map(|n| view.slots_of(node(n)).count()), [512, 512]);
    assert!(View::slot_numbers().all(|number| view.slot(number).backup.is_some()));
}

#[test]
fn two_members_that_come_to_one_are_served_in_few_views() {
    let view = settled(&fixed(1), WITH_BACKUPS, |draft| {
        for n in [2, 3] {
            draft.admit(node(n), u64::from(n), None).expect("there is room");
        }
    });
    let view = at_rest(view, WITH_BACKUPS);
    let homes = [1, 2, 3].map(|n| view.slots_of(node(n)).count());
    assert!(homes.iter().all(|count| (341..=342).contains(count)), "{homes:?}");
    assert!(view.epoch().0 < 80, "{}", view.epoch().0);
}

#[test]
fn few_slots_get_a_backup_at_a_time_and_low_ones_first() {
    let view = settled(&fixed(3), WITH_BACKUPS, |_| {});
    let joins: Vec<usize> = View::slot_numbers()
        .filter(|number| view.slot(*number).joining.is_some())
        .map(|number| number.index())
        .collect();
    assert_eq!(joins, (0..limits::MOVES_MAX).collect::<Vec<_>>());
}

#[test]
fn dead_member_without_backup_its_slots_begin_anew_and_are_marked_lost() {
    let before = fixed(3);
    let after = settled(&before, WITHOUT, |draft| draft.leave(node(2)));
    for number in View::slot_numbers() {
        let lost = before.home(number) == node(2);
        assert_eq!(after.slot(number).lost == after.epoch(), lost);
    }
    let homes = [1, 3].map(|n| after.slots_of(node(n)).count());
    assert_eq!(homes, [512, 512]);
}

#[test]
fn slot_that_moved_leaves_no_backup_where_there_are_none() {
    let admitted = settled(&fixed(2), WITHOUT, |draft| {
        draft.admit(node(9), 5, None).expect("there is room");
    });
    let view = at_rest(admitted, WITHOUT);
    assert!(View::slot_numbers().all(|number| view.slot(number).backup.is_none()));
    let after = settled(&view, WITHOUT, |draft| draft.leave(node(9)));
    for number in view.slots_of(node(9)) {
        assert_eq!(after.slot(number).lost, after.epoch());
    }
}

#[test]
fn last_member_does_not_leave_alone() {
    let view = fixed(1);
    let mut draft = Draft::new(&view);
    draft.leave(node(1));
    draft.settle(WITHOUT);
    assert_eq!(draft.finish(), None);
    let after = settled(&view, WITHOUT, |draft| {
        draft.leave(node(1));
        draft.admit(node(1), 7, None).expect("there is room");
    });
    let slot = after.slot(SlotNo::new(0).expect("a slot"));
    assert_eq!((slot.primary, slot.lost, slot.since), (node(1), Epoch(2), Epoch(2)));
}

#[test]
fn node_that_comes_gets_slots_few_at_a_time_until_all_have_as_many() {
    let admitted = settled(&fixed(3), WITHOUT, |draft| {
        draft.admit(node(9), 5, None).expect("there is room");
    });
    let moving = View::slot_numbers().filter(|n| admitted.slot(*n).joining.is_some()).count();
    assert_eq!(moving, limits::MOVES_MAX);
    let view = at_rest(admitted, WITHOUT);
    for member in view.members() {
        assert_eq!(view.slots_of(*member).count(), 256);
    }
}

fn draining(view: &View, policy: Policy, nodes: &[u16]) -> View {
    settled(view, policy, |draft| {
        for number in nodes {
            let life = view.member(node(*number)).expect("a member").incarnation;
            let request = Request::Drain(true);
            draft.request(node(*number), life, view.epoch(), &request).expect("it may");
        }
    })
}

#[test]
fn draining_member_ends_without_slots() {
    for policy in [WITH_BACKUPS, WITHOUT] {
        let view = at_rest(fixed(4), policy);
        let view = at_rest(draining(&view, policy, &[2]), policy);
        assert!(View::slot_numbers().all(|number| !view.slot(number).involves(node(2))));
    }
}

/// Who gave a slot away is not its backup where there are none, and so the slot can move again.
#[test]
fn slots_that_moved_move_again_without_backups() {
    let mut view = fixed(3);
    for gone in [1, 2] {
        view = at_rest(draining(&view, WITHOUT, &[gone]), WITHOUT);
        assert_eq!(view.slots_of(node(gone)).count(), 0);
        assert!(View::slot_numbers().all(|number| view.slot(number).backup.is_none()));
    }
    assert_eq!(view.slots_of(node(3)).count(), 1024);
}

#[test]
fn slots_that_are_avoided_stay_and_the_highest_others_move() {
    let view = fixed(3);
    let next = settled(&view, WITHOUT, |draft| {
        draft.admit(node(4), 5, None).expect("there is room");
        (900..1024).filter_map(SlotNo::new).for_each(|slot| draft.avoid(slot));
    });
    let moving = View::slot_numbers().filter(|number| next.slot(*number).joining.is_some());
    let moving: Vec<usize> = moving.map(SlotNo::index).collect();
    assert!(moving.len() == 64 && moving[0] > 830 && moving[63] == 899, "{moving:?}");
    // One whose slots cannot move does not keep another from giving its own away.
    let stuck = settled(&view, WITHOUT, |draft| {
        for number in [1, 2] {
            let life = view.member(node(number)).expect("a member").incarnation;
            draft.request(node(number), life, Epoch(1), &Request::Drain(true)).expect("it may");
        }
        view.slots_of(node(1)).for_each(|slot| draft.avoid(slot));
    });
    let moving = View::slot_numbers().filter(|number| stuck.slot(*number).joining.is_some());
    let homes: Vec<NodeId> = moving.map(|number| view.home(number)).collect();
    assert_eq!(homes, vec![node(2); 64]);
}

#[test]
fn moves_under_way_count_as_done() {
    let mut view = settled(&fixed(3), WITHOUT, |draft| {
        draft.admit(node(4), 5, None).expect("there is room");
    });
    // One move at a time comes to its end: no slot goes to and fro.
    let mut moved = 0;
    while let Some(number) = View::slot_numbers().find(|n| view.slot(*n).joining.is_some()) {
        let home = view.home(number);
        let life = view.member(home).expect("a member").incarnation;
        let request = Request::Joined(number, Goal::Primary);
        view = settled(&view, WITHOUT, |draft| {
            draft.request(home, life, view.epoch(), &request).expect("it may");
        });
        moved += 1;
    }
    assert_eq!(moved, 256);
}

#[test]
fn view_begun_names_starts_and_its_voters_are_the_first_founders() {
    let members = [(3, 30), (1, 10), (7, 70), (2, 20)].map(|(n, boot)| (node(n), boot)).to_vec();
    let view = View::begun(99, members.clone(), &[2, 3, 7].map(node)).expect("a view");
    assert_eq!((view.cluster(), view.epoch()), (99, Epoch(1)));
    let voters: Vec<NodeId> = view.voters().iter().map(|voter| voter.node).collect();
    assert_eq!(voters, [2, 3, 7].map(node));
    assert_eq!(view.member(node(7)).map(|member| (member.boot, member.disk.get())), Some((70, 4)));
    assert_eq!(View::decode(&view.encode()), Ok(view.clone()));
    let next = settled(&view, WITHOUT, |draft| draft.leave(node(1)));
    assert_eq!(next.cluster(), 99);
    let even = View::begun(9, members.clone(), &[1, 2, 3, 7].map(node)).expect("a view");
    assert_eq!(even.voters().len(), 3);
    for founders in [&[2, 4][..], &[], &[2, 2, 3]] {
        let founders: Vec<NodeId> = founders.iter().copied().map(node).collect();
        assert_eq!(View::begun(9, members.clone(), &founders), None, "{founders:?}");
    }
}

/// Its slots may look as before, but the new incarnation has none of their state.
#[test]
fn node_that_leaves_and_comes_in_one_change_begins_anew() {
    let before = settled(&fixed(3), WITH_BACKUPS, |_| ());
    let after = settled(&before, WITH_BACKUPS, |draft| {
        draft.leave(node(2));
        draft.admit(node(2), 7, None).expect("there is room");
    });
    for number in View::slot_numbers() {
        let was = before.slot(number).primary == node(2);
        assert_eq!(after.slot(number).lost == after.epoch(), was);
        assert_eq!(after.slot(number).backup, None);
    }
}

#[test]
fn admission_asked_twice_is_given_once() {
    let view = fixed(3);
    let mut draft = Draft::new(&view);
    let first = draft.admit(node(4), 7, None).expect("there is room");
    assert_eq!(draft.admit(node(4), 7, None), Ok(first));
    assert_eq!(draft.admit(node(4), 8, None), Err(Refused::StillMember));
    assert_eq!(first.incarnation, first.disk);
}

#[test]
fn disk_that_was_never_admitted_counts_as_none() {
    let view = fixed(3);
    let mut draft = Draft::new(&view);
    let member = draft.admit(node(4), 7, Incarnation::new(999)).expect("there is room");
    assert_eq!(member.disk, member.incarnation);
}

#[test]
fn voter_with_another_disk_is_replaced() {
    let view = settled(&fixed(3), WITHOUT, |draft| {
        draft.leave(node(3));
        draft.admit(node(3), 7, None).expect("there is room");
    });
    let mut draft = Draft::new(&view);
    draft.settle_voters(&[], |member| member.node != node(3));
    assert!(draft.finish().is_none());
    let after = settled(&view, WITHOUT, |draft| draft.settle_voters(&[], |_| true));
    assert_eq!(after.voters()[2], Voter { node: node(3), disk: founder(4, node(3), 0).disk });
    let kept = settled(&fixed(3), WITHOUT, |draft| {
        draft.leave(node(3));
        draft.admit(node(3), 7, Incarnation::new(3)).expect("there is room");
        draft.settle_voters(&[], |_| true);
    });
    assert_eq!(kept.voters(), fixed(3).voters());
}

/// Who votes once nothing changes any more, and how many did at each step; `down` do not live.
fn elected(mut view: View, down: &[u16]) -> (Vec<u16>, Vec<usize>) {
    let mut steps = Vec::new();
    loop {
        let mut draft = Draft::new(&view);
        draft.settle_voters(&[], |member| !down.contains(&member.node.get()));
        let Some(delta) = draft.finish() else { break };
        view = view.apply(&delta).expect("it is lawful");
        steps.push(view.voters().len());
        assert!(steps.len() < 20, "it comes to an end");
    }
    (view.voters().iter().map(|voter| voter.node.get()).collect(), steps)
}

fn founded(nodes: u16, voters: usize) -> View {
    View::founded((1..=nodes).map(node).collect(), voters).expect("a view")
}

#[test]
fn voter_that_drains_is_replaced_or_removed_and_the_last_one_stays() {
    let drained = |view: &View, nodes: &[u16]| draining(view, WITHOUT, nodes);
    assert_eq!(elected(drained(&founded(4, 3), &[1]), &[]), (vec![2, 3, 4], vec![3]));
    assert_eq!(elected(drained(&founded(3, 3), &[1]), &[]), (vec![2, 3], vec![2]));
    assert_eq!(elected(drained(&founded(3, 3), &[1, 3]), &[]), (vec![2], vec![2, 1]));
    assert_eq!(elected(drained(&founded(3, 3), &[1, 2, 3]), &[]), (vec![1, 2, 3], vec![]));
    assert_eq!(elected(drained(&founded(2, 1), &[1]), &[]), (vec![2], vec![1]));
    assert_eq!(elected(drained(&founded(1, 1), &[1]), &[]), (vec![1], vec![]));
    // The only one that does not drain is not known to live.
    assert_eq!(elected(drained(&founded(3, 3), &[1, 2]), &[3]), (vec![1, 2, 3], vec![]));
}

/// Its vote is needed for the others' majority, or it is not known yet who may vote instead.
#[test]
fn voter_that_drains_goes_on_while_the_others_could_not_agree() {
    let view = settled(&founded(4, 3), WITHOUT, |draft| draft.leave(node(2)));
    let view = draining(&view, WITHOUT, &[1]);
    assert_eq!(elected(view.clone(), &[4]), (vec![1, 2, 3], vec![]));
    assert_eq!(elected(view.clone(), &[]), (vec![2, 3, 4], vec![3]));
    let alone = settled(&view, WITHOUT, |draft| draft.leave(node(4)));
    assert_eq!(elected(alone, &[]), (vec![1, 2, 3], vec![]));
}

#[test]
fn voter_that_is_no_member_keeps_its_vote() {
    let view = settled(&founded(4, 3), WITHOUT, |draft| draft.leave(node(2)));
    assert_eq!(elected(view, &[]), (vec![1, 2, 3], vec![]));
}

#[test]
fn voters_grow_to_an_odd_number_and_seven_at_most() {
    assert_eq!(elected(founded(2, 1), &[]), (vec![1], vec![]));
    assert_eq!(elected(founded(3, 1), &[]), (vec![1, 2, 3], vec![3]));
    assert_eq!(elected(founded(3, 1), &[3]), (vec![1], vec![]));
    assert_eq!(elected(founded(3, 2), &[]), (vec![1, 2, 3], vec![3]));
    assert_eq!(elected(founded(4, 3), &[]), (vec![1, 2, 3], vec![]));
    assert_eq!(elected(founded(9, 3), &[4, 5]), (vec![1, 2, 3, 6, 7, 8, 9], vec![5, 7]));
    assert_eq!(elected(draining(&founded(6, 3), WITHOUT, &[4, 5]), &[]).0, [1, 2, 3]);
}

/// One more makes up for one of four that is dead, two more for one of three.
#[test]
fn voters_grow_while_one_is_dead_but_never_without_a_majority() {
    let gone = |view: &View, n| settled(view, WITHOUT, |draft| draft.leave(node(n)));
    assert_eq!(elected(gone(&founded(5, 4), 2), &[]), (vec![1, 2, 3, 4, 5], vec![5]));
    assert_eq!(elected(gone(&founded(3, 2), 2), &[]), (vec![1, 2], vec![]));
    assert_eq!(elected(gone(&founded(4, 3), 2), &[]), (vec![1, 2, 3], vec![]));
    assert_eq!(elected(gone(&founded(5, 3), 2), &[]), (vec![1, 2, 3, 4, 5], vec![5]));
    assert_eq!(elected(gone(&founded(5, 3), 2), &[3]), (vec![1, 2, 3], vec![]));
}

/// All founders may lose everything at once, and found another cluster.
#[test]
fn voters_that_are_no_founders_become_no_majority_unless_founders_drain() {
    let settle = |view: &View, founders: u16| {
        let founders: Vec<NodeId> = (1..=founders).map(node).collect();
        let mut draft = Draft::new(view);
        draft.settle_voters(&founders, |_| true);
        let next = draft.finish().map(|delta| view.apply(&delta).expect("it is lawful"));
        next.map(|view| view.voters().iter().map(|voter| voter.node.get()).collect::<Vec<_>>())
    };
    assert_eq!(settle(&founded(3, 1), 1), None);
    assert_eq!(settle(&founded(3, 1), 2), Some(vec![1, 2, 3]));
    assert_eq!(settle(&founded(5, 3), 3), Some(vec![1, 2, 3, 4, 5]));
    assert_eq!(settle(&founded(7, 5), 3), None);
    assert_eq!(settle(&draining(&founded(2, 1), WITHOUT, &[1]), 1), Some(vec![2]));
    // The second founder is back, as a newer member than the others.
    let back = settled(&founded(4, 1), WITHOUT, |draft| {
        draft.leave(node(2));
        draft.admit(node(2), 7, None).expect("there is room");
    });
    assert_eq!(settle(&draining(&back, WITHOUT, &[1]), 2), Some(vec![2]));
}

#[test]
fn voters_that_are_asked_for_come_first() {
    let view = founded(5, 3);
    let wished = view.voters()[..1].to_vec();
    let after = settled(&view, WITHOUT, |draft| {
        let life = view.member(node(1)).expect("a member").incarnation;
        let request = Request::Voters(wished.clone());
        draft.request(node(1), life, view.epoch(), &request).expect("it may");
        draft.settle_voters(&[], |_| true);
    });
    assert_eq!(after.voters(), wished);
}

#[test]
fn request_of_another_epoch_member_or_life_is_refused() {
    let view = settled(&fixed(3), WITH_BACKUPS, |_| ());
    let slot = SlotNo::new(0).expect("a slot");
    let life = |n| view.member(node(n)).expect("a member").incarnation;
    let ask = |from: u16, life, epoch| {
        let request = Request::Joined(slot, Goal::Backup);
        Draft::new(&view).request(node(from), life, Epoch(epoch), &request)
    };
    assert_eq!(ask(1, life(1), 2), Ok(()));
    assert_eq!(ask(1, life(1), 1), Err(Refused::Epoch(Epoch(2))));
    assert_eq!(ask(1, life(2), 2), Err(Refused::NotMember));
    assert_eq!(ask(2, life(2), 2), Err(Refused::NotYours));
    assert_eq!(ask(9, life(2), 2), Err(Refused::NotMember));
    let asks =
        |from, request| Draft::new(&view).request(node(from), life(from), Epoch(2), &request);
    assert_eq!(asks(1, Request::Joined(slot, Goal::Primary)), Err(Refused::Nothing));
    assert_eq!(asks(1, Request::Drain(false)), Err(Refused::Nothing));
    assert_eq!(asks(1, Request::Voters(Vec::new())), Err(Refused::Voters));
    assert_eq!(asks(1, Request::Voters(view.voters().to_vec())), Err(Refused::Nothing));
}

#[test]
fn voters_are_changed_by_voters_only() {
    let view = fixed(4);
    let life = |n| view.member(node(n)).expect("a member").incarnation;
    let request = Request::Voters(view.voters()[..1].to_vec());
    let ask = |n| Draft::new(&view).request(node(n), life(n), Epoch(1), &request);
    assert_eq!((ask(1), ask(4)), (Ok(()), Err(Refused::NotYours)));
}

#[test]
fn unlawful_changes_are_void() {
    let view = at_rest(fixed(3), WITH_BACKUPS);
    let number = SlotNo::new(0).expect("a slot");
    let slot = *view.slot(number);
    let other = *view.members().iter().find(|n| !slot.involves(**n)).expect("a third member");
    let next = Epoch(view.epoch().0 + 1);
    let unlawful = [
        // A new primary though the old one lives, and one without the state.
        Slot { primary: slot.backup.expect("it has one"), backup: None, since: next, ..slot },
        Slot { primary: other, since: next, ..slot },
        // A backup without the state, a role twice, and marks that say what did not happen.
        Slot { backup: Some(other), ..slot },
        Slot { backup: Some(slot.primary), ..slot },
        Slot { since: next, ..slot },
        Slot { lost: next, ..slot },
        Slot { broken: next, ..slot },
        Slot { backed: next, ..slot },
        Slot { joining: Some(Joining { node: node(9), goal: Goal::Backup }), ..slot },
    ];
    let delta = |slot| Delta { slots: vec![(number, slot)], ..Delta::new(view.epoch()) };
    for slot in unlawful {
        assert_eq!(view.apply(&delta(slot)), Err(Void::Slot(number)), "{slot:?}");
    }
    let late = Delta { base: next, ..delta(slot) };
    assert_eq!(view.apply(&late), Err(Void::Epoch(view.epoch())));
    assert_eq!(view.apply(&Delta { slots: Vec::new(), ..delta(slot) }), Err(Void::Nothing));
    let member = |leave, join| Delta { leave, join, slots: Vec::new(), ..delta(slot) };
    let (leaves, stranger) = (vec![node(1)], vec![node(9)]);
    assert!(matches!(view.apply(&member(leaves, Vec::new())), Err(Void::Slot(_))));
    assert_eq!(view.apply(&member(stranger, Vec::new())), Err(Void::Member(node(9))));
    let twice = Member { node: node(9), ..view.roster()[0] };
    assert_eq!(view.apply(&member(Vec::new(), vec![twice])), Err(Void::Member(node(9))));
    let voters = Delta { voters: Some(Vec::new()), slots: Vec::new(), ..delta(slot) };
    assert_eq!(view.apply(&voters), Err(Void::Voters));
    let everybody = view.members().to_vec();
    assert_eq!(view.apply(&member(everybody, Vec::new())), Err(Void::Members));
}

#[test]
fn largest_view_fits_its_bound() {
    let mut view = fixed(1024);
    let roster = Arc::make_mut(&mut view.roster);
    roster.iter_mut().for_each(|member| member.boot = u64::MAX);
    let slots = Arc::make_mut(&mut view.slots);
    for (at, slot) in slots.iter_mut().enumerate() {
        let other = |by: usize| node(((at + by) % 1024 + 1) as u16);
        slot.joining = Some(Joining { node: other(2), goal: Goal::Primary });
        let last = Epoch(limits::EPOCH_MAX);
        (slot.since, slot.lost, slot.broken, slot.backed) = (last, last, last, last);
        (slot.held, slot.backup, slot.kept) = (last, None, [Some(other(1)), Some(other(3))]);
    }
    (view.cluster, view.epoch) = (u64::MAX, Epoch(limits::EPOCH_MAX));
    let keys = (961..=1024).map(|number| ChangedKey {
        node: node(number),
        key: PublicKey::new([number as u8; 32]),
        address: StationAddress::new([2, 0, 0, 0, 0, number as u8]),
        since: view.epoch,
    });
    view.keys = Arc::new(keys.collect());
    assert_eq!(view.keys.len(), limits::CHANGED_KEYS_MAX);
    let bytes = view.encode();
    assert!(bytes.len() <= limits::VIEW_BYTES_MAX);
    assert_eq!(View::decode(&bytes), Ok(view));
}

#[test]
fn bytes_that_are_no_view_are_refused() {
    let bytes = fixed(3).encode();
    assert_eq!(View::decode(&[]), Err(Malformed::Version));
    assert_eq!(View::decode(&[9, 1, 2]), Err(Malformed::Version));
    assert_eq!(View::decode(&bytes[..bytes.len() - 1]), Err(Malformed::Shape));
    assert_eq!(View::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Shape));
    assert_eq!(View::decode(&vec![1; limits::VIEW_BYTES_MAX + 1]), Err(Malformed::Long));
    let mut no_node = fixed(3);
    Arc::make_mut(&mut no_node.slots)[5].primary = node(4);
    assert_eq!(View::decode(&no_node.encode()), Err(Malformed::Content));
    let mut future = fixed(3);
    Arc::make_mut(&mut future.slots)[5].since = Epoch(2);
    assert_eq!(View::decode(&future.encode()), Err(Malformed::Content));
}

/// The bytes are kept on disks and go between nodes of different builds.
#[test]
fn encoded_form_stays_as_it_is() {
    let key = PublicKey::new([8; 32]).expect("a key");
    let address = StationAddress::new([2, 0, 0, 0, 0, 9]).expect("an address");
    let newcomer = Newcomer { node: node(9), key, address };
    let delta = Delta {
        base: Epoch(300),
        leave: vec![node(2)],
        join: vec![Member { boot: 7, ..founder(5, node(6), 0) }],
        voters: Some(vec![Voter { node: node(1), disk: founder(1, node(1), 0).disk }]),
        slots: vec![(SlotNo::new(3).expect("a slot"), Slot::new(node(6)))],
        keys: vec![(node(2), None), (node(300), PublicKey::new([9; 32]))],
        added: vec![newcomer],
    };
    let members = [6, 0xac, 2, 1, 2, 1, 6, 5, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 1];
    let rest = [&members[..], &[1, 3, 6, 0, 0, 0, 1, 0, 0, 0, 1, 0]].concat();
    let keys = [2, 2, 0, 0xac, 2, 1];
    let added = [[1, 9].as_slice(), &[8; 32], &[2, 0, 0, 0, 0, 9]].concat();
    let bytes = [&rest[..], &keys, &[9; 32], &added].concat();
    assert_eq!(delta.encode(), bytes);
    assert_eq!(Delta::decode(&bytes), Ok(delta));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_what_is_read_could_be(
        at in 0..8000usize, to in any::<u8>(), cut in 0..9000usize, noise in any::<Vec<u8>>()
    ) {
        let mut bytes = at_rest(fixed(3), WITH_BACKUPS).encode();
        let len = bytes.len();
        bytes[at % len] = to;
        bytes.truncate(cut.max(len / 2));
        if let Ok(view) = View::decode(&bytes) {
            prop_assert_eq!(View::decode(&view.encode()), Ok(view));
        }
        let _ = View::decode(&[&[2], &noise[..]].concat());
        if let Ok(delta) = Delta::decode(&[&[2], &noise[..]].concat()) {
            let _ = fixed(3).apply(&delta);
        }
    }

    /// Whatever happens to members, every view is one that could be, and a draft's change is lawful.
    #[test]
    fn members_that_come_and_go_leave_a_lawful_view(
        steps in proptest::collection::vec((0..3u8, 1..8u16), 1..30), backups in any::<bool>()
    ) {
        let policy = Policy { backups };
        let mut view = fixed(4);
        for (what, number) in steps {
            let mut draft = Draft::new(&view);
            match what {
                0 => draft.leave(node(number)),
                1 => {
                    if view.epoch().0.is_multiple_of(2) {
                        draft.leave(node(number));
                    }
                    let _ = draft.admit(node(number), view.epoch().0, None);
                }
                _ => for slot in View::slot_numbers().step_by(usize::from(number)) {
                    let held = *view.slot(slot);
                    let life = view.member(held.primary).expect("a member").incarnation;
                    let goal = held.joining.map_or(Goal::Backup, |joining| joining.goal);
                    let request = Request::Joined(slot, goal);
                    let _ = draft.request(held.primary, life, view.epoch(), &request);
                },
            }
            draft.settle(policy);
            if let Some(delta) = draft.finish() {
                let delta = Delta::decode(&delta.encode()).expect("it was encoded");
                view = view.apply(&delta).expect("it is lawful");
                prop_assert_eq!(View::decode(&view.encode()), Ok(view.clone()));
            }
        }
    }
}
