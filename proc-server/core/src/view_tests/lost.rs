// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that leave the view.

use super::cluster::{Cluster, errno, slot_of};
use crate::process::Phase;
use crate::signal::number;
use abi::Errno;
use abi::linux::general::{__NR_getpgid, __NR_getppid, __NR_kill, __NR_open};

const KILLED: u32 = number::KILL;

/// A parent on node `at`, whose child is on node `to`; both ids' home is `home`.
fn family(at: u16, to: u16, home: u16) -> (Cluster, u32, u32) {
    let mut cluster = Cluster::new(4);
    let parent = cluster.spawn(home);
    let child = cluster.fork(home, parent);
    for (pid, node) in [(child, to), (parent, at)] {
        if node != home {
            cluster.migrate(home, pid, node);
        }
    }
    (cluster, parent, child)
}

/// The node leaves, and its link is down before or after that.
fn leave(cluster: &mut Cluster, node: u16, link_first: bool) {
    cluster.crash(node);
    if link_first {
        cluster.run();
    }
    cluster.agree_without(&[node]);
    cluster.enter_all();
}

#[test]
fn parent_hears_of_a_child_that_died_with_its_node() {
    for link_first in [false, true] {
        // home: where the parent is, where the child is, elsewhere.
        for home in [1, 2, 3] {
            let (mut cluster, parent, child) = family(1, 2, home);
            assert_eq!(cluster.wait(1, parent), None);
            leave(&mut cluster, 2, link_first);
            assert_eq!(cluster.result(1, parent), Some(i64::from(child)), "home {home}");
            let by = cluster.spawn(4);
            assert_eq!(cluster.kill(4, by, child, 0), errno(Errno::ESRCH));
        }
    }
}

#[test]
fn child_that_died_with_its_node_was_killed() {
    let (mut cluster, parent, child) = family(1, 2, 2);
    leave(&mut cluster, 2, true);
    let state = cluster.step(1, |core, _| {
        let no = core.pids.process(parent).expect("it lives");
        core.processes.get(no).expect("it lives").own.children[&child].state
    });
    assert_eq!(state, crate::process::ChildState::Ended(KILLED));
    assert_eq!(cluster.wait(1, parent), Some(i64::from(child)));
}

#[test]
fn silent_node_is_not_dead() {
    let (mut cluster, parent, child) = family(1, 2, 1);
    assert_eq!(cluster.wait(1, parent), None);
    cluster.net.borrow_mut().cut(super::cluster::node(1), super::cluster::node(2), true);
    cluster.run();
    assert_eq!(cluster.result(1, parent), None);
    // Its end is not heard of, until the link works again.
    let by = cluster.spawn(2);
    assert_eq!(cluster.kill(2, by, child, number::KILL), Some(0));
    assert_eq!(cluster.result(1, parent), None);
    cluster.net.borrow_mut().cut(super::cluster::node(1), super::cluster::node(2), false);
    cluster.run();
    assert_eq!(cluster.result(1, parent), Some(i64::from(child)));
    assert!(cluster.with(child, |_| true).is_empty());
}

#[test]
fn children_of_a_parent_that_died_are_orphans() {
    for home in [1, 2, 3] {
        let (mut cluster, _, child) = family(1, 2, home);
        leave(&mut cluster, 1, true);
        assert_eq!(cluster.call(2, child, __NR_getppid, &[]), Some(0), "home {home}");
        let by = cluster.spawn(3);
        assert_eq!(cluster.kill(3, by, child, number::KILL), Some(0));
        assert!(cluster.with(child, |_| true).is_empty(), "nobody waits for it");
    }
}

#[test]
fn end_of_a_child_reaches_its_parent_although_the_home_between_them_dies() {
    for delivered in 0..4 {
        let (mut cluster, parent, child) = family(1, 2, 3);
        assert_eq!(cluster.wait(1, parent), None);
        let by = cluster.spawn(2);
        cluster.call(2, by, __NR_kill, &[u64::from(child), u64::from(number::KILL)]);
        for _ in 0..delivered {
            cluster.deliver(0);
        }
        leave(&mut cluster, 3, true);
        assert_eq!(cluster.result(1, parent), Some(i64::from(child)), "after {delivered}");
        assert!(cluster.with(child, |_| true).is_empty());
    }
}

/// Its node stays a member, and home to its slots: nobody else can say what became of what was there.
#[test]
fn parent_and_child_hear_of_a_proc_server_that_died() {
    for home in [1, 2, 3] {
        let (mut cluster, parent, child) = family(1, 2, home);
        let other = cluster.spawn(2);
        let orphan = cluster.fork(2, other);
        cluster.migrate(2, orphan, 1);
        assert_eq!(cluster.wait(1, parent), None);
        cluster.nodes.remove(&2);
        let node = super::cluster::node(2);
        cluster.net.borrow_mut().server_dies(node, abi::ServerId::Proc);
        cluster.run();
        assert_eq!(cluster.result(1, parent), Some(i64::from(child)), "home {home}");
        assert_eq!(cluster.call(1, orphan, __NR_getppid, &[]), Some(0), "home {home}");
    }
}

#[test]
fn home_and_process_die_together() {
    let (mut cluster, parent, child) = family(1, 2, 3);
    assert_eq!(cluster.wait(1, parent), None);
    cluster.crash(2);
    cluster.crash(3);
    cluster.agree_without(&[2, 3]);
    cluster.enter_all();
    assert_eq!(cluster.result(1, parent), Some(i64::from(child)));
}

#[test]
fn node_that_comes_back_in_one_view_has_lost_what_it_had() {
    let (mut cluster, parent, child) = family(1, 2, 1);
    assert_eq!(cluster.wait(1, parent), None);
    cluster.crash(2);
    cluster.agree_without(&[2]);
    // Nobody enters the view without it.
    cluster.boot(2);
    cluster.enter_all();
    assert_eq!(cluster.result(1, parent), Some(i64::from(child)));
}

#[test]
fn zombie_of_a_dead_node_is_waited_for_and_its_id_is_kept_until_then() {
    let (mut cluster, parent, child) = family(1, 2, 2);
    leave(&mut cluster, 2, false);
    let home = cluster.home(child);
    let id = abi::Pid::new(child).expect("a pid");
    assert!(cluster.step(home, |core, _| core.home.is_given(id)));
    cluster.step(home, |core, cx| core.count(cx, core.home.all()));
    cluster.run();
    assert!(cluster.step(home, |core, _| core.home.is_given(id)), "its parent names it");
    assert_eq!(cluster.wait(1, parent), Some(i64::from(child)));
    cluster.step(home, |core, cx| core.count(cx, core.home.all()));
    cluster.run();
    assert!(!cluster.step(home, |core, _| core.home.is_given(id)));
}

#[test]
fn who_asked_the_home_that_died_asks_the_next_one() {
    for question in [__NR_getpgid, __NR_open] {
        let (mut cluster, _, child) = family(1, 2, 3);
        let by = cluster.spawn(1);
        cluster.nodes[&1].state.borrow_mut().path = alloc::format!("/proc/{child}/stat");
        let arg = if question == __NR_open { 0 } else { u64::from(child) };
        assert_eq!(cluster.call(1, by, question, &[arg, 0, 0]), None);
        cluster.crash(3);
        cluster.agree_without(&[3]);
        cluster.enter_all();
        let again = cluster.result(1, by);
        // The call is made again by the program, or has ended.
        let args = [arg, 0, 0];
        let now = again.or_else(|| {
            let now = cluster.call(1, by, question, &args);
            cluster.run();
            now.or_else(|| cluster.result(1, by))
        });
        assert!(now.is_some_and(|value| value >= 0), "{question}: {now:?}");
    }
}

#[test]
fn kill_of_what_may_live_is_never_answered_with_no_such_process() {
    let (mut cluster, _, child) = family(1, 2, 3);
    let by = cluster.spawn(1);
    assert_eq!(cluster.call(1, by, __NR_kill, &[u64::from(child), 0]), None);
    cluster.crash(3);
    cluster.run();
    assert_eq!(cluster.result(1, by), errno(Errno::EHOSTDOWN));
    cluster.agree_without(&[3]);
    cluster.enter_all();
    assert_eq!(cluster.kill(1, by, child, 0), Some(0));
}

#[test]
fn shell_server_hears_of_a_process_that_died_elsewhere() {
    let mut cluster = Cluster::new(3);
    let pid = cluster.spawn(1);
    cluster.step(1, |core, cx| {
        core.watched.insert(pid);
        let no = core.pids.process(pid).expect("it lives");
        core.processes.get_mut(no).expect("it lives").own.watcher = cx.node().get();
    });
    cluster.migrate(1, pid, 2);
    leave(&mut cluster, 2, true);
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    let shell = abi::ServerId::Shell;
    let taken = runtime::testing::take(&row.host, &mut row.platform, shell);
    let Some(runtime::Completion::Event { number, msg }) = taken else { panic!("{taken:?}") };
    assert_eq!(number, proc_api::EVENT_EXITED);
    let exited = <proc_api::Exited as runtime::Wire>::get(&msg).expect("well-formed");
    assert_eq!((exited.pid.get(), exited.status), (pid, KILLED));
}

#[test]
fn terminal_of_a_node_that_left_is_nobodys() {
    let mut cluster = Cluster::new(2);
    let pid = cluster.spawn(1);
    cluster.migrate(1, pid, 2);
    leave(&mut cluster, 1, true);
    let gone = cluster.with(pid, |process| process.own.terminal == 0);
    assert_eq!(gone, [2]);
    assert_eq!(cluster.with(pid, |process| process.phase == Phase::Live), [2]);
}

#[test]
fn slot_that_leaves_takes_its_entries_and_not_its_processes() {
    let mut cluster = Cluster::new(2);
    let (here, there) = (cluster.spawn(1), cluster.spawn(1));
    cluster.migrate(1, there, 2);
    cluster.agree_moved(slot_of(here), 2);
    cluster.enter_all();
    let id = abi::Pid::new(there).expect("a pid");
    assert_eq!(cluster.step(1, |core, _| core.home.away(id)), None);
    assert_eq!(cluster.lives_at(here), [1]);
    let by = cluster.spawn(2);
    assert_eq!(cluster.kill(2, by, here, 0), Some(0));
    assert_eq!(cluster.kill(1, here, there, 0), Some(0));
}
