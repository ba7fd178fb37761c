// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations on descriptions that move no bytes: what a file is, its flags, who holds it.

use crate::files::Kind;
use crate::{Ipc, home_of, node_of};
use abi::linux::general::{O_APPEND, O_NONBLOCK, S_IFCHR, S_IFIFO, S_IFSOCK};
use abi::{Errno, NodeId};
use ipc_api::file::{
    FileStat, Flags, GetFlags, Hold, InodeOf, ListDirectory, ObjectOf, ReadAt, Release, Resize,
    Seek, SetAttributes, SetFlags, Stat, WriteAt,
};
use runtime::{Answer, Client, Cx, Msg, Operation, Wire};

/// Flags that fcntl(F_SETFL) changes.
pub(crate) const SETTABLE: u32 = O_NONBLOCK | O_APPEND;
/// Device number of /dev/console: 5, 1.
const CONSOLE_DEVICE: u64 = 5 << 8 | 1;

impl Ipc {
    pub(crate) fn call_on_description(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        match op {
            FileStat::NUMBER => self.stat(cx, from, FileStat::get(msg)?),
            GetFlags::NUMBER => self.flags(cx, from, GetFlags::get(msg)?),
            SetFlags::NUMBER => self.set_flags(cx, from, SetFlags::get(msg)?),
            Hold::NUMBER => self.hold(cx, from, Hold::get(msg)?),
            Release::NUMBER => self.release(cx, from, Release::get(msg)?),
            Seek::NUMBER | ReadAt::NUMBER | WriteAt::NUMBER => Err(Errno::ESPIPE),
            ListDirectory::NUMBER | InodeOf::NUMBER => Err(Errno::ENOTDIR),
            Resize::NUMBER => Err(Errno::EINVAL),
            ObjectOf::NUMBER => Err(Errno::ENODEV),
            SetAttributes::NUMBER => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn stat(&mut self, cx: &mut Cx<'_>, from: Client, request: FileStat) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let stat = match self.files.get(request.file, node_of(cx, from))?.kind {
            Kind::Pipe { pipe, .. } => {
                // A FIFO's inode has its number; the rest is a pipe's.
                let inode = self.pipes.get(&pipe).and_then(|it| it.inode);
                let inode = inode.map_or(pipe.0.raw(), |inode| inode.raw());
                Stat { inode, mode: S_IFIFO | 0o600, links: 1, ..Stat::default() }
            }
            Kind::Socket => Stat {
                inode: request.file.raw(),
                mode: S_IFSOCK | 0o777,
                links: 1,
                ..Stat::default()
            },
            Kind::Counter | Kind::Timer | Kind::Signals | Kind::Epoll => {
                Stat { inode: request.file.raw(), mode: 0o600, links: 1, ..Stat::default() }
            }
            Kind::Terminal => Stat {
                inode: 1,
                mode: S_IFCHR | 0o620,
                links: 1,
                rdev: CONSOLE_DEVICE,
                ..Stat::default()
            },
            Kind::Sysv(_) => return Err(Errno::EBADF),
        };
        Ok(Answer::reply(&stat))
    }

    fn flags(&mut self, cx: &mut Cx<'_>, from: Client, request: GetFlags) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let flags = self.files.get(request.file, node_of(cx, from))?.flags;
        Ok(Answer::reply(&Flags { flags }))
    }

    fn set_flags(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: SetFlags,
    ) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let open = self.files.get(request.file, node_of(cx, from))?;
        open.flags = (open.flags & !SETTABLE) | (request.flags & SETTABLE);
        Ok(Answer::reply(&()))
    }

    fn hold(&mut self, cx: &mut Cx<'_>, from: Client, request: Hold) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        if !cx.view().contains(request.node) {
            return Err(Errno::EINVAL);
        }
        let open = self.files.get(request.file, node_of(cx, from))?;
        open.hold(request.node);
        Ok(Answer::reply(&()))
    }

    fn release(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Release,
    ) -> Result<Answer, Errno> {
        let Ok(home) = home_of(cx, request.file) else { return Ok(Answer::reply(&())) };
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let node: NodeId = node_of(cx, from);
        if let Some(kind) = self.files.release(request.file, node)? {
            self.closed(cx, request.file, kind);
        }
        Ok(Answer::reply(&()))
    }
}
