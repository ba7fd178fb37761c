// SPDX-License-Identifier: MIT OR Apache-2.0
//! Breaks one rule at a time: the checkers must notice, within a stated number of seeds, and the one
//! that should.

use crate::chaos::{ALL, Plan, run};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use views_core::rules::{Rule, Rules, Sound};

thread_local! {
    static BROKEN: Cell<u16> = const { Cell::new(0) };
}

/// The rules hold but for those that this thread has broken.
pub struct Broken;

impl Rules for Broken {
    fn holds(rule: Rule) -> bool {
        BROKEN.get() & (1 << rule as u16) == 0
    }
}

/// Breaks these rules, and no others, for the rest of this test.
pub fn break_rules(rules: &[Rule]) {
    BROKEN.set(rules.iter().fold(0, |mask, rule| mask | 1 << *rule as u16));
}

/// Asserts that some seed below `seeds` fails with one of the sentences that begin with `by`.
fn assert_caught<R: Rules>(what: &str, plan: Plan, seeds: u64, by: &[&str]) {
    for seed in 0..seeds {
        let found = catch_unwind(AssertUnwindSafe(|| run::<R>(seed, plan)));
        // A core that stops at an assertion of its own has noticed, but no checker has.
        let why = found.unwrap_or_else(|_| Err("an assertion".into())).err().unwrap_or_default();
        if by.iter().any(|by| why.contains(&format!("ms: {by}"))) {
            println!("{what}: seed {seed}: {why}");
            return;
        }
    }
    panic!("{what}: {seeds} seeds do not show it");
}

fn assert_rule_is_needed(rule: Rule, seeds: u64, by: &[&str]) {
    break_rules(&[rule]);
    assert_caught::<Broken>(&format!("without {rule:?}"), ALL, seeds, by);
}

const SPLIT: [&str; 3] = ["one primary", "never lost", "one view"];
const FORGOTTEN: [&str; 5] = ["never lost", "one view", "one leader", "monotonic", "one primary"];

// A broken promise, a message before its record and an election without asking show too rarely
// here, or not as a fault: `scenarios` has them.

#[test]
fn leases_without_own_lease_are_noticed() {
    assert_rule_is_needed(Rule::LeadsByLease, 60, &SPLIT);
}

#[test]
fn member_let_go_before_its_lease_is_over_is_noticed() {
    assert_rule_is_needed(Rule::WaitsForLease, 60, &["one primary"]);
}

#[test]
fn new_leader_that_waits_for_nobody_is_noticed() {
    assert_rule_is_needed(Rule::WaitsWhenNew, 60, &["one primary"]);
}

#[test]
fn member_that_acts_without_lease_is_noticed() {
    assert_rule_is_needed(Rule::Fences, 60, &["one primary"]);
}

#[test]
fn lease_counted_from_the_answer_is_noticed() {
    assert_rule_is_needed(Rule::CountsFromRequest, 60, &["one primary"]);
}

#[test]
fn request_of_an_old_view_is_noticed() {
    assert_rule_is_needed(Rule::ChecksEpoch, 60, &["one primary"]);
}

#[test]
fn primary_that_acts_while_it_moves_is_noticed() {
    assert_rule_is_needed(Rule::Freezes, 60, &["one primary"]);
}

/// Promises hide a forgotten vote most of the time, so they are broken as well.
const HURRIED: [Rule; 3] = [Rule::PromisesAtStart, Rule::KeepsPromise, Rule::AsksBeforeElection];

#[test]
fn vote_that_is_forgotten_is_noticed() {
    let [a, b, c] = HURRIED;
    break_rules(&[Rule::PersistsVote, a, b, c]);
    assert_caught::<Broken>("without PersistsVote", ALL, 60, &["one leader"]);
}

#[test]
fn vote_that_is_kept_gives_a_term_one_leader_even_without_promises() {
    break_rules(&HURRIED);
    for seed in 0..20 {
        let why = run::<Broken>(seed, ALL).err().unwrap_or_default();
        assert!(!why.contains("one leader"), "seed {seed}: {why}");
    }
}

#[test]
fn voter_that_forgets_its_disk_and_goes_on_is_noticed() {
    let plan = Plan { amnesia: true, ..ALL };
    assert_caught::<Sound>("amnesia", plan, 60, &FORGOTTEN);
}
