// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/proc` and `/sys/cluster`: names that fs-server leaves to proc-server.
//!
//! # Model
//! fs-server answers `Elsewhere(path)` for such a name, and the call goes on in [`named`]. What a name
//! holds is a [`snapshot::Snapshot`], made by the node that has the process, and read from there on
//! as it was at the open. `/proc` itself lists the processes of all nodes.
//!
//! ```text
//! Elsewhere(path) --> parse --> link? follow: the call starts again with another path
//!                          \-> on another node? ReadProc there (Moved: ask on) --> Snapshot
//!                          \-> Snapshot --> open, stat, readlink, ... finish
//! ```

mod admin;
mod path;
mod snapshot;
mod text;

pub use admin::ProcFs;
pub(crate) use admin::{admin_read, admin_reply, admin_write, shell_down};

use crate::ProcCore;
use crate::cluster::others;
use crate::files::local::{Content, Entry, Local};
use crate::files::name_call::{NameCall, StatOut};
use crate::files::{Descriptor, Directory, Target, Wait, absolute, meta, names};
use crate::layout::stat::device;
use crate::machine::Machine;
use crate::process::Ids;
use crate::syscall::{self, AskResult, Call, Next, SysResult};
use abi::linux::general::{
    O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, S_IFCHR,
    S_IFDIR, S_IFLNK, S_IFREG, W_OK,
};
use abi::{Errno, InodeId, NodeId, Pid};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::file::{FileStat, Stat};
use fs_api::name::{PathOf, Text};
use path::{InCluster, Name, parse};
use proc_api::ProcessInfo;
use proc_api::peer::{ListProcesses, ReadProc};
use runtime::{Cx, Wire};
use snapshot::Snapshot;

/// Nodes that may send a reader on to another one.
const MOVES_MAX: u8 = 4;

/// A name whose content is being asked for.
#[derive(Debug)]
pub struct TextWait {
    call: Box<NameCall>,
    hops: u8,
    path: String,
    moves: u8,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The process's node, or one that knows it, makes a snapshot.
    Remote(NodeId),
    /// A page of a process of this node is fetched.
    Fetched,
    /// The other nodes list their processes.
    Listing(Vec<Entry>),
    /// fs-server tells the path of a directory.
    PathOf,
}

/// Goes on with a call on a name that fs-server left to us.
pub(crate) fn named<M: Machine>(
    call: &mut Call<'_, '_, M>,
    name_call: Box<NameCall>,
    hops: u8,
    path: String,
) -> SysResult {
    let path = meta::trimmed(&path);
    if let Some(terminal) = meta::terminal_of(call, &path) {
        return terminal_named(call, &name_call, terminal);
    }
    let (name, rest) = parse(&path)?;
    if let NameCall::Extra { .. } = *name_call {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if name == Name::Myself && (!rest.is_empty() || follows(&name_call)) {
        let pid = call.process().own.pid;
        return names::redirect(call, name_call, hops, format!("/proc/{pid}{rest}"));
    }
    if matches!(*name_call, NameCall::MakeSocket { .. } | NameCall::FindSocket { .. }) {
        return Err(Errno::EACCES.into());
    }
    if matches!(
        *name_call,
        NameCall::MakeDirectory { .. } | NameCall::MakeLink { .. } | NameCall::MakeFifo { .. }
    ) {
        return Err(Errno::EEXIST.into());
    }
    if let (Name::Descriptor(pid, fd), true) = (name, rest.is_empty() && follows(&name_call))
        && pid == call.process().own.pid.get()
    {
        return own_descriptor(call, name_call, hops, fd);
    }
    let stage = Stage::Remote(call.core.node);
    let wait = TextWait { call: name_call, hops, path, moves: 0, stage };
    look(call, wait, name)
}

/// Whether a link at the path's end is followed.
fn follows(call: &NameCall) -> bool {
    match call {
        NameCall::Open { flags, .. } => flags & O_NOFOLLOW == 0,
        NameCall::Stat { follow, .. }
        | NameCall::Change { follow, .. }
        | NameCall::Extra { follow, .. }
        | NameCall::Link { follow, .. } => *follow,
        NameCall::Access { .. } | NameCall::Truncate { .. } | NameCall::Enter { .. } => true,
        NameCall::ReadLink { .. }
        | NameCall::MakeDirectory { .. }
        | NameCall::MakeSocket { .. }
        | NameCall::MakeFifo { .. }
        | NameCall::FindSocket { .. }
        | NameCall::Unlink { .. }
        | NameCall::Rename { .. }
        | NameCall::MakeLink { .. } => false,
    }
}

/// Finds out what the name holds.
fn look<M: Machine>(call: &mut Call<'_, '_, M>, wait: TextWait, name: Name) -> SysResult {
    let snapshot = match name {
        Name::Myself => Snapshot::Link(format!("{}", call.process().own.pid)),
        name => call.core.snapshot(call.cx, name)?,
    };
    known(call, wait, name, snapshot)
}

/// The content is known, or who knows it.
fn known<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut wait: TextWait,
    name: Name,
    snapshot: Snapshot,
) -> SysResult {
    match snapshot {
        Snapshot::Unsettled => Ok(call.wait_settled()),
        Snapshot::Moved(_) if wait.moves >= MOVES_MAX => Err(Errno::ENOENT.into()),
        Snapshot::Moved(node) if node == call.core.node => Err(Errno::ENOENT.into()),
        Snapshot::Moved(node) => {
            wait.moves += 1;
            wait.stage = Stage::Remote(node);
            let op = ReadProc { path: wait.path.clone() };
            Ok(call.call_node(node, &op, Vec::new(), text_wait(wait)))
        }
        Snapshot::Absent(space) => {
            wait.moves += 1;
            if wait.moves > MOVES_MAX {
                return Err(Errno::EAGAIN.into());
            }
            wait.stage = Stage::Fetched;
            let path = wait.path.clone();
            let (name_call, hops) = (wait.call.clone(), wait.hops);
            match call.leaf_or_wait(&mem_api::FetchAbsent { space }, text_wait(wait))? {
                Some(()) => named(call, name_call, hops, path),
                None => Ok(Next::Wait),
            }
        }
        Snapshot::Directory(mut entries) if name == Name::Root && opens(&wait.call) => {
            let here = call.core.list_here(0, usize::MAX);
            entries.extend(here.iter().map(|info| snapshot::process_entry(info.pid)));
            list_others(call, wait, entries)
        }
        Snapshot::Inode(inode) => path_of(call, wait, inode),
        Snapshot::Link(target) => linked(call, wait, name, &target),
        snapshot => finish(call, &wait, name, snapshot),
    }
}

fn opens(call: &NameCall) -> bool {
    matches!(call, NameCall::Open { .. })
}

fn text_wait(wait: TextWait) -> syscall::Wait {
    syscall::Wait::Files(Wait::Text(Box::new(wait)))
}

fn path_of<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut wait: TextWait,
    inode: InodeId,
) -> SysResult {
    wait.stage = Stage::PathOf;
    Ok(call.ask(&PathOf { inode }, text_wait(wait)))
}

fn list_others<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut wait: TextWait,
    entries: Vec<Entry>,
) -> SysResult {
    let others = others(call.cx);
    if others.is_empty() {
        return finish(call, &wait, Name::Root, Snapshot::Directory(entries));
    }
    for node in others {
        let wait = syscall::Wait::Files(Wait::Zero);
        call.call_node(node, &ListProcesses { after: 0 }, Vec::new(), wait);
    }
    wait.stage = Stage::Listing(entries);
    Ok(call.keep_waiting(text_wait(wait)))
}

/// Something that a content waited for has come.
pub(crate) fn text_came<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: TextWait,
    result: AskResult,
) -> SysResult {
    let (name, _) = parse(&wait.path)?;
    match wait.stage {
        Stage::Remote(at)
            if result == Err(Errno::EHOSTDOWN) && !call.core.may_answer(call.cx, at) =>
        {
            // It was home, or had the process: who is home now knows what became of it.
            look(call, wait, name)
        }
        Stage::Remote(_) => {
            let reply = result?;
            let snapshot: Snapshot =
                postcard::from_bytes(&reply.bulk).map_err(|_| Errno::EPROTO)?;
            match snapshot {
                // The other node is fetching it meanwhile.
                Snapshot::Absent(_) if wait.moves < MOVES_MAX => look(call, wait, name),
                Snapshot::Absent(_) => finish(call, &wait, name, Snapshot::Text(Vec::new())),
                snapshot => known(call, wait, name, snapshot),
            }
        }
        Stage::Fetched => {
            result?;
            named(call, wait.call, wait.hops, wait.path)
        }
        Stage::PathOf => {
            let Text(target) = Text::get(&result?.msg)?;
            linked(call, wait, name, &target)
        }
        Stage::Listing(_) => listed(call, wait, result),
    }
}

/// A node has listed its processes, or does not answer: then it has none.
fn listed<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut wait: TextWait,
    result: AskResult,
) -> SysResult {
    let Stage::Listing(entries) = &mut wait.stage else { return Err(Errno::EPROTO.into()) };
    match result {
        Ok(reply) => {
            let list: Vec<ProcessInfo> =
                postcard::from_bytes(&reply.bulk).map_err(|_| Errno::EPROTO)?;
            let valid = list.iter().filter(|info| Pid::new(info.pid).is_some());
            entries.extend(valid.map(|info| snapshot::process_entry(info.pid)));
        }
        Err(Errno::ECANCELED) => return Err(Errno::ECANCELED.into()),
        Err(_) => {}
    }
    if !call.asks.is_empty() {
        return Ok(call.keep_waiting(text_wait(wait)));
    }
    let entries = core::mem::take(entries);
    finish(call, &wait, Name::Root, Snapshot::Directory(entries))
}

/// A link's target is known: follows it, or tells it.
fn linked<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: TextWait,
    name: Name,
    target: &str,
) -> SysResult {
    let (_, rest) = parse(&wait.path)?;
    if rest.is_empty() && !follows(&wait.call) {
        return finish(call, &wait, name, Snapshot::Link(target.into()));
    }
    if !target.starts_with('/') {
        // A pipe or file without a name, of another process: nothing can be opened there.
        return Err(Errno::EACCES.into());
    }
    let path = absolute(target, rest.trim_start_matches('/'));
    names::redirect(call, wait.call, wait.hops, path)
}

/// Ends the call.
fn finish<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: &TextWait,
    name: Name,
    snapshot: Snapshot,
) -> SysResult {
    match &*wait.call {
        NameCall::Open { flags, .. } => open(call, *flags, name, &wait.path, snapshot),
        NameCall::Stat { out: StatOut::Statfs(addr), .. } => meta::put_proc_statfs(call, *addr),
        NameCall::Stat { out, .. } => {
            let ids = owner(call, name);
            let stat = Stat { uid: ids.uid, gid: ids.gid, ..stat(name) };
            names::put_stat(call, *out, &stat)
        }
        NameCall::Access { mode, .. } => {
            let writes = mode & W_OK != 0;
            if writes && !name.is_writable() {
                return Err(Errno::EACCES.into());
            }
            Ok(Next::Done(0))
        }
        NameCall::ReadLink { addr, len, .. } => match snapshot {
            Snapshot::Link(target) => names::put_link(call, *addr, *len, &target),
            _ => Err(Errno::EINVAL.into()),
        },
        NameCall::Enter { .. } if name.is_directory() => {
            meta::set_directory(call, Directory::Elsewhere(wait.path.clone()), None);
            Ok(Next::Done(0))
        }
        NameCall::Enter { .. } => Err(Errno::ENOTDIR.into()),
        NameCall::Truncate { .. } if name.is_writable() => Ok(Next::Done(0)),
        NameCall::Truncate { .. }
        | NameCall::MakeDirectory { .. }
        | NameCall::MakeSocket { .. }
        | NameCall::MakeFifo { .. }
        | NameCall::FindSocket { .. }
        | NameCall::Unlink { .. }
        | NameCall::Rename { .. }
        | NameCall::Link { .. }
        | NameCall::MakeLink { .. }
        | NameCall::Extra { .. }
        | NameCall::Change { .. } => Err(Errno::EPERM.into()),
    }
}

fn open<M: Machine>(
    call: &mut Call<'_, '_, M>,
    flags: u32,
    name: Name,
    path: &str,
    snapshot: Snapshot,
) -> SysResult {
    if flags & O_CREAT != 0 && flags & O_EXCL != 0 {
        return Err(Errno::EEXIST.into());
    }
    if flags & O_DIRECTORY != 0 && !name.is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    let writes = flags & O_ACCMODE != O_RDONLY && flags & O_PATH == 0;
    if writes && !name.is_writable() {
        let errno = if name.is_directory() { Errno::EISDIR } else { Errno::EACCES };
        return Err(errno.into());
    }
    let content = match snapshot {
        Snapshot::Text(_) if name == Name::InCluster(InCluster::Admin) => {
            Content::Admin { conversation: call.core.procfs.open() }
        }
        Snapshot::Text(text) => Content::Text(text),
        Snapshot::Directory(entries) => Content::Directory(entries),
        Snapshot::Node(pid, node) => Content::Node { pid, text: format!("{node}\n").into_bytes() },
        Snapshot::Link(_) | Snapshot::Inode(_) => return Err(Errno::ELOOP.into()),
        Snapshot::Moved(_) | Snapshot::Absent(_) | Snapshot::Unsettled => {
            return Err(Errno::ENOENT.into());
        }
    };
    let local = Local { path: path.into(), content, offset: 0, flags };
    let target = Target::Local(Box::new(local));
    let descriptor = Descriptor { target, close_on_exec: flags & O_CLOEXEC != 0 };
    crate::files::insert(call, descriptor, 0)
}

/// `/proc/self/fd/N`: the description itself, not another open of its file.
fn own_descriptor<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut name_call: Box<NameCall>,
    hops: u8,
    fd: u64,
) -> SysResult {
    let target = call.process().own.files.get(fd).map_err(|_| Errno::ENOENT)?.target.clone();
    match &mut *name_call {
        NameCall::Link { from, .. } => match target {
            Target::Local(_) => Err(Errno::EXDEV.into()),
            Target::File(file) => {
                *from = names::opened(file)?;
                names::advance(call, name_call, hops)
            }
        },
        NameCall::Open { flags, .. } => {
            if let Target::File(file) = target {
                call.core.holders.add(file);
            }
            let descriptor = Descriptor { target, close_on_exec: *flags & O_CLOEXEC != 0 };
            crate::files::insert(call, descriptor, 0)
        }
        NameCall::Stat { out, .. } => match target {
            Target::Local(_) => meta::stat_descriptor(call, fd, *out),
            Target::File(file) => {
                let wait = syscall::Wait::Files(Wait::Stat(*out));
                Ok(call.ask_server(file.server(), &FileStat { file: file.file }, 0, wait))
            }
        },
        NameCall::Access { .. } => Ok(Next::Done(0)),
        _ => Err(Errno::EACCES.into()),
    }
}

/// `/dev/tty` and `/dev/console`.
fn terminal_named<M: Machine>(
    call: &mut Call<'_, '_, M>,
    name_call: &NameCall,
    terminal: Result<NodeId, Errno>,
) -> SysResult {
    match name_call {
        NameCall::Open { flags, .. } => meta::open_terminal(call, terminal?, *flags),
        NameCall::Stat { out, .. } => {
            let stat = Stat {
                inode: 5,
                mode: S_IFCHR | 0o666,
                links: 1,
                rdev: device(5, if terminal.is_ok() { 1 } else { 0 }),
                ..Stat::default()
            };
            names::put_stat(call, *out, &stat)
        }
        NameCall::Access { .. } => Ok(Next::Done(0)),
        NameCall::Enter { .. } => Err(Errno::ENOTDIR.into()),
        NameCall::ReadLink { .. } => Err(Errno::EINVAL.into()),
        NameCall::MakeDirectory { .. } | NameCall::MakeLink { .. } | NameCall::MakeFifo { .. } => {
            Err(Errno::EEXIST.into())
        }
        NameCall::MakeSocket { .. } => Err(Errno::EADDRINUSE.into()),
        NameCall::FindSocket { .. } => Err(Errno::ECONNREFUSED.into()),
        NameCall::Unlink { .. }
        | NameCall::Rename { .. }
        | NameCall::Link { .. }
        | NameCall::Change { .. }
        | NameCall::Extra { .. }
        | NameCall::Truncate { .. } => Err(Errno::EPERM.into()),
    }
}

/// Whose the name is: of a process here, its user; else root.
fn owner<M: Machine>(call: &Call<'_, '_, M>, name: Name) -> Ids {
    let core = &call.core;
    let no = name.pid().and_then(|pid| core.pids.process(pid));
    let process = no.and_then(|no| core.processes.get(no));
    process.map_or_else(Ids::default, |process| process.own.ids)
}

fn stat(name: Name) -> Stat {
    let mode = match name {
        _ if name.is_directory() => S_IFDIR | 0o555,
        _ if name.is_link() => S_IFLNK | 0o777,
        _ if name.is_writable() => S_IFREG | 0o644,
        _ => S_IFREG | 0o444,
    };
    let links = if name.is_directory() { 2 } else { 1 };
    Stat { device: device(0, 4), inode: name.inode(), mode, links, ..Stat::default() }
}

/// What fstat(2) tells of an open file of proc-server.
pub(crate) fn stat_of(path: &str, content: &Content) -> Stat {
    match parse(path) {
        Ok((name, _)) => stat(name),
        Err(_) if matches!(content, Content::Directory(_)) => stat(Name::Root),
        Err(_) => stat(Name::InCluster(InCluster::Nodes)),
    }
}

/// For another node: what a path below `/proc` holds here, encoded; `None`: this node does not know yet
/// where the process is.
///
/// # Errors
/// ENOENT; EMSGSIZE: it is too long for a message.
pub(crate) fn text_here<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    path: &str,
) -> Result<Option<Vec<u8>>, Errno> {
    let (name, _) = parse(path)?;
    if name.pid().is_none() {
        return Err(Errno::ENOENT);
    }
    let snapshot = match core.snapshot(cx, name)? {
        Snapshot::Absent(space) => {
            // It will be here when the reader asks again.
            let cookie = core.forgotten_cookie();
            let _ = cx.leaf_or_wait(&mem_api::FetchAbsent { space }, cookie);
            Snapshot::Absent(space)
        }
        Snapshot::Unsettled => return Ok(None),
        snapshot => snapshot,
    };
    let mut text = postcard::to_allocvec(&snapshot).map_err(|_| Errno::EMSGSIZE)?;
    text.truncate(runtime::limits::NODE_BODY_BYTES);
    Ok(Some(text))
}

/// A descriptor of a file of proc-server closes.
pub(crate) fn closed<M: Machine>(core: &mut ProcCore<M>, local: &Local) {
    match local.content {
        Content::Admin { conversation } => core.procfs.close(conversation),
        Content::Text(_) | Content::Directory(_) | Content::Node { .. } => {}
    }
}

/// A node's number was written to `/proc/PID/node`.
pub(crate) fn move_process<M: Machine>(
    call: &mut Call<'_, '_, M>,
    pid: Pid,
    text: &[u8],
) -> SysResult {
    let number = core::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    let to = number.and_then(NodeId::new).ok_or(Errno::EINVAL)?;
    crate::migrate::write_node(call, pid, to, text.len() as u64)
}
