// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that name files: reading their arguments, asking, and finishing.

use super::name_call::{Extra, HOPS_MAX, NameCall, Place, Start, StatOut};
use super::path::Directory;
use super::table::{Descriptor, OpenFile, Target};
use super::{Wait, glue};
use crate::layout::IntoBytes;
use crate::layout::stat::{StatLayout, Statx};
use crate::machine::Machine;
use crate::procfs;
use crate::syscall::{Call, Fail, Next, SysResult};
use abi::linux::general::{
    AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, O_ACCMODE,
    O_APPEND, O_CLOEXEC, O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY, S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT,
    S_IFREG, S_IFSOCK,
};
use abi::{Errno, InodeId};
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::file::{Inode, InodeOf, Stat};
use fs_api::name::{
    ChangeName, CheckAccess, Credentials, Enter, FileKind, FindSocket, GetExtra, Link,
    MakeDirectory, MakeFifo, MakeLink, MakeSocket, NameStat, Named, Open, Opened, ReadLink,
    RemoveExtra, Rename, SetExtra, TruncateName, Unlink,
};
use ipc_api::{FifoOpen, FifoOpened};
use runtime::{NodeReply, Wire};

/// `AT_FDCWD` as it arrives in a register's lower half.
pub const CWD: u64 = AT_FDCWD as u32 as u64;

/// Where a `*at` call's path starts, and the path. An empty path is ENOENT.
pub fn place<M: Machine>(call: &mut Call<'_, '_, M>, dirfd: u64, addr: u64) -> Result<Place, Fail> {
    let path = call.string(addr)?;
    place_of(call, dirfd, path)
}

/// The same, for a path that is known.
pub fn place_of<M: Machine>(
    call: &Call<'_, '_, M>,
    dirfd: u64,
    path: String,
) -> Result<Place, Fail> {
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let start = start(call, dirfd, &path)?;
    Ok(Place { start, path })
}

fn start<M: Machine>(call: &Call<'_, '_, M>, dirfd: u64, path: &str) -> Result<Start, Fail> {
    if path.starts_with('/') {
        return Ok(Start::Directory(Directory::default()));
    }
    if dirfd as u32 == AT_FDCWD as u32 {
        return Ok(Start::Directory(call.process().own.directory.clone()));
    }
    match &call.process().own.files.get(dirfd)?.target {
        Target::File(file) if file.kind == fs_api::name::FileKind::Directory => {
            Ok(Start::Descriptor(*file))
        }
        Target::File(_) => Err(Errno::ENOTDIR.into()),
        Target::Local(local) => match local.content {
            super::local::Content::Directory(_) => {
                Ok(Start::Directory(Directory::Elsewhere(local.path.clone())))
            }
            _ => Err(Errno::ENOTDIR.into()),
        },
    }
}

/// Asks what the call needs next.
pub fn advance<M: Machine>(call: &mut Call<'_, '_, M>, name: Box<NameCall>, hops: u8) -> SysResult {
    if let Some(file) = name.unknown() {
        let op = InodeOf { file: file.file };
        return Ok(call.ask(&op, glue::wait(Wait::Start { name, hops })));
    }
    let wait = |name| glue::wait(Wait::Name { name, hops });
    let who = call.credentials();
    let at = |place: &Place| place.at(who).ok_or(Errno::EINVAL);
    Ok(match &*name {
        NameCall::Open { place, flags, mode } => {
            let op = Open { at: at(place)?, flags: *flags & !O_CLOEXEC, mode: *mode };
            call.ask(&op, wait(name))
        }
        NameCall::Stat { place, follow, .. } => {
            let op = NameStat { at: at(place)?, follow: *follow };
            call.ask(&op, wait(name))
        }
        NameCall::Access { place, mode } => {
            let op = CheckAccess { at: at(place)?, mode: *mode };
            call.ask(&op, wait(name))
        }
        NameCall::ReadLink { place, .. } => {
            let op = ReadLink { at: at(place)? };
            call.ask(&op, wait(name))
        }
        NameCall::FindSocket { place, .. } => {
            let op = FindSocket { at: at(place)? };
            call.ask(&op, wait(name))
        }
        NameCall::Enter { place } => {
            let op = Enter { at: at(place)? };
            call.ask(&op, wait(name))
        }
        _ => return change(call, name, hops, who),
    })
}

/// The calls that change the tree.
fn change<M: Machine>(
    call: &mut Call<'_, '_, M>,
    name: Box<NameCall>,
    hops: u8,
    who: Credentials,
) -> SysResult {
    let at = |place: &Place| place.at(who).ok_or(Errno::EINVAL);
    let wait = |name| glue::wait(Wait::Name { name, hops });
    Ok(match &*name {
        NameCall::MakeDirectory { place, mode } => {
            let op = MakeDirectory { at: at(place)?, mode: *mode };
            call.ask(&op, wait(name))
        }
        NameCall::Unlink { place, directory } => {
            let op = Unlink { at: at(place)?, directory: *directory };
            call.ask(&op, wait(name))
        }
        NameCall::Rename { from, to, flags } => {
            let to = at(to)?;
            let op = Rename { from: at(from)?, to_dir: to.dir, to_path: to.path, flags: *flags };
            call.ask(&op, wait(name))
        }
        NameCall::Link { from, to, follow } => {
            let to = at(to)?;
            let op = Link { from: at(from)?, to_dir: to.dir, to_path: to.path, follow: *follow };
            call.ask(&op, wait(name))
        }
        NameCall::MakeSocket { place, .. } => {
            let op = MakeSocket { at: at(place)?, mode: 0o777 };
            call.ask(&op, wait(name))
        }
        NameCall::MakeFifo { place, mode } => {
            call.ask(&MakeFifo { at: at(place)?, mode: *mode }, wait(name))
        }
        NameCall::MakeLink { place, target } => {
            let op = MakeLink { at: at(place)?, target: target.clone() };
            call.ask(&op, wait(name))
        }
        NameCall::Change { place, follow, attributes } => {
            let op = ChangeName { at: at(place)?, follow: *follow, attributes: *attributes };
            call.ask(&op, wait(name))
        }
        NameCall::Extra { place, follow, what } => {
            let (at, follow) = (at(place)?, *follow);
            match what.clone() {
                Extra::Set { name: attribute, addr, len, flags } => {
                    let space = call.space()?;
                    let op = SetExtra { at, follow, name: attribute, space, addr, len, flags };
                    call.ask(&op, wait(name))
                }
                Extra::Get { name: attribute, addr, len } => {
                    let space = call.space()?;
                    let op = GetExtra { at, follow, name: attribute, space, addr, len };
                    call.ask(&op, wait(name))
                }
                Extra::Remove { name: attribute } => {
                    call.ask(&RemoveExtra { at, follow, name: attribute }, wait(name))
                }
            }
        }
        NameCall::Truncate { place, len } => {
            let op = TruncateName { at: at(place)?, len: *len };
            call.ask(&op, wait(name))
        }
        NameCall::Open { .. }
        | NameCall::Stat { .. }
        | NameCall::Access { .. }
        | NameCall::ReadLink { .. }
        | NameCall::FindSocket { .. }
        | NameCall::Enter { .. } => return Err(Errno::EINVAL.into()),
    })
}

/// The inode of a starting directory has come.
pub fn started<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut name: Box<NameCall>,
    hops: u8,
    reply: &NodeReply,
) -> SysResult {
    name.known(Inode::get(&reply.msg)?.inode);
    advance(call, name, hops)
}

/// fs-server's answer has come.
pub fn answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    name: Box<NameCall>,
    hops: u8,
    reply: &NodeReply,
) -> SysResult {
    let msg = &reply.msg;
    let elsewhere = match &*name {
        NameCall::Open { flags, .. } => match Named::<Opened>::get(msg)? {
            Named::Here(opened) => {
                // A FIFO of this inode; its pipe is elsewhere.
                if opened.kind == FileKind::Pipe {
                    return open_fifo(call, InodeId::from_raw(opened.file.raw()), *flags);
                }
                let file = OpenFile { file: opened.file, kind: opened.kind };
                return install(call, file, *flags);
            }
            Named::Elsewhere(path) => path,
        },
        NameCall::Stat { out, .. } => match Named::<Stat>::get(msg)? {
            Named::Here(stat) => return put_stat(call, *out, &stat),
            Named::Elsewhere(path) => path,
        },
        NameCall::ReadLink { addr, len, .. } => match Named::<String>::get(msg)? {
            Named::Here(target) => return put_link(call, *addr, *len, &target),
            Named::Elsewhere(path) => path,
        },
        NameCall::Extra { what: Extra::Get { .. }, .. } => match Named::<u64>::get(msg)? {
            Named::Here(bytes) => return Ok(Next::Done(bytes)),
            Named::Elsewhere(path) => path,
        },
        NameCall::Enter { .. } => match Named::<InodeId>::get(msg)? {
            Named::Here(inode) => return super::meta::enter(call, inode),
            Named::Elsewhere(path) => path,
        },
        NameCall::MakeFifo { .. } => match Named::<InodeId>::get(msg)? {
            Named::Here(_) => return Ok(Next::Done(0)),
            Named::Elsewhere(path) => path,
        },
        NameCall::MakeSocket { then, .. } | NameCall::FindSocket { then, .. } => {
            match Named::<InodeId>::get(msg)? {
                Named::Here(inode) => return super::socket::named(call, (**then).clone(), inode),
                Named::Elsewhere(path) => path,
            }
        }
        _ => match Named::<()>::get(msg)? {
            Named::Here(()) => return Ok(Next::Done(0)),
            Named::Elsewhere(path) => path,
        },
    };
    procfs::named(call, name, hops, elsewhere)
}

fn open_fifo<M: Machine>(call: &mut Call<'_, '_, M>, inode: InodeId, flags: u32) -> SysResult {
    let op = FifoOpen { inode, flags: flags & (O_ACCMODE | O_NONBLOCK | O_APPEND) };
    Ok(call.ask(&op, glue::wait(Wait::Fifo(flags & O_CLOEXEC))))
}

/// A FIFO is open.
pub fn fifo_opened<M: Machine>(
    call: &mut Call<'_, '_, M>,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let file = FifoOpened::get(&reply.msg)?.file;
    install(call, OpenFile { file, kind: FileKind::Pipe }, flags)
}

/// mknod(2), mknodat(2): FIFOs only.
pub fn mknod<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    mode: u64,
) -> SysResult {
    let mode = mode as u32;
    match mode & S_IFMT {
        S_IFIFO => {}
        0 | S_IFREG | S_IFSOCK | S_IFCHR | S_IFBLK => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    let place = place(call, dirfd, addr)?;
    advance(call, Box::new(NameCall::MakeFifo { place, mode: mode & 0o7777 }), 0)
}

/// A link of proc-server leads on to `path`.
pub fn redirect<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut name: Box<NameCall>,
    hops: u8,
    path: String,
) -> SysResult {
    if hops >= HOPS_MAX {
        return Err(Errno::ELOOP.into());
    }
    if let [Some(place), _] = name.places_mut() {
        *place = Place::absolute(path);
    }
    advance(call, name, hops + 1)
}

/// Gives an open file, held once for this descriptor, the lowest free number.
pub fn install<M: Machine>(call: &mut Call<'_, '_, M>, file: OpenFile, flags: u32) -> SysResult {
    call.core.holders.add_held(file);
    let descriptor =
        Descriptor { target: Target::File(file), close_on_exec: flags & O_CLOEXEC != 0 };
    glue::insert(call, descriptor, 0)
}

/// Writes what stat(2) tells to where it belongs.
pub fn put_stat<M: Machine>(call: &mut Call<'_, '_, M>, out: StatOut, stat: &Stat) -> SysResult {
    match out {
        StatOut::Stat(addr) => call.copy_out(addr, StatLayout::from(stat).as_bytes())?,
        StatOut::Statx(addr) => call.copy_out(addr, Statx::from(stat).as_bytes())?,
        StatOut::Statfs(addr) => return super::meta::ask_statfs(call, addr),
    }
    Ok(Next::Done(0))
}

/// Writes a link's target, cut to `len` bytes.
pub fn put_link<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    len: u64,
    target: &str,
) -> SysResult {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(target.len());
    call.copy_out(addr, &target.as_bytes()[..len])?;
    Ok(Next::Done(len as u64))
}

/// openat(2).
pub fn openat<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [dirfd, addr, flags, mode, ..] = call.args;
    open(call, dirfd, addr, flags as u32, mode as u32)
}

/// open(2).
pub fn open_path<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, flags, mode, ..] = call.args;
    open(call, CWD, addr, flags as u32, mode as u32)
}

/// creat(2).
pub fn creat<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, mode, ..] = call.args;
    open(call, CWD, addr, O_CREAT | O_WRONLY | O_TRUNC, mode as u32)
}

fn open<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    flags: u32,
    mode: u32,
) -> SysResult {
    let place = place(call, dirfd, addr)?;
    advance(call, Box::new(NameCall::Open { place, flags, mode: mode & 0o7777 }), 0)
}

/// stat(2), lstat(2).
pub fn stat<M: Machine>(call: &mut Call<'_, '_, M>, follow: bool) -> SysResult {
    let [addr, out, ..] = call.args;
    let place = place(call, CWD, addr)?;
    advance(call, Box::new(NameCall::Stat { place, follow, out: StatOut::Stat(out) }), 0)
}

/// newfstatat(2).
pub fn newfstatat<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [dirfd, addr, out, flags, ..] = call.args;
    stat_at(call, dirfd, addr, flags as u32, StatOut::Stat(out))
}

/// statx(2). All basic fields are always told.
pub fn statx<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [dirfd, addr, flags, _mask, out, _] = call.args;
    stat_at(call, dirfd, addr, flags as u32, StatOut::Statx(out))
}

fn stat_at<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    flags: u32,
    out: StatOut,
) -> SysResult {
    if flags & AT_EMPTY_PATH != 0 && glue::path_is_empty(call, addr)? {
        if dirfd as u32 != AT_FDCWD as u32 {
            return super::meta::stat_descriptor(call, dirfd, out);
        }
        let place = Place {
            start: Start::Directory(call.process().own.directory.clone()),
            path: String::from("."),
        };
        return advance(call, Box::new(NameCall::Stat { place, follow: true, out }), 0);
    }
    let place = place(call, dirfd, addr)?;
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    advance(call, Box::new(NameCall::Stat { place, follow, out }), 0)
}

/// access(2), faccessat(2), faccessat2(2). Real and effective ids are one.
pub fn access<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    mode: u64,
) -> SysResult {
    if mode > 7 {
        return Err(Errno::EINVAL.into());
    }
    let place = place(call, dirfd, addr)?;
    advance(call, Box::new(NameCall::Access { place, mode: mode as u32 }), 0)
}

/// readlink(2), readlinkat(2).
pub fn readlink<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [dirfd, path, addr, len]: [u64; 4],
) -> SysResult {
    if len as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place(call, dirfd, path)?;
    let len = u64::from(len as u32);
    advance(call, Box::new(NameCall::ReadLink { place, addr, len }), 0)
}

/// mkdir(2), mkdirat(2).
pub fn mkdir<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    mode: u64,
) -> SysResult {
    let place = place(call, dirfd, addr)?;
    let mode = mode as u32 & 0o7777;
    advance(call, Box::new(NameCall::MakeDirectory { place, mode }), 0)
}

/// unlink(2), rmdir(2), unlinkat(2).
pub fn unlink<M: Machine>(
    call: &mut Call<'_, '_, M>,
    dirfd: u64,
    addr: u64,
    flags: u32,
) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place(call, dirfd, addr)?;
    let directory = flags & AT_REMOVEDIR != 0;
    advance(call, Box::new(NameCall::Unlink { place, directory }), 0)
}

/// rename(2), renameat(2), renameat2(2).
pub fn rename<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [from_dir, from, to_dir, to, flags]: [u64; 5],
) -> SysResult {
    let from = place(call, from_dir, from)?;
    let to = place(call, to_dir, to)?;
    advance(call, Box::new(NameCall::Rename { from, to, flags: flags as u32 }), 0)
}

/// link(2), linkat(2).
pub fn link<M: Machine>(
    call: &mut Call<'_, '_, M>,
    [from_dir, from, to_dir, to, flags]: [u64; 5],
) -> SysResult {
    let flags = flags as u32;
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let empty = flags & AT_EMPTY_PATH != 0 && glue::path_is_empty(call, from)?;
    let from = if empty && from_dir as u32 != AT_FDCWD as u32 {
        // As on Linux for who may read everything.
        if call.credentials().uid != 0 {
            return Err(Errno::ENOENT.into());
        }
        opened(glue::file(call, from_dir, Errno::EXDEV)?)?
    } else {
        place(call, from_dir, from)?
    };
    let to = place(call, to_dir, to)?;
    let follow = flags & AT_SYMLINK_FOLLOW != 0;
    advance(call, Box::new(NameCall::Link { from, to, follow }), 0)
}

/// An open file as a place: pipes, terminals and their like are in no tree.
pub fn opened(file: OpenFile) -> Result<Place, Fail> {
    match file.kind {
        FileKind::Regular | FileKind::Directory | FileKind::Device => {
            Ok(Place { start: Start::Descriptor(file), path: String::new() })
        }
        _ => Err(Errno::EXDEV.into()),
    }
}

/// symlink(2), symlinkat(2).
pub fn symlink<M: Machine>(
    call: &mut Call<'_, '_, M>,
    target: u64,
    dirfd: u64,
    addr: u64,
) -> SysResult {
    let target = call.string(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let place = place(call, dirfd, addr)?;
    advance(call, Box::new(NameCall::MakeLink { place, target }), 0)
}

/// truncate(2).
pub fn truncate<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, ..] = call.args;
    if len.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place(call, CWD, addr)?;
    advance(call, Box::new(NameCall::Truncate { place, len }), 0)
}

/// chdir(2).
pub fn chdir<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let place = place(call, CWD, call.args[0])?;
    advance(call, Box::new(NameCall::Enter { place }), 0)
}

/// statfs(2).
pub fn statfs<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, out, ..] = call.args;
    let place = place(call, CWD, addr)?;
    let out = StatOut::Statfs(out);
    advance(call, Box::new(NameCall::Stat { place, follow: true, out }), 0)
}
