// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about names.

use super::local_only;
use crate::FsCore;
use crate::extras::ExtraOp;
use crate::job::{Shape, Work};
use crate::limits::EXTRA_BYTES_MAX;
use crate::lower::Lower;
use crate::walk::{NameOp, Walk};
use abi::{Errno, InodeId};
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::{self, At, Credentials, Text};
use mem_api::CopyIn;
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation, Wire};

impl FsCore {
    pub(crate) fn name_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        match op {
            name::PathOf::NUMBER => return self.path_request(cx, from, msg),
            name::TreeUse::NUMBER => return Ok(Answer::reply(&self.tree.figures())),
            _ => local_only(from)?,
        }
        if op == name::SetExtra::NUMBER {
            return self.set_extra_request(cx, from, msg, bulk);
        }
        if op == name::GetExtra::NUMBER {
            let name::GetExtra { at, follow, name, space, addr, len } = name::GetExtra::get(msg)?;
            let op = if name.is_empty() { ExtraOp::List } else { ExtraOp::Get(name) };
            let (walk, op) = (Walk::new(&at)?, NameOp::Extra { follow, op });
            let shape = Shape::Into { space, addr, len };
            return Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape }));
        }
        let (walk, op) = name_work(op, msg)?;
        Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Named }))
    }

    fn set_extra_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let it = name::SetExtra::get(msg)?;
        let (space, addr, len) = (it.space, it.addr, it.len);
        if len > EXTRA_BYTES_MAX as u64 {
            return Err(Errno::ENOSPC);
        }
        let mut value = alloc::vec![0; len as usize];
        if len > 0 {
            cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(&mut value))?;
        }
        let op = ExtraOp::Set { name: it.name, value, flags: it.flags };
        let (walk, op) = (Walk::new(&it.at)?, NameOp::Extra { follow: it.follow, op });
        Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Named }))
    }

    pub(super) fn path_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        let request = name::PathOf::get(msg)?;
        if self.tree.is_lost(request.inode) {
            return Err(Errno::EIO);
        }
        if !Lower::is_lower(request.inode) && !self.tree.is_home(request.inode) {
            return Ok(self.forward(cx, from, request.inode.slot(), &request, Vec::new()));
        }
        let path = self.tree.path(request.inode);
        let gone = |errno| if errno == Errno::ESTALE { Errno::ENOENT } else { errno };
        Ok(Answer::from_result(path.map(Text).map_err(gone)))
    }
}

/// A path that must not be empty: it names something that may not exist yet.
pub(super) fn named(at: &At) -> Result<Walk, Errno> {
    if at.path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Walk::new(at)
}

pub(super) fn second(dir: Option<InodeId>, path: &str, who: Credentials) -> Result<Walk, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Walk::from_parts(dir, path, who)
}

pub(super) fn name_work(op: u16, msg: &Msg) -> Result<(Walk, NameOp), Errno> {
    Ok(match op {
        name::Open::NUMBER => {
            let name::Open { at, flags, mode } = name::Open::get(msg)?;
            (Walk::new(&at)?, NameOp::Open { flags, mode })
        }
        name::NameStat::NUMBER => {
            let name::NameStat { at, follow } = name::NameStat::get(msg)?;
            (Walk::new(&at)?, NameOp::Stat { follow })
        }
        name::Enter::NUMBER => (Walk::new(&name::Enter::get(msg)?.at)?, NameOp::Enter),
        name::MakeDirectory::NUMBER => {
            let name::MakeDirectory { at, mode } = name::MakeDirectory::get(msg)?;
            (named(&at)?, NameOp::MakeDirectory { mode: mode & 0o1777 })
        }
        name::Unlink::NUMBER => {
            let name::Unlink { at, directory } = name::Unlink::get(msg)?;
            (named(&at)?, NameOp::Unlink { directory, sealed: None })
        }
        name::Rename::NUMBER => {
            let name::Rename { from, to_dir, to_path, flags } = name::Rename::get(msg)?;
            let to = second(to_dir, &to_path, from.who)?.into();
            (named(&from)?, NameOp::RenameFrom { to, flags })
        }
        name::Link::NUMBER => {
            let name::Link { from, to_dir, to_path, follow } = name::Link::get(msg)?;
            let to = second(to_dir, &to_path, from.who)?.into();
            // Empty: what the caller has open, linkat(AT_EMPTY_PATH).
            (Walk::new(&from)?, NameOp::LinkFrom { to, follow })
        }
        name::MakeLink::NUMBER => {
            let name::MakeLink { at, target } = name::MakeLink::get(msg)?;
            (named(&at)?, NameOp::MakeLink { target: link_target(target)? })
        }
        name::MakeSocket::NUMBER => {
            let name::MakeSocket { at, mode } = name::MakeSocket::get(msg)?;
            let special = name::Special::Socket;
            (named(&at)?, NameOp::MakeSpecial { special, mode: mode & 0o777 })
        }
        name::MakeFifo::NUMBER => {
            let name::MakeFifo { at, mode } = name::MakeFifo::get(msg)?;
            let special = name::Special::Fifo;
            (named(&at)?, NameOp::MakeSpecial { special, mode: mode & 0o777 })
        }
        name::FindSocket::NUMBER => (named(&name::FindSocket::get(msg)?.at)?, NameOp::FindSocket),
        name::ReadLink::NUMBER => (Walk::new(&name::ReadLink::get(msg)?.at)?, NameOp::ReadLink),
        name::ChangeName::NUMBER => {
            let name::ChangeName { at, follow, attributes } = name::ChangeName::get(msg)?;
            (Walk::new(&at)?, NameOp::Change { follow, attributes })
        }
        name::TruncateName::NUMBER => {
            let name::TruncateName { at, len } = name::TruncateName::get(msg)?;
            (Walk::new(&at)?, NameOp::Truncate { len })
        }
        name::RemoveExtra::NUMBER => {
            let name::RemoveExtra { at, follow, name } = name::RemoveExtra::get(msg)?;
            (Walk::new(&at)?, NameOp::Extra { follow, op: ExtraOp::Remove(name) })
        }
        name::CheckAccess::NUMBER => {
            let name::CheckAccess { at, mode } = name::CheckAccess::get(msg)?;
            (Walk::new(&at)?, NameOp::Access { mode })
        }
        _ => return Err(Errno::ENOSYS),
    })
}

pub(super) fn link_target(target: String) -> Result<String, Errno> {
    match target.len() {
        0 => Err(Errno::ENOENT),
        1..abi::limits::PATH_BYTES => Ok(target),
        _ => Err(Errno::ENAMETOOLONG),
    }
}
