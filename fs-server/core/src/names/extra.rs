// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of what a path leads to.

use super::{Flow, Last};
use crate::FsCore;
use crate::extras::{ExtraOp, Extras};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::{Found, Step, Stop};
use abi::{Errno, InodeId};
use fs_api::name::Credentials;
use fs_api::peer::ITSELF;
use runtime::Cx;

impl FsCore {
    pub(super) fn extra(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        op: &ExtraOp,
        (place, inode): (Option<&Last>, InodeId),
    ) -> Result<Flow, Stop> {
        let kind = self.tree.kind(inode)?;
        op.check(who, &self.tree.meta(inode)?, &kind)?;
        // The image's have none until they are written.
        let none = Extras::default();
        let extras = self.tree.inode(inode).map_or(&none, |inode| &inode.extras);
        if matches!(op, ExtraOp::Get(_) | ExtraOp::List) {
            return Ok(Flow::End(Step::Bytes(extras.read(op, who)?)));
        }
        let changed = extras.changed(op)?;
        let mut inode = inode;
        if kind == Kind::Directory {
            self.writable_place(cx, inode, ITSELF)?;
            self.tree.folder_mut(inode)?;
        } else if matches!(kind, Kind::Device(_) | Kind::Elsewhere) {
            return Err(Errno::EPERM.into());
        } else if Lower::is_lower(inode) {
            inode = self.copy_up_at(cx, place, inode, true)?;
        }
        self.tree.set_extras(inode, changed)?;
        let now_ns = self.now_ns(cx);
        self.tree.inode_mut(inode)?.meta.ctime_ns = now_ns;
        Ok(Found::Unit.into())
    }
}
