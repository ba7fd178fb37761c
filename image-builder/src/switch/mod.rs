// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the switch between the nodes' QEMUs: a UDP socket per node on 127.0.0.1, one thread.
//!
//! # Model
//! QEMU's `dgram` netdev sends each frame as one datagram. Our socket of a node is connected to
//! QEMU's, so that nobody else's datagrams get in.
//!
//! # Failure
//! A QEMU that is not there (yet, or any more) loses its frames, as a link without a peer does. One
//! that is booted again may have another socket: see [`SwitchThread::replug`].

mod core;

pub use core::{Counters, Link, Traffic};

use core::Switch;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Longest datagram: QEMU's largest frame.
const FRAME_BYTES_MAX: usize = 68 * 1024;
/// Frames taken from one port before the others get their turn.
const BURST_MAX: usize = 64;
/// Bytes that a port's socket may hold; the system may grant less. A burst of 64 KiB pages from
/// several nodes must fit while this thread waits for its turn on a busy machine.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds after which the thread looks whether it should end.
const IDLE_MS: u64 = 100;

/// Our end of a node's link.
pub struct PortSocket {
    socket: UdpSocket,
    qemu_port: u16,
}

impl PortSocket {
    /// Binds our end and finds a port that QEMU can bind for its own.
    ///
    /// Another program may take QEMU's port before QEMU does; QEMU then ends at once and says so,
    /// and the caller tries again with a new socket.
    ///
    /// # Errors
    /// The system has no ports left.
    pub fn new() -> Result<Self> {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let bind = || UdpSocket::bind(any).context("cannot bind a UDP port on 127.0.0.1");
        let (socket, qemu) = (bind()?, bind()?);
        let qemu_address = qemu.local_addr().context("a bound socket has no address")?;
        socket.connect(qemu_address).context("cannot connect on 127.0.0.1")?;
        socket.set_nonblocking(true).context("cannot make a socket non-blocking")?;
        // Best effort: what the system grants is enough for all but long bursts.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES);
        Ok(Self { socket, qemu_port: qemu_address.port() })
    }

    /// What QEMU's `-netdev` takes for its end.
    pub fn netdev(&self, id: &str) -> Result<String> {
        let ours = self.socket.local_addr().context("a bound socket has no address")?.port();
        Ok(format!(
            "dgram,id={id},local.type=inet,local.host=127.0.0.1,local.port={},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={ours}",
            self.qemu_port
        ))
    }
}

/// Sockets that the thread takes in place of a port's old one.
type Plugs = Mutex<BTreeMap<usize, UdpSocket>>;

/// The running switch; it ends when this is dropped.
pub struct SwitchThread {
    switch: Arc<Mutex<Switch>>,
    plugs: Arc<Plugs>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SwitchThread {
    /// Starts the switch over these sockets; a port's number is its index.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(ports: Vec<PortSocket>, seed: u64) -> Result<Self> {
        let switch = Arc::new(Mutex::new(Switch::new(ports.len(), seed)));
        let plugs = Arc::new(Plugs::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            sockets: ports.into_iter().map(|port| port.socket).collect(),
            switch: Arc::clone(&switch),
            plugs: Arc::clone(&plugs),
            stop: Arc::clone(&stop),
            start: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("switch".to_owned())
            .spawn(move || worker.run())
            .context("cannot start the switch's thread")?;
        Ok(Self { switch, plugs, stop, thread: Some(thread) })
    }

    /// Sets the rule of the link from one port to another.
    pub fn set_link(&self, from: usize, to: usize, link: Link) {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner).set_link(from, to, link);
    }

    /// The rule of the link from one port to another, and what passed over it so far.
    pub fn link(&self, from: usize, to: usize) -> (Link, Traffic) {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner).link(from, to)
    }

    /// Gives a port another socket: a node that was booted again could not have its old one. Frames
    /// wait in the new one until the thread takes it, at most [`IDLE_MS`].
    pub fn replug(&self, port: usize, socket: PortSocket) {
        self.plugs.lock().unwrap_or_else(PoisonError::into_inner).insert(port, socket.socket);
    }

    /// What passed and what did not, so far.
    pub fn counters(&self) -> Counters {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner).counters()
    }
}

impl Drop for SwitchThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already, and there is nothing left to end.
            let _ = thread.join();
        }
    }
}

struct Worker {
    sockets: Vec<UdpSocket>,
    switch: Arc<Mutex<Switch>>,
    plugs: Arc<Plugs>,
    stop: Arc<AtomicBool>,
    start: Instant,
}

impl Worker {
    fn run(&mut self) {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        while !self.stop.load(Ordering::Relaxed) {
            self.wait();
            let plugs =
                std::mem::take(&mut *self.plugs.lock().unwrap_or_else(PoisonError::into_inner));
            for (port, socket) in plugs {
                self.sockets[port] = socket;
            }
            for port in 0..self.sockets.len() {
                self.drain(port, &mut buffer);
            }
            self.deliver_due();
        }
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Waits for a frame, or until a delayed one is due.
    fn wait(&self) {
        let due_us = self.switch.lock().unwrap_or_else(PoisonError::into_inner).next_due_us();
        let idle_us = IDLE_MS * 1000;
        let wait_us = due_us.map_or(idle_us, |due| due.saturating_sub(self.now_us()).min(idle_us));
        let timeout = Timespec { tv_sec: 0, tv_nsec: (wait_us * 1000) as i64 };
        let mut fds: Vec<_> =
            self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn drain(&self, port: usize, buffer: &mut [u8]) {
        for _ in 0..BURST_MAX {
            let Ok(len) = self.sockets[port].recv(buffer) else { return };
            let frame = &buffer[..len];
            let now_us = self.now_us();
            let targets = {
                let mut switch = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
                switch.frame(now_us, port, frame)
            };
            for target in targets {
                self.send(target, frame);
            }
        }
    }

    fn deliver_due(&self) {
        loop {
            let now_us = self.now_us();
            let due = self.switch.lock().unwrap_or_else(PoisonError::into_inner).due(now_us);
            let Some((port, frame)) = due else { return };
            self.send(port, &frame);
        }
    }

    fn send(&self, port: usize, frame: &[u8]) {
        // A peer that is not there loses the frame: that is what an Ethernet does.
        let _ = self.sockets[port].send(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn qemu_end(port: &PortSocket) -> UdpSocket {
        let qemu = UdpSocket::bind((Ipv4Addr::LOCALHOST, port.qemu_port)).expect("it is free");
        qemu.connect(port.socket.local_addr().expect("it is bound")).expect("it connects");
        qemu.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out is taken");
        qemu
    }

    #[test]
    fn frame_of_one_node_reaches_the_other() {
        let ports = [PortSocket::new().expect("a port"), PortSocket::new().expect("a port")];
        let ends = [qemu_end(&ports[0]), qemu_end(&ports[1])];
        let switch = SwitchThread::start(ports.into(), 1).expect("it starts");
        let frame = [0xff; 9014];
        ends[0].send(&frame).expect("it sends");
        let mut buffer = [0; 10_000];
        assert_eq!(ends[1].recv(&mut buffer).expect("it arrives"), frame.len());
        assert_eq!(switch.counters().forwarded, 1);

        switch.set_link(1, 0, Link { delay_us: 20_000, ..Link::default() });
        ends[1].send(&frame).expect("it sends");
        assert_eq!(ends[0].recv(&mut buffer).expect("it arrives late"), frame.len());
    }

    #[test]
    fn node_behind_another_socket_is_reached_again() {
        let ports = [PortSocket::new().expect("a port"), PortSocket::new().expect("a port")];
        let sender = qemu_end(&ports[0]);
        let switch = SwitchThread::start(ports.into(), 1).expect("it starts");
        let port = PortSocket::new().expect("a port");
        let end = qemu_end(&port);
        switch.replug(1, port);
        end.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out is taken");
        let mut buffer = [0; 100];
        // The switch takes the socket when it wakes; until then frames go to the old one.
        let arrived = (0..100).any(|_| {
            sender.send(&[0xff; 60]).expect("it sends");
            end.recv(&mut buffer).is_ok()
        });
        assert!(arrived);
    }

    #[test]
    fn netdev_names_both_ports() {
        let port = PortSocket::new().expect("a port");
        let text = port.netdev("n0").expect("it is bound");
        assert!(text.starts_with("dgram,id=n0,") && text.contains(&port.qemu_port.to_string()));
    }
}
