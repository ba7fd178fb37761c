// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves the control socket of a running cluster.
//!
//! # Model
//! One thread accepts; each client has a thread of its own, which puts its request among the
//! cluster's events and waits for the answer. So whoever runs the cluster is the only one who
//! touches it, and waits for no client.
//!
//! # Limits
//! [`CLIENTS_MAX`] requests and [`VIEWERS_MAX`] consoles at a time; one more is told so. [`Patience`]
//! says how long each may take.

use super::stream::{read_line, write_all};
use super::{Answer, Asked, Call, FOLDER, REQUEST_BYTES_MAX, Request, Short};
use crate::cluster::{Console, Event};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, DirBuilder, Permissions};
use std::io::Read;
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests that are served at a time.
const CLIENTS_MAX: usize = 8;
/// Consoles that are looked at from outside at a time, of all nodes together.
const VIEWERS_MAX: usize = 8;
/// Time after which threads look whether they should end.
const IDLE: Duration = Duration::from_millis(100);
/// Time between two attempts to put an event into a full queue.
const RETRY: Duration = Duration::from_millis(10);
/// Bytes of what is typed that are read at a time.
const TYPED_BYTES: usize = 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time in which a client must have asked.
    pub request: Duration,
    /// Time in which the cluster must have answered: it may be busy with a command on this machine.
    pub answer: Duration,
    /// Time in which a client must have taken what is written to it.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [request, answer, write] = [5, 10, 5].map(Duration::from_secs);
        Self { request, answer, write }
    }
}

/// The control socket of a running cluster; it goes away when this is dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
}

/// What every client's thread needs.
#[derive(Clone)]
struct Service {
    events: SyncSender<Event>,
    /// The nodes' numbers and consoles, by index.
    consoles: Arc<[(u16, Arc<Console>)]>,
    stop: Arc<AtomicBool>,
    clients: Arc<AtomicUsize>,
    viewers: Arc<AtomicUsize>,
    patience: Patience,
}

/// One of a bounded number; given back when this is dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let seat = Self(Arc::clone(taken));
        if taken.fetch_add(1, Ordering::Relaxed) < max { Some(seat) } else { None }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Serves a socket in the run's folder `run`, for its owner only. What is asked goes to
    /// `events`; `consoles` are the nodes' numbers and consoles, by index.
    ///
    /// # Errors
    /// The folder can hold no socket.
    pub fn start(
        run: &Path,
        events: SyncSender<Event>,
        consoles: Vec<(u16, Arc<Console>)>,
        patience: Patience,
    ) -> Result<Self> {
        let folder = run.join(FOLDER);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = Short::open(run)?;
        let listener = UnixListener::bind(path.socket())
            .with_context(|| format!("cannot make a socket in {}", folder.display()))?;
        fs::set_permissions(path.socket(), Permissions::from_mode(0o600))
            .context("cannot make the socket its owner's only")?;
        listener.set_nonblocking(true).context("cannot make a socket non-blocking")?;
        let stop = Arc::new(AtomicBool::new(false));
        let service = Service {
            events,
            consoles: consoles.into(),
            stop: Arc::clone(&stop),
            clients: Arc::default(),
            viewers: Arc::default(),
            patience,
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || service.accept(&listener))
            .context("cannot start the control socket's thread")?;
        Ok(Self { stop, thread: Some(thread), folder })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already, and there is nothing left to end.
            let _ = thread.join();
        }
        // What cannot be removed is passed over as a socket that nobody serves.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Service {
    fn accept(&self, listener: &UnixListener) {
        let idle = Timespec { tv_sec: 0, tv_nsec: IDLE.as_nanos() as i64 };
        while !self.stop.load(Ordering::Relaxed) {
            // An interrupted wait is a short wait.
            let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&idle));
            let Ok((stream, _)) = listener.accept() else { continue };
            let Some(seat) = Seat::take(&self.clients, CLIENTS_MAX) else {
                // A new connection has room for a line: this does not wait.
                let _ = self.refuse(&stream, "too many ask at the same time: try again");
                continue;
            };
            let service = self.clone();
            let thread = std::thread::Builder::new().name("control-client".to_owned());
            // Without a thread the connection is closed, which the client sees.
            let _ = thread.spawn(move || service.client(stream, seat));
        }
    }

    fn client(&self, stream: UnixStream, seat: Seat) {
        let call = read_line(&stream, REQUEST_BYTES_MAX, Instant::now() + self.patience.request)
            .map_err(|error| format!("{error:#}"))
            .and_then(|line| Call::parse(&line));
        // A client that has gone needs no answer.
        let _ = match call {
            Ok(Call::Request(request)) => self.write(&stream, &self.ask(request)),
            Ok(Call::Console(id)) => {
                drop(seat);
                self.console(&stream, id)
            }
            Err(why) => self.refuse(&stream, &why),
        };
    }

    /// The answer of whoever runs the cluster.
    fn ask(&self, request: Request) -> Answer {
        let deadline = Instant::now() + self.patience.answer;
        let (sender, answer) = sync_channel(1);
        let mut event = Event::Asked(Asked { request, answer: sender });
        loop {
            event = match self.events.try_send(event) {
                Ok(()) => break,
                Err(TrySendError::Full(event)) if Instant::now() < deadline => event,
                Err(TrySendError::Full(_)) => return busy(),
                Err(TrySendError::Disconnected(_)) => return ended(),
            };
            std::thread::sleep(RETRY);
        }
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => busy(),
            Err(RecvTimeoutError::Disconnected) => ended(),
        }
    }

    /// Shows a console until one of both ends has had enough.
    fn console(&self, stream: &UnixStream, id: u16) -> Result<()> {
        let Some(index) = self.consoles.iter().position(|&(other, _)| other == id) else {
            let ids: Vec<String> = self.consoles.iter().map(|(id, _)| id.to_string()).collect();
            let ids = ids.join(", ");
            return self.refuse(stream, &format!("the cluster has no node {id}: it has {ids}"));
        };
        let Some(_seat) = Seat::take(&self.viewers, VIEWERS_MAX) else {
            let many = format!("{VIEWERS_MAX} consoles are looked at already: leave one of them");
            return self.refuse(stream, &many);
        };
        // First: what is printed from the answer on is shown.
        let pieces = self.consoles[index].1.watch();
        self.write(stream, &Answer::Console)?;
        let closed = Arc::new(AtomicBool::new(false));
        let typing = Typing {
            stream: stream.try_clone().context("cannot share a connection")?,
            events: self.events.clone(),
            node: index,
            closed: Arc::clone(&closed),
        };
        std::thread::Builder::new()
            .name("control-typing".to_owned())
            .spawn(move || typing.run())
            .context("cannot start a thread")?;
        let shown = self.show(stream, &pieces, &closed);
        // The other thread reads the same connection: now it ends, too.
        let _ = stream.shutdown(Shutdown::Both);
        shown
    }

    fn show(
        &self,
        stream: &UnixStream,
        pieces: &Receiver<Vec<u8>>,
        closed: &AtomicBool,
    ) -> Result<()> {
        while !closed.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
            match pieces.recv_timeout(IDLE) {
                Ok(bytes) => write_all(stream, &bytes, Instant::now() + self.patience.write)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let line = b"\r\n--- this terminal was too slow for the console ---\r\n";
                    return write_all(stream, line, Instant::now() + self.patience.write);
                }
            }
        }
        Ok(())
    }

    fn write(&self, stream: &UnixStream, answer: &Answer) -> Result<()> {
        write_all(stream, answer.line().as_bytes(), Instant::now() + self.patience.write)
    }

    fn refuse(&self, stream: &UnixStream, why: &str) -> Result<()> {
        self.write(stream, &Answer::Refused(why.to_owned()))
    }
}

/// Takes what somebody types who looks on.
struct Typing {
    stream: UnixStream,
    events: SyncSender<Event>,
    node: usize,
    closed: Arc<AtomicBool>,
}

impl Typing {
    fn run(mut self) {
        // No time-out: nothing may be typed for hours.
        let mut open = self.stream.set_read_timeout(None).is_ok();
        let mut buffer = [0; TYPED_BYTES];
        while open {
            open = match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => false,
                Ok(len) => {
                    let bytes = buffer[..len].to_vec();
                    self.events.send(Event::TypedAt { node: self.node, bytes }).is_ok()
                }
            };
        }
        self.closed.store(true, Ordering::Relaxed);
    }
}

fn busy() -> Answer {
    Answer::Refused("the cluster's terminal is busy and has not answered: try again".to_owned())
}

fn ended() -> Answer {
    Answer::Refused("the cluster has just ended".to_owned())
}
