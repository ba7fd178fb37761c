// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shell server over a fake node: what it asks of the other servers, and what it prints.

use crate::{Machine, Setup, Shell, Stop, limits};
use abi::image::{MemberKey, NodeEntry};
use abi::{CoreId, Errno, FileId, NodeId, Pid, ServerId};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use disk_api::{
    Absence, DiskInfo, Extent, Fetch, Figures, Flush, Info, Read, ReadId, Readable, Region, State,
    Write,
};
use ipc_api::console::{ConsoleInput, ConsoleWrite, EVENT_INPUT};
use ipc_api::{EVENT_RESCUE, EVENT_RESCUE_INPUT, RescueInput, RescueWrite, TerminalOpened};
use mem_api::MemoryFigures;
use net_api::{Enrol, Enrolled, LinkFigures, LoadFigures, PingFigures};
use proc_api::{
    AdminReply, AdminRequest, EVENT_ADMIN, EVENT_EXITED, Exited, List, Migrate, Migrated, Moving,
    ProcessInfo, ProcessList, Signal, Spawn, Spawned,
};
use runtime::{Bulk, Core, Event, Host, Msg, NodeReply, Operation, Platform, Status, Wire};
use shell_api::{CommandEnd, MovedPages, PagesMoved, RunCommand};

#[derive(Default)]
pub(crate) struct FakeMachine {
    stopped: Option<Stop>,
}

impl Machine for FakeMachine {
    fn stop(&mut self, how: Stop) {
        self.stopped = Some(how);
    }

    fn log(&mut self, _bytes_max: usize) -> Vec<u8> {
        b"mem: in service\n".to_vec()
    }
}

/// A disk whose requests end at once.
struct FakeDisk {
    state: State,
    bytes: Vec<u8>,
    /// The first sector of the region for keys.
    pub(crate) key: Vec<u8>,
    /// What the last read found.
    read: Vec<u8>,
    /// What is written is not there later.
    forgets: bool,
    fails: Option<Errno>,
}

impl FakeDisk {
    fn new() -> Self {
        let regions = [Extent { first: 8, sectors: 2048 }; 4];
        let state = State::Ready { sectors: 131_072, writable: true, regions };
        Self {
            state,
            bytes: vec![0; 65536],
            key: vec![0; 512],
            read: Vec::new(),
            forgets: false,
            fails: None,
        }
    }

    fn call(&mut self, op: u16, msg: &mut Msg, bulk: &mut Bulk<'_>) -> Status {
        match (op, self.fails) {
            (Info::NUMBER, _) => {
                let info = DiskInfo { state: self.state.clone(), figures: Figures::default() };
                done(msg, &info)
            }
            (_, Some(errno)) => Status::Failed(errno),
            (Read::NUMBER, None) => {
                let region = Read::get(msg).expect("a read").region;
                self.read = if region == Region::Keys { &self.key } else { &self.bytes }.clone();
                let id = ReadId { index: 1, generation: 2 };
                done(msg, &Readable { id })
            }
            (Fetch::NUMBER, None) => {
                bulk.set(&self.read).expect("it fits");
                done(msg, &())
            }
            (Write::NUMBER, None) if Write::get(msg).expect("a write").region == Region::Keys => {
                self.key = bulk.data().to_vec();
                done(msg, &())
            }
            (Write::NUMBER, None) => {
                if !self.forgets {
                    self.bytes = bulk.data().to_vec();
                }
                done(msg, &())
            }
            (Flush::NUMBER, None) => done(msg, &()),
            _ => Status::Failed(Errno::ENOSYS),
        }
    }
}

pub(crate) struct World {
    now_ns: u64,
    disk: FakeDisk,
    links_up: bool,
    pub(crate) console: String,
    console_full: bool,
    pub(crate) spawned: Vec<Spawn>,
    replies: Vec<AdminReply>,
    pub(crate) sent: Vec<runtime::node::NodeMessage>,
    /// What proc-server was told of processes: moves, and signals.
    pub(crate) moved: Vec<Pid>,
    pub(crate) signals: Vec<(Pid, u32)>,
    /// Processes of this node, and how a move ends.
    pub(crate) processes: Vec<u32>,
    pub(crate) move_fails: Option<Errno>,
    deadline_ns: Option<u64>,
    crashed: Vec<ServerId>,
    spawn_fails: bool,
    /// The keys that net-server has taken.
    enrolled: Vec<[u8; 32]>,
}

/// The one that the cluster knows.
const GOOD_KEY: [u8; 32] = [0xab; 32];

fn done<T: Wire>(msg: &mut Msg, reply: &T) -> Status {
    *msg = Msg::of(reply).expect("it fits");
    Status::Done
}

fn process(pid: u32) -> ProcessInfo {
    let name = "sh".to_string();
    let (group, session) = (pid, pid);
    ProcessInfo { pid, parent: 0, group, session, uid: 0, node: 1, state: 'S', threads: 1, name }
}

impl World {
    fn call_proc(&mut self, op: u16, msg: &mut Msg) -> Status {
        match op {
            1 if self.spawn_fails => Status::Failed(Errno::ENOMEM),
            1 => {
                self.spawned.push(Spawn::get(msg).expect("a spawn"));
                done(msg, &Spawned { pid: Pid::new(5).expect("a pid") })
            }
            Signal::NUMBER => {
                let it = Signal::get(msg).expect("a signal");
                self.signals.push((it.pid, it.signal));
                done(msg, &())
            }
            Migrate::NUMBER if self.move_fails.is_some() => {
                Status::Failed(self.move_fails.unwrap_or(Errno::EIO))
            }
            Migrate::NUMBER => {
                let pid = Migrate::get(msg).expect("a move").pid;
                self.moved.push(pid);
                self.processes.retain(|it| *it != pid.get());
                done(msg, &Migrated { from: 1, pages: 34, ..Default::default() })
            }
            List::NUMBER => {
                let after = List::get(msg).expect("a list").after;
                let list = self.processes.iter().copied().filter(|pid| *pid > after);
                let list = list.take(2).map(process).collect();
                done(msg, &ProcessList(list))
            }
            AdminReply::NUMBER => {
                self.replies.push(AdminReply::get(msg).expect("a reply"));
                done(msg, &())
            }
            6 => done(msg, &Moving { left: 0, on_demand: 3, prefetched: 31 }),
            _ => Status::Failed(Errno::ENOSYS),
        }
    }
}

impl Platform for World {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn core(&self) -> CoreId {
        CoreId(0)
    }

    fn call(
        &mut self,
        _from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        match (to, op) {
            (ServerId::Ckpt, _) => Status::Failed(Errno::ENOSYS),
            (_, runtime::system::CRASH) => {
                self.crashed.push(to);
                Status::Failed(Errno::EIO)
            }
            (ServerId::Disk, _) => self.disk.call(op, msg, bulk),
            (ServerId::Console, ConsoleWrite::NUMBER) => {
                let write = ConsoleWrite::get(msg).expect("a write");
                self.console.push_str(&String::from_utf8(write.0).expect("text"));
                done(msg, &())
            }
            (ServerId::Ipc, 65) => done(msg, &TerminalOpened { file: FileId::from_raw(7) }),
            (ServerId::Ipc, RescueWrite::NUMBER) if self.console_full => {
                Status::Failed(Errno::EAGAIN)
            }
            (ServerId::Ipc, RescueWrite::NUMBER) => {
                let write = RescueWrite::get(msg).expect("a write");
                self.console.push_str(&String::from_utf8(write.text).expect("text"));
                done(msg, &())
            }
            (ServerId::Ipc, _) => done(msg, &()),
            (ServerId::Proc, _) => self.call_proc(op, msg),
            (ServerId::Mem, _) => done(msg, &MemoryFigures::default()),
            (ServerId::Net, 3) => {
                done(msg, &LinkFigures { up: self.links_up, ..Default::default() })
            }
            (ServerId::Net, Enrol::NUMBER) => {
                let key = Enrol::get(msg).expect("a key").key;
                if self.enrolled.contains(&key) {
                    return Status::Failed(Errno::EEXIST);
                }
                self.enrolled.push(key);
                done(msg, &Enrolled { public: key, counts: key == GOOD_KEY })
            }
            (ServerId::Net, 4) if !self.links_up => Status::Failed(Errno::EHOSTDOWN),
            (ServerId::Net, 4) => done(msg, &()),
            (ServerId::Net, 5) => {
                let running = self.now_ns < limits::PING_POLL_NS * 3;
                let (least_ns, most_ns, sum_ns) = (1_000_000, 3_500_000, 9_000_000);
                done(msg, &PingFigures { running, sent: 4, answered: 4, least_ns, most_ns, sum_ns })
            }
            (ServerId::Net, 6) => done(msg, &()),
            (ServerId::Net, 7) => {
                let running = self.now_ns < limits::PING_POLL_NS * 3;
                done(msg, &LoadFigures { running, bytes: 8 << 20, took_ns: 400_000_000 })
            }
            (ServerId::Net, runtime::node::NET_SEND) => {
                let message = runtime::node::NodeMessage::decode(bulk.data()).expect("a message");
                self.sent.push(message);
                Status::Done
            }
            (ServerId::Timer, _) => {
                self.deadline_ns = Some(msg.words[0]);
                Status::Done
            }
            _ => Status::Failed(Errno::ENOSYS),
        }
    }

    fn notify(&mut self, _from: ServerId, _client: ServerId, _core: CoreId) {}
}

pub(crate) struct Node {
    pub(crate) host: Host<Shell<FakeMachine>>,
    pub(crate) world: World,
}

pub(crate) fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node")
}

impl Node {
    /// Node 1 of `nodes`, in service.
    pub(crate) fn new(nodes: u16, links_up: bool) -> Self {
        let entry = |id| NodeEntry {
            id,
            cores: 1,
            memory_mib: 256,
            disk_mib: 0,
            mac: [2, 0, 0, 0, 0, id as u8],
        };
        let login = ["/bin/sh", "-l"].map(String::from).to_vec();
        let key = |node: u16| MemberKey { node, key: [100 + node as u8; 32] };
        let (entries, keys) = ((1..=nodes).map(entry).collect(), (1..=nodes).map(key).collect());
        let setup = Setup { login, nodes: entries, keys, views_agreed: true };
        let view = View::fixed((1..=nodes).map(node).collect()).expect("a view");
        let shell = Shell::new(FakeMachine::default(), setup);
        let host = Host::new(ServerId::Shell, node(1), view, shell);
        let world = World {
            now_ns: 0,
            disk: FakeDisk::new(),
            links_up,
            console: String::new(),
            console_full: false,
            spawned: Vec::new(),
            replies: Vec::new(),
            sent: Vec::new(),
            moved: Vec::new(),
            signals: Vec::new(),
            processes: vec![1, 2, 3],
            move_fails: None,
            deadline_ns: None,
            crashed: Vec::new(),
            spawn_fails: false,
            enrolled: Vec::new(),
        };
        let mut this = Self { host, world };
        this.start();
        this
    }

    fn start(&mut self) {
        self.host.step(&mut self.world, |core, cx| core.start(cx));
    }

    pub(crate) fn upcall<T: Wire>(&mut self, from: ServerId, number: u16, event: &T) {
        let msg = Msg::of(event).expect("it fits");
        let event = Event::Upcall { from, number, msg };
        self.host.step(&mut self.world, |core, cx| core.event(cx, event));
    }

    fn server_down(&mut self, server: ServerId) {
        self.host.server_down(&mut self.world, server);
    }

    pub(crate) fn admin(&mut self, line: &str) -> (String, Option<u8>) {
        self.user(0, line)
    }

    pub(crate) fn forget_answer(&mut self) {
        self.world.replies.clear();
    }

    pub(crate) fn user(&mut self, uid: u32, line: &str) -> (String, Option<u8>) {
        let words = line.split(' ').map(String::from).collect();
        self.upcall(ServerId::Proc, EVENT_ADMIN, &AdminRequest { request: 9, pid: 5, uid, words });
        self.answer()
    }

    pub(crate) fn answer(&self) -> (String, Option<u8>) {
        let text = self.world.replies.iter().map(|reply| reply.text.as_str()).collect();
        (text, self.world.replies.last().and_then(|reply| reply.status))
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        let end = self.world.now_ns + ns;
        while let Some(deadline) = self.world.deadline_ns.filter(|deadline| *deadline <= end) {
            self.world.deadline_ns = None;
            self.world.now_ns = deadline.max(self.world.now_ns);
            self.host.collect(&mut self.world, ServerId::Timer);
        }
        self.world.now_ns = end;
    }

    /// Another node's answer to the last call to it.
    pub(crate) fn reply_last<T: Wire>(&mut self, result: Result<T, Errno>) {
        let last = self.remote_waits().len() - 1;
        self.reply(last, result.map(|reply| (reply, &b""[..])));
    }

    /// The answer of another node to the call that was sent as number `index`.
    fn reply<T: Wire>(&mut self, index: usize, result: Result<(T, &[u8]), Errno>) {
        let cookie = self.cookie_of(index);
        let result = result.map(|(reply, bulk)| NodeReply {
            msg: Msg::of(&reply).expect("it fits"),
            bulk: bulk.to_vec(),
        });
        self.host.step(&mut self.world, |core, cx| core.completion(cx, cookie, result));
    }

    fn cookie_of(&mut self, index: usize) -> u64 {
        self.remote_waits()[index]
    }

    fn remote_waits(&mut self) -> Vec<u64> {
        use crate::Wait::{AwayPages, Pages, RemotePart, Stepped, Stopping, Wished};
        self.host.step(&mut self.world, |core, _| {
            let is_remote = |wait: &crate::Wait| {
                matches!(wait, RemotePart { .. } | Pages(_))
                    || matches!(wait, AwayPages(_) | Stepped(_) | Stopping(_) | Wished(_))
            };
            let waits = core.waits.iter().filter(|(_, wait)| is_remote(wait));
            waits.map(|(cookie, _)| *cookie).collect()
        })
    }
}

#[test]
fn start_announces_the_node_and_starts_a_login_shell() {
    let node = Node::new(3, true);
    assert_eq!(node.world.console, "node 1: ready\n");
    let spawn = &node.world.spawned[0];
    assert_eq!((spawn.path.as_str(), spawn.arguments[0].as_str()), ("/bin/sh", "-sh"));
    assert_eq!(spawn.arguments[1], "-l");
}

#[test]
fn start_without_the_other_nodes_goes_on_after_a_while() {
    let mut node = Node::new(2, false);
    assert!(node.world.spawned.is_empty());
    node.pass(limits::READY_WAIT_NS + limits::READY_POLL_NS);
    assert_eq!(node.world.console, "node 1: node 2 does not answer yet\nnode 1: ready\n");
    assert_eq!(node.world.spawned.len(), 1);
}

#[test]
fn login_that_ends_is_started_again_but_not_too_fast() {
    let mut node = Node::new(1, true);
    let exited = Exited { pid: Pid::new(5).expect("a pid"), status: 0 };
    node.upcall(ServerId::Proc, EVENT_EXITED, &exited);
    assert_eq!(node.world.spawned.len(), 1);
    node.pass(limits::LOGIN_PAUSE_NS);
    assert_eq!(node.world.spawned.len(), 2);
    node.pass(limits::LOGIN_PAUSE_NS);
    node.upcall(ServerId::Proc, EVENT_EXITED, &exited);
    assert_eq!(node.world.spawned.len(), 3);
    assert_eq!(node.world.console, "node 1: ready\n");
}

#[test]
fn console_that_is_full_gets_its_text_later() {
    let mut node = Node::new(1, true);
    node.world.console_full = true;
    node.upcall(ServerId::Ipc, EVENT_RESCUE, &());
    node.world.console_full = false;
    node.pass(limits::RETRY_NS);
    assert!(node.world.console.ends_with("rescue> "), "{}", node.world.console);
}

#[test]
fn rescue_prompt_runs_commands() {
    let mut node = Node::new(1, true);
    node.upcall(ServerId::Ipc, EVENT_RESCUE, &());
    node.world.console.clear();
    node.upcall(ServerId::Ipc, EVENT_RESCUE_INPUT, &RescueInput(b"kloh\x7fg\rex".to_vec()));
    assert_eq!(node.world.console, "kloh\x08 \x08g\nmem: in service\nrescue> ex");
    node.world.console.clear();
    node.upcall(ServerId::Ipc, EVENT_RESCUE_INPUT, &RescueInput(b"it\rlate".to_vec()));
    assert_eq!(node.world.console, "it\n");
}

#[test]
fn rescue_prompt_takes_the_console_when_the_ipc_server_died() {
    let mut node = Node::new(1, true);
    node.server_down(ServerId::Ipc);
    node.world.console.clear();
    let typed = ConsoleInput(b"lost\x1dklog\r".to_vec());
    node.upcall(ServerId::Console, EVENT_INPUT, &typed);
    let shown = &node.world.console;
    assert!(shown.contains("exit` goes back\r\nrescue> klog\r\nmem: in service\r\n"), "{shown:?}");
    assert!(!shown.contains("lost"), "{shown:?}");
}

#[test]
fn crash_is_sent_to_its_server_and_says_what_became_of_it() {
    let mut node = Node::new(1, true);
    assert_eq!(node.admin("crash fs"), ("node 1: fs crashed\n".to_string(), Some(0)));
    assert_eq!(node.world.crashed, [ServerId::Fs]);
    node.world.replies.clear();
    assert_eq!(node.admin("crash ckpt"), ("node 1 has no ckpt\n".to_string(), Some(1)));
}

#[test]
fn disks_shows_a_disk_or_why_there_is_none() {
    let mut node = Node::new(1, true);
    let (text, status) = node.admin("disks");
    assert!(text.contains("\n   1 ready        65536        1024 "), "{text}");
    assert_eq!(status, Some(0));
    node.world.replies.clear();
    node.world.disk.state = State::Absent(Absence::Unwanted);
    let (text, _) = node.admin("disks");
    assert!(text.ends_with("   1 none      cluster.toml gives the node none\n"), "{text}");
    node.world.replies.clear();
    node.world.disk.state = State::Stopped;
    assert!(node.admin("disks").0.contains("   1 stopped   it did not answer"));
}

#[test]
fn disks_check_counts_and_finds_the_one_before() {
    let mut node = Node::new(1, true);
    for says in [
        "check 1: 64 KiB written, flushed and read back in 0.000 ms; it is the first\n",
        "check 2: 64 KiB written, flushed and read back in 0.000 ms; check 1 was still there\n",
    ] {
        node.world.replies.clear();
        assert_eq!(node.admin("disks --check"), (format!("node 1: {says}"), Some(0)));
    }
    node.world.replies.clear();
    node.world.disk.bytes[60_000] ^= 1;
    let (text, _) = node.admin("disks --check 1");
    assert!(text.contains("check 1:") && text.contains("NOT as it had been written"), "{text}");
}

#[test]
fn disks_check_notices_a_disk_that_forgets_or_fails() {
    let mut node = Node::new(1, true);
    node.world.disk.forgets = true;
    let (text, status) = node.admin("disks --check");
    assert!(text.contains("is not what was written"), "{text}");
    assert_eq!(status, Some(1));
    for (errno, says) in [
        (Errno::ENODEV, "see `disks`"),
        (Errno::EROFS, "cannot be written"),
        (Errno::EIO, "its disk fails"),
        (Errno::EAGAIN, "try again"),
        (Errno::EPERM, "not permitted"),
    ] {
        node.world.replies.clear();
        node.world.disk.fails = Some(errno);
        let (text, status) = node.admin("disks --check");
        assert!(text.contains(says), "{text}");
        assert_eq!(status, Some(1));
    }
}

#[test]
fn key_that_was_typed_is_on_the_disk_with_the_one_before_and_found_there() {
    let mut node = Node::new(1, true);
    let (text, status) = node.admin(&format!("linkkey {}", "ab".repeat(32)));
    assert!(text.contains("its links come up") && text.contains("its disk keeps it"), "{text}");
    assert_eq!(status, Some(0));
    node.forget_answer();
    assert_eq!(node.admin(&format!("linkkey {}", "ab".repeat(32))).1, Some(1), "it has it");
    for next in ["cd", "ef"] {
        node.forget_answer();
        let (text, status) = node.admin(&format!("linkkey {}", next.repeat(32)));
        assert!(text.contains(&format!("  node key 1 {}\n", next.repeat(32))), "{text}");
        assert_eq!(status, Some(0));
    }
    let kept = node.world.disk.key.clone();

    let mut again = Node::new(1, true);
    again.world.disk.key = kept;
    again.start();
    assert_eq!(again.world.enrolled, [[0xcd; 32], [0xef; 32]], "the newest last");
    let console = &again.world.console;
    assert!(console.contains("has a key from its disk that its image does not name"), "{console}");
    again.forget_answer();
    assert_eq!(again.admin("linkkey --forget").1, Some(0));
    assert_eq!(again.world.disk.key, vec![0; 512]);
}

#[test]
fn key_is_taken_also_where_no_disk_can_keep_it() {
    let mut node = Node::new(1, true);
    node.world.disk.fails = Some(Errno::ENODEV);
    let (text, status) = node.admin(&format!("linkkey {}", "ab".repeat(32)));
    assert!(text.contains("with the next start of the node it is gone"), "{text}");
    assert_eq!((&node.world.enrolled[..], status), (&[GOOD_KEY][..], Some(0)));
    node.world.replies.clear();
    assert_eq!(node.admin("linkkey --forget").1, Some(1));
}

#[test]
fn commands_that_end_something_are_for_root_only() {
    let mut node = Node::new(1, true);
    for command in ["crash fs", "halt", "reboot all", "disks --check"] {
        node.world.replies.clear();
        let (text, status) = node.user(1000, command);
        assert!(text.contains("root"), "{text}");
        assert_eq!(status, Some(1));
    }
    node.pass(limits::STOP_DELAY_NS);
    assert!(node.world.crashed.is_empty());
    assert_eq!(node.host.step(&mut node.world, |core, _| core.machine().stopped), None);
}

#[test]
fn timer_server_that_died_leaves_nothing_waiting() {
    // The other node is silent, so the start waits with a timer.
    let mut node = Node::new(2, false);
    assert!(node.world.spawned.is_empty());
    node.world.spawn_fails = true;
    node.server_down(ServerId::Timer);
    assert!(node.world.console.contains("node 1: ready\n"), "{}", node.world.console);
    assert!(node.world.console.contains("no login shell"), "{}", node.world.console);
}

#[test]
fn ps_shows_the_nodes_in_order_whichever_answers_first() {
    let mut it = Node::new(3, true);
    let (text, status) = it.admin("ps");
    assert_eq!((text.lines().count(), status), (4, None), "header and three of node 1: {text}");
    assert_eq!(it.world.sent.len(), 2);
    it.reply(1, Ok((CommandEnd { status: 0 }, b"three\n")));
    it.reply(0, Ok((CommandEnd { status: 0 }, b"two\n")));
    let (text, status) = it.answer();
    assert!(text.ends_with("two\nthree\n"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn part_of_a_dead_node_fails_the_command_with_a_hint() {
    let mut it = Node::new(2, true);
    it.admin("mem");
    it.reply::<CommandEnd>(0, Err(Errno::EHOSTDOWN));
    let (text, status) = it.answer();
    assert!(text.ends_with("node 2: Host is down: see `nodes`\n"), "{text}");
    assert_eq!(status, Some(1));
}

#[test]
fn long_answers_come_in_pieces_that_fit() {
    let mut it = Node::new(2, true);
    it.admin("klog 2");
    let log = "a line of the log\n".repeat(1000);
    it.reply(0, Ok((CommandEnd { status: 0 }, log.as_bytes())));
    assert!(it.world.replies.iter().all(|reply| reply.text.len() <= limits::REPLY_BYTES));
    assert_eq!(it.answer(), (log, Some(0)));
}

#[test]
fn migrate_tells_the_move_and_then_the_pages() {
    let mut it = Node::new(2, true);
    let (text, status) = it.admin("migrate 5 2");
    assert!(text.starts_with("process 5 moved from node 1 to node 2\n"), "{text}");
    assert_eq!(status, None);
    assert_eq!(it.world.sent[0].op, MovedPages::NUMBER);
    it.reply(0, Ok((PagesMoved { left: 4, on_demand: 1, prefetched: 29 }, b"")));
    it.pass(limits::MOVE_POLL_NS);
    it.reply(0, Ok((PagesMoved { left: 0, on_demand: 3, prefetched: 31 }, b"")));
    let (text, status) = it.answer();
    assert!(text.ends_with("pages moved: 3 on demand, 31 by prefetch; total 5.000 ms\n"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn ping_tells_its_figures_when_the_series_is_over() {
    let mut it = Node::new(2, true);
    assert_eq!(it.admin("net --ping 2 4"), (String::new(), None));
    it.pass(limits::PING_POLL_NS * 2);
    assert_eq!(it.answer(), (String::new(), None));
    it.pass(limits::PING_POLL_NS * 2);
    let (text, status) = it.answer();
    let wanted = "4 requests to node 2, 4 answered\n\
                  round trip: least 1.000 ms, mean 2.250 ms, most 3.500 ms\n";
    assert_eq!((text.as_str(), status), (wanted, Some(0)));
}

#[test]
fn load_tells_what_the_link_carried_when_it_is_over() {
    let mut it = Node::new(2, true);
    assert_eq!(it.admin("net --load 2 8"), (String::new(), None));
    it.pass(limits::PING_POLL_NS * 2);
    assert_eq!(it.answer(), (String::new(), None));
    it.pass(limits::PING_POLL_NS * 2);
    let wanted = "8192 KiB to node 2 in 400.000 ms: 20480 KiB/s arrived\n".to_string();
    assert_eq!(it.answer(), (wanted, Some(0)));
}

#[test]
fn ping_of_a_node_that_is_down_fails_with_a_hint() {
    let mut it = Node::new(2, false);
    it.pass(limits::READY_WAIT_NS + limits::READY_POLL_NS);
    let (text, status) = it.admin("net --ping 2");
    assert!(text.ends_with("see `nodes`\n"), "{text}");
    assert_eq!(status, Some(1));
}

#[test]
fn halt_of_all_nodes_stops_this_one_last() {
    let mut it = Node::new(2, true);
    it.admin("halt all");
    it.pass(limits::STOP_DELAY_NS);
    let stopped = |it: &mut Node| it.host.step(&mut it.world, |core, _| core.machine().stopped);
    assert_eq!(stopped(&mut it), None);
    it.reply(0, Ok((CommandEnd { status: 0 }, b"node 2: halt\n")));
    assert_eq!(it.answer().1, Some(0));
    it.pass(limits::STOP_DELAY_NS);
    assert_eq!(stopped(&mut it), Some(Stop::Halt));
}

#[test]
fn request_of_a_node_may_only_concern_this_one() {
    let mut it = Node::new(2, true);
    let from = runtime::Client::Node { node: node(2), request: 3 };
    for line in ["ps all", "migrate 5 2", "frob", "ps"] {
        let words = line.split(' ').map(String::from).collect();
        let msg = Msg::of(&RunCommand { words }).expect("it fits");
        let answer = it.host.step(&mut it.world, |core, cx| {
            core.request(cx, from, RunCommand::NUMBER, &msg, &mut Bulk::none())
        });
        assert!(matches!(answer, runtime::Answer::Failed(Errno::EINVAL)), "{line}");
    }
    let words = ["klog", "here"].map(String::from).to_vec();
    let msg = Msg::of(&RunCommand { words }).expect("it fits");
    it.host.step(&mut it.world, |core, cx| {
        core.request(cx, from, RunCommand::NUMBER, &msg, &mut Bulk::none())
    });
    let reply = it.world.sent.last().expect("an answer");
    assert_eq!((reply.request, reply.bulk.as_slice()), (3, &b"mem: in service\n"[..]));
}

#[test]
fn command_mistakes_fail_with_a_sentence() {
    let mut it = Node::new(1, true);
    let (text, status) = it.admin("migrate 5 9");
    assert!(text.contains("see `nodes`"), "{text}");
    assert_eq!(status, Some(1));
}
