// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node: the real cores of all servers in their real hosts, over simulated machines.

use crate::checkers::link::Links;
use crate::clock::Clock;
use crate::console::Console;
use crate::history::Note;
use crate::memory::Memory;
use crate::rng::Rng;
use crate::threads::{ThreadMachine, Threads};
use crate::trace;
use crate::wire::mac;
use crate::worker::{Desks, Lane, Worker};
use abi::image::{NodeEntry, RootEntry};
use abi::{CoreId, Errno, NodeId, ServerId, Ticket};
use cluster::{Incarnation, View};
use disk_api::testing::{Medium, TestDisk};
use fs_core::FsCore;
use ipc_core::Ipc;
use mem_core::MemCore;
use net_core::{Net, Peer, PublicKey, Secret};
use proc_core::ProcCore;
use runtime::{Bulk, Core, Event, Host, Msg, Operation, Status, Wire};
use shell_api::{AddWish, EVENT_ADD, EVENT_KEY, EVENT_WISH, KeyWish, Wish};
use shell_core::{Machine, Setup, Shell, Stop};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use views_core::server::ViewsServer;

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its number.
    pub node: NodeId,
    /// All nodes that its image names.
    pub nodes: Vec<NodeId>,
    /// The last of those that the cluster is founded with; later ones join.
    pub first_nodes: u16,
    /// CPU cores.
    pub cores: u8,
    /// See [`crate::world::Setting::patience`].
    pub patience: u64,
    /// Page frames.
    pub frames: usize,
    /// The root file system.
    pub root: Vec<RootEntry>,
    /// Its data.
    pub root_data: Rc<Vec<u8>>,
    /// The program on the console.
    pub login: Vec<String>,
    /// Its disk.
    pub medium: Rc<RefCell<Medium>>,
    /// Chance.
    pub seed: u64,
    /// The links of the cluster, as the checker knows them.
    pub links: Rc<RefCell<Links>>,
    /// Messages of 100 that servers get once more as from an older view.
    pub old_percent: u64,
    /// How much faster its clock runs than the world's time, in parts of a million.
    pub drift_ppm: i64,
}

/// Virtual time that a step of a server takes.
pub const STEP_NS: u64 = 2_000;

/// The server in whose name a scenario asks: none runs that could be confused with it.
pub const DRIVER: ServerId = ServerId::Ckpt;

/// The servers that run cores here.
const SERVERS: [ServerId; 8] = [
    ServerId::Console,
    ServerId::Disk,
    ServerId::Mem,
    ServerId::Fs,
    ServerId::Ipc,
    ServerId::Proc,
    ServerId::Shell,
    ServerId::Views,
];

/// A signal that waits for a worker: who holds something, for whom, on which core.
pub type Notice = (ServerId, ServerId, CoreId);

/// Root, as the shell server knows it.
#[derive(Default)]
pub struct Root {
    /// How the node was stopped.
    pub stopped: Option<Stop>,
}

impl Machine for Root {
    fn stop(&mut self, how: Stop) {
        self.stopped = Some(how);
    }

    fn log(&mut self, _bytes_max: usize) -> Vec<u8> {
        Vec::new()
    }
}

/// Root, as the views server knows it.
#[derive(Default)]
pub struct Restart {
    /// Whether the node is to start again.
    pub wanted: bool,
}

impl views_core::server::Machine for Restart {
    fn say(&mut self, line: &str) {
        trace::text(0, || line.to_string());
    }

    fn alarm(&mut self, line: &str) {
        self.say(line);
    }

    fn restart(&mut self) {
        self.wanted = true;
    }
}

/// What changes beside the servers' own state.
pub(crate) struct Surroundings {
    pub(crate) net: Net,
    /// Earliest deadline of each server and core, on the node's clock.
    pub(crate) deadlines: BTreeMap<(ServerId, CoreId), u64>,
    pub(crate) notices: Vec<Notice>,
    /// Servers that died.
    pub(crate) dead: BTreeSet<ServerId>,
    /// Who has not heard of it yet: the dead server, and the one to be told.
    pub(crate) obituaries: Vec<(ServerId, ServerId)>,
    pub(crate) outbox: Vec<Vec<u8>>,
    /// Servers that are in a call, innermost last.
    pub(crate) calling: Vec<ServerId>,
    /// What the checker knows of the links.
    pub(crate) links: Rc<RefCell<Links>>,
    pub(crate) old_percent: u64,
    /// Messages of an older view that a server gets next.
    pub(crate) old: BTreeMap<ServerId, (NodeId, Vec<u8>)>,
    /// What workers do, and what waits for them.
    pub(crate) desks: Desks,
    /// Chance inside of a step.
    pub(crate) rng: Rng,
    /// How calls of the scenario ended.
    pub(crate) ended: BTreeMap<Ticket, Result<Msg, Errno>>,
}

/// A node.
pub struct Node {
    /// Its number.
    pub id: NodeId,
    pub(crate) threads: Rc<RefCell<Threads>>,
    pub(crate) mem: Host<MemCore<Memory>>,
    pub(crate) fs: Host<FsCore>,
    pub(crate) ipc: Host<Ipc>,
    pub(crate) proc: Host<ProcCore<ThreadMachine>>,
    pub(crate) shell: Host<Shell<Root>>,
    pub(crate) console: Host<Console>,
    pub(crate) disk: Host<TestDisk>,
    pub(crate) views: Host<ViewsServer<Restart>>,
    patience: u64,
    pub(crate) around: RefCell<Surroundings>,
    clock: Clock,
}

impl Node {
    /// A node at its boot.
    pub fn new(plan: &Plan, now_ns: u64) -> Self {
        let view = View::outside(plan.node);
        let threads = Rc::new(RefCell::new(Threads::default()));
        let memory = Memory::new(plan.frames, &plan.root_data, Rc::clone(&threads));
        let mem = MemCore::new(memory).expect("a node has memory");
        let machine = ThreadMachine::new(Rc::clone(&threads), plan.cores, plan.seed);
        let proc = ProcCore::new(machine, &view, plan.node);
        let config = fs_core::Config {
            root: plan.root.clone(),
            wall_ns: 1_700_000_000_000_000_000,
            seed: [plan.seed as u8; 32],
            bytes_max: 16 << 20,
        };
        let fs = FsCore::new(plan.node, view.clone(), config).expect("the image is sound");
        let views = ViewsServer::new(Restart::default(), views_setup(plan, now_ns));
        let shell = Shell::new(Root::default(), setup(plan));
        let around = Surroundings {
            net: Net::new(&net_config(plan, now_ns), 0),
            deadlines: BTreeMap::new(),
            notices: Vec::new(),
            dead: BTreeSet::new(),
            obituaries: Vec::new(),
            outbox: Vec::new(),
            calling: Vec::new(),
            links: Rc::clone(&plan.links),
            old_percent: plan.old_percent,
            old: BTreeMap::new(),
            desks: Desks::default(),
            rng: Rng::new(plan.seed ^ 0x5eed),
            ended: BTreeMap::new(),
        };
        let id = plan.node;
        Self {
            id,
            threads,
            mem: Host::outside(ServerId::Mem, id, mem),
            fs: Host::outside(ServerId::Fs, id, fs),
            ipc: Host::outside(ServerId::Ipc, id, Ipc::new()),
            proc: Host::outside(ServerId::Proc, id, proc),
            shell: Host::outside(ServerId::Shell, id, shell),
            console: Host::outside(ServerId::Console, id, Console::default()),
            disk: Host::outside(ServerId::Disk, id, TestDisk::new(Some(Rc::clone(&plan.medium)))),
            views: Host::outside(ServerId::Views, id, views),
            patience: plan.patience,
            around: RefCell::new(around),
            clock: Clock::new(now_ns, plan.drift_ppm),
        }
    }

    /// The node's own time.
    pub(crate) fn local_ns(&self, now_ns: u64) -> u64 {
        self.clock.local_ns(now_ns)
    }

    /// A worker of `server` in the scenario's hand, outside of its loop.
    fn hand(&self, server: ServerId, now_ns: u64) -> Worker<'_> {
        Worker::new(self, server, Lane::FIRST, self.local_ns(now_ns))
    }

    /// Starts all servers, the lowest first.
    pub fn start(&self, now_ns: u64) {
        let worker = |server| self.hand(server, now_ns);
        self.mem.step(&mut worker(ServerId::Mem), |core, cx| core.start(cx));
        self.fs.step(&mut worker(ServerId::Fs), |core, cx| core.start(cx));
        self.ipc.step(&mut worker(ServerId::Ipc), |core, cx| core.start(cx));
        self.proc.step(&mut worker(ServerId::Proc), |core, cx| core.start(cx));
        self.shell.step(&mut worker(ServerId::Shell), |core, cx| core.start(cx));
        self.views.step(&mut worker(ServerId::Views), |core, cx| core.start(cx));
        self.tick(now_ns);
    }

    pub(crate) fn notice(&self, notice: Notice) {
        let notices = &mut self.around.borrow_mut().notices;
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    /// Whether the node was let go by the cluster and is to start again.
    pub fn wants_restart(&self) -> bool {
        let worker = &mut self.hand(ServerId::Views, 0);
        self.views.bare_step(worker, |it, _| it.machine().wanted)
    }

    /// Tells the node that it is to leave the cluster, or to stay after all.
    pub fn wish(&self, leaves: bool, now_ns: u64) {
        self.tell_views(EVENT_WISH, &Wish { leaves }, now_ns);
    }

    /// An administrator on this node wants another key for a node, or none.
    pub fn wish_key(&self, node: NodeId, key: Option<PublicKey>, now_ns: u64) {
        self.tell_views(EVENT_KEY, &KeyWish { node, key: key.map(|key| key.0) }, now_ns);
    }

    /// An administrator on this node wants another node in the cluster.
    pub fn wish_node(&self, node: NodeId, now_ns: u64) {
        let wish = AddWish { node, key: secret(node).public().0, address: mac(node) };
        self.tell_views(EVENT_ADD, &wish, now_ns);
    }

    /// Gives the node another private key; its public half.
    pub fn enrol(&self, secret: &Secret, now_ns: u64) -> PublicKey {
        let now_ns = self.local_ns(now_ns);
        let enrolled = self.around.borrow_mut().net.enrol(secret, now_ns).expect("another one");
        self.settle_net(now_ns);
        enrolled.public
    }

    /// Whether the link to a node has been up all the time, and goes on with its new key.
    pub fn renewed(&self, with: NodeId) -> bool {
        let net = &mut self.around.borrow_mut().net;
        let lives = net.figures(with).expect("a node of the cluster").lives;
        let renewed = net_core::Notice::Renewed(with);
        lives == 1 && core::iter::from_fn(|| net.next_notice()).any(|notice| notice == renewed)
    }

    fn tell_views<T: Wire>(&self, number: u16, what: &T, now_ns: u64) {
        let msg = Msg::of(what).expect("it fits");
        let event = Event::Upcall { from: ServerId::Shell, number, msg };
        let worker = &mut self.hand(ServerId::Views, self.local_ns(now_ns));
        self.views.step(worker, |it, cx| it.event(cx, event));
        self.settle_net(self.local_ns(now_ns));
    }

    /// The view of this node's shell server.
    pub fn epoch(&self) -> u64 {
        let worker = &mut self.hand(ServerId::Shell, 0);
        self.shell.bare_step(worker, |_, cx| cx.view().epoch().0)
    }

    /// Which life of the node this is, as its views server knows it, and as its fs-server does; `None` where it is no
    /// member.
    pub fn own_life(&self, now_ns: u64) -> (Option<Incarnation>, Option<Incarnation>) {
        let (views, fs) =
            (&mut self.hand(ServerId::Views, now_ns), &mut self.hand(ServerId::Fs, now_ns));
        let life = self.views.bare_step(views, |it, _| it.views().and_then(|it| it.incarnation()));
        let known = |view: &View| {
            view.member(self.id).filter(|_| view.epoch().0 > 0).map(|it| it.incarnation)
        };
        (life, self.fs.bare_step(fs, |_, cx| known(cx.view())))
    }

    /// Whether slots began anew, with both copies gone, as this node's shell server knows it.
    pub fn has_lost_slots(&self) -> bool {
        let worker = &mut self.hand(ServerId::Shell, 0);
        let lost = |view: &View| View::slot_numbers().any(|slot| view.slot(slot).lost.0 > 0);
        self.shell.bare_step(worker, |_, cx| lost(cx.view()))
    }

    /// What its servers wait for.
    pub fn open(&self) -> Vec<String> {
        let keepers = [self.mem.open(), self.fs.open(), self.ipc.open(), self.proc.open()];
        keepers.into_iter().flatten().collect()
    }

    /// Whether a node is home to slots without a backup, as this node's shell server knows it.
    pub fn knows_no_other_copy(&self, of: NodeId) -> bool {
        let worker = &mut self.hand(ServerId::Shell, 0);
        let is_alone = |view: &View| view.slots_of(of).any(|slot| view.slot(slot).backup.is_none());
        self.shell.bare_step(worker, |_, cx| is_alone(cx.view()))
    }

    /// How many slots a node is home to, as this node's shell server knows it.
    pub fn slots_of(&self, node: NodeId) -> usize {
        let worker = &mut self.hand(ServerId::Shell, 0);
        self.shell.bare_step(worker, |_, cx| cx.view().slots_of(node).count())
    }

    /// How things stand with the views; `None` if the node takes no part (yet, or any more).
    pub fn views_status(&self, now_ns: u64) -> Option<views_core::Status> {
        let now = self.local_ns(now_ns) / self.patience;
        let worker = &mut self.hand(ServerId::Views, now_ns);
        self.views.bare_step(worker, |it, _| it.views().map(|views| views.status(now)))
    }

    /// Time has passed for the links and the timers.
    pub fn tick(&self, now_ns: u64) {
        let now_ns = self.local_ns(now_ns);
        let due = {
            let around = &mut *self.around.borrow_mut();
            if around.net.deadline_ns().is_some_and(|deadline| deadline <= now_ns) {
                around.net.tick(now_ns);
            }
            let due = around.deadlines.iter().filter(|(_, at)| **at <= now_ns);
            let due: Vec<(ServerId, CoreId)> = due.map(|(client, _)| *client).collect();
            around.deadlines.retain(|_, at| *at > now_ns);
            due
        };
        for (server, core) in due {
            self.notice((ServerId::Timer, server, core));
        }
        self.settle_net(now_ns);
    }

    pub(crate) fn is_dead(&self, server: ServerId) -> bool {
        self.around.borrow().dead.contains(&server)
    }

    /// A server dies between two of its steps: nothing answers for it but errors, and the others hear
    /// of it, each when chance wants it.
    pub fn kill_server(&self, server: ServerId, now_ns: u64) {
        let now_ns = self.local_ns(now_ns);
        {
            let around = &mut *self.around.borrow_mut();
            around.dead.insert(server);
            around.notices.retain(|(_, client, _)| *client != server);
            around.deadlines.retain(|(it, _), _| *it != server && server != ServerId::Timer);
            around.desks.server_died(server);
            around.net.server_down(server, now_ns);
            let living = SERVERS.into_iter().filter(|it| !around.dead.contains(it));
            around.obituaries.extend(living.map(|it| (server, it)));
        }
        self.settle_net(now_ns);
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline_ns(&self) -> Option<u64> {
        let around = self.around.borrow();
        let lives = !around.dead.contains(&ServerId::Net);
        let links = around.net.deadline_ns().filter(|_| lives);
        let next = around.deadlines.values().copied().chain(links).min();
        next.map(|local_ns| self.clock.world_ns(local_ns))
    }

    /// A frame arrived.
    pub fn received(&self, frame: &mut [u8], now_ns: u64) {
        if self.is_dead(ServerId::Net) {
            return;
        }
        let now_ns = self.local_ns(now_ns);
        self.around.borrow_mut().net.received(frame, now_ns);
        self.settle_net(now_ns);
    }

    /// The frames to be sent.
    pub fn take_frames(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.around.borrow_mut().outbox)
    }

    /// Asks proc-server in the scenario's name, in the place of a worker that was idle, as a server
    /// would. `Err(Status::Pending)`: see [`Self::ended`].
    ///
    /// # Errors
    /// What it answers, if it is not done.
    pub fn ask_proc<O: Operation>(&self, op: &O, now_ns: u64) -> Result<O::Reply, Status> {
        self.finish_work(ServerId::Proc, now_ns);
        self.look_at_proc(op, now_ns)
    }

    /// Asks proc-server for what it knows: an operation that changes nothing, so that it may come
    /// between any two steps.
    ///
    /// # Errors
    /// What it answers, if it is not done.
    pub fn look_at_proc<O: Operation>(&self, op: &O, now_ns: u64) -> Result<O::Reply, Status> {
        let mut msg = Msg::of(op).map_err(Status::Failed)?;
        let worker = &mut self.hand(ServerId::Proc, now_ns);
        let bulk = &mut Bulk::none();
        let status = self.proc.request_step(worker, DRIVER, O::NUMBER, &mut msg, bulk);
        self.leave_to_worker(ServerId::Proc);
        match status {
            Status::Done => O::Reply::get(&msg).map_err(Status::Failed),
            other => Err(other),
        }
    }

    /// Asks mem-server.
    ///
    /// # Errors
    /// What it answers, if it is not done.
    pub fn ask_mem<O: Operation>(&self, op: &O, now_ns: u64) -> Result<O::Reply, Status> {
        let worker = &mut self.hand(ServerId::Mem, now_ns);
        runtime::testing::call(&self.mem, worker, ServerId::Proc, op, &mut []).map(|it| it.0)
    }

    /// What programs noted since the last time.
    pub(crate) fn take_notes(&self) -> Vec<Note> {
        let worker = &mut self.hand(ServerId::Mem, 0);
        self.mem.bare_step(worker, |it, _| std::mem::take(&mut it.machine().notes))
    }

    /// How a call of the scenario ended, once.
    pub fn ended(&self, ticket: Ticket) -> Option<Result<Msg, Errno>> {
        self.around.borrow_mut().ended.remove(&ticket)
    }

    /// Types on the console.
    pub fn type_in(&self, bytes: &[u8], now_ns: u64) {
        let worker = &mut self.hand(ServerId::Console, now_ns);
        self.console.step(worker, |console, cx| console.typed(cx, bytes));
    }

    /// What the console shows.
    pub fn output(&self) -> String {
        let worker = &mut self.hand(ServerId::Console, 0);
        let bytes = self.console.bare_step(worker, |console, _| console.output.clone());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn setup(plan: &Plan) -> Setup {
    let entry = |node: &NodeId| NodeEntry {
        id: node.get(),
        cores: plan.cores,
        memory_mib: 1,
        disk_mib: 0,
        mac: mac(*node),
    };
    let nodes = plan.nodes.iter().map(entry).collect();
    // Who leaves is chance's affair here, and the clients on its console stay: only slots and votes go.
    Setup { login: plan.login.clone(), nodes, keys: Vec::new(), views_agreed: false }
}

fn views_setup(plan: &Plan, now_ns: u64) -> views_core::server::Setup {
    let keepers = [ServerId::Mem, ServerId::Fs, ServerId::Ipc, ServerId::Proc].to_vec();
    let servers = keepers.iter().copied().chain([ServerId::Shell]).collect();
    let seed = plan.seed ^ now_ns;
    let joins = |node: &NodeId| (*node, node.get() > plan.first_nodes);
    let nodes = plan.nodes.iter().map(joins).collect();
    views_core::server::Setup::of(servers, keepers, nodes, plan.patience, seed)
}

/// Nodes' keys follow from their numbers: a run follows from its seed alone.
fn secret(node: NodeId) -> Secret {
    let mut bytes = [0; 32];
    // Not the first byte: X25519 ignores its lowest bits, and the keys of all nodes would be the same.
    bytes[1..3].copy_from_slice(&node.get().to_le_bytes());
    Secret::new(bytes)
}

fn net_config(plan: &Plan, now_ns: u64) -> net_core::Config {
    let peer = |node: &NodeId| {
        let key = Some(secret(*node).public());
        Peer { node: *node, mac: mac(*node), key }
    };
    let speaks = |it: &ServerId| !matches!(it, ServerId::Console | ServerId::Disk);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    seed[8..16].copy_from_slice(&now_ns.to_le_bytes());
    net_core::Config {
        node: plan.node,
        mac: mac(plan.node),
        peers: plan.nodes.iter().map(peer).collect(),
        mtu: 9000,
        servers: SERVERS.into_iter().filter(speaks).collect(),
        secret: Some(secret(plan.node)),
        seed,
        versions: net_core::limits::VERSIONS,
    }
}
