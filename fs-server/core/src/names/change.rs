// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names made and taken away.

use super::Last;
use crate::FsCore;
use crate::inode::{Body, MAY_EXECUTE, MAY_WRITE, Meta};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::Stop;
use abi::{Errno, InodeId};
use fs_api::name::Credentials;
use fs_api::peer::NO_NAME;
use runtime::Cx;

impl FsCore {
    pub(super) fn copy_up_at(
        &mut self,
        cx: &mut Cx<'_>,
        place: Option<&Last>,
        inode: InodeId,
        with_data: bool,
    ) -> Result<InodeId, Stop> {
        let place = place.ok_or(Errno::ESTALE)?;
        self.writable(cx, place.dir, &place.name)?;
        let copy = self.copy_up(cx, place.dir.slot(), inode, with_data)?;
        let now_ns = self.now_ns(cx);
        self.name_it(place.dir, &place.name, copy, now_ns)?;
        Ok(copy)
    }

    /// Names a new inode, or frees it again.
    pub(crate) fn name_it(
        &mut self,
        dir: InodeId,
        name: &str,
        inode: InodeId,
        now_ns: i64,
    ) -> Result<(), Errno> {
        let named = self.tree.link(dir, name, inode, now_ns);
        if named.is_err() {
            self.tree.free_unused(inode);
        }
        named
    }

    /// Checks that this node may change the name in the directory now.
    pub(crate) fn writable(&mut self, cx: &Cx<'_>, dir: InodeId, name: &str) -> Result<(), Stop> {
        let place = self.tree.place(dir, name);
        self.writable_place(cx, dir, place)
    }

    pub(super) fn writable_place(
        &mut self,
        cx: &Cx<'_>,
        dir: InodeId,
        place: u64,
    ) -> Result<(), Stop> {
        if !self.tree.is_home(dir) {
            return Err(Stop::Go(dir.slot()));
        }
        if self.is_closed(cx, dir.slot()) {
            return Err(Stop::View);
        }
        if !Lower::is_lower(dir) || self.tree.is_changed(dir, place) {
            return Ok(());
        }
        if self.tree.others().next().is_some() {
            return Err(Stop::Announce { dir, place });
        }
        Ok(self.tree.overlay(dir, place)?)
    }

    pub(super) fn create(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        last: &Last,
        mode: u32,
        body: impl FnOnce(&Meta) -> Body,
    ) -> Result<InodeId, Stop> {
        if last.found.is_some() {
            return Err(Errno::EEXIST.into());
        }
        let folder = self.tree.meta(last.dir)?;
        folder.check(who, MAY_WRITE | MAY_EXECUTE, true)?;
        self.writable(cx, last.dir, &last.name)?;
        self.tree.folder_mut(last.dir)?;
        let now_ns = self.now_ns(cx);
        let body = body(&folder);
        let is_directory = matches!(body, Body::Directory(_));
        let meta = self.new_meta(cx, who, last.dir, (mode, is_directory))?;
        let inode = self.tree.add(last.dir.slot(), meta, body)?;
        self.name_it(last.dir, &last.name, inode, now_ns)?;
        Ok(inode)
    }

    /// Owner, permissions and times of what is made in a directory.
    pub(super) fn new_meta(
        &self,
        cx: &Cx<'_>,
        who: &Credentials,
        dir: InodeId,
        (mode, is_directory): (u32, bool),
    ) -> Result<Meta, Errno> {
        let (folder, now_ns) = (self.tree.meta(dir)?, self.now_ns(cx));
        let inherits = folder.mode & 0o2000 != 0;
        let inherited = if inherits && is_directory { 0o2000 } else { 0 };
        Ok(Meta {
            mode: mode & !who.mask & 0o7777 | inherited,
            uid: who.uid,
            gid: if inherits { folder.gid } else { who.gid },
            atime_ns: now_ns,
            mtime_ns: now_ns,
            ctime_ns: now_ns,
        })
    }

    pub(super) fn last_unlink(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        directory: bool,
        sealed: Option<InodeId>,
        last: &Last,
    ) -> Result<(), Stop> {
        let inode = last.existing()?;
        let is_directory = self.tree.kind(inode)? == Kind::Directory;
        if !is_directory && (directory || last.slash()) {
            return Err(Errno::ENOTDIR.into());
        }
        if !directory && is_directory {
            return Err(Errno::EISDIR.into());
        }
        self.tree.meta(last.dir)?.check(who, MAY_WRITE | MAY_EXECUTE, true)?;
        self.writable(cx, last.dir, &last.name)?;
        self.tree.check_sticky(last.dir, inode, who)?;
        if is_directory && sealed != Some(inode) {
            if !self.tree.is_home(inode) {
                return Err(Stop::Seal(inode));
            }
            self.seal(cx, inode)?;
        }
        let now_ns = self.now_ns(cx);
        self.tree.unlink(last.dir, &last.name, now_ns)?;
        Ok(())
    }

    /// The directory, whose home is here, is about to lose its name: if it is empty, nothing can be
    /// made in it from now on.
    pub(crate) fn seal(&mut self, cx: &Cx<'_>, dir: InodeId) -> Result<(), Stop> {
        if !self.tree.is_home(dir) {
            return Err(Errno::ESTALE.into());
        }
        if self.is_closed(cx, dir.slot()) {
            return Err(Stop::View);
        }
        if !self.tree.is_empty(dir)? {
            return Err(Errno::ENOTEMPTY.into());
        }
        if Lower::is_lower(dir) {
            self.tree.overlay(dir, NO_NAME)?;
            self.tree.folder_mut(dir)?.dead = true;
        }
        Ok(())
    }
}
