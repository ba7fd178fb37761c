// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clusters that nobody founds: nodes that start with nothing find out that there is none.

use crate::world::{GOOD, Setup, World};
use cluster::Policy;
use views_core::limits::MS;
use views_core::rules::Sound;

fn setup(founders: usize, others: usize) -> Setup {
    Setup {
        nodes: founders + others,
        voters: founders,
        policy: Policy { backups: false },
        network: GOOD,
        drift: false,
        sync_max_ns: MS,
        founders,
    }
}

fn all_act(world: &World<Sound>) -> bool {
    world.nodes.iter().all(|node| node.may_act(world.time))
}

#[test]
fn nodes_with_nothing_found_a_cluster_and_all_are_members_of_its_first_view() {
    for (founders, others) in [(1, 0), (1, 2), (2, 0), (3, 0), (3, 2), (4, 1), (7, 3)] {
        let mut world: World<Sound> = World::new(1, &setup(founders, others));
        world.run_until(2_000 * MS);
        assert!(all_act(&world), "{founders} and {others}: {:?}", world.failure);
        let view = world.nodes[0].view().expect("a view");
        assert_eq!((view.epoch().0, view.members().len()), (1, founders + others));
        assert!(view.cluster() != 0 && view.roster().iter().all(|member| member.boot != 0));
    }
}
