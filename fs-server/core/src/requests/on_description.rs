// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests about an open file description itself.

use crate::FsCore;
use crate::job::Reply;
use crate::tree::Kind;
use abi::Errno;
use abi::linux::general::{O_APPEND, O_DSYNC, O_NOATIME, O_NONBLOCK, SEEK_DATA, SEEK_HOLE};
use fs_api::file::{self, Flags, Position, Ready};
use runtime::{Answer, Client, Cx, Msg, Operation, Wire};

/// Flags that F_SETFL can change.
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_NOATIME | O_DSYNC;
/// What is always so of a file: POLLIN, POLLOUT and their kin.
const ALWAYS_READY: u32 = 0x1 | 0x4 | 0x40 | 0x100;

impl FsCore {
    /// Operations on the description itself.
    pub(super) fn state_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        let asking = match from {
            Client::Server { .. } => cx.node(),
            Client::Node { node, .. } => node,
        };
        Ok(match op {
            file::Seek::NUMBER => {
                let seek = file::Seek::get(msg)?;
                self.at_home(cx, from, (seek.file, &seek), |it, _| {
                    Reply::of(&Position { offset: it.seek(&seek)? })
                })
            }
            file::Poll::NUMBER => {
                let events = file::Poll::get(msg)?.events & ALWAYS_READY;
                Answer::reply(&Ready { events })
            }
            file::PollWait::NUMBER => {
                let events = file::PollWait::get(msg)?.events & ALWAYS_READY;
                Answer::reply(&Ready { events })
            }
            file::Ioctl::NUMBER | file::TerminalRead::NUMBER => Answer::Failed(Errno::ENOTTY),
            file::SetFlags::NUMBER => {
                let set = file::SetFlags::get(msg)?;
                self.at_home(cx, from, (set.file, &set), |it, _| {
                    let description = it.files.get_mut(set.file)?;
                    description.flags = description.flags & !SETTABLE | set.flags & SETTABLE;
                    Ok(Reply::default())
                })
            }
            file::GetFlags::NUMBER => {
                let get = file::GetFlags::get(msg)?;
                self.at_home(cx, from, (get.file, &get), |it, _| {
                    Reply::of(&Flags { flags: it.files.get(get.file)?.flags })
                })
            }
            file::InodeOf::NUMBER => {
                let of = file::InodeOf::get(msg)?;
                self.at_home(cx, from, (of.file, &of), |it, _| {
                    Reply::of(&file::Inode { inode: it.files.get(of.file)?.inode })
                })
            }
            file::Hold::NUMBER => {
                let hold = file::Hold::get(msg)?;
                if !cx.view().contains(hold.node) {
                    return Err(Errno::EINVAL);
                }
                self.at_home(cx, from, (hold.file, &hold), |it, _| {
                    it.files.hold(hold.file, hold.node)?;
                    Ok(Reply::default())
                })
            }
            file::Release::NUMBER => {
                let release = file::Release::get(msg)?;
                if self.is_mine(cx, release.file).is_err() {
                    return Ok(Answer::reply(&()));
                }
                self.at_home(cx, from, (release.file, &release), |it, cx| {
                    if let Some(description) = it.files.release(release.file, asking)? {
                        it.close(cx, release.file, &description);
                    }
                    Ok(Reply::default())
                })
            }
            _ => return Err(Errno::ENOSYS),
        })
    }

    pub(super) fn seek(&mut self, seek: &file::Seek) -> Result<u64, Errno> {
        let description = self.files.get(seek.file)?;
        let (inode, position) = (description.inode, description.position);
        if description.flags & abi::linux::general::O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        if let SEEK_DATA | SEEK_HOLE = seek.whence {
            let target = self.next_of(seek.file, seek.offset, seek.whence == SEEK_DATA)?;
            self.files.get_mut(seek.file)?.position = target;
            return Ok(target);
        }
        let size = match self.kind_behind(seek.file)? {
            Kind::File | Kind::LowerFile(_) => self.tree.stat(inode)?.size,
            Kind::Directory => i64::MAX as u64,
            Kind::Device(_) => return Ok(0),
            Kind::Link(_) | Kind::Special(_) | Kind::Elsewhere => return Err(Errno::ESPIPE),
        };
        let base = match seek.whence {
            0 => 0,
            1 => position,
            2 => size,
            _ => return Err(Errno::EINVAL),
        };
        let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
        let target = base.checked_add(seek.offset).ok_or(Errno::EOVERFLOW)?;
        let target = u64::try_from(target).map_err(|_| Errno::EINVAL)?;
        self.files.get_mut(seek.file)?.position = target;
        Ok(target)
    }
}
