// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that stay where they were started.

use sim::scenario::{assert_nothing_left, boot, held_at_rest, start, type_line, wait_exit};
use sim::world::{Setting, node};

fn setting(seed: u64) -> Setting {
    Setting { nodes: 1, ..Setting::new(seed) }
}

fn ends_with(name: &str, status: u64) {
    let mut world = boot(&setting(1));
    let before = held_at_rest(&mut world);
    start(&mut world, node(1), name);
    assert_eq!(wait_exit(&mut world, node(1)), status, "{}", world.node(node(1)).output());
    assert_nothing_left(&mut world, &before, node(1));
}

#[test]
fn node_boots_to_a_prompt() {
    let world = boot(&setting(1));
    assert!(world.node(node(1)).output().contains("node 1: ready"));
}

#[test]
fn program_that_does_not_exist_ends_with_127() {
    let mut world = boot(&setting(1));
    type_line(&mut world, node(1), "/bin/nothing");
    assert_eq!(wait_exit(&mut world, node(1)), 127 << 8);
}

#[test]
fn walker_finds_what_it_left() {
    ends_with("walker", 0);
}

#[test]
fn files_read_back_what_was_written() {
    ends_with("files", 0);
}

#[test]
fn tree_of_processes_is_summed_up() {
    ends_with("tree", 8 << 8);
}

#[test]
fn killed_child_is_reported() {
    ends_with("killer", 15 << 8);
}
