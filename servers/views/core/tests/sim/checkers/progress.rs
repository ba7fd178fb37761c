// SPDX-License-Identifier: MIT OR Apache-2.0
//! When everything is healed, it goes on: all nodes act as members of one view, and every slot has
//! a backup, if slots have such.

use crate::world::World;
use cluster::View;
use views_core::limits::MS;
use views_core::rules::Rules;

/// Time for it. A leader takes a second at most, members two, and then slots are copied.
pub const TIME_NS: u64 = 8_000 * MS;

/// What is not well now.
pub fn lacks<R: Rules>(world: &World<R>, backups: bool) -> Result<(), String> {
    let Some(leader) = world.leader() else { return Err("progress: nobody leads".into()) };
    let view = world.nodes[leader].view().expect("a leader knows the view");
    for node in &world.nodes {
        if !node.may_act(world.time) {
            return Err(format!("progress: node {} does not act", node.id));
        }
        let of = |view: &View| (view.cluster(), view.epoch());
        if node.view().map(of) != Some(of(view)) {
            return Err(format!("progress: node {} is in another view", node.id));
        }
    }
    let several = view.members().len() > 1;
    let bare = |number| backups && several && view.slot(number).backup.is_none();
    match View::slot_numbers().find(|number| bare(*number)) {
        Some(number) => Err(format!("progress: {number} has no backup")),
        None => Ok(()),
    }
}
