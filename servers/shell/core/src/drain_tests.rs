// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes that leave and come back, from both sides.

use crate::limits::{
    BACK_PATIENCE_NS, DRAIN_LOOK_NS, DRAIN_PASS_NS, DRAIN_PATIENCE_NS, HANG_UP_NS, MOVE_POLL_NS,
};
use crate::tests::{Node, node};
use abi::{Errno, Pid, ServerId};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use proc_api::{EVENT_EXITED, Exited};
use runtime::testing::{enter, views};
use runtime::{Answer, Bulk, Client, Core, Msg, Operation, Wire};
use shell_api::{CommandEnd, Leave, MoveNext, MovedNext, MovedPages, PagesMoved, RunCommand};

fn view() -> View {
    View::fixed((1..=3).map(node).collect()).expect("a view")
}

/// What node 1, of three, asked node 2 last.
fn asked<O: Operation>(it: &Node) -> O {
    let call = it.world.sent.last().expect("a call");
    assert_eq!(call.op, O::NUMBER);
    O::get(&call.msg).expect("a request")
}

fn moved(pid: u32) -> MovedNext {
    MovedNext::Moved { pid, name: "sh".to_string(), to: 3 }
}

/// Node 2 has nothing any more.
fn empty(it: &mut Node) -> View {
    let leaving = views::draining(&view(), node(2), true);
    let drained = views::drained(&leaving, node(2));
    enter(&it.host, &mut it.world, &drained);
    it.pass(DRAIN_LOOK_NS);
    drained
}

#[test]
fn drain_moves_processes_until_none_comes_and_waits_for_slots() {
    let mut it = Node::new(3, true);
    assert_eq!(it.admin("node drain 2"), (alloc::string::String::new(), None));
    assert!(asked::<Leave>(&it).leaves);
    it.reply_last(Ok(()));
    assert_eq!(asked::<MoveNext>(&it), MoveNext { after: 0, force: false });
    it.reply_last(Ok(moved(7)));
    assert_eq!(asked::<MoveNext>(&it).after, 7);
    it.reply_last(Ok(MovedNext::End));
    // It may have begotten another meanwhile.
    assert_eq!(asked::<MoveNext>(&it).after, 0);
    it.reply_last(Ok(MovedNext::End));
    assert_eq!(it.answer(), ("process 7 (sh) moved to node 3\n".to_string(), None));
    empty(&mut it);
    let (text, status) = it.answer();
    assert!(text.ends_with("node 2 is drained: it has no processes and no slots\n"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn drain_names_once_what_cannot_move_and_ends_when_nothing_changes() {
    let mut it = Node::new(3, true);
    it.admin("node drain 2");
    it.reply_last(Ok(()));
    let stays = MovedNext::Stays { pid: 7, name: "x".to_string(), to: 3, errno: 1 };
    let rounds = DRAIN_PATIENCE_NS / DRAIN_PASS_NS;
    for _ in 0..rounds {
        it.reply_last(Ok(stays.clone()));
        it.reply_last(Ok(MovedNext::End));
        it.pass(DRAIN_PASS_NS);
    }
    let (text, status) = it.answer();
    assert_eq!(status, None, "{text}");
    it.reply_last(Ok(stays));
    it.reply_last(Ok(MovedNext::End));
    it.pass(DRAIN_PASS_NS);
    let (text, status) = it.answer();
    assert_eq!(text.matches("cannot be moved").count(), 1, "{text}");
    assert!(text.contains("1 processes and 341 slots stay"), "{text}");
    assert!(text.contains("`node add 2` takes it back, --force kills"), "{text}");
    assert_eq!(status, Some(1));
}

#[test]
fn drain_of_a_node_that_fails_says_so() {
    let mut it = Node::new(3, true);
    it.admin("node remove 2");
    it.reply_last(Ok(()));
    it.reply_last::<MovedNext>(Err(Errno::EHOSTDOWN));
    let dead = views::without(&view(), node(2));
    enter(&it.host, &mut it.world, &dead);
    it.pass(DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(
        text.ends_with("node 2 failed before it was drained: what ran there is lost\n"),
        "{text}"
    );
    assert_eq!(status, Some(1));
}

#[test]
fn remove_stops_the_node_and_waits_until_it_is_gone() {
    let mut it = Node::new(3, true);
    it.admin("node remove 2");
    it.reply_last(Ok(()));
    it.reply_last(Ok(MovedNext::End));
    let drained = empty(&mut it);
    assert_eq!(asked::<RunCommand>(&it).words, ["halt", "here"]);
    it.reply_last(Ok(CommandEnd { status: 0 }));
    it.pass(DRAIN_LOOK_NS);
    assert_eq!(it.answer().1, None);
    enter(&it.host, &mut it.world, &views::without(&drained, node(2)));
    it.pass(DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.ends_with("node 2 has left the cluster and is stopped\n"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn replace_waits_for_another_life_of_the_node() {
    let mut it = Node::new(3, true);
    it.admin("node replace 2");
    it.reply_last(Ok(()));
    it.reply_last(Ok(MovedNext::End));
    let drained = empty(&mut it);
    assert_eq!(asked::<RunCommand>(&it).words, ["reboot", "here"]);
    it.reply_last(Ok(CommandEnd { status: 0 }));
    let gone = views::without(&drained, node(2));
    let back = views::with(&gone, node(2));
    enter(&it.host, &mut it.world, &back);
    it.pass(DRAIN_LOOK_NS);
    assert_eq!(it.answer().1, None, "it has no slots yet");
    let slot = back.slots_of(node(1)).next().expect("there is one");
    let named = views::moving(&back, slot, node(2));
    enter(&it.host, &mut it.world, &views::moved(&named, slot));
    it.pass(DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.ends_with("node 2 is back, in its life 4\n"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn add_takes_a_leaving_node_back_or_waits_for_one_that_is_not_there() {
    let mut it = Node::new(3, true);
    let leaving = views::draining(&view(), node(2), true);
    enter(&it.host, &mut it.world, &leaving);
    assert_eq!(it.admin("node add 2").1, None);
    assert!(!asked::<Leave>(&it).leaves);
    it.reply_last(Ok(()));
    let stays = views::draining(&leaving, node(2), false);
    enter(&it.host, &mut it.world, &stays);
    it.pass(DRAIN_LOOK_NS);
    assert_eq!(it.answer(), ("node 2 takes part in the cluster\n".to_string(), Some(0)));
    enter(&it.host, &mut it.world, &views::without(&stays, node(2)));
    it.forget_answer();
    assert_eq!(it.admin("node add 2").1, None);
    it.pass(BACK_PATIENCE_NS + DRAIN_LOOK_NS);
    let (text, status) = it.answer();
    assert!(text.contains("start it with its image"), "{text}");
    assert_eq!(status, Some(1));
}

#[test]
fn deed_that_makes_no_sense_is_refused() {
    let mut it = Node::new(2, true);
    for (line, says) in [
        ("node drain 1", "on another node"),
        ("node drain 9", "see `nodes`"),
        ("node add 9", "see `nodes`"),
    ] {
        it.forget_answer();
        let (text, status) = it.admin(line);
        assert!(text.contains(says), "{line}: {text}");
        assert_eq!(status, Some(1));
    }
    let both = View::fixed(vec![node(1), node(2)]).expect("a view");
    enter(&it.host, &mut it.world, &views::draining(&both, node(1), true));
    it.forget_answer();
    assert!(it.admin("node drain 2").0.contains("no node would be left"));
    it.forget_answer();
    assert!(it.user(1000, "node drain 2").0.contains("root"));
}

/// Node 2 asks node 1; the answer, if it comes at once.
fn ask<O: Operation>(it: &mut Node, op: &O) -> Option<O::Reply> {
    let from = Client::Node { node: node(2), request: 3 };
    let msg = Msg::of(op).expect("it fits");
    let answer = it
        .host
        .step(&mut it.world, |core, cx| core.request(cx, from, O::NUMBER, &msg, &mut Bulk::none()));
    match answer {
        Answer::Done(msg) => Some(O::Reply::get(&msg).expect("a reply")),
        Answer::Pending(_) => None,
        _ => panic!("refused"),
    }
}

fn answered(it: &Node) -> MovedNext {
    let reply = it.world.sent.last().expect("an answer");
    assert_eq!((reply.request, reply.status), (3, 0));
    MovedNext::get(&reply.msg).expect("a reply")
}

fn pids(numbers: &[u32]) -> Vec<Pid> {
    numbers.iter().map(|number| Pid::new(*number).expect("a pid")).collect()
}

#[test]
fn leaving_node_ends_its_login_and_starts_it_when_it_stays() {
    let mut it = Node::new(3, true);
    assert_eq!(it.world.spawned.len(), 1);
    assert_eq!(ask(&mut it, &Leave { leaves: true }), Some(()));
    let leaving = views::draining(&view(), node(1), true);
    enter(&it.host, &mut it.world, &leaving);
    let login = pids(&[5])[0];
    assert_eq!(it.world.signals, [(login, 1)]);
    let slot = leaving.slots_of(node(1)).find(|slot| leaving.slot(*slot).joining.is_some());
    let leaving = views::moved(&leaving, slot.expect("some are to move"));
    enter(&it.host, &mut it.world, &leaving);
    assert_eq!(it.world.signals, [(login, 1)], "not again in each view");
    it.pass(HANG_UP_NS);
    assert_eq!(it.world.signals, [(login, 1), (login, 9)]);
    it.upcall(ServerId::Proc, EVENT_EXITED, &Exited { pid: login, status: 0 });
    it.pass(10 * HANG_UP_NS);
    assert_eq!(it.world.spawned.len(), 1, "nobody logs in to a node that leaves");
    enter(&it.host, &mut it.world, &views::draining(&leaving, node(1), false));
    assert_eq!(it.world.spawned.len(), 2);
}

#[test]
fn leaving_node_sends_one_process_away_with_its_pages_but_not_its_login() {
    let mut it = Node::new(3, true);
    it.world.processes = vec![5, 6, 7];
    enter(&it.host, &mut it.world, &views::draining(&view(), node(1), true));
    ask(&mut it, &MoveNext { after: 0, force: false });
    assert_eq!(it.world.moved, pids(&[6]));
    assert_eq!(asked::<MovedPages>(&it).pid, pids(&[6])[0]);
    it.reply_last(Ok(PagesMoved { left: 9, on_demand: 1, prefetched: 29 }));
    it.pass(MOVE_POLL_NS);
    it.reply_last(Ok(PagesMoved { left: 0, on_demand: 1, prefetched: 38 }));
    let MovedNext::Moved { pid: 6, to, .. } = answered(&it) else { panic!("{:?}", answered(&it)) };
    ask(&mut it, &MoveNext { after: 6, force: false });
    it.reply_last::<PagesMoved>(Err(Errno::ESRCH));
    let MovedNext::Moved { pid: 7, to: other, .. } = answered(&it) else {
        panic!("{:?}", answered(&it))
    };
    assert_eq!(to + other, 2 + 3, "targets take turns");
    ask(&mut it, &MoveNext { after: 7, force: false });
    assert_eq!(answered(&it), MovedNext::End);
}

#[test]
fn process_that_cannot_move_stays_unless_forced() {
    let mut it = Node::new(3, true);
    it.world.move_fails = Some(Errno::EPERM);
    ask(&mut it, &MoveNext { after: 0, force: false });
    let errno = Errno::EPERM.number();
    assert!(matches!(answered(&it), MovedNext::Stays { pid: 1, errno: e, .. } if e == errno));
    assert!(it.world.signals.is_empty());
    ask(&mut it, &MoveNext { after: 1, force: true });
    assert!(matches!(answered(&it), MovedNext::Killed { pid: 2, .. }));
    assert_eq!(it.world.signals, [(pids(&[2])[0], 9)]);
    it.world.move_fails = Some(Errno::EBUSY);
    ask(&mut it, &MoveNext { after: 2, force: true });
    assert!(matches!(answered(&it), MovedNext::Stays { pid: 3, .. }), "it is moving already");
}
