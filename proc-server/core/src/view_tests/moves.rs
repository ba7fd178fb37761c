// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes on their way when a view comes.

use super::cluster::{Cluster, errno, node, slot_of};
use abi::Errno;
use abi::linux::general::__NR_kill;
use alloc::vec::Vec;

/// Messages of a move, from the first to the last.
const STEPS: usize = 12;

/// A parent on node 4, and its child, which is to move from node 1 to node 2; home is `home`. The
/// parent waits.
fn moving(home: u16) -> (Cluster, u32, u32) {
    let mut cluster = Cluster::new(5);
    let parent = cluster.spawn(home);
    let child = cluster.fork(home, parent);
    if home != 1 {
        cluster.migrate(home, child, 1);
    }
    if home != 4 {
        cluster.migrate(home, parent, 4);
    }
    assert_eq!(cluster.wait(4, parent), None);
    cluster.begin_move(1, child, 2);
    (cluster, parent, child)
}

/// The child lives once, and can be found from everywhere; or it is dead, and its parent knows.
fn check(cluster: &mut Cluster, parent: u32, child: u32, what: &str) -> bool {
    let lives = cluster.lives_at(child);
    let anything = cluster.with(child, |_| true);
    assert_eq!(lives, anything, "{what}: no copy is left");
    let ended = cluster.result(4, parent);
    match lives[..] {
        [] => assert_eq!(ended, Some(i64::from(child)), "{what}: the parent knows"),
        [_] => assert_eq!(ended, None, "{what}"),
        _ => panic!("{what}: it lives at {lives:?}"),
    }
    for at in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        let by = cluster.spawn(at);
        let expected = if lives.is_empty() { errno(Errno::ESRCH) } else { Some(0) };
        assert_eq!(cluster.kill(at, by, child, 0), expected, "{what}: as node {at} sees it");
        let left = cluster.step(at, |core, _| {
            let (given, arrivals) = (core.moves.given().count(), core.moves.arrivals.len());
            (given, arrivals, core.moves.incoming.len(), core.moves.outgoing.len())
        });
        assert_eq!(left, (0, 0, 0, 0), "{what}: nothing is left of the move on node {at}");
    }
    !lives.is_empty()
}

/// After each message of a move one node leaves.
#[test]
fn node_leaves_at_every_step() {
    for home in [1, 2, 3] {
        for victim in [1, 2, 3] {
            let mut lived = Vec::new();
            for steps in 0..STEPS {
                for link_first in [false, true] {
                    let (mut cluster, parent, child) = moving(home);
                    for _ in 0..steps {
                        cluster.deliver(steps);
                    }
                    cluster.crash(victim);
                    if link_first {
                        cluster.run();
                    }
                    cluster.agree_without(&[victim]);
                    cluster.enter_all();
                    let what = alloc::format!("home {home}, {victim} leaves after {steps}");
                    lived.push(check(&mut cluster, parent, child, &what));
                }
            }
            match victim {
                1 => assert!(!lived[0] && lived[2 * STEPS - 1], "{lived:?}"),
                2 => assert!(lived[0] && !lived[2 * STEPS - 1], "{lived:?}"),
                _ => assert!(lived.iter().all(|lived| *lived), "{lived:?}"),
            }
        }
    }
}

/// After each message of a move its home becomes another node.
#[test]
fn home_changes_at_every_step() {
    for home in [1, 2, 3] {
        for next in [1, 2, 3, 5] {
            for steps in 0..STEPS {
                if next == home {
                    continue;
                }
                let (mut cluster, parent, child) = moving(home);
                for _ in 0..steps {
                    cluster.deliver(steps);
                }
                cluster.agree_moved(slot_of(child), next);
                let nodes: Vec<u16> = cluster.nodes.keys().copied().collect();
                for turn in 0..nodes.len() {
                    cluster.enter(nodes[(turn + steps) % nodes.len()]);
                    cluster.deliver(turn);
                }
                cluster.run();
                let what = alloc::format!("home {home} to {next} after {steps}");
                assert!(check(&mut cluster, parent, child, &what), "{what}");
                assert_eq!(cluster.lives_at(child), [2], "{what}");
            }
        }
    }
}

/// After each message of a move source and target do not hear of each other for a while.
#[test]
fn link_is_cut_at_every_step() {
    for home in [1, 2, 3] {
        for steps in 0..STEPS {
            let (mut cluster, parent, child) = moving(home);
            for _ in 0..steps {
                cluster.deliver(steps);
            }
            cluster.net.borrow_mut().cut(node(1), node(2), true);
            cluster.run();
            cluster.net.borrow_mut().cut(node(1), node(2), false);
            cluster.run();
            let what = alloc::format!("home {home}, cut after {steps}");
            assert!(check(&mut cluster, parent, child, &what), "{what}");
        }
    }
}

/// The target takes the process, is silent, and leaves.
#[test]
fn silent_target_leaves() {
    for steps in 0..STEPS {
        let (mut cluster, parent, child) = moving(3);
        for _ in 0..steps {
            cluster.deliver(0);
        }
        cluster.net.borrow_mut().cut(node(1), node(2), true);
        cluster.run();
        cluster.crash(2);
        cluster.agree_without(&[2]);
        cluster.enter_all();
        check(&mut cluster, parent, child, &alloc::format!("after {steps}"));
    }
}

/// Found on QEMU nodes: the zombie stayed, as its parent took the node that it came from for its child's.
#[test]
fn child_that_ends_elsewhere_while_its_parent_moves_is_reaped() {
    for steps in 0..STEPS {
        let mut cluster = Cluster::new(3);
        let (parent, by) = (cluster.spawn(2), cluster.spawn(1));
        let child = cluster.fork(2, parent);
        cluster.migrate(2, child, 1);
        cluster.begin_move(2, parent, 3);
        for _ in 0..steps {
            cluster.deliver(0);
        }
        assert_eq!(cluster.kill(1, by, child, 9), Some(0));
        assert_eq!(cluster.wait(3, parent), Some(i64::from(child)), "after {steps}");
        cluster.run();
        assert!(cluster.with(child, |_| true).is_empty(), "after {steps}: a zombie is left");
    }
}

#[test]
fn process_that_moves_on_before_its_home_knows_is_found() {
    let mut cluster = Cluster::new(4);
    let (by, pid) = (cluster.spawn(4), cluster.spawn(3));
    cluster.migrate(3, pid, 1);
    cluster.begin_move(1, pid, 2);
    while cluster.lives_at(pid) != [2] {
        cluster.deliver(0);
    }
    cluster.begin_move(2, pid, 4);
    while cluster.lives_at(pid) != [4] {
        // Links to the home are slow.
        cluster.deliver(usize::MAX);
    }
    cluster.crash(2);
    cluster.agree_without(&[2]);
    cluster.enter_all();
    assert_eq!(cluster.lives_at(pid), [4]);
    assert_eq!(cluster.call(4, by, __NR_kill, &[u64::from(pid), 0]), Some(0));
    let by = cluster.spawn(1);
    assert_eq!(cluster.kill(1, by, pid, 0), Some(0));
}

#[test]
fn move_to_a_node_that_has_left_leaves_the_process_where_it_is() {
    let mut cluster = Cluster::new(3);
    let pid = cluster.spawn(1);
    cluster.crash(2);
    cluster.begin_move(1, pid, 2);
    cluster.run();
    assert_eq!(cluster.moved(1), [Err(Errno::EHOSTDOWN)]);
    assert_eq!(cluster.lives_at(pid), [1]);
    cluster.agree_without(&[2]);
    cluster.enter_all();
    let by = cluster.spawn(3);
    assert_eq!(cluster.kill(3, by, pid, 0), Some(0));
}
