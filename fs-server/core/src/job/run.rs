// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of a job.

use super::{Job, Reply, Shape, Work};
use crate::FsCore;
use crate::data::{ReadDone, Sink, deliver};
use crate::limits::REMOTE_BYTES;
use crate::lower::Lower;
use crate::tree::Listing;
use crate::walk::{Found, NameOp, Step, Stop};
use abi::{Errno, FileId, NodeId};
use fs_api::file::Moved;
use fs_api::name::{FileKind, Named, Opened};
use fs_api::peer::BytesRead;
use runtime::{Client, Cx, Msg};

impl FsCore {
    pub(super) fn run(&mut self, cx: &mut Cx<'_>, job: &mut Job) -> Result<Reply, Stop> {
        let client = job.client;
        self.check_place(cx, &job.work)?;
        match &mut job.work {
            Work::Name { op: NameOp::Open { .. }, shape: Shape::Named, .. }
                if cx.slot_for_new().is_none() =>
            {
                Err(Stop::View)
            }
            Work::Name { walk, op, shape } => {
                let node = asking_node(cx, client);
                let step = match self.walk(cx, node, walk, op) {
                    Err(Stop::Go(_)) if *shape == Shape::Step => {
                        Step::Continue(walk.clone(), op.clone())
                    }
                    step => step?,
                };
                Ok(self.shaped(cx, client, step, op, *shape)?)
            }
            Work::Read { file, offset, len, sink } => {
                let done = self.read(cx, *file, *offset, *len, *sink)?;
                Ok(read_reply(done, *sink)?)
            }
            Work::Write { file, offset, source } => {
                let bytes = self.write(cx, *file, *offset, source)?;
                Ok(Reply::of(&Moved { bytes })?)
            }
            Work::Resize { file, len } => {
                let description = self.files.get(*file)?;
                description.check(crate::inode::MAY_WRITE).map_err(|_| Errno::EINVAL)?;
                let inode = description.inode;
                if Lower::is_lower(inode) {
                    return Err(Errno::EINVAL.into());
                }
                self.truncate(cx, inode, *len)?;
                Ok(Reply::default())
            }
            Work::Allocate { file, mode, offset, len } => {
                self.allocate(cx, *file, *mode, (*offset, *len))?;
                Ok(Reply::default())
            }
            Work::List { file, len, sink, got } => {
                let done = self.list(cx, *file, *len, *sink, got.take())?;
                Ok(read_reply(done, *sink)?)
            }
        }
    }

    pub(super) fn list(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        len: u64,
        sink: Sink,
        got: Option<Listing>,
    ) -> Result<ReadDone, Stop> {
        let description = self.files.get(file)?;
        description.check(crate::inode::MAY_READ)?;
        if description.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        let (dir, before) = (description.inode, description.position);
        if self.tree.is_lost(dir) {
            return Err(Errno::EIO.into());
        }
        let len = len.min(REMOTE_BYTES);
        let listing = match got {
            Some(listing) => listing,
            None if self.tree.is_here(dir) => {
                let listing = self.tree.list(dir, before, len as usize);
                listing
                    .map_err(|errno| if errno == Errno::ESTALE { Errno::ENOENT } else { errno })?
            }
            None => return Err(Stop::Records { dir, after: before, len }),
        };
        let after = listing.last;
        let (moved, data) = deliver(cx, sink, listing.data)?;
        self.files.get_mut(file)?.position = after;
        Ok(ReadDone { moved, before, after, data })
    }

    pub(super) fn shaped(
        &mut self,
        cx: &mut Cx<'_>,
        client: Client,
        step: Step,
        op: &NameOp,
        shape: Shape,
    ) -> Result<Reply, Errno> {
        if shape == Shape::Step {
            let data = postcard::to_allocvec(&step).map_err(|_| Errno::EMSGSIZE)?;
            return Ok(Reply { msg: Msg::default(), data });
        }
        if let (Shape::Into { space, addr, len }, Step::Bytes(bytes)) = (shape, &step) {
            let total = bytes.len() as u64;
            if len > 0 && total > len {
                return Err(Errno::ERANGE);
            }
            if len > 0 {
                deliver(cx, Sink::Space { space, addr }, bytes.clone())?;
            }
            return Reply::of(&Named::Here(total));
        }
        let bare = shape == Shape::Bare;
        match step {
            Step::Found(Found::Unit) if bare => Ok(Reply::default()),
            Step::Found(Found::Stat(stat)) if bare => Reply::of(&stat),
            Step::Found(_) | Step::Text(_) | Step::Elsewhere(_) if bare => Err(Errno::EIO),
            Step::Found(Found::Unit) => Reply::of(&Named::Here(())),
            Step::Found(Found::Stat(stat)) => Reply::of(&Named::Here(stat)),
            Step::Found(Found::Inode(inode)) => Reply::of(&Named::Here(inode)),
            Step::Found(Found::Opened(opened)) => Reply::of(&Named::Here(opened)),
            Step::Found(Found::OpenThere { inode, kind }) => {
                let NameOp::Open { flags, .. } = op else { return Err(Errno::EPROTO) };
                let node = asking_node(cx, client);
                let file = self.open_here(cx, node, inode, kind, *flags)?;
                Reply::of(&Named::Here(Opened { file, kind }))
            }
            Step::Text(text) => Reply::of(&Named::Here(text)),
            Step::Elsewhere(path) => Reply::of(&Named::<()>::Elsewhere(path)),
            // Only a peer that drives gets this, and it takes it apart before; bytes go into a program.
            Step::Continue(..) | Step::Bytes(_) => Err(Errno::EPROTO),
        }
    }
}

pub(super) fn asking_node(cx: &Cx<'_>, client: Client) -> NodeId {
    match client {
        Client::Server { .. } => cx.node(),
        Client::Node { node, .. } => node,
    }
}

pub(super) fn read_reply(done: ReadDone, sink: Sink) -> Result<Reply, Errno> {
    match sink {
        Sink::Space { .. } => Reply::of(&Moved { bytes: done.moved }),
        Sink::Reply => {
            let msg = Msg::of(&BytesRead { before: done.before, after: done.after })?;
            Ok(Reply { msg, data: done.data })
        }
    }
}
