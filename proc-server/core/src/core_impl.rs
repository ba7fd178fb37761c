// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core as the runtime drives it: requests, answers, events, timers.

use crate::ProcCore;
use crate::entry::CookieClass;
use crate::files::{self, OpenFile};
use crate::machine::{Machine, Registers};
use crate::parked::{Origin, Request};
use crate::pids::PidRow;
use crate::process::{Alarm, Ids, ProcessOwn, default_limits};
use crate::procfs;
use crate::signal::{Actions, Info, Pending, SignalSet, Target, number};
use crate::syscall::wait_status_signal;
use crate::thread::{Run, ThreadOwn};
use crate::timers::Timers;
use abi::linux::ioctl::TIOCSCTTY;
use abi::{Errno, NodeId, Pid, ServerId, ThreadId, Ticket};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::{Caller, Ioctl};
use fs_api::name::FileKind;
use ipc_api::{EVENT_RIGHTS_DROPPED, EVENT_TERMINAL_SIGNAL, RightsDropped, TerminalSignal};
use mem_api::{EVENT_MOVE_DONE, EVENT_SPACE_LOST, MoveDone, SpaceLost};
use proc_api::peer::{
    Closed, ClosedAck, Count, DropRights, Identify, ListProcesses, Located, LocatedAck, MoveCommit,
    MoveDiscard, MoveInstall, MoveProcess, MovesOpen, QueryIds, ReadProc, ReportIds, SendSignal,
    TakeRights, Tell,
};
use proc_api::{AdminReply, List, Migrate, MoveFigures, ProcessList, Signal, Spawn};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

/// Processes of one [`List`]: as many as fit a message with the longest names.
const LIST_MAX: usize = 16;
/// Processes of one [`ListProcesses`].
const LIST_BULK_MAX: usize = 1024;

impl<M: Machine> Core for ProcCore<M> {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let answer = match from {
            Client::Server { .. } => self.local_request(cx, from, op, msg),
            Client::Node { node, .. } => self.node_request(cx, from, node, op, msg, bulk),
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        if !cx.may_act() && matches!(CookieClass::of(cookie), CookieClass::Thread(_)) {
            return self.fence.keep_completion(cookie, result);
        }
        match CookieClass::of(cookie) {
            CookieClass::Thread(id) => self.thread_completion(cx, id, cookie, result),
            CookieClass::Move(number) => self.move_completion(cx, number, result),
            CookieClass::Job(job) => self.forwarded(cx, job, result),
            CookieClass::Forgotten | CookieClass::Alarm(_) | CookieClass::Timers(_) => {}
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        if !cx.may_act() && matches!(event, Event::Upcall { .. } | Event::Timer(_)) {
            return self.keep_event(event);
        }
        match event {
            Event::Upcall { from, number, msg } => self.upcall(cx, from, number, &msg),
            Event::Timer(cookie) => match CookieClass::of(cookie) {
                CookieClass::Thread(id) => self.thread_timer(cx, id, cookie),
                CookieClass::Alarm(pid) => self.alarm_rings(cx, pid),
                CookieClass::Timers(pid) => self.timers_ring(cx, pid),
                CookieClass::Move(number) => self.move_timer(cx, number),
                CookieClass::Forgotten | CookieClass::Job(_) => {}
            },
            Event::NodeDown(node) => self.node_down(cx, node),
            Event::NodeUp(node) => self.node_up(cx, node),
            Event::ServerDown(ServerId::Shell) => procfs::shell_down(self, cx),
            // What waited for it has been told; further calls fail.
            Event::ServerDown(_) => {}
        }
    }

    fn entered(&mut self, cx: &mut Cx<'_>, old: &View) {
        self.enter_view(cx, old);
        let view = cx.view().clone();
        self.flights_lost(cx, &view);
    }

    fn acting(&mut self, cx: &mut Cx<'_>) {
        self.lift_fence(cx);
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        // Its end is near, and the asker needs to know what it got.
        if self.is_taking(ticket) {
            return;
        }
        // What was begun for it goes on; its asker does not wait for it any more.
        self.waiting.cancel(ticket);
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
    }
}

impl<M: Machine> ProcCore<M> {
    fn local_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        match op {
            Spawn::NUMBER => {
                Ok(self.spawn_requested(cx, Origin::Client(from), Box::new(Spawn::get(msg)?)))
            }
            Signal::NUMBER => {
                let Signal { pid, signal } = Signal::get(msg)?;
                let info = Info::sent(signal, 0, 0, 0);
                let message = SendSignal {
                    target: Target::Process(pid.get()),
                    signal,
                    code: info.code,
                    words: info.words,
                    uid: 0,
                    hops: 0,
                };
                Ok(self.signalled(cx, Origin::Client(from), message, true))
            }
            Migrate::NUMBER => {
                let Migrate { pid, node } = Migrate::get(msg)?;
                let message = MoveProcess { pid: pid.get(), to: node, hops: 0, uid: 0 };
                Ok(self.move_requested(cx, Origin::Client(from), message))
            }
            List::NUMBER => {
                let List { after } = List::get(msg)?;
                Ok(Answer::reply(&ProcessList(self.list_here(after, LIST_MAX))))
            }
            MoveFigures::NUMBER => {
                let MoveFigures { pid } = MoveFigures::get(msg)?;
                Ok(Answer::from_result(self.move_figures(cx, pid)))
            }
            AdminReply::NUMBER => {
                procfs::admin_reply(self, cx, AdminReply::get(msg)?);
                Ok(Answer::reply(&()))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn node_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        node: NodeId,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let origin = Origin::Client(from);
        match op {
            Tell::NUMBER => {
                self.told(cx, node, Tell::get(msg)?);
                Ok(Answer::reply(&()))
            }
            TakeRights::NUMBER => self.rights_wanted(cx, from, node, TakeRights::get(msg)?),
            DropRights::NUMBER => {
                let DropRights { token } = DropRights::get(msg)?;
                self.rights_dropped(cx, RightsDropped { node: cx.node(), token });
                Ok(Answer::reply(&()))
            }
            SendSignal::NUMBER => Ok(self.signalled(cx, origin, SendSignal::get(msg)?, false)),
            Identify::NUMBER => Ok(self.identified(cx, origin, Identify::get(msg)?)),
            ListProcesses::NUMBER => {
                let list = self.list_here(ListProcesses::get(msg)?.after, LIST_BULK_MAX);
                let count = list.len() as u64;
                bulk.set(&postcard::to_allocvec(&list).map_err(|_| Errno::EMSGSIZE)?)?;
                Ok(Answer::reply(&Count { count }))
            }
            ReadProc::NUMBER => {
                let path = ReadProc::get(msg)?.path;
                let Some(text) = procfs::text_here(self, cx, &path)? else {
                    return Ok(self.park(cx, origin, Request::Read(path)));
                };
                bulk.set(&text)?;
                Ok(Answer::reply(&Count { count: text.len() as u64 }))
            }
            MoveProcess::NUMBER => Ok(self.move_requested(cx, origin, MoveProcess::get(msg)?)),
            MoveInstall::NUMBER => {
                let part = MoveInstall::get(msg)?;
                Ok(Answer::from_result(self.install(cx, node, part, bulk.data())))
            }
            MoveCommit::NUMBER => {
                Ok(Answer::from_result(self.commit(cx, node, MoveCommit::get(msg)?)))
            }
            MoveDiscard::NUMBER => {
                self.discard(cx, node, MoveDiscard::get(msg)?.token, bulk.data());
                Ok(Answer::reply(&()))
            }
            _ => self.homes_request(cx, node, op, msg),
        }
    }

    /// What homes, sources and targets of moves tell each other.
    fn homes_request(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        match op {
            QueryIds::NUMBER => self.report_ids(cx, node, &QueryIds::get(msg)?),
            ReportIds::NUMBER => self.ids_reported(cx, node, &ReportIds::get(msg)?),
            Located::NUMBER => self.located(cx, node, Located::get(msg)?),
            LocatedAck::NUMBER => self.located_known(cx, node, &LocatedAck::get(msg)?.0),
            Closed::NUMBER => self.move_closed(cx, node, Closed::get(msg)?),
            ClosedAck::NUMBER => self.close_known(cx, node, ClosedAck::get(msg)?),
            MovesOpen::NUMBER => self.moves_open(cx, node, &MovesOpen::get(msg)?),
            _ => return Err(Errno::ENOSYS),
        }
        Ok(Answer::reply(&()))
    }

    fn upcall(&mut self, cx: &mut Cx<'_>, from: ServerId, event: u16, msg: &Msg) {
        match (from, event) {
            (ServerId::Ipc, EVENT_TERMINAL_SIGNAL) => {
                let Ok(TerminalSignal { group, signal }) = TerminalSignal::get(msg) else { return };
                if signal == 0 || signal > number::MAX {
                    return;
                }
                let info = Info::kernel(signal);
                self.signal_here(cx, Target::Group(group), info);
                let message = SendSignal {
                    target: Target::Group(group),
                    signal,
                    code: info.code,
                    words: info.words,
                    uid: 0,
                    hops: 0,
                };
                for node in crate::cluster::others(cx) {
                    // Members there are gone with the node.
                    let _ = cx.inform_node(node, &message, Vec::new());
                }
            }
            (ServerId::Ipc, EVENT_RIGHTS_DROPPED) => {
                if let Ok(dropped) = RightsDropped::get(msg) {
                    self.rights_dropped(cx, dropped);
                }
            }
            (ServerId::Mem, EVENT_SPACE_LOST) => {
                let Ok(SpaceLost { space, node }) = SpaceLost::get(msg) else { return };
                let lost = self.processes.iter().find(|process| process.space == Some(space));
                if let Some(process) = lost {
                    let (no, pid) = (process.no, process.own.pid);
                    self.machine.log(format_args!(
                        "process {pid} is killed: its memory was lost with node {node}"
                    ));
                    self.end_process(cx, no, wait_status_signal(number::KILL, false));
                }
            }
            (ServerId::Mem, EVENT_MOVE_DONE) => {
                if let Ok(MoveDone { space, on_demand, prefetched }) = MoveDone::get(msg) {
                    self.pages_arrived(space, on_demand, prefetched);
                }
            }
            _ => {}
        }
    }

    /// A new session with one process that executes a program.
    pub(crate) fn spawn_requested(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        spawn: Box<Spawn>,
    ) -> Answer {
        let pid = if cx.may_act() { self.new_pid(cx) } else { Ok(None) };
        let ticket = match pid {
            Ok(Some(pid)) => origin.ticket(cx).map(|ticket| (pid, ticket)),
            Ok(None) => return self.park(cx, origin, Request::Spawn(spawn)),
            Err(errno) => Err(errno),
        };
        let (pid, ticket) = match ticket {
            Ok(both) => both,
            Err(errno) => return Answer::Failed(errno),
        };
        if let Err(errno) = self.spawn(cx, pid, *spawn, ticket) {
            self.home.put_back(pid);
            cx.complete::<proc_api::Spawned>(ticket, Err(errno));
        }
        Answer::Pending(ticket)
    }

    fn spawn(
        &mut self,
        cx: &mut Cx<'_>,
        pid: Pid,
        spawn: Spawn,
        ticket: Ticket,
    ) -> Result<(), Errno> {
        let id = self.spawn_as(cx, pid, &spawn, ticket)?;
        let terminal = OpenFile { file: spawn.terminal, kind: FileKind::Terminal };
        let caller = Caller { pid: pid.get(), group: pid.get(), session: pid.get() };
        let file = spawn.terminal;
        let control = Ioctl { file, request: TIOCSCTTY, arg: 0, data: Vec::new(), caller };
        let cookie = self.forgotten_cookie();
        cx.ask_server(terminal.server(), &control, cookie);
        self.first_exec(cx, id, spawn);
        Ok(())
    }

    fn spawn_as(
        &mut self,
        cx: &mut Cx<'_>,
        pid: Pid,
        spawn: &Spawn,
        ticket: Ticket,
    ) -> Result<ThreadId, Errno> {
        let own = ProcessOwn {
            pid,
            parent: 0,
            group: pid.get(),
            session: pid.get(),
            ids: Ids::default(),
            umask: 0o022,
            directory: files::Directory::default(),
            terminal: cx.view().home(spawn.terminal.slot()).get(),
            files: files::FdTable::default(),
            actions: Actions::default(),
            pending: Pending::default(),
            children: BTreeMap::new(),
            exit_signal: 0,
            heap: (0, 0),
            arguments: (0, 0),
            environment: (0, 0),
            program: spawn.path.clone(),
            name: String::new(),
            limits: default_limits(),
            alarm: Alarm::default(),
            timers: Timers::default(),
            clock_offset_ns: 0,
            executed: false,
            started_ns: self.wall_ns(cx),
            parent_death_signal: 0,
            watcher: cx.node().get(),
            stopped_by: 0,
            has_locks: false,
            moves: 0,
        };
        let no = self.processes.add(own)?;
        let thread = ThreadOwn::new(pid, Registers::default(), SignalSet::EMPTY);
        let core = self.choose_core();
        let id = match self.threads.add(no, core, thread) {
            Ok(id) => id,
            Err(errno) => {
                self.processes.remove(no);
                return Err(errno);
            }
        };
        self.pids.set(pid, PidRow::Process(no));
        self.watched.insert(pid.get());
        let terminal = OpenFile { file: spawn.terminal, kind: FileKind::Terminal };
        if let Some(process) = self.processes.get_mut(no) {
            process.threads.push(id);
            process.spawn = Some(ticket);
            files::install_terminal(&mut process.own.files, &mut self.holders, terminal);
        }
        Ok(id)
    }

    fn first_exec(&mut self, cx: &mut Cx<'_>, id: ThreadId, spawn: Spawn) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        thread.run = Run::Handling;
        let process = thread.process;
        let Spawn { path, arguments, environment, directory, .. } = spawn;
        let strings = |texts: Vec<String>| texts.iter().collect::<crate::strings::Strings>();
        let (arguments, environment) = (strings(arguments), strings(environment));
        self.run_step(cx, id, process, |call| {
            crate::syscall::first_exec(call, path, arguments, environment, directory)
        });
    }
}
