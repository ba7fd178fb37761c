// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are moved, in good and bad weather.

use sim::scenario::{counter_moves, move_asked_twice, moved_program_ends, threads_move};
use sim::wire::Weather;
use sim::world::Setting;

#[test]
fn counter_moved_100_times_misses_and_repeats_no_number() {
    counter_moves(&Setting::new(1), 100);
}

#[test]
fn counter_moved_on_a_bad_network_misses_and_repeats_no_number() {
    for seed in 1..4 {
        counter_moves(&Setting { weather: Weather::STORM, ..Setting::new(seed) }, 30);
    }
}

#[test]
fn counter_moved_between_nodes_with_two_cores_misses_and_repeats_no_number() {
    counter_moves(&Setting { cores: 2, ..Setting::new(2) }, 50);
}

/// In seeds 2, 7 and 8 a stop signal came while the process was on its way, was answered at once, and
/// arrived after the signal to continue that followed it.
#[test]
fn threads_moved_stopped_and_continued_go_on() {
    for seed in 1..=10 {
        threads_move(&Setting { cores: 2, ..Setting::new(seed) }, 12);
    }
}

#[test]
fn memory_is_right_while_it_moves() {
    for seed in 1..4 {
        moved_program_ends(&Setting::new(seed), "walker", 0);
    }
}

#[test]
fn open_file_is_right_while_its_holder_moves() {
    for seed in 1..4 {
        moved_program_ends(&Setting::new(seed), "files", 0);
    }
}

#[test]
fn kill_and_wait_work_while_the_parent_moves() {
    for seed in 1..4 {
        moved_program_ends(&Setting::new(seed), "killer", 15 << 8);
    }
}

#[test]
fn move_that_is_asked_for_again_while_it_goes_on_succeeds_for_both() {
    for apart in 0..60 {
        move_asked_twice(&Setting::new(3), apart);
    }
}
