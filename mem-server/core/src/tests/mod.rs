// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the core over a fake machine.

mod fake;
mod futexes;
mod local;
mod nodes;
mod storm;
mod views;

use crate::MemCore;
use abi::{Errno, NodeId, ServerId, SpaceId};
use cluster::View;
use fake::Fake;
use mem_api::*;
use runtime::testing::{Net, TestNode, call};
use runtime::{Give, Host, Operation, Status, system};
use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

pub(crate) const RW: Protection = Protection { read: true, write: true, execute: false };
pub(crate) const READ_ONLY: Protection = Protection { read: true, write: false, execute: false };
pub(crate) const CLIENT: ServerId = ServerId::Proc;

pub(crate) fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node's number")
}

/// mem-server of one node.
pub(crate) struct Node {
    pub host: Host<MemCore<Fake>>,
    pub platform: TestNode,
}

impl Node {
    pub fn new(id: u16, of: u16, net: Rc<RefCell<Net>>, frames: usize) -> Self {
        let view = View::fixed((1..=of).map(node).collect()).expect("a view");
        let core = MemCore::new(Fake::new(frames)).expect("a core");
        let platform = TestNode::new(node(id), ServerId::Mem, net);
        Self { host: Host::new(ServerId::Mem, node(id), view, core), platform }
    }

    pub fn alone(frames: usize) -> Self {
        Self::new(1, 1, Net::shared(), frames)
    }

    pub fn enter(&mut self, view: &View) {
        runtime::testing::views::enter(&self.host, &mut self.platform, view);
    }

    pub fn with<R>(&mut self, run: impl FnOnce(&mut MemCore<Fake>) -> R) -> R {
        self.host.step(&mut self.platform, |core, _| run(core))
    }

    pub fn status<O: Operation>(&mut self, op: &O) -> Result<O::Reply, Status> {
        call(&self.host, &mut self.platform, CLIENT, op, &mut []).map(|(reply, _)| reply)
    }

    pub fn call<O: Operation>(&mut self, op: &O) -> Result<O::Reply, Errno> {
        self.status(op).map_err(|status| match status {
            Status::Failed(errno) => errno,
            Status::Done | Status::Pending(_) => panic!("{} answered {status:?}", O::NAME),
        })
    }

    pub fn with_bulk<O: Operation>(
        &mut self,
        op: &O,
        buf: &mut [u8],
    ) -> Result<(O::Reply, usize), Errno> {
        call(&self.host, &mut self.platform, CLIENT, op, buf).map_err(|status| match status {
            Status::Failed(errno) => errno,
            Status::Done | Status::Pending(_) => panic!("{} answered {status:?}", O::NAME),
        })
    }

    pub fn space(&mut self) -> SpaceId {
        self.call(&SpaceCreate {}).expect("a space").space
    }

    pub fn map(&mut self, op: Map) -> u64 {
        self.call(&op).expect("a mapping").addr
    }

    pub fn poke(&mut self, space: SpaceId, addr: u64, data: &[u8]) -> Result<(), Errno> {
        self.with_bulk(&CopyOut { space, addr }, &mut data.to_vec()).map(|_| ())
    }

    pub fn peek(&mut self, space: SpaceId, addr: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut buf = vec![0xee; len];
        self.with_bulk(&CopyIn { space, addr, len: len as u64 }, &mut buf)?;
        Ok(buf)
    }

    /// What a program's store does: faults until the hardware lets it.
    pub fn store(&mut self, space: SpaceId, addr: u64, byte: u8) -> Result<(), Errno> {
        for _ in 0..4 {
            let hard = self.with(|core| core.spaces.get(space).map(|it| it.hard))?;
            if self.with(|core| core.machine().store(hard, addr, byte)) {
                return Ok(());
            }
            self.call(&Fault { space, addr, access: Access::Write })?;
        }
        panic!("the fault at {addr:#x} repeats");
    }

    pub fn load(&mut self, space: SpaceId, addr: u64) -> Result<u8, Errno> {
        for _ in 0..4 {
            let hard = self.with(|core| core.spaces.get(space).map(|it| it.hard))?;
            if let Some(byte) = self.with(|core| core.machine().load(hard, addr)) {
                return Ok(byte);
            }
            self.call(&Fault { space, addr, access: Access::Read })?;
        }
        panic!("the fault at {addr:#x} repeats");
    }

    /// Collects one completion or event.
    pub fn take(&mut self) -> Option<runtime::Completion> {
        runtime::testing::take(&self.host, &mut self.platform, CLIENT)
    }

    /// Everything that was allocated, but the page of zeroes, is free again.
    pub fn assert_empty(&mut self) {
        self.with(|core| {
            assert_eq!(core.frames.allocated(), 0, "frames held");
            assert_eq!(core.spaces.len(), 0, "spaces");
            assert_eq!(core.objects.map.len(), 0, "objects");
            assert!(core.objects.roots.is_empty(), "root files");
            assert!(core.futexes.is_empty(), "futexes");
            assert!(core.fetches.is_empty() && core.kept.is_empty(), "pages on their way");
            core.machine().assert_empty();
        });
    }
}

pub(crate) fn anonymous(space: SpaceId, pages: u64) -> Map {
    Map {
        space,
        addr: 0,
        len: pages * 4096,
        protection: RW,
        backing: Backing::Anonymous,
        shared: false,
        fixed: false,
        no_replace: false,
        grows_down: false,
    }
}
