// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of fs-servers on other nodes: untrusted input.

use super::on_file::read_work;
use crate::FsCore;
use crate::data::{Sink, Source};
use crate::job::{Shape, Work};
use crate::walk::{NameOp, Stop, Walk};
use abi::{Errno, NodeId};
use fs_api::peer::{self, AT_POSITION, RecordsEnd};
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation, Wire};

impl FsCore {
    pub(crate) fn peer_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        node: NodeId,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        Ok(match op {
            peer::NameStep::NUMBER => {
                let (walk, op): (Walk, NameOp) =
                    postcard::from_bytes(bulk.data()).map_err(|_| Errno::EPROTO)?;
                // Not "go on there", which ends the call: its home may have performed it already, and died.
                if !self.tree.is_here(walk.at) && !self.tree.is_lost(walk.at) {
                    return Ok(Answer::Moved(walk.at.slot()));
                }
                self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Step })
            }
            peer::Overlaid::NUMBER => {
                let peer::Overlaid { inode, place } = peer::Overlaid::get(msg)?;
                // Only its home speaks for a directory.
                if self.tree.home(inode) != node {
                    return Err(Errno::EPERM);
                }
                Answer::from_result(self.tree.overlay(inode, place))
            }
            peer::Seal::NUMBER => match self.seal(cx, peer::Seal::get(msg)?.inode) {
                Ok(()) => Answer::reply(&()),
                Err(Stop::Fail(errno)) => Answer::Failed(errno),
                // Its slot is about to move.
                Err(_) => Answer::NextView,
            },
            peer::Bytes::NUMBER => {
                let peer::Bytes { file, offset, len } = peer::Bytes::get(msg)?;
                let offset = (offset != AT_POSITION).then_some(offset);
                self.is_mine(cx, file)?;
                self.files.get(file)?;
                self.start(cx, from, bulk, read_work(file, offset, len, Sink::Reply))
            }
            peer::PutBytes::NUMBER => {
                let peer::PutBytes { file, offset } = peer::PutBytes::get(msg)?;
                self.is_mine(cx, file)?;
                let offset = (offset != AT_POSITION).then_some(offset);
                let source = Source::Bytes(bulk.data().to_vec());
                self.start(cx, from, bulk, Work::Write { file, offset, source })
            }
            peer::Rewind::NUMBER => {
                let peer::Rewind { file, from, to } = peer::Rewind::get(msg)?;
                let description = self.files.get_mut(file)?;
                if description.position == from {
                    description.position = to;
                }
                Answer::reply(&())
            }
            peer::Records::NUMBER => {
                let peer::Records { inode, after, len } = peer::Records::get(msg)?;
                if !self.tree.is_here(inode) {
                    return Err(Errno::ESTALE);
                }
                let len = len.min(crate::limits::REMOTE_BYTES) as usize;
                let listing = self.tree.list(inode, after, len);
                let listing =
                    listing.map_err(|e| if e == Errno::ESTALE { Errno::ENOENT } else { e })?;
                bulk.set(&listing.data)?;
                Answer::reply(&RecordsEnd { last: listing.last })
            }
            peer::Behind::NUMBER => {
                let file = peer::Behind::get(msg)?.file;
                self.is_mine(cx, file)?;
                let inode = self.files.get(file)?.inode;
                if !self.is_loaded(cx, inode)? {
                    return Ok(Answer::NextView);
                }
                Answer::from_result(self.behind(cx, node, file))
            }
            peer::SyncDisk::NUMBER => self.sync_disk(cx, from),
            _ => self.lock_peer_request(cx, from, op, msg)?,
        })
    }
}
