// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the servers that the manifest puts into this domain.

use abi::limits::CORES_MAX;
use abi::startup::{FRAMES_ADDR, ROOT_DATA_ADDR, ROOT_INDEX_ADDR, Startup};
use abi::{NodeId, ServerId};
use alloc::boxed::Box;
use cluster::View;
use console_driver::ConsoleService;
use disk_driver::DiskService;
use fs_core::FsCore;
use ipc_core::Ipc;
use mem_core::MemCore;
use microkernel_rt::pages::Pages;
use microkernel_rt::println;
use net_task::NetService;
use nic_driver::Nic;
use proc_core::ProcCore;
use proc_task::Sel4Machine;
use runtime::{Core, Host, Service};
use shell_core::{Setup, Shell};
use timer_driver::TimerService;
use views_core::server::ViewsServer;

/// proc-server, which gets the faults of Linux threads beside its requests.
pub type ProcHost = Host<ProcCore<Sel4Machine>>;

/// The servers of this domain.
pub struct Hosted {
    /// All of them, by number.
    pub services: [Option<&'static dyn Service>; ServerId::ALL.len()],
    /// proc-server, if it is here.
    pub proc: Option<&'static ProcHost>,
}

/// Makes the servers.
pub fn make(startup: &'static Startup) -> Hosted {
    let mut hosted = Hosted { services: [None; ServerId::ALL.len()], proc: None };
    let maker = Maker::new(startup);
    let domain = &startup.config.domains[startup.domain as usize];
    for server in domain.servers.iter().filter_map(|number| ServerId::from_number(*number)) {
        hosted.services[server as usize] = maker.server(server, &mut hosted.proc);
    }
    hosted
}

struct Maker {
    startup: &'static Startup,
    node: NodeId,
    /// The view that holds for good, or what the node goes by until it is a member.
    view: View,
    /// Whether nodes agree on views.
    agrees: bool,
}

impl Maker {
    fn new(startup: &'static Startup) -> Self {
        let node = NodeId::new(startup.config.node).expect("the host tool checks it");
        let mut hosted = startup.config.domains.iter().flat_map(|domain| &domain.servers);
        let agrees = hosted.any(|server| *server == ServerId::Views as u8);
        let view = if agrees {
            View::outside(node)
        } else {
            let nodes = startup.config.nodes.iter().filter_map(|node| NodeId::new(node.id));
            View::fixed(nodes.collect()).expect("the host tool checks the nodes' numbers")
        };
        Self { startup, node, view, agrees }
    }

    fn host_of<C: Core>(&self, server: ServerId, core: C) -> Host<C> {
        match self.agrees {
            true => Host::outside(server, self.node, core),
            false => Host::new(server, self.node, self.view.clone(), core),
        }
    }

    fn server(
        &self,
        server: ServerId,
        proc: &mut Option<&'static ProcHost>,
    ) -> Option<&'static dyn Service> {
        match server {
            ServerId::Console => {
                Some(leak(ConsoleService::new(self.startup, |id, core| self.host_of(id, core))?))
            }
            ServerId::Timer => Some(leak(TimerService::new(self.startup)?)),
            ServerId::Mem => Some(self.host(server, self.mem()?)),
            ServerId::Fs => Some(self.host(server, self.fs())),
            ServerId::Ipc => Some(self.host(server, Ipc::new())),
            ServerId::Proc => {
                let host = leak(self.host_of(server, self.proc()));
                *proc = Some(host);
                Some(host)
            }
            ServerId::Net => {
                let log = |notice: &_| println!("net: {notice}");
                Some(leak(NetService::new(self.startup, self.nic(), log)?))
            }
            ServerId::Disk => Some(leak(self.disk())),
            ServerId::Shell => Some(self.host(server, self.shell())),
            ServerId::Views => Some(self.host(server, self.views())),
            ServerId::Ckpt => None,
        }
    }

    fn host<C: Core + Send + 'static>(&self, server: ServerId, core: C) -> &'static dyn Service {
        leak(self.host_of(server, core))
    }

    fn mem(&self) -> Option<MemCore<mem_task::Sel4Machine>> {
        let memory = self.startup.memory.as_ref()?;
        let root_pages = memory.root_data_bytes.div_ceil(abi::limits::PAGE_BYTES as u64);
        // SAFETY: nothing is mapped there yet, and mem-server alone maps and uses it.
        let pages = unsafe { Pages::mapped(FRAMES_ADDR, 0, true) };
        // SAFETY: root mapped so many pages there, read-only, for good.
        let root_pages = unsafe { Pages::mapped(ROOT_DATA_ADDR, root_pages, false) };
        let machine = mem_task::Sel4Machine::new(self.startup, pages, root_pages)?;
        Some(MemCore::new(machine).expect("the node has memory"))
    }

    fn fs(&self) -> FsCore {
        let len = self.startup.root_index_bytes as usize;
        // SAFETY: root mapped so many bytes there, read-only, for good.
        let index = unsafe { core::slice::from_raw_parts(ROOT_INDEX_ADDR as *const u8, len) };
        fs_task::new(self.startup, self.node, self.view.clone(), index)
            .expect("the host tool packs a tree without contradictions")
    }

    fn nic(&self) -> Option<Nic> {
        let startup = self.startup.nic.as_ref()?;
        // SAFETY: root found the card, mapped its registers and the memory, and gave them to this
        // domain alone; net-server is made once.
        let nic = unsafe { Nic::start(startup) };
        nic.inspect_err(|error| println!("net: the network card cannot be used: {error:?}")).ok()
    }

    fn disk(&self) -> DiskService {
        let make = |core| self.host_of(ServerId::Disk, core);
        let say = |sentence: &str| println!("disk: {sentence}");
        // SAFETY: the record is root's, and the disk server is made once.
        unsafe { DiskService::start(self.startup, self.node, say, make) }
    }

    fn shell(&self) -> Shell<shell_task::Sel4Machine> {
        let machine = shell_task::Sel4Machine::new(self.startup);
        Shell::new(machine, Setup::from(&self.startup.config))
    }

    fn views(&self) -> ViewsServer<views_task::Sel4Machine> {
        let config = &self.startup.config;
        let machine = views_task::Sel4Machine::new(
            self.startup,
            |line| println!("{line}"),
            crate::log::alarm,
        );
        ViewsServer::new(machine, views_core::server::Setup::new(config, &self.startup.seed))
    }

    fn proc(&self) -> ProcCore<Sel4Machine> {
        let kicks = self.startup.free_slot..self.startup.free_slot + CORES_MAX as u64;
        let features = core::arch::x86_64::__cpuid(1).edx;
        let machine = Sel4Machine::new(self.startup, kicks, features);
        ProcCore::new(machine, &self.view, self.node)
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
