// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many messages operations take, as the number of nodes grows, and how long a dead node is waited for.

use crate::programs;
use crate::scenario::{boot_image, migrate, signal, start, type_line, wait_exit};
use crate::world::{Setting, World, node};
use abi::{NodeId, ServerId};

const MS: u64 = 1_000_000;
/// A drain of one node's slots ends within this time.
const DRAIN_NS: u64 = 60_000 * MS;
/// Quiet time in which what an operation begins comes to its end.
const QUIET_NS: u64 = 200 * MS;

/// Messages between servers, without those of the agreement on views: these are renewals of leases, at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    /// A signal to a process on the node where it was born.
    pub call: u64,
    /// A signal to one that has moved from there to a third node.
    pub lookup: u64,
    /// A migration of it, with its pages.
    pub migration: u64,
    /// Moving all slots but one away from a node that leaves; most are empty. In each view that moves some, their new
    /// homes ask all members for the processes in them.
    pub drain: u64,
    /// Slots that moved.
    pub slots: usize,
    /// Views that it took.
    pub views: u64,
    /// How long a program waits for files whose home dies as it begins, with the patience of machines that run all the
    /// time: detection, the view, and the backup that takes over.
    pub takeover_ns: u64,
}

/// Measures a cluster of so many nodes, at least 3.
///
/// # Panics
/// An operation does not end, or its messages cannot be told from others.
pub fn measure(nodes: u16) -> Figures {
    let setting = setting(nodes);
    let mut world = boot_image(&setting, &programs::image().program("idle", &programs::idle()));
    let (asker, home, third) = (node(1), node(2), node(3));
    let pid = start(&mut world, home, "idle");
    world.run_for(QUIET_NS);
    let call = counted(&mut world, |world| signal(world, asker, pid, 0));
    let migration = counted(&mut world, |world| {
        migrate(world, home, pid, third).expect("it moves");
    });
    let lookup = counted(&mut world, |world| signal(world, asker, pid, 0));
    signal(&mut world, home, pid, 9);
    world.run_for(QUIET_NS);
    let leaver = node(nodes);
    let slots = slots_of(&world, leaver);
    let views = world.node(asker).epoch();
    let drain = counted(&mut world, |world| {
        world.wish(leaver, true);
        // The console's terminal keeps one.
        let left = world.run_until(DRAIN_NS, |world| slots_of(world, leaver) <= 1);
        assert!(left, "the slots of node {leaver} move away");
    });
    let slots = slots - slots_of(&world, leaver);
    let views = world.node(asker).epoch() - views;
    Figures { call, lookup, migration, drain, slots, views, takeover_ns: takeover(nodes) }
}

fn setting(nodes: u16) -> Setting {
    // As fast as in a cluster of three, however many there are.
    let at_once = u64::from(nodes) / 3;
    Setting { nodes, frames: 512, at_once, ..Setting::new(u64::from(nodes)) }
}

fn takeover(nodes: u16) -> u64 {
    let setting = Setting { patience: 1, ..setting(nodes) };
    let mut world = boot_image(&setting, &programs::image());
    let undisturbed = run_files(&mut world);
    world.crash(node(1));
    run_files(&mut world) - undisturbed
}

/// How long the program takes.
fn run_files(world: &mut World) -> u64 {
    let began = world.now_ns;
    type_line(world, node(2), "/bin/files");
    assert_eq!(wait_exit(world, node(2)), 0, "its files are there");
    world.now_ns - began
}

fn counted(world: &mut World, run: impl FnOnce(&mut World)) -> u64 {
    let before = sent(world);
    run(world);
    world.run_for(QUIET_NS);
    sent(world) - before
}

fn sent(world: &World) -> u64 {
    let links = world.links.borrow();
    links
        .sent_by
        .iter()
        .filter(|(server, _)| **server != ServerId::Views)
        .map(|(_, sent)| sent)
        .sum()
}

fn slots_of(world: &World, of: NodeId) -> usize {
    world.node(node(1)).slots_of(of)
}
