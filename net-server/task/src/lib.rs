// SPDX-License-Identifier: MIT OR Apache-2.0
//! net-server on seL4: the links joined to the network card and the clock.
//!
//! Without a card the node stays alone: every send ends with EHOSTDOWN.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::startup::Startup;
use abi::{CoreId, Errno, NodeId, ServerId};
use alloc::vec::Vec;
use net_api::{
    Enrol, Enrolled, LinkUse, LoadStart, LoadUse, PeerKey, PingStart, PingUse, StrayUse,
};
use net_core::limits::VERSIONS;
use net_core::{Config, Item, Net, Notice, Peer, PublicKey, Secret};
use nic_driver::Nic;
use runtime::node::{NET_SEND, NET_TAKE, TIMER_ARM, Taken, read_send_words};
use runtime::{Bulk, Lock, Msg, Operation, Platform, Service, Status, Wire};

/// After the card refused a frame it is offered again so late, if no interrupt comes before.
const RETRY_NS: u64 = 1_000_000;

struct State {
    net: Net,
    nic: Option<Nic>,
    /// A frame that the card had no room for.
    stalled: Option<Vec<u8>>,
    frame: Vec<u8>,
    armed_ns: Option<u64>,
    /// The timer server died: time is looked at whenever something else happens.
    no_timer: bool,
    log: fn(&Notice),
}

/// net-server.
pub struct NetService(Lock<State>);

impl NetService {
    /// The links that the configuration names, over `nic`; `log` prints a line.
    pub fn new(startup: &Startup, nic: Option<Nic>, log: fn(&Notice)) -> Option<Self> {
        let net = Net::new(&config(startup)?, 0);
        let state = State {
            net,
            nic,
            stalled: None,
            frame: Vec::new(),
            armed_ns: None,
            no_timer: false,
            log,
        };
        Some(Self(Lock::new(state)))
    }
}

fn config(startup: &Startup) -> Option<Config> {
    let config = &startup.config;
    let key = |node: u16| {
        let found = config.keys.iter().find(|member| member.node == node);
        found.map(|member| PublicKey(member.key))
    };
    let peer = |entry: &abi::image::NodeEntry| {
        Some(Peer { node: NodeId::new(entry.id)?, mac: entry.mac, key: key(entry.id) })
    };
    let peers: Vec<_> = config.nodes.iter().filter_map(peer).collect();
    let node = NodeId::new(config.node)?;
    let mac = peers.iter().find(|peer| peer.node == node)?.mac;
    let hosted = config.domains.iter().flat_map(|domain| &domain.servers);
    let servers = hosted
        .filter_map(|number| ServerId::from_number(*number))
        .filter(|server| !is_alone(*server));
    Some(Config {
        node,
        mac,
        peers,
        mtu: config.mtu,
        servers: servers.collect(),
        secret: startup.link_key.map(Secret::new),
        seed: startup.seed,
        versions: VERSIONS,
    })
}

/// Whether a server has nothing to say to its like on other nodes.
fn is_alone(server: ServerId) -> bool {
    matches!(server, ServerId::Net | ServerId::Timer | ServerId::Console | ServerId::Disk)
}

impl State {
    fn send(&mut self, client: ServerId, words: [u64; 4], data: &[u8]) -> Result<(), Errno> {
        let (node, lane, urge) = read_send_words(words)?;
        // A server speaks to its own kind only.
        if words[2] != client as u64 {
            return Err(Errno::EPERM);
        }
        self.net.send(node, (lane, urge), client, data.to_vec())
    }

    fn take(
        &mut self,
        client: ServerId,
        now_ns: u64,
        bulk: &mut Bulk<'_>,
    ) -> Result<[u64; 4], Errno> {
        let Some((item, more)) = self.net.take(client, bulk.buf.len(), now_ns)? else {
            return Ok([Taken::Nothing as u64, 0, 0, 0]);
        };
        let (what, node) = match item {
            Item::Message(node, data) => {
                bulk.set(&data)?;
                (Taken::Message, node)
            }
            Item::Down(node) => (Taken::Down, node),
            Item::Up(node) => (Taken::Up, node),
        };
        Ok([what as u64, u64::from(node.get()), u64::from(more), 0])
    }

    /// Takes all frames that the card holds; the time of it.
    fn receive(&mut self, platform: &mut dyn Platform) -> u64 {
        let now_ns = platform.now_ns();
        let Self { net, nic, .. } = self;
        while let Some(mut frame) = nic.as_mut().and_then(Nic::receive) {
            net.received(&mut frame, now_ns);
        }
        now_ns
    }

    fn transmit(&mut self, now_ns: u64) {
        let Some(nic) = &mut self.nic else { return };
        loop {
            let frame = match self.stalled.take() {
                Some(frame) => frame,
                None if self.net.next_frame(now_ns, &mut self.frame) => {
                    core::mem::take(&mut self.frame)
                }
                None => return,
            };
            if nic.send(&frame).is_err() {
                self.stalled = Some(frame);
                return;
            }
            self.frame = frame;
        }
    }

    /// Sends, tells and arms whatever the last step made due.
    fn settle(&mut self, platform: &mut dyn Platform) {
        let now_ns = platform.now_ns();
        if self.no_timer {
            // The other nodes' signs of life come often enough.
            self.net.tick(now_ns);
        }
        self.transmit(now_ns);
        while let Some(server) = self.net.next_to_tell() {
            platform.notify(ServerId::Net, server, CoreId(0));
        }
        while let Some(notice) = self.net.next_notice() {
            (self.log)(&notice);
        }
        let retry = self.stalled.is_some().then_some(now_ns + RETRY_NS);
        let Some(deadline_ns) = self.net.deadline_ns().into_iter().chain(retry).min() else {
            return;
        };
        if self.nic.is_none()
            || self.no_timer
            || self.armed_ns.is_some_and(|armed| armed <= deadline_ns)
        {
            return;
        }
        self.armed_ns = Some(deadline_ns);
        let mut msg = Msg { words: [deadline_ns, 0, 0, 0], ..Msg::default() };
        platform.call(ServerId::Net, ServerId::Timer, TIMER_ARM, &mut msg, &mut Bulk::none());
    }
}

impl Service for NetService {
    fn id(&self) -> ServerId {
        ServerId::Net
    }

    fn start(&self, platform: &mut dyn Platform) {
        let mut state = self.0.lock();
        state.net.tick(platform.now_ns());
        state.settle(platform);
    }

    fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let mut state = self.0.lock();
        let result = match op {
            NET_SEND => state.send(client, msg.words, bulk.data()).map(|()| Msg::default()),
            NET_TAKE => state
                .take(client, platform.now_ns(), bulk)
                .map(|words| Msg { words, ..Msg::default() }),
            LinkUse::NUMBER => {
                let used = LinkUse::get(msg).and_then(|link| state.net.figures(link.node));
                used.and_then(|figures| Msg::of(&figures))
            }
            PingStart::NUMBER if client != ServerId::Shell => Err(Errno::EPERM),
            PingStart::NUMBER => PingStart::get(msg)
                .and_then(|it| state.net.ping(it.node, it.count))
                .map(|()| Msg::default()),
            PingUse::NUMBER => {
                let used = PingUse::get(msg).and_then(|it| state.net.ping_figures(it.node));
                used.and_then(|figures| Msg::of(&figures))
            }
            Enrol::NUMBER if client != ServerId::Shell => Err(Errno::EPERM),
            Enrol::NUMBER => {
                let key = Enrol::get(msg).map(|enrol| Secret::new(enrol.key));
                let enrolled = key.and_then(|key| state.net.enrol(&key, platform.now_ns()));
                enrolled.and_then(|net_core::Enrolled { public, counts }| {
                    Msg::of(&Enrolled { public: public.0, counts })
                })
            }
            PeerKey::NUMBER if client != ServerId::Views => Err(Errno::EPERM),
            PeerKey::NUMBER => PeerKey::get(msg)
                .and_then(|PeerKey { node, key, address }| {
                    let added = address.map_or(Ok(()), |mac| state.net.add_peer(node, mac));
                    let key = key.map(PublicKey);
                    state.net.change_key(node, key, platform.now_ns()).and(added)
                })
                .map(|()| Msg::default()),
            LoadStart::NUMBER if client != ServerId::Shell => Err(Errno::EPERM),
            LoadStart::NUMBER => LoadStart::get(msg)
                .and_then(|it| state.net.load(it.node, it.bytes, it.raw))
                .map(|()| Msg::default()),
            LoadUse::NUMBER => {
                let used = LoadUse::get(msg).and_then(|it| state.net.load_figures(it.node));
                used.and_then(|figures| Msg::of(&figures))
            }
            StrayUse::NUMBER => Msg::of(&state.net.strays()),
            _ => Err(Errno::ENOSYS),
        };
        state.settle(platform);
        match result {
            Ok(reply) => {
                *msg = reply;
                Status::Done
            }
            Err(errno) => Status::Failed(errno),
        }
    }

    fn collect(&self, platform: &mut dyn Platform, from: ServerId) {
        if from == ServerId::Timer {
            let mut state = self.0.lock();
            state.armed_ns = None;
            // What has arrived counts before anybody is called silent.
            let now_ns = state.receive(platform);
            state.net.tick(now_ns);
            state.settle(platform);
        }
    }

    fn server_down(&self, platform: &mut dyn Platform, server: ServerId) {
        let mut state = self.0.lock();
        if server == ServerId::Timer {
            state.no_timer = true;
        }
        state.net.server_down(server, platform.now_ns());
        state.settle(platform);
    }

    fn interrupt(&self, platform: &mut dyn Platform, _bit: u8) {
        let mut state = self.0.lock();
        state.receive(platform);
        state.settle(platform);
    }
}
