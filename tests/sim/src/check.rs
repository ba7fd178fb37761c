// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold at every instant, and what must hold at rest.

use crate::world::World;
use abi::NodeId;
use mem_api::{MemoryFigures, MemoryUse};

/// A server's view knows the life of its node: in one that knows an earlier life it would speak for that.
pub fn own_life(world: &World) {
    for node in world.nodes() {
        let (life, known) = node.own_life(world.now_ns);
        let is_right = known.is_none() || life == known || node.wants_restart();
        assert!(is_right, "node {} is {life:?}, and speaks for {known:?}", node.id);
    }
}

/// What a program that has ended must have given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Free bytes.
    pub free: u64,
    /// Address spaces.
    pub spaces: u64,
    /// Memory objects.
    pub objects: u64,
    /// Threads' kernel objects.
    pub threads: u64,
}

/// What a node's mem-server holds.
pub fn held(world: &World, node: NodeId) -> Held {
    let figures = world.node(node).ask_mem(&MemoryUse {}, world.now_ns);
    let MemoryFigures { free, spaces, objects, threads, .. } = figures.expect("they are a leaf");
    Held { free, spaces, objects, threads }
}

/// The numbers that the counter printed on a console must be 1, 2, 3 and so on: none missed, none
/// repeated. Answers how far it came.
pub fn counted(output: &str) -> u64 {
    let mut expected = 1;
    let last_is_whole = output.ends_with('\n');
    let count = output.lines().count();
    for (index, line) in output.lines().enumerate() {
        if index + 1 == count && !last_is_whole {
            break;
        }
        if let Ok(number) = line.trim().parse::<u64>() {
            assert_eq!(number, expected, "the counter's numbers follow each other");
            expected += 1;
        }
    }
    expected - 1
}
