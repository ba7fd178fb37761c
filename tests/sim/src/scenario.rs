// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a run: programs are started on consoles, moved, and disturbed.

use crate::check::{self, Held, counted};
use crate::node::Node;
use crate::programs;
use crate::root::Image;
use crate::world::{Setting, World, node};
use abi::{Errno, NodeId, Pid, ServerId, Ticket};
use net_core::Secret;
use proc_api::{List, Migrate, Migrated, ProcessInfo, Signal};
use runtime::{Msg, Status, Wire};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// A cluster is in service after this time at the latest.
const BOOT_NS: u64 = 5 * SECOND;
/// Everything that is asked for ends within this time, however bad the network.
const PATIENCE_NS: u64 = 20 * SECOND;

/// A cluster whose nodes have all said that they are ready.
pub fn boot(setting: &Setting) -> World {
    boot_image(setting, &programs::image())
}

/// The same, with another image.
pub fn boot_image(setting: &Setting, image: &Image) -> World {
    let mut world = World::new(setting, image);
    let ready = |world: &mut World| {
        world.nodes().all(|node| node.output().contains(&format!("node {}: ready", node.id)))
    };
    let booted = world.run_until(BOOT_NS, ready);
    let outputs: Vec<String> = world.nodes().map(Node::output).collect();
    assert!(booted, "all nodes come into service: {outputs:?}");
    // Until the prompts wait for input.
    world.run_for(20 * MS);
    world
}

/// Types a line on a node's console.
pub fn type_line(world: &mut World, on: NodeId, line: &str) {
    world.node(on).type_in(format!("{line}\r").as_bytes(), world.now_ns);
}

/// The processes on a node.
pub fn processes(world: &World, on: NodeId) -> Vec<ProcessInfo> {
    let mut all: Vec<ProcessInfo> = Vec::new();
    loop {
        let after = all.last().map_or(0, |process| process.pid);
        match world.node(on).look_at_proc(&List { after }, world.now_ns) {
            Ok(list) if list.0.is_empty() => return all,
            Ok(list) => all.extend(list.0),
            Err(status) => panic!("listing processes answers {status:?}"),
        }
    }
}

/// Where a program of this name runs, if it does.
pub fn find(world: &World, name: &str) -> Option<(NodeId, Pid)> {
    world.nodes().find_map(|node| {
        let list = processes(world, node.id);
        let process = list.iter().find(|process| process.name == name && process.state != 'Z')?;
        Some((node.id, Pid::new(process.pid)?))
    })
}

/// Starts a program at a node's prompt and waits until it runs.
pub fn start(world: &mut World, on: NodeId, name: &str) -> Pid {
    type_line(world, on, &format!("/bin/{name}"));
    let mut found = None;
    let started = world.run_until(PATIENCE_NS, |world| {
        found = find(world, name);
        found.is_some()
    });
    assert!(started, "{name} starts; the console shows {:?}", world.node(on).output());
    found.expect("it was just found").1
}

/// Waits until the prompt says how the program ended: its wait status.
pub fn wait_exit(world: &mut World, on: NodeId) -> u64 {
    let start = world.node(on).output().len();
    wait_exit_since(world, on, start)
}

/// The same, for what the prompt has said since its output had this length.
fn wait_exit_since(world: &mut World, on: NodeId, start: usize) -> u64 {
    let status = |world: &World| {
        let output = world.node(on).output();
        // What it said before somebody waited is not meant.
        let line = output[start..].split("exit ").nth(1)?;
        line.split_once('\n')?.0.trim().parse().ok()
    };
    let ended = world.run_until(PATIENCE_NS, |world| status(world).is_some());
    assert!(ended, "the program ends; the console shows {:?}", world.node(on).output());
    status(world).expect("it was just read")
}

/// Moves a process; `by` is the node that is asked to.
///
/// # Errors
/// What the answer says.
pub fn migrate(world: &mut World, by: NodeId, pid: Pid, to: NodeId) -> Result<Migrated, Errno> {
    match world.node(by).ask_proc(&Migrate { pid, node: to }, world.now_ns) {
        Ok(migrated) => Ok(migrated),
        Err(Status::Failed(errno)) => Err(errno),
        Err(Status::Pending(ticket)) => Migrated::get(&await_ticket(world, by, ticket)?),
        Err(Status::Done) => unreachable!("a call that is done has a reply"),
    }
}

/// Sends a signal to a process, wherever it is.
pub fn signal(world: &mut World, by: NodeId, pid: Pid, signal: u32) {
    // If it has ended meanwhile there is nothing to send it to.
    let sent = world.node(by).ask_proc(&Signal { pid, signal }, world.now_ns);
    if let Err(Status::Pending(ticket)) = sent {
        let _ = await_ticket(world, by, ticket);
    }
}

/// All memory, spaces, objects and threads that a program used are free again, on every node. Where it
/// was started fs-server keeps the object of its file, as it does for every file of the image.
pub fn assert_nothing_left(world: &mut World, before: &[Held], started_on: NodeId) {
    world.run_for(3 * SECOND);
    for (node, before) in world.nodes().zip(before) {
        let objects = before.objects + u64::from(node.id == started_on);
        let expected = Held { objects, ..*before };
        assert_eq!(check::held(world, node.id), expected, "node {}", node.id);
    }
}

/// What each node's memory holds while only its prompt runs, which has forked once: so it has its own
/// copies of all pages that it writes to.
pub fn held_at_rest(world: &mut World) -> Vec<Held> {
    let all: Vec<NodeId> = world.nodes().map(|node| node.id).collect();
    for node in &all {
        type_line(world, *node, "/bin/nothing");
    }
    for node in &all {
        let said = world
            .run_until(PATIENCE_NS, |world| world.node(*node).output().contains("exit 32512\r\n"));
        assert!(said, "a program that is not there ends with 127");
    }
    world.run_for(SECOND);
    held_now(world)
}

/// What each node's memory holds now.
fn held_now(world: &World) -> Vec<Held> {
    world.nodes().map(|node| check::held(world, node.id)).collect()
}

/// A program that prints a counter is moved `times` times, and misses and repeats no number.
pub fn counter_moves(setting: &Setting, times: u32) {
    let mut world = boot(setting);
    let one = node(1);
    let before = held_at_rest(&mut world);
    let pid = start(&mut world, one, "counter");
    for _ in 0..times {
        let pause = world.below(3 * MS);
        world.run_for(pause);
        let by = node(1 + world.below(u64::from(setting.nodes)) as u16);
        let to = node(1 + world.below(u64::from(setting.nodes)) as u16);
        if let Err(errno) = migrate(&mut world, by, pid, to) {
            panic!("moving {pid} to node {to}, asked on node {by}: {}", errno.name());
        }
        let (at, _) = find(&world, "counter").expect("it still runs");
        assert_eq!(at, to, "it is where it was moved to");
    }
    let reached = counted(&world.node(one).output());
    assert!(world.run_until(PATIENCE_NS, |world| counted(&world.node(one).output()) > reached + 5));
    assert!(!world.node(one).output().contains("BAD"), "memory, registers and FPU agree");
    // The prompt may have said it before the signal's sender has its answer.
    let start = world.node(one).output().len();
    signal(&mut world, one, pid, 9);
    assert_eq!(wait_exit_since(&mut world, one, start), 9, "the prompt sees how it ended");
    counted(&world.node(one).output());
    assert_nothing_left(&mut world, &before, one);
}

/// The same move asked for on two nodes, `apart` steps one after the other: both askers are told that it
/// went well. So does a call that a signal interrupts and that is run again while its move goes on.
pub fn move_asked_twice(setting: &Setting, apart: u64) {
    let mut world = boot(setting);
    let (one, two, three) = (node(1), node(2), node(3));
    let pid = start(&mut world, one, "counter");
    let first = world.node(one).ask_proc(&Migrate { pid, node: two }, world.now_ns);
    let Err(Status::Pending(first)) = first else { panic!("a move is pending: {first:?}") };
    (0..apart).for_each(|_| {
        world.step();
    });
    let second = migrate(&mut world, three, pid, two);
    assert_eq!(second.map(|_| ()), Ok(()), "{apart} steps after the first");
    let mut result = None;
    let ended = world.run_until(PATIENCE_NS, |world| {
        result = result.take().or_else(|| world.node(one).ended(first));
        result.is_some()
    });
    assert!(ended, "the first asker is answered too");
    result.expect("it has ended").expect("the move succeeds");
    assert_eq!(find(&world, "counter").map(|(at, _)| at), Some(two));
}

/// A program runs to its end while it is moved, with the right status.
pub fn moved_program_ends(setting: &Setting, name: &str, status: u64) {
    let mut world = boot(setting);
    let one = node(1);
    let before = held_at_rest(&mut world);
    let pid = start(&mut world, one, name);
    while find(&world, name).is_some() {
        let to = node(1 + world.below(u64::from(setting.nodes)) as u16);
        // It may end meanwhile.
        if let Err(errno) = migrate(&mut world, one, pid, to) {
            assert!(matches!(errno, Errno::ESRCH | Errno::EBUSY), "{}", errno.name());
        }
        let pause = world.below(5 * MS);
        world.run_for(pause);
    }
    let output = |world: &World| world.node(one).output();
    let said = format!("exit {status}\r\n");
    let ended = world.run_until(PATIENCE_NS, |world| output(world).contains(&said));
    assert!(ended, "the prompt says {said:?}: {:?}", output(&world));
    assert_nothing_left(&mut world, &before, one);
}

/// A program with threads, a pipe between them and an alarm is moved round the nodes and stopped and
/// continued meanwhile. It goes on after each move, with nothing lost.
pub fn threads_move(setting: &Setting, times: u32) {
    const STOP: u32 = 19;
    const CONT: u32 = 18;
    let mut world = boot(setting);
    let one = node(1);
    let before = held_at_rest(&mut world);
    let pid = start(&mut world, one, "threads");
    for turn in 0..times {
        let pause = world.below(30 * MS);
        world.run_for(pause);
        let to = node(1 + ((turn + 1) % u32::from(setting.nodes)) as u16);
        if world.below(2) == 0 {
            // In the middle of the move, whichever node has it then.
            let asked = world.node(one).ask_proc(&Migrate { pid, node: to }, world.now_ns);
            for number in [STOP, CONT] {
                let steps = world.below(200);
                (0..steps).for_each(|_| world.step());
                signal(&mut world, one, pid, number);
            }
            if let Err(Status::Pending(ticket)) = asked {
                await_ticket(&mut world, one, ticket).expect("nothing is wrong with the move");
            }
        } else {
            let moved = migrate(&mut world, one, pid, to);
            moved.unwrap_or_else(|errno| panic!("move {turn} to node {to}: {}", errno.name()));
            signal(&mut world, one, pid, STOP);
            let pause = world.below(10 * MS);
            world.run_for(pause);
            signal(&mut world, one, pid, CONT);
        }
        let reached = counted(&world.node(one).output());
        let output = |world: &World| world.node(one).output();
        let goes_on = world.run_until(PATIENCE_NS, |world| counted(&output(world)) > reached + 1);
        let tail = |text: String| text[text.len().saturating_sub(60)..].to_string();
        assert!(goes_on, "after move {turn} to node {to}: {:?}", tail(output(&world)));
        assert!(!output(&world).contains("BAD"), "after move {turn}: {:?}", tail(output(&world)));
    }
    signal(&mut world, one, pid, 9);
    assert_eq!(wait_exit(&mut world, one), 9, "the prompt sees how it ended");
    assert_nothing_left(&mut world, &before, one);
}

/// How a call of the scenario ends.
fn await_ticket(world: &mut World, by: NodeId, ticket: Ticket) -> Result<Msg, Errno> {
    let mut result = None;
    let ended = world.run_until(PATIENCE_NS, |world| {
        result = world.lives(by).then(|| world.node(by).ended(ticket)).flatten();
        result.is_some()
    });
    assert!(ended, "what was asked for ends");
    result.expect("it has ended")
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disaster {
    /// The target dies.
    Target,
    /// The source dies.
    Source,
    /// The link between them is cut.
    Cut,
    /// The link is cut for one second.
    ShortCut,
    /// The source's key is changed, which it has got: nothing is lost, and the move succeeds.
    NewKey,
}

/// While a program moves from node 2 to node 3, something goes wrong `steps` steps after it was asked
/// for. False if the migration had ended before.
pub fn migration_disturbed(setting: &Setting, disaster: Disaster, steps: u64) -> bool {
    let mut world = boot(setting);
    let (one, source, target) = (node(1), node(2), node(3));
    let pid = start(&mut world, one, "counter");
    migrate(&mut world, one, pid, source).expect("the first move is not disturbed");
    world.run_for(2 * MS);
    let asked = world.node(one).ask_proc(&Migrate { pid, node: target }, world.now_ns);
    let Err(Status::Pending(ticket)) = asked else { panic!("a move is pending: {asked:?}") };
    for _ in 0..steps {
        world.step();
        if let Some(result) = world.node(one).ended(ticket) {
            result.expect("an undisturbed move succeeds");
            return false;
        }
    }
    match disaster {
        Disaster::Target => world.crash(target),
        Disaster::Source => world.crash(source),
        Disaster::Cut | Disaster::ShortCut => world.wire.set_cut(source, target, true),
        Disaster::NewKey => {
            let key = world.node(source).enrol(&Secret::new([200; 32]), world.now_ns);
            world.node(one).wish_key(source, Some(key), world.now_ns);
        }
    }
    if disaster == Disaster::ShortCut {
        world.run_for(SECOND);
        world.wire.set_cut(source, target, false);
    }
    let mut result = None;
    let ended = world.run_until(PATIENCE_NS, |world| {
        result = world.node(one).ended(ticket);
        result.is_some()
    });
    assert!(ended, "a disturbed move ends too");
    let result = result.expect("it has ended").map(|_| ());
    if disaster == Disaster::NewKey {
        assert_eq!(result, Ok(()), "a new key disturbs nothing");
    }
    after_disaster(&mut world, pid, disaster, &result);
    if disaster == Disaster::NewKey {
        assert!([one, target].iter().all(|to| world.node(*to).renewed(source)));
    }
    true
}

/// Either the program goes on, on exactly one node, or it is lost and its parent knows.
fn after_disaster(world: &mut World, pid: Pid, disaster: Disaster, result: &Result<(), Errno>) {
    let one = node(1);
    world.run_for(3 * SECOND);
    let places: Vec<NodeId> = world
        .nodes()
        .filter(|node| processes(world, node.id).iter().any(|it| it.pid == pid.get()))
        .map(|node| node.id)
        .collect();
    let output = world.node(one).output();
    let reached = counted(&output);
    assert!(!output.contains("BAD"), "memory, registers and FPU agree");
    if output.contains("exit ") {
        assert!(
            places.is_empty(),
            "what has ended is nowhere, but it is on {places:?}, after {result:?}: {:?}",
            &output[output.len().saturating_sub(80)..]
        );
        let may_be_lost = match disaster {
            Disaster::Target | Disaster::Source | Disaster::Cut => true,
            Disaster::ShortCut | Disaster::NewKey => false,
        };
        assert!(may_be_lost, "nothing is lost where no node is: {result:?}, {output:?}");
        return;
    }
    assert_eq!(places.len(), 1, "it is on one node, after {result:?}");
    let goes_on =
        world.run_until(PATIENCE_NS, |world| counted(&world.node(one).output()) > reached);
    assert!(goes_on, "it goes on on node {}, after {result:?}", places[0]);
}

/// A server of node 1 dies `steps` steps into some work: nothing that does not need it stops, and
/// nothing that needs it waits for ever.
pub fn server_dies(setting: &Setting, server: ServerId, steps: u64) {
    let mut world = boot(setting);
    let (one, two, three) = (node(1), node(2), node(3));
    // A file of node 1 in use on node 2, and a program on node 1 with its console on node 2.
    let files = start(&mut world, one, "files");
    let counter = start(&mut world, two, "counter");
    // It may have ended already.
    let _ = migrate(&mut world, one, files, two);
    migrate(&mut world, two, counter, one).expect("all servers live");
    for _ in 0..steps {
        world.step();
    }
    world.node(one).kill_server(server, world.now_ns);
    world.run_for(2 * SECOND);
    type_line(&mut world, three, "/bin/tree");
    assert_eq!(wait_exit(&mut world, three), 8 << 8, "node 3 has no part in it");
    if matches!(server, ServerId::Fs | ServerId::Shell | ServerId::Console) {
        let reached = counted(&world.node(two).output());
        let output = |world: &World| world.node(two).output();
        let goes_on = world.run_until(PATIENCE_NS, |world| counted(&output(world)) > reached + 3);
        assert!(goes_on, "what does not need {server} goes on: {:?}", output(&world));
    }
    if server == ServerId::Fs {
        let ended = world.run_until(PATIENCE_NS, |world| find(world, "files").is_none());
        assert!(ended, "what needs {server} ends");
        type_line(&mut world, one, "/bin/tree");
        assert_ne!(wait_exit(&mut world, one), 8 << 8, "a prompt without files answers");
    }
}
