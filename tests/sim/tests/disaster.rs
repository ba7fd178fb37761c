// SPDX-License-Identifier: MIT OR Apache-2.0
//! A migration is disturbed at every one of its steps.

use sim::scenario::{Disaster, migration_disturbed};
use sim::world::Setting;

/// Steps between two tries, where `SIM_STRIDE` does not say (1 tries every step); each try is a whole
/// run from boot.
const STRIDE: u64 = 3;
/// First step that is tried, where `SIM_STRIDE` does not say.
const FIRST: u64 = 2;

fn at_every_step(disaster: Disaster) {
    let stride = std::env::var("SIM_STRIDE").ok().and_then(|stride| stride.parse().ok());
    let (mut steps, stride) = stride.map_or((FIRST, STRIDE), |stride: u64| (0, stride.max(1)));
    let setting = Setting::new(7);
    loop {
        // Shown if the try fails.
        println!("{disaster:?} after {steps} steps, seed {}", setting.seed);
        if !migration_disturbed(&setting, disaster, steps) {
            break;
        }
        steps += stride;
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
fn key_is_changed_at_every_step() {
    at_every_step(Disaster::NewKey);
}

#[test]
fn link_is_cut_for_a_second_at_every_step() {
    at_every_step(Disaster::ShortCut);
}
