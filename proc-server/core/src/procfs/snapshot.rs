// SPDX-License-Identifier: MIT OR Apache-2.0
//! What names below `/proc` hold at this moment, on the node that knows it.

use super::path::{InCluster, InNet, Link, Name, Of, Top};
use super::text::{self, Facts};
use crate::ProcCore;
use crate::cluster::Place;
use crate::files::local::{DT_DIR, DT_LNK, DT_REG, Entry, TEXT_BYTES_MAX};
use crate::files::{Directory, Target};
use crate::layout::stat::device;
use crate::machine::Machine;
use crate::process::Process;
use crate::signal::SignalSet;
use abi::{Errno, InodeId, NodeId, Pid, SpaceId};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use fs_api::name::FileKind;
use mem_api::{CopyIn, MemoryUse, Regions, SpaceSize, SpaceSizes};
use runtime::{Bulk, Cx};
use serde::{Deserialize, Serialize};

/// What a name holds; travels between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Snapshot {
    /// A text.
    Text(Vec<u8>),
    /// A listing.
    Directory(Vec<Entry>),
    /// A link and where it points.
    Link(String),
    /// A link to a directory of fs-server.
    Inode(InodeId),
    /// The node of a process.
    Node(Pid, NodeId),
    /// The process is on this node.
    Moved(NodeId),
    /// Somebody's memory must be fetched first.
    Absent(SpaceId),
    /// This node is to know where the process is, and does not know yet. It never travels.
    Unsettled,
}

/// Bytes of arguments or environment that are shown.
const ARGUMENT_BYTES_SHOWN: u64 = 4096;
/// Device number of a console.
const CONSOLE: u64 = device(5, 1);

impl<M: Machine> ProcCore<M> {
    /// What `name` holds, if this node knows it.
    ///
    /// # Errors
    /// ENOENT: no such process or descriptor.
    pub(crate) fn snapshot(&self, cx: &mut Cx<'_>, name: Name) -> Result<Snapshot, Errno> {
        match name {
            Name::Root => Ok(Snapshot::Directory(top_entries())),
            Name::Cluster => {
                let entry = |(name, file): &(&str, InCluster)| {
                    entry(Name::InCluster(*file).inode(), DT_REG, name)
                };
                Ok(Snapshot::Directory(InCluster::ALL.iter().map(entry).collect()))
            }
            Name::Net => {
                let entry =
                    |(name, file): &(&str, InNet)| entry(Name::InNet(*file).inode(), DT_REG, name);
                Ok(Snapshot::Directory(InNet::ALL.iter().map(entry).collect()))
            }
            Name::InNet(file) => Ok(Snapshot::Text(text::net(file).into())),
            Name::Top(top) => Ok(Snapshot::Text(self.top(cx, top)?.into_bytes())),
            Name::InCluster(InCluster::Nodes) => Ok(Snapshot::Text(nodes(cx).into_bytes())),
            Name::InCluster(InCluster::Unimplemented) => {
                Ok(Snapshot::Text(self.unimplemented_text().into_bytes()))
            }
            Name::InCluster(InCluster::Admin) => Ok(Snapshot::Text(Vec::new())),
            Name::Myself => Err(Errno::ENOENT),
            Name::Process(pid)
            | Name::Of(pid, _)
            | Name::Link(pid, _)
            | Name::Descriptors(pid)
            | Name::Descriptor(pid, _) => {
                let process = self.pids.process(pid).and_then(|no| self.processes.get(no));
                match (process, self.place(cx, pid)) {
                    (Some(process), _) => self.of_process(cx, process, name),
                    (None, Place::There(node)) => Ok(Snapshot::Moved(node)),
                    (None, Place::Unsettled) => Ok(Snapshot::Unsettled),
                    (None, Place::Here | Place::Nowhere) => Err(Errno::ENOENT),
                }
            }
        }
    }

    fn of_process(
        &self,
        cx: &mut Cx<'_>,
        process: &Process,
        name: Name,
    ) -> Result<Snapshot, Errno> {
        let own = &process.own;
        match name {
            Name::Process(pid) => Ok(Snapshot::Directory(process_entries(pid))),
            Name::Descriptors(pid) => {
                let entries = own.files.iter().map(|(fd, _)| {
                    let inode = Name::Descriptor(pid, fd as u64).inode();
                    entry(inode, DT_LNK, &fd.to_string())
                });
                Ok(Snapshot::Directory(entries.collect()))
            }
            Name::Descriptor(_, fd) => {
                let descriptor = own.files.get(fd).map_err(|_| Errno::ENOENT)?;
                Ok(Snapshot::Link(target_text(&descriptor.target)))
            }
            Name::Link(_, Link::Exe) if own.program.is_empty() => Err(Errno::ENOENT),
            Name::Link(_, Link::Exe) => Ok(Snapshot::Link(own.program.clone())),
            Name::Link(_, Link::Root) => Ok(Snapshot::Link("/".into())),
            Name::Link(_, Link::Cwd) => Ok(match &own.directory {
                Directory::Tree(None) => Snapshot::Link("/".into()),
                Directory::Tree(Some(inode)) => Snapshot::Inode(*inode),
                Directory::Elsewhere(path) => Snapshot::Link(path.clone()),
            }),
            Name::Of(_, file) => self.file_of(cx, process, file),
            Name::Root
            | Name::Myself
            | Name::Top(_)
            | Name::Net
            | Name::InNet(_)
            | Name::Cluster
            | Name::InCluster(_) => Err(Errno::ENOENT),
        }
    }

    fn file_of(&self, cx: &mut Cx<'_>, process: &Process, file: Of) -> Result<Snapshot, Errno> {
        let text = match file {
            Of::Stat => self.facts(cx, process).stat(),
            Of::Status => self.facts(cx, process).status(),
            Of::Statm => self.facts(cx, process).statm(),
            Of::Comm => format!("{}\n", process.own.name),
            Of::Mounts => text::MOUNTS.into(),
            Of::Maps => maps(cx, process)?,
            Of::Limits => limits(process),
            Of::Node => return Ok(Snapshot::Node(process.own.pid, cx.node())),
            Of::Cmdline => return memory(cx, process, process.own.arguments),
            Of::Environ => return memory(cx, process, process.own.environment),
        };
        Ok(Snapshot::Text(text.into_bytes()))
    }

    fn facts(&self, cx: &mut Cx<'_>, process: &Process) -> Facts {
        let own = &process.own;
        let info = self.describe(process);
        let sizes = process.space.and_then(|space| cx.leaf(&SpaceSize { space }).ok());
        let none = SpaceSizes { mapped: 0, resident: 0, stack: 0, text: 0 };
        let sizes = sizes.unwrap_or(none);
        let first = process.threads.first().and_then(|id| self.threads.get(*id));
        let blocked = first.map_or(SignalSet::EMPTY, |thread| thread.own.mask);
        let (ignored, caught) = own.actions.sets();
        Facts {
            pid: info.pid,
            parent: info.parent,
            group: info.group,
            session: info.session,
            terminal: if own.terminal == 0 { 0 } else { CONSOLE },
            state: info.state,
            name: info.name,
            threads: info.threads,
            uid: own.ids.uid,
            gid: own.ids.gid,
            mask: own.umask,
            start_ns: own.started_ns.saturating_sub(self.machine.boot_time_ns()),
            user_ns: 0,
            mapped_bytes: sizes.mapped,
            resident_bytes: sizes.resident,
            stack_bytes: sizes.stack,
            text_bytes: sizes.text,
            pending: own.pending.set().0,
            blocked: blocked.0,
            ignored: ignored.0,
            caught: caught.0,
            node: info.node,
        }
    }

    fn running(&self) -> usize {
        self.processes.iter().filter(|process| self.describe(process).state == 'R').count()
    }

    fn top(&self, cx: &mut Cx<'_>, top: Top) -> Result<String, Errno> {
        let cores = usize::from(self.machine.cores());
        Ok(match top {
            Top::Meminfo => text::meminfo(&cx.leaf(&MemoryUse {})?),
            Top::Stat => {
                let boot_s = self.machine.boot_time_ns() / crate::layout::time::NS_PER_S;
                text::stat(cores, cx.now_ns(), 0, boot_s, self.running(), self.forks)
            }
            Top::Uptime => text::uptime(cx.now_ns(), 0),
            Top::Loadavg => {
                let last = self.processes.iter().map(|process| process.own.pid.get()).max();
                text::loadavg(self.running(), self.processes.len(), last.unwrap_or(0))
            }
            Top::Cpuinfo => text::cpuinfo(cores, self.machine.cpu_features()),
            Top::Version => format!("Linux version {} (seL4)\n", crate::syscall::RELEASE),
            Top::Mounts => text::MOUNTS.into(),
            Top::Filesystems => text::FILESYSTEMS.into(),
        })
    }

    fn unimplemented_text(&self) -> String {
        let mut out = String::new();
        for (number, count) in self.unimplemented.iter().enumerate().filter(|row| *row.1 > 0) {
            let name = syscalls::Sysno::new(number).map_or("unknown", |call| call.name());
            text::put(&mut out, format_args!("{number} {name} {count}\n"));
        }
        out
    }
}

fn entry(inode: u64, kind: u8, name: &str) -> Entry {
    Entry { inode, kind, name: name.into() }
}

/// The entries of `/proc` that are not processes.
fn top_entries() -> Vec<Entry> {
    let dots = [".", ".."].map(|name| entry(Name::Root.inode(), DT_DIR, name));
    let net = entry(Name::Net.inode(), DT_DIR, "net");
    let files = Top::ALL.iter().map(|(name, top)| entry(Name::Top(*top).inode(), DT_REG, name));
    let own = entry(Name::Myself.inode(), DT_LNK, "self");
    dots.into_iter().chain([own, net]).chain(files).collect()
}

/// The entry of a process in `/proc`.
pub fn process_entry(pid: u32) -> Entry {
    entry(Name::Process(pid).inode(), DT_DIR, &pid.to_string())
}

fn process_entries(pid: u32) -> Vec<Entry> {
    let dots = [(".", Name::Process(pid)), ("..", Name::Root)];
    let dots = dots.map(|(name, of)| entry(of.inode(), DT_DIR, name));
    let files = Of::ALL.iter().map(|(name, of)| entry(Name::Of(pid, *of).inode(), DT_REG, name));
    let links =
        Link::ALL.iter().map(|(name, of)| entry(Name::Link(pid, *of).inode(), DT_LNK, name));
    let descriptors = entry(Name::Descriptors(pid).inode(), DT_DIR, "fd");
    dots.into_iter().chain(files).chain(links).chain([descriptors]).collect()
}

/// What `/proc/PID/fd/N` points to. Only files of proc-server know their path.
fn target_text(target: &Target) -> String {
    match target {
        Target::Local(local) => local.path.clone(),
        Target::File(file) => match file.kind {
            FileKind::Pipe => format!("pipe:[{}]", file.file.raw()),
            FileKind::Terminal => "/dev/console".into(),
            FileKind::Signals(_) => "anon_inode:[signalfd]".into(),
            FileKind::Timer(_) => "anon_inode:[timerfd]".into(),
            FileKind::Epoll => "anon_inode:[eventpoll]".into(),
            FileKind::Counter => "anon_inode:[eventfd]".into(),
            FileKind::Socket(_) => format!("socket:[{}]", file.file.raw()),
            FileKind::Regular => format!("file:[{}]", file.file.raw()),
            FileKind::Directory => format!("directory:[{}]", file.file.raw()),
            FileKind::Device => format!("device:[{}]", file.file.raw()),
            FileKind::Held => String::new(),
        },
    }
}

fn maps(cx: &mut Cx<'_>, process: &Process) -> Result<String, Errno> {
    let mut out = String::new();
    let Some(space) = process.space else { return Ok(out) };
    let mut after = 0;
    loop {
        let regions = cx.leaf(&Regions { space, after })?.0;
        let Some(last) = regions.last() else { return Ok(out) };
        if last.end <= after {
            return Ok(out);
        }
        after = last.end;
        for region in &regions {
            let line = text::map_line(region);
            if out.len() + line.len() > TEXT_BYTES_MAX {
                return Ok(out);
            }
            out.push_str(&line);
        }
    }
}

fn limits(process: &Process) -> String {
    const NAMES: [&str; 16] = [
        "Max cpu time",
        "Max file size",
        "Max data size",
        "Max stack size",
        "Max core file size",
        "Max resident set",
        "Max processes",
        "Max open files",
        "Max locked memory",
        "Max address space",
        "Max file locks",
        "Max pending signals",
        "Max msgqueue size",
        "Max nice priority",
        "Max realtime priority",
        "Max realtime timeout",
    ];
    let show = |limit: u64| match limit {
        u64::MAX => String::from("unlimited"),
        limit => limit.to_string(),
    };
    let mut out = format!("{:25} {:20} {:20}\n", "Limit", "Soft Limit", "Hard Limit");
    for (name, (soft, hard)) in NAMES.iter().zip(process.own.limits) {
        text::put(&mut out, format_args!("{name:25} {:20} {:20}\n", show(soft), show(hard)));
    }
    out
}

/// A range of a process's memory, at most [`ARGUMENT_BYTES_SHOWN`].
fn memory(cx: &mut Cx<'_>, process: &Process, (start, end): (u64, u64)) -> Result<Snapshot, Errno> {
    let Some(space) = process.space else { return Ok(Snapshot::Text(Vec::new())) };
    let len = end.saturating_sub(start).min(ARGUMENT_BYTES_SHOWN);
    let mut bytes = alloc::vec![0; len as usize];
    match cx.leaf_bulk(&CopyIn { space, addr: start, len }, &mut Bulk::new(&mut bytes)) {
        Ok(()) => Ok(Snapshot::Text(bytes)),
        Err(Errno::ERESTART) => Ok(Snapshot::Absent(space)),
        // The program has unmapped its arguments.
        Err(Errno::EFAULT) => Ok(Snapshot::Text(Vec::new())),
        Err(errno) => Err(errno),
    }
}

/// `/sys/cluster/nodes`: number, state, round-trip time in nanoseconds (0: not measured, or here).
fn nodes(cx: &mut Cx<'_>) -> String {
    let mut out = String::new();
    for node in cx.view().members().to_vec() {
        let (up, rtt_ns) = if node == cx.node() {
            (true, 0)
        } else {
            let link = cx.leaf(&net_api::LinkUse { node }).unwrap_or_default();
            (link.up, link.rtt_ns)
        };
        let state = if up { "up" } else { "down" };
        text::put(&mut out, format_args!("{node} {state} {rtt_ns}\n"));
    }
    out
}
