// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who goes, and what liars get.

use super::*;
use crate::limits::MS;
use crate::rules::Sound;
use alloc::vec;

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

fn life(number: u32) -> Incarnation {
    Incarnation::new(number).expect("a number")
}

/// Nodes 1 to 6; 1 to 3 vote, and 1 leads.
fn view() -> View {
    View::founded((1..=6).map(node).collect(), 3).expect("a view")
}

fn says(suspects: &mut Suspects, now: u64, from: u16, about: &[u16]) {
    let nodes: Vec<(u16, u32)> = about.iter().map(|n| (*n, u32::from(*n))).collect();
    suspects.report(now, node(from), life(u32::from(from)), &nodes);
}

/// Judged when the pairs have been confirmed for long enough.
fn judge(suspects: &mut Suspects, now: u64, view: &View, joins: &[(NodeId, Vec<NodeId>)]) {
    suspects.judge::<Sound>(now - PAIR_NS, view, node(1), |_| true, joins);
    suspects.judge::<Sound>(now, view, node(1), |_| true, joins);
}

fn victims(suspects: &mut Suspects, now: u64) -> Vec<u16> {
    judge(suspects, now, &view(), &[]);
    suspects.victims.keys().map(|node| node.get()).collect()
}

fn after(reports: &[(u16, &[u16])]) -> Vec<u16> {
    let mut suspects = Suspects::default();
    reports.iter().for_each(|(from, about)| says(&mut suspects, MS, *from, about));
    victims(&mut suspects, PAIR_NS)
}

#[test]
fn pair_one_goes_by_vote_then_pairs_then_number() {
    assert_eq!(after(&[(4, &[5]), (5, &[4])]), [5]);
    assert_eq!(after(&[(3, &[4]), (4, &[3])]), [4]);
    assert_eq!(after(&[(2, &[3]), (3, &[2])]), [3]);
    // 4 is cut from both others: it goes alone.
    assert_eq!(after(&[(4, &[5, 6]), (5, &[4]), (6, &[4])]), [4]);
    // A voter that is cut from three goes, and not the three for it.
    assert_eq!(after(&[(3, &[4, 5, 6]), (4, &[3]), (5, &[3]), (6, &[3])]), [3]);
}

#[test]
fn leader_stays_and_the_other_of_the_pair_goes() {
    assert_eq!(after(&[(1, &[2])]), [2]);
    assert_eq!(after(&[(4, &[1])]), [4]);
    assert_eq!(after(&[(2, &[1]), (3, &[1])]), [2, 3]);
}

#[test]
fn report_of_one_member_alone_counts_for_nothing() {
    assert_eq!(after(&[(6, &[2, 3, 4, 5])]), [] as [u16; 0]);
    // Of another life, about another life, and by who is no member.
    let mut suspects = Suspects::default();
    suspects.report(MS, node(4), life(9), &[(5, 5)]);
    suspects.report(MS, node(5), life(5), &[(4, 9)]);
    suspects.report(MS, node(9), life(9), &[(5, 5)]);
    assert_eq!(victims(&mut suspects, PAIR_NS), [] as [u16; 0]);
}

#[test]
fn two_liars_do_not_throw_out_a_voter_three_do() {
    assert_eq!(after(&[(5, &[3]), (6, &[3])]), [5, 6]);
    assert_eq!(after(&[(5, &[4]), (6, &[4])]), [4]);
    assert_eq!(after(&[(4, &[3]), (5, &[3]), (6, &[3])]), [3]);
}

#[test]
fn report_that_ends_or_is_not_repeated_spares_the_victim() {
    let mut suspects = Suspects::default();
    for about in [&[5][..], &[]] {
        says(&mut suspects, MS, 4, about);
        says(&mut suspects, MS, 5, &[4]);
        assert_eq!(victims(&mut suspects, PAIR_NS).len(), about.len());
    }
    says(&mut suspects, MS, 4, &[5]);
    assert_eq!(victims(&mut suspects, MS + SUSPECTED_NS), [5]);
    assert_eq!(victims(&mut suspects, MS + SUSPECTED_NS + 1), [] as [u16; 0]);
}

#[test]
fn victim_stays_the_same_while_its_pair_is_cut() {
    let mut suspects = Suspects::default();
    says(&mut suspects, MS, 4, &[5]);
    says(&mut suspects, MS, 5, &[4]);
    assert_eq!(victims(&mut suspects, PAIR_NS), [5]);
    // By now 4 would be chosen.
    says(&mut suspects, MS, 4, &[5, 6]);
    says(&mut suspects, MS, 6, &[4]);
    assert_eq!(victims(&mut suspects, PAIR_NS), [4, 5]);
}

/// A member cuts its link to one after the other.
#[test]
fn member_that_outlasted_another_goes_at_the_second_time() {
    let mut suspects = Suspects::default();
    let mut joins = Vec::new();
    says(&mut suspects, MS, 4, &[5]);
    says(&mut suspects, MS, 5, &[4]);
    assert_eq!(victims(&mut suspects, PAIR_NS), [5]);
    let without = view();
    let delta = {
        let mut draft = cluster::Draft::new(&without);
        draft.leave(node(5));
        draft.settle(cluster::Policy { backups: false });
        draft.finish().expect("it leaves")
    };
    let without = without.apply(&delta).expect("it holds");
    suspects.entered(PAIR_NS, &without);
    // It keeps the node out, and cuts the next link.
    suspects.report(PAIR_NS, node(4), life(4), &[(5, 0), (6, 6)]);
    suspects.report(PAIR_NS, node(6), life(6), &[(4, 4)]);
    joins.push((node(5), vec![node(4)]));
    judge(&mut suspects, 2 * PAIR_NS, &without, &joins);
    assert_eq!(suspects.victims.keys().copied().collect::<Vec<_>>(), [node(4)]);
}

#[test]
fn joiner_is_kept_out_while_it_is_reported_a_lie_alone_ends() {
    let mut suspects = Suspects::default();
    let by = |suspects: &Suspects, now, unreachable: &[u16]| {
        let unreachable: Vec<NodeId> = unreachable.iter().copied().map(node).collect();
        suspects.keeps_out(now, node(9), 0, &unreachable)
    };
    let late = JOIN_DOUBT_NS;
    assert_eq!(by(&suspects, 0, &[]), []);
    says(&mut suspects, late, 4, &[9]);
    assert_eq!(by(&suspects, late - 1, &[]), [node(4)]);
    assert_eq!(by(&suspects, late, &[]), []);
    assert_eq!(by(&suspects, late, &[4]), [node(4)]);
    says(&mut suspects, late, 5, &[9]);
    assert_eq!(by(&suspects, late, &[]), [node(4), node(5)]);
    assert_eq!(by(&suspects, late + SUSPECTED_NS + 1, &[]), []);
}

/// The voter 3 crashed: all report it, one after the other, and nobody goes for it.
#[test]
fn member_that_the_leader_hears_nothing_of_costs_nobody_else() {
    let mut suspects = Suspects::default();
    for from in [4, 5] {
        says(&mut suspects, MS, from, &[3]);
        for now in [MS, MS + PAIR_NS] {
            suspects.judge::<Sound>(now, &view(), node(1), |of| of != node(3), &[]);
            assert!(suspects.victims.is_empty());
        }
    }
}

#[test]
fn pair_that_is_confirmed_for_a_moment_costs_nobody() {
    let mut suspects = Suspects::default();
    says(&mut suspects, MS, 4, &[5]);
    says(&mut suspects, MS, 5, &[4]);
    for now in [MS, MS + PAIR_NS - 1] {
        suspects.judge::<Sound>(now, &view(), node(1), |_| true, &[]);
    }
    assert!(suspects.victims.is_empty());
}

/// One member after the other is cut off from all, and goes: that is nobody's fault.
#[test]
fn who_goes_for_sure_is_held_against_nobody() {
    let mut suspects = Suspects::default();
    says(&mut suspects, MS, 6, &[2, 3, 4, 5]);
    (2..6).for_each(|from| says(&mut suspects, MS, from, &[6]));
    assert_eq!(victims(&mut suspects, PAIR_NS), [6]);
    let view = view();
    let mut draft = cluster::Draft::new(&view);
    draft.leave(node(6));
    draft.settle(cluster::Policy { backups: false });
    let next = view.apply(&draft.finish().expect("it leaves")).expect("it holds");
    suspects.entered(PAIR_NS, &next);
    assert!(suspects.blamed.is_empty());
}
