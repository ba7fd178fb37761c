// SPDX-License-Identifier: MIT OR Apache-2.0
//! Homes that learn which ids are in use.

use super::cluster::{Cluster, errno, slot_of};
use crate::signal::number;
use abi::linux::general::{__NR_fork, __NR_getpgid, __NR_kill, __NR_setpgid};
use abi::{Errno, Pid};

#[test]
fn node_that_boots_again_gives_no_id_that_is_in_use() {
    let mut cluster = Cluster::new(3);
    let parent = cluster.spawn(1);
    let children: alloc::vec::Vec<u32> = (0..100).map(|_| cluster.fork(1, parent)).collect();
    cluster.migrate(1, parent, 2);
    for child in &children {
        cluster.migrate(1, *child, 3);
    }
    cluster.crash(1);
    cluster.agree_without(&[1]);
    cluster.enter_all();
    cluster.boot(1);
    cluster.enter_all();
    // It is given slots, those first in which these ids are.
    cluster.agree_moved(slot_of(parent), 1);
    cluster.enter_all();
    for _ in 0..200 {
        let pid = cluster.spawn(1);
        assert!(pid != parent && !children.contains(&pid), "{pid} is in use");
    }
    let mine = cluster.spawn(1);
    for child in children {
        assert_eq!(cluster.kill(1, mine, child, 0), Some(0));
    }
}

#[test]
fn ids_of_groups_and_sessions_outlive_their_leaders() {
    let mut cluster = Cluster::new(2);
    let leader = cluster.spawn(1);
    let member = cluster.fork(1, leader);
    assert_eq!(cluster.call(1, member, __NR_setpgid, &[0, u64::from(member)]), Some(0));
    let second = cluster.fork(1, member);
    cluster.migrate(1, second, 2);
    let by = cluster.spawn(1);
    for pid in [member, leader] {
        assert_eq!(cluster.kill(1, by, pid, number::KILL), Some(0));
    }
    cluster.step(1, |core, cx| core.count(cx, core.home.all()));
    cluster.run();
    let given = |pid: u32| {
        move |core: &mut crate::ProcCore<super::fakes::FakeMachine>, _: &mut runtime::Cx<'_>| {
            core.home.is_given(Pid::new(pid).expect("a pid"))
        }
    };
    assert!(cluster.step(1, given(member)), "a group");
    assert!(cluster.step(1, given(leader)), "a session");
    assert!(cluster.step(1, given(second)), "a process");
}

#[test]
fn requests_wait_until_all_members_have_reported() {
    let mut cluster = Cluster::new(3);
    let (a, b) = (cluster.spawn(1), cluster.spawn(3));
    let pid = cluster.spawn(2);
    cluster.agree_moved(slot_of(pid), 1);
    cluster.enter(1);
    // Node 1 is home and knows nothing yet.
    let args = [u64::from(pid), 0];
    assert_eq!(cluster.call(1, a, __NR_kill, &args), None);
    cluster.enter(3);
    assert_eq!(cluster.call(3, b, __NR_kill, &args), None);
    assert_eq!(cluster.call(3, b, __NR_getpgid, &[]), None, "the first has not ended");
    cluster.run();
    assert_eq!(cluster.result(1, a), None, "node 2 has not entered the view");
    cluster.enter(2);
    cluster.run();
    assert_eq!(cluster.result(1, a), Some(0));
    assert_eq!(cluster.result(3, b), Some(0));
    assert_eq!(cluster.kill(3, b, pid + 1, 0), errno(Errno::ESRCH));
}

#[test]
fn member_that_leaves_has_answered() {
    let mut cluster = Cluster::new(3);
    let a = cluster.spawn(1);
    let pid = cluster.spawn(2);
    cluster.agree_moved(slot_of(pid), 1);
    cluster.enter(1);
    cluster.enter(2);
    assert_eq!(cluster.call(1, a, __NR_kill, &[u64::from(pid), 0]), None);
    cluster.run();
    assert_eq!(cluster.result(1, a), None);
    cluster.crash(3);
    cluster.run();
    assert_eq!(cluster.result(1, a), None, "it may answer yet");
    cluster.agree_without(&[3]);
    cluster.enter_all();
    assert_eq!(cluster.result(1, a), Some(0));
}

#[test]
fn old_home_passes_on() {
    let mut cluster = Cluster::new(3);
    let (by, pid) = (cluster.spawn(3), cluster.spawn(1));
    cluster.migrate(1, pid, 2);
    let old = cluster.view.clone();
    cluster.agree_moved(slot_of(pid), 2);
    // Node 3 asks the old home.
    assert_eq!(old.home(slot_of(pid)).get(), 1);
    assert_eq!(cluster.call(3, by, __NR_kill, &[u64::from(pid), 0]), None);
    cluster.enter(1);
    cluster.enter(2);
    cluster.run();
    assert_eq!(cluster.result(3, by), None, "node 3 has not said what it has");
    cluster.enter(3);
    cluster.run();
    assert_eq!(cluster.result(3, by), Some(0));
}

#[test]
fn fork_waits_for_a_slot_that_is_counted_and_makes_nothing_in_a_frozen_one() {
    let mut cluster = Cluster::new(2);
    let pid = cluster.spawn(1);
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    assert_eq!(row.host.freeze(slot_of(pid)), Ok(false), "it may always go");
    let child = cluster.fork(1, pid);
    assert_ne!(slot_of(child), slot_of(pid));
    cluster.step(1, |core, cx| core.count(cx, core.home.all()));
    assert_eq!(cluster.call(1, pid, __NR_fork, &[]), None);
    cluster.run();
    let child = cluster.result(1, pid).expect("it goes on");
    assert_ne!(slot_of(u32::try_from(child).expect("a pid")), slot_of(pid));
}

#[test]
fn used_up_ids_are_counted_and_those_that_ended_given_again() {
    let mut cluster = Cluster::new(1);
    let pid = cluster.spawn(1);
    cluster.step(1, |core, _| {
        let mut last = None;
        while let Ok(pid) = core.home.allocate(|_, _| true) {
            last = Some(pid);
        }
        core.home.ended(last.expect("there were some"));
    });
    let child = cluster.fork(1, pid);
    assert_eq!(child, pid + 1);
}

#[test]
fn reports_come_in_parts() {
    let mut cluster = Cluster::new(2);
    let parent = cluster.spawn(1);
    let children: alloc::vec::Vec<u32> = (0..300).map(|_| cluster.fork(1, parent)).collect();
    cluster.agree_moved(slot_of(parent), 2);
    cluster.enter_all();
    let by = cluster.spawn(2);
    for child in children {
        assert_eq!(cluster.kill(2, by, child, 0), Some(0));
    }
}

#[test]
fn home_that_knows_the_wrong_node_finds_out() {
    let mut cluster = Cluster::new(3);
    let (by, pid) = (cluster.spawn(2), cluster.spawn(1));
    cluster.migrate(1, pid, 3);
    // As if word of its end had been lost.
    cluster.step(1, |core, cx| {
        let id = Pid::new(pid).expect("a pid");
        core.home.located(id, cx.node(), 0);
        core.home.located(id, super::cluster::node(2), 9);
    });
    assert_eq!(cluster.kill(2, by, pid, 0), Some(0));
}
