// SPDX-License-Identifier: MIT OR Apache-2.0
//! A migration is disturbed at every one of its steps.

use sim::scenario::{Disaster, migration_disturbed};
use sim::world::Setting;

/// Steps between two tries; each try is a whole run from boot.
const STRIDE: u64 = 3;

fn at_every_step(disaster: Disaster) {
    let setting = Setting::new(7);
    let mut steps = 0;
    while migration_disturbed(&setting, disaster, steps) {
        steps += STRIDE;
    }
    assert!(steps > 10, "a migration has steps");
}

#[test]
fn target_dies_at_every_step() {
    at_every_step(Disaster::Target);
}

#[test]
fn source_dies_at_every_step() {
    at_every_step(Disaster::Source);
}

#[test]
fn link_is_cut_at_every_step() {
    at_every_step(Disaster::Cut);
}

#[test]
fn link_is_cut_for_a_second_at_every_step() {
    at_every_step(Disaster::ShortCut);
}
