// SPDX-License-Identifier: MIT OR Apache-2.0
//! While a node may not act.

use super::cluster::Cluster;
use crate::machine::{FaultAnswer, UserFault};
use crate::process::{Alarm, Phase};
use crate::signal::number;
use crate::thread::Run;
use abi::linux::general::{__NR_getpid, __NR_kill, __NR_pause, __NR_read};
use abi::{FileId, Pid, ServerId};
use alloc::vec::Vec;
use mem_api::Access;
use proc_api::{Signal, Spawn};
use runtime::testing;
use runtime::{Completion, Status};

/// One process on one node whose lease is over.
fn fenced() -> (Cluster, u32) {
    let mut cluster = Cluster::leased(1, 100);
    let pid = cluster.spawn(1);
    cluster.nodes.get_mut(&1).expect("it is up").platform.now_ns = 100;
    (cluster, pid)
}

fn run_of(cluster: &mut Cluster, pid: u32) -> alloc::string::String {
    cluster.step(1, |core, _| {
        let id = core.thread_by_tid(pid).expect("it lives");
        alloc::format!("{:?}", core.threads.get(id).expect("it lives").run)
    })
}

fn fault(cluster: &mut Cluster, pid: u32, fault: UserFault<'_>) -> FaultAnswer {
    cluster.step(1, |core, cx| {
        let id = core.thread_by_tid(pid).expect("it lives");
        core.fault(cx, id, fault)
    })
}

#[test]
fn call_waits_and_is_made_once() {
    let (mut cluster, pid) = fenced();
    assert_eq!(cluster.call(1, pid, __NR_getpid, &[]), None);
    assert!(run_of(&mut cluster, pid).starts_with("Fenced"));
    cluster.lease(1, 200);
    assert_eq!(cluster.result(1, pid), Some(i64::from(pid)));
    cluster.lease(1, 300);
    assert_eq!(run_of(&mut cluster, pid), "User");
}

#[test]
fn page_fault_and_exception_wait() {
    let (mut cluster, pid) = fenced();
    let page = UserFault::Page { addr: 0x1000, access: Access::Write };
    assert_eq!(fault(&mut cluster, pid, page), FaultAnswer::Silent);
    let state = cluster.nodes[&1].state.clone();
    assert_eq!(state.borrow().faults, 0);
    cluster.lease(1, 200);
    assert_eq!((state.borrow().faults, state.borrow().retried.len()), (1, 1));
    cluster.nodes.get_mut(&1).expect("it is up").platform.now_ns = 200;
    let exception = UserFault::Exception { number: 0, code: 0 };
    assert_eq!(fault(&mut cluster, pid, exception), FaultAnswer::Silent);
    assert_eq!(cluster.lives_at(pid), [1]);
    cluster.lease(1, 300);
    assert!(cluster.lives_at(pid).is_empty(), "SIGFPE ends it");
}

#[test]
fn signal_comes_before_the_call_that_waits() {
    let (mut cluster, pid) = fenced();
    assert_eq!(cluster.call(1, pid, __NR_getpid, &[]), None);
    cluster.step(1, |core, cx| {
        let no = core.pids.process(pid).expect("it lives");
        core.signal_process(cx, no, crate::signal::Info::kernel(number::STOP));
        let id = core.thread_by_tid(pid).expect("it lives");
        assert!(matches!(core.threads.get(id).expect("it lives").run, Run::Fenced(_)));
    });
    cluster.lease(1, 200);
    assert_eq!(run_of(&mut cluster, pid), "Held");
    cluster.step(1, |core, cx| {
        let no = core.pids.process(pid).expect("it lives");
        core.signal_process(cx, no, crate::signal::Info::kernel(number::CONT));
    });
    // It makes its call again.
    assert_eq!(cluster.result(1, pid), None);
    assert_eq!(run_of(&mut cluster, pid), "User");
    assert_eq!(cluster.call(1, pid, __NR_getpid, &[]), Some(i64::from(pid)));
}

#[test]
fn administrator_kills_when_the_node_may_act() {
    let (mut cluster, pid) = fenced();
    assert_eq!(cluster.call(1, pid, __NR_pause, &[]), None);
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    let kill = Signal { pid: Pid::new(pid).expect("a pid"), signal: number::KILL };
    let asked = testing::call(&row.host, &mut row.platform, ServerId::Shell, &kill, &mut []);
    assert!(matches!(asked, Err(Status::Pending(_))));
    assert_eq!(cluster.lives_at(pid), [1]);
    cluster.lease(1, 200);
    assert!(cluster.lives_at(pid).is_empty());
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    let ended = testing::take(&row.host, &mut row.platform, ServerId::Shell);
    assert!(matches!(ended, Some(Completion::Ticket { result: Ok(_), .. })), "{ended:?}");
}

#[test]
fn alarm_that_rings_meanwhile_is_not_lost() {
    let (mut cluster, pid) = fenced();
    cluster.step(1, |core, cx| {
        let no = core.pids.process(pid).expect("it lives");
        cx.arm(150, crate::entry::alarm_cookie(pid)).expect("room");
        let alarm = Alarm { deadline_ns: 150, interval_ns: 0 };
        core.processes.get_mut(no).expect("it lives").own.alarm = alarm;
    });
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    row.platform.now_ns = 160;
    row.host.collect(&mut row.platform, ServerId::Timer);
    assert_eq!(cluster.lives_at(pid), [1]);
    cluster.lease(1, 300);
    let dead = cluster.with(pid, |process| process.phase == Phase::Live);
    assert!(dead.is_empty(), "SIGALRM ends it");
}

#[test]
fn thread_that_ends_makes_no_call() {
    let (mut cluster, pid) = fenced();
    let child = u64::from(pid);
    assert_eq!(cluster.call(1, pid, __NR_kill, &[child, 0]), None);
    cluster.step(1, |core, cx| {
        let no = core.pids.process(pid).expect("it lives");
        core.end_process(cx, no, 9);
    });
    assert_eq!(cluster.with(pid, |_| true), [1]);
    cluster.lease(1, 200);
    assert!(cluster.with(pid, |_| true).is_empty(), "it has no parent");
}

#[test]
fn answer_that_comes_meanwhile_is_not_lost() {
    let (mut cluster, pid) = fenced();
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    row.platform.now_ns = 50;
    row.state.borrow_mut().slow = true;
    // A read(2) of a pipe whose server takes its time.
    cluster.open_pipe(1, pid);
    assert_eq!(cluster.call(1, pid, __NR_read, &[0, 0x1000, 1]), None);
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    row.platform.now_ns = 100;
    let servers = row.state.borrow_mut().end_waiting();
    assert_eq!(servers.len(), 1);
    row.host.collect(&mut row.platform, servers[0]);
    assert!(run_of(&mut cluster, pid).starts_with("Waiting"));
    cluster.lease(1, 200);
    assert_eq!(cluster.result(1, pid), Some(0));
}

#[test]
fn session_is_made_when_the_node_may_act() {
    let mut cluster = Cluster::leased(1, 100);
    let row = cluster.nodes.get_mut(&1).expect("it is up");
    row.platform.now_ns = 100;
    row.state.borrow_mut().slow = true;
    let spawn = Spawn {
        path: "/bin/sh".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
        directory: "/".into(),
        terminal: FileId::from_raw(1),
    };
    let asked = testing::call(&row.host, &mut row.platform, ServerId::Shell, &spawn, &mut []);
    assert!(matches!(asked, Err(Status::Pending(_))));
    assert!(row.state.borrow().waiting.is_empty());
    cluster.lease(1, 200);
    assert!(!cluster.nodes[&1].state.borrow().waiting.is_empty(), "its program is opened");
}
