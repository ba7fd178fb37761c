// SPDX-License-Identifier: MIT OR Apache-2.0
//! rename(2) and link(2): two names, whose directories must be in one slot.

use crate::FsCore;
use crate::inode::{MAY_EXECUTE, MAY_WRITE};
use crate::lower::Lower;
use crate::tree::Kind;
use crate::walk::{Spot, Stop};
use abi::linux::general::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use abi::{Errno, InodeId};
use fs_api::name::Credentials;
use runtime::{Cx, Mutant};

impl FsCore {
    fn check_change(&self, dir: InodeId, who: &Credentials) -> Result<(), Errno> {
        self.tree.meta(dir)?.check(who, MAY_WRITE | MAY_EXECUTE, true)
    }

    /// Both directories are in one slot, are here and may be changed.
    fn both_writable(
        &mut self,
        cx: &Cx<'_>,
        who: &Credentials,
        from: &Spot,
        to: &Spot,
    ) -> Result<(), Stop> {
        if from.dir.slot() != to.dir.slot() {
            return Err(Errno::EXDEV.into());
        }
        if !self.tree.is_home(to.dir) {
            return Err(Stop::Go(to.dir.slot()));
        }
        self.check_change(to.dir, who)?;
        self.writable(cx, to.dir, &to.name)
    }

    /// rename(2).
    pub(crate) fn rename(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        from: &Spot,
        to: &Spot,
        flags: u32,
    ) -> Result<(), Stop> {
        match flags {
            0 | RENAME_NOREPLACE => {}
            RENAME_EXCHANGE => return self.exchange(cx, who, from, to),
            _ => return Err(Errno::EINVAL.into()),
        }
        self.both_writable(cx, who, from, to)?;
        self.check_change(from.dir, who)?;
        let source = self.tree.lookup(from.dir, &from.name)?.ok_or(Errno::ENOENT)?;
        let kind = self.tree.kind(source)?;
        let is_directory = kind == Kind::Directory;
        let target = self.tree.lookup(to.dir, &to.name)?;
        if (from.slash || to.slash) && !is_directory {
            return Err(Errno::ENOTDIR.into());
        }
        self.tree.check_sticky(from.dir, source, who)?;
        if is_directory && Lower::is_lower(source) || kind == Kind::Elsewhere {
            // Its children would have to move with it from home to home.
            return Err(Errno::EXDEV.into());
        }
        if is_directory {
            self.check_not_inside(source, to.dir)?;
        }
        if let Some(target) = target {
            if flags & RENAME_NOREPLACE != 0 {
                return Err(Errno::EEXIST.into());
            }
            if target == source {
                return Ok(());
            }
            self.tree.check_sticky(to.dir, target, who)?;
            self.check_replaced(cx, target, is_directory)?;
        }
        self.writable(cx, from.dir, &from.name)?;
        let now_ns = self.now_ns(cx);
        let moved = match kind {
            Kind::Directory | Kind::File | Kind::Special(_) => source,
            Kind::Link(_) if !Lower::is_lower(source) => source,
            Kind::Link(_) | Kind::LowerFile(_) | Kind::Device(_) | Kind::Elsewhere => {
                self.copy_up(cx, from.dir.slot(), source, true)?
            }
        };
        self.name_it(to.dir, &to.name, moved, now_ns)?;
        if !Mutant::RenameKeepsTheOldName.is_on() {
            self.tree.detach(from.dir, &from.name, now_ns)?;
        }
        Ok(())
    }

    /// renameat2(RENAME_EXCHANGE): two names change places.
    fn exchange(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        from: &Spot,
        to: &Spot,
    ) -> Result<(), Stop> {
        self.both_writable(cx, who, from, to)?;
        self.check_change(from.dir, who)?;
        let one = self.tree.lookup(from.dir, &from.name)?.ok_or(Errno::ENOENT)?;
        let other = self.tree.lookup(to.dir, &to.name)?.ok_or(Errno::ENOENT)?;
        for (inode, spot, into) in [(one, from, to), (other, to, from)] {
            let is_directory = self.tree.kind(inode)? == Kind::Directory;
            if spot.slash && !is_directory {
                return Err(Errno::ENOTDIR.into());
            }
            self.tree.check_sticky(spot.dir, inode, who)?;
            if self.tree.kind(inode)? == Kind::Elsewhere || is_directory && Lower::is_lower(inode) {
                return Err(Errno::EXDEV.into());
            }
            if is_directory {
                self.check_not_inside(inode, into.dir)?;
            }
        }
        if one == other {
            return Ok(());
        }
        self.tree.room_for_name()?;
        self.writable(cx, from.dir, &from.name)?;
        let now_ns = self.now_ns(cx);
        for (inode, spot) in [(one, from), (other, to)] {
            if Lower::is_lower(inode) {
                let copy = self.copy_up(cx, spot.dir.slot(), inode, true)?;
                self.name_it(spot.dir, &spot.name, copy, now_ns)?;
            }
        }
        // From here on nothing can fail: there is room for the names, of the image's too.
        let one = self.tree.detach(from.dir, &from.name, now_ns)?;
        let other = self.tree.detach(to.dir, &to.name, now_ns)?;
        self.tree.link(to.dir, &to.name, one, now_ns)?;
        Ok(self.tree.link(from.dir, &from.name, other, now_ns)?)
    }

    /// linkat(2) of a file that the caller has open, which may have no name yet.
    pub(crate) fn link_inode(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        inode: InodeId,
        to: &Spot,
    ) -> Result<(), Stop> {
        if inode.slot() != to.dir.slot() {
            return Err(Errno::EXDEV.into());
        }
        self.tree.room_for_name()?;
        if !self.tree.is_home(to.dir) {
            return Err(Stop::Go(to.dir.slot()));
        }
        self.check_change(to.dir, who)?;
        self.writable(cx, to.dir, &to.name)?;
        if self.tree.lookup(to.dir, &to.name)?.is_some() {
            return Err(Errno::EEXIST.into());
        }
        let links = self.tree.inode(inode)?.links;
        let linkable = self.tree.file(inode).is_ok_and(|file| file.linkable);
        if to.slash || links == 0 && !linkable {
            return Err(Errno::ENOENT.into());
        }
        let now_ns = self.now_ns(cx);
        self.tree.link(to.dir, &to.name, inode, now_ns)?;
        if linkable {
            self.tree.file_mut(inode)?.0.linkable = false;
        }
        Ok(())
    }

    fn check_not_inside(&self, source: InodeId, dir: InodeId) -> Result<(), Errno> {
        let mut at = dir;
        while !Lower::is_lower(at) {
            if at == source {
                return Err(Errno::EINVAL);
            }
            at = self.tree.parent(at)?;
        }
        Ok(())
    }

    fn check_replaced(
        &mut self,
        cx: &Cx<'_>,
        target: InodeId,
        by_directory: bool,
    ) -> Result<(), Stop> {
        let is_directory = self.tree.kind(target)? == Kind::Directory;
        match (by_directory, is_directory) {
            (true, false) => Err(Errno::ENOTDIR.into()),
            (false, true) => Err(Errno::EISDIR.into()),
            (false, false) => Ok(()),
            (true, true) if !self.tree.is_home(target) => Err(Errno::EXDEV.into()),
            (true, true) => self.seal(cx, target),
        }
    }

    /// link(2).
    pub(crate) fn hard_link(
        &mut self,
        cx: &mut Cx<'_>,
        who: &Credentials,
        from: &Spot,
        to: &Spot,
    ) -> Result<(), Stop> {
        self.both_writable(cx, who, from, to)?;
        if self.tree.lookup(to.dir, &to.name)?.is_some() {
            return Err(Errno::EEXIST.into());
        }
        self.tree.room_for_name()?;
        let source = self.tree.lookup(from.dir, &from.name)?.ok_or(Errno::ENOENT)?;
        let kind = self.tree.kind(source)?;
        if kind == Kind::Directory {
            return Err(Errno::EPERM.into());
        }
        if to.slash {
            return Err(Errno::ENOENT.into());
        }
        if from.slash {
            return Err(Errno::ENOTDIR.into());
        }
        let now_ns = self.now_ns(cx);
        let mut inode = source;
        if Lower::is_lower(source) {
            self.writable(cx, from.dir, &from.name)?;
            inode = self.copy_up(cx, from.dir.slot(), source, true)?;
            self.name_it(from.dir, &from.name, inode, now_ns)?;
        }
        self.tree.link(to.dir, &to.name, inode, now_ns)?;
        Ok(())
    }
}
