// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known about files: fstat, modes, owners, times, working directory, statfs; and opening
//! terminals, which only proc-server can do for a session.

use super::name_call::{NameCall, Place, StatOut};
use super::names::{self, CWD};
use super::path::Directory;
use super::table::{OpenFile, Target};
use super::{Wait, glue};
use crate::layout::stat::{PROC_MAGIC, Statfs, TMPFS_MAGIC};
use crate::layout::time::{Timespec, Timeval, Utimbuf};
use crate::machine::Machine;
use crate::procfs;
use crate::syscall::{Call, Fail, Next, SysResult};
use abi::limits::{NAME_BYTES, PAGE_BYTES};
use abi::linux::general::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_DIRECTORY, O_PATH};
use abi::{Errno, InodeId, NodeId};
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::file::{Attributes, FileStat, Inode, InodeOf, SetAttributes, Stat};
use fs_api::name::{At, FileKind, Named, Open, Opened, PathOf, Text, TreeFigures, TreeUse};
use ipc_api::{TerminalOpen, TerminalOpened};
use runtime::{NodeReply, Wire};

/// utimensat(2): take the present time.
const UTIME_NOW: i64 = 0x3fff_ffff;
/// utimensat(2): leave the time as it is.
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// fstat(2).
pub fn fstat<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, addr, ..] = call.args;
    stat_descriptor(call, fd, StatOut::Stat(addr))
}

/// What a descriptor names.
pub fn stat_descriptor<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, out: StatOut) -> SysResult {
    let stat = match &call.process().own.files.get(fd)?.target {
        Target::File(file) => {
            let file = *file;
            let op = FileStat { file: file.file };
            return Ok(call.ask_server(file.server(), &op, 0, glue::wait(Wait::Stat(out))));
        }
        Target::Local(local) => procfs::stat_of(&local.path, &local.content),
    };
    names::put_stat(call, out, &stat)
}

/// The file's figures have come.
pub fn stat_answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    out: StatOut,
    reply: &NodeReply,
) -> SysResult {
    let stat = Stat::get(&reply.msg)?;
    names::put_stat(call, out, &stat)
}

/// fstatfs(2).
pub fn fstatfs<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, addr, ..] = call.args;
    match call.process().own.files.get(fd)?.target {
        Target::File(_) => ask_statfs(call, addr),
        Target::Local(_) => put_proc_statfs(call, addr),
    }
}

/// Asks for the figures of the writable tree.
pub fn ask_statfs<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> SysResult {
    Ok(call.ask(&TreeUse {}, glue::wait(Wait::Statfs(addr))))
}

/// What statfs(2) says of `/proc`.
pub fn put_proc_statfs<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> SysResult {
    let statfs = Statfs {
        kind: PROC_MAGIC,
        block_bytes: PAGE_BYTES as i64,
        name_bytes_max: NAME_BYTES as i64,
        fragment_bytes: PAGE_BYTES as i64,
        ..Statfs::default()
    };
    call.write(addr, &statfs)?;
    Ok(Next::Done(0))
}

/// The tree's figures have come.
pub fn statfs_answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    reply: &NodeReply,
) -> SysResult {
    let figures = TreeFigures::get(&reply.msg)?;
    let page = PAGE_BYTES as u64;
    let statfs = Statfs {
        kind: TMPFS_MAGIC,
        block_bytes: PAGE_BYTES as i64,
        blocks: figures.bytes_total / page,
        blocks_free: figures.bytes_free / page,
        blocks_available: figures.bytes_free / page,
        files: figures.inodes_total,
        files_free: figures.inodes_free,
        name_bytes_max: NAME_BYTES as i64,
        fragment_bytes: PAGE_BYTES as i64,
        ..Statfs::default()
    };
    call.write(addr, &statfs)?;
    Ok(Next::Done(0))
}

/// getcwd(2).
pub fn getcwd<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, ..] = call.args;
    match call.process().own.directory.clone() {
        Directory::Tree(None) => put_cwd(call, addr, len, "/"),
        Directory::Tree(Some(inode)) => {
            Ok(call.ask(&PathOf { inode }, glue::wait(Wait::Cwd { addr, len })))
        }
        Directory::Elsewhere(path) => put_cwd(call, addr, len, &path),
    }
}

/// The working directory's path has come.
pub fn cwd_answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    len: u64,
    reply: &NodeReply,
) -> SysResult {
    let Text(path) = Text::get(&reply.msg)?;
    put_cwd(call, addr, len, &path)
}

fn put_cwd<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, len: u64, path: &str) -> SysResult {
    let mut bytes = path.as_bytes().to_vec();
    bytes.push(0);
    if bytes.len() as u64 > len {
        return Err(Errno::ERANGE.into());
    }
    call.copy_out(addr, &bytes)?;
    Ok(Next::Done(bytes.len() as u64))
}

/// fchdir(2).
pub fn fchdir<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let directory = match &call.process().own.files.get(call.args[0])?.target {
        Target::File(file) if file.kind == FileKind::Directory => {
            let op = InodeOf { file: file.file };
            return Ok(call.ask(&op, glue::wait(Wait::EnterInode)));
        }
        Target::Local(local) if matches!(local.content, super::local::Content::Directory(_)) => {
            Directory::Elsewhere(local.path.clone())
        }
        Target::File(_) | Target::Local(_) => return Err(Errno::ENOTDIR.into()),
    };
    set_directory(call, directory, None);
    Ok(Next::Done(0))
}

/// The inode to enter has come, fchdir(2).
pub fn inode_known<M: Machine>(call: &mut Call<'_, '_, M>, reply: &NodeReply) -> SysResult {
    enter(call, Inode::get(&reply.msg)?.inode)
}

/// Opens a directory that the process may enter, so that it stays when its name goes.
pub fn enter<M: Machine>(call: &mut Call<'_, '_, M>, inode: InodeId) -> SysResult {
    let at = At { dir: Some(inode), path: String::new(), who: call.credentials() };
    let op = Open { at, flags: O_PATH | O_DIRECTORY, mode: 0 };
    Ok(call.ask(&op, glue::wait(Wait::Enter(inode))))
}

/// The directory to enter is open.
pub fn entered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    inode: InodeId,
    reply: &NodeReply,
) -> SysResult {
    let Named::Here(opened) = Named::<Opened>::get(&reply.msg)? else {
        return Err(Errno::ENOTDIR.into());
    };
    let file = OpenFile { file: opened.file, kind: opened.kind };
    call.core.holders.add_held(file);
    set_directory(call, Directory::Tree(Some(inode)), Some(file));
    Ok(Next::Done(0))
}

/// Makes a directory the working one, with what holds it, and lets go of the one before.
pub fn set_directory<M: Machine>(
    call: &mut Call<'_, '_, M>,
    directory: Directory,
    held: Option<OpenFile>,
) {
    let process = call.process_mut();
    process.own.directory = directory;
    if let Some(before) = process.own.files.keep_directory(held) {
        glue::close(call.core, call.cx, before);
    }
}

/// Opens the terminal of a node: `/dev/tty`, `/dev/console`.
pub fn open_terminal<M: Machine>(
    call: &mut Call<'_, '_, M>,
    node: NodeId,
    flags: u32,
) -> SysResult {
    Ok(call.ask(&TerminalOpen { node, flags }, glue::wait(Wait::Terminal(flags))))
}

/// The terminal is open.
pub fn terminal_opened<M: Machine>(
    call: &mut Call<'_, '_, M>,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let file = TerminalOpened::get(&reply.msg)?.file;
    names::install(call, OpenFile { file, kind: FileKind::Terminal }, flags)
}

/// Changes what a descriptor names.
fn change_descriptor<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    attributes: Attributes,
) -> SysResult {
    let file = glue::file(call, fd, Errno::EPERM)?;
    let op = SetAttributes { file: file.file, who: call.credentials(), attributes };
    Ok(call.ask_server(file.server(), &op, 0, glue::wait(Wait::Zero)))
}

fn change_name<M: Machine>(
    call: &mut Call<'_, '_, M>,
    place: Place,
    follow: bool,
    attributes: Attributes,
) -> SysResult {
    names::advance(call, Box::new(NameCall::Change { place, follow, attributes }), 0)
}

fn mode_attributes(mode: u64) -> Attributes {
    Attributes { mode: Some(mode as u32 & 0o7777), ..Attributes::default() }
}

/// chmod(2), fchmodat(2).
pub fn chmod<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    mode: u64,
) -> SysResult {
    let place = names::place(call, dirfd, addr)?;
    change_name(call, place, true, mode_attributes(mode))
}

/// fchmod(2).
pub fn fchmod<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, mode, ..] = call.args;
    change_descriptor(call, fd, mode_attributes(mode))
}

/// An owner of -1 stays as it is.
fn owner_attributes(uid: u64, gid: u64) -> Attributes {
    let id = |id: u64| (id as u32 != u32::MAX).then_some(id as u32);
    Attributes { uid: id(uid), gid: id(gid), ..Attributes::default() }
}

/// chown(2), lchown(2), fchownat(2).
pub fn chown<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [dirfd, addr, uid, gid]: [u64; 4],
    flags: u32,
) -> SysResult {
    let attributes = owner_attributes(uid, gid);
    if flags & AT_EMPTY_PATH != 0 && glue::path_is_empty(call, addr)? {
        // By its inode: a descriptor that is only a path will do.
        let place = names::opened(glue::file(call, dirfd, Errno::EPERM)?)?;
        return change_name(call, place, false, attributes);
    }
    let place = names::place(call, dirfd, addr)?;
    change_name(call, place, flags & AT_SYMLINK_NOFOLLOW == 0, attributes)
}

/// fchown(2).
pub fn fchown<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, uid, gid, ..] = call.args;
    change_descriptor(call, fd, owner_attributes(uid, gid))
}

fn now_attributes<M: Machine>(call: &Call<'_, '_, M>) -> Attributes {
    let now_ns = call.core.machine.boot_time_ns().saturating_add(call.cx.now_ns());
    let now_ns = Some(i64::try_from(now_ns).unwrap_or(i64::MAX));
    Attributes { atime_ns: now_ns, mtime_ns: now_ns, now: true, ..Attributes::default() }
}

fn signed_ns(time: Timespec) -> Result<i64, Fail> {
    if !(0..1_000_000_000).contains(&time.nanoseconds) {
        return Err(Errno::EINVAL.into());
    }
    Ok(time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds))
}

/// utimensat(2).
pub fn utimensat<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [dirfd, addr, times, flags, ..] = call.args;
    let now = now_attributes(call);
    let attributes = if times == 0 {
        now
    } else {
        let read: [Timespec; 2] = call.read(times)?;
        let pick = |time: Timespec, now: Option<i64>| match time.nanoseconds {
            UTIME_NOW => Ok(now),
            UTIME_OMIT => Ok(None),
            _ => signed_ns(time).map(Some),
        };
        let atime_ns = pick(read[0], now.atime_ns)?;
        let mtime_ns = pick(read[1], now.mtime_ns)?;
        let now = read.iter().all(|time| time.nanoseconds == UTIME_NOW);
        Attributes { atime_ns, mtime_ns, now, ..Attributes::default() }
    };
    if addr == 0 {
        return change_descriptor(call, dirfd, attributes);
    }
    let place = names::place(call, dirfd, addr)?;
    change_name(call, place, flags as u32 & AT_SYMLINK_NOFOLLOW == 0, attributes)
}

/// utimes(2), futimesat(2).
pub fn utimes<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    times: u64,
) -> SysResult {
    let attributes = if times == 0 {
        now_attributes(call)
    } else {
        let read: [Timeval; 2] = call.read(times)?;
        let time = |time: Timeval| {
            let nanoseconds = time.microseconds.checked_mul(1000).ok_or(Errno::EINVAL)?;
            signed_ns(Timespec { seconds: time.seconds, nanoseconds })
        };
        let (atime_ns, mtime_ns) = (Some(time(read[0])?), Some(time(read[1])?));
        Attributes { atime_ns, mtime_ns, ..Attributes::default() }
    };
    let place = names::place(call, dirfd, addr)?;
    change_name(call, place, true, attributes)
}

/// utime(2).
pub fn utime<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, times, ..] = call.args;
    let attributes = if times == 0 {
        now_attributes(call)
    } else {
        let read: Utimbuf = call.read(times)?;
        let ns = |seconds: i64| Some(seconds.saturating_mul(1_000_000_000));
        Attributes {
            atime_ns: ns(read.access_s),
            mtime_ns: ns(read.modification_s),
            ..Attributes::default()
        }
    };
    let place = names::place(call, CWD, addr)?;
    change_name(call, place, true, attributes)
}

/// The absolute path that `/dev/tty` and its kin stand for: whether it is a terminal, and whose.
///
/// # Errors
/// ENXIO: the session has no terminal.
pub fn terminal_of<M: Machine>(
    call: &Call<'_, '_, M>,
    path: &str,
) -> Option<Result<NodeId, Errno>> {
    match path {
        "/dev/tty" => Some(NodeId::new(call.process().own.terminal).ok_or(Errno::ENXIO)),
        "/dev/console" => Some(Ok(call.core.node)),
        _ => None,
    }
}

/// A path of proc-server without a slash at its end.
pub fn trimmed(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    String::from(if trimmed.is_empty() { "/" } else { trimmed })
}
