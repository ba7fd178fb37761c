// SPDX-License-Identifier: MIT OR Apache-2.0
//! How `./korrigan ctl` reaches a cluster that runs in another terminal: a Unix socket in the run's
//! folder, and what is said over it.
//!
//! # Model
//! ```text
//! ctl ── "korrigan 1 kill 3\n" ──> Server ── Event::Asked ──> who reads the cluster's events
//!     <── {"version":1,"done":…}\n ──      <── Answer ──────
//! ```
//! One request per connection. After `console N` is answered, the connection carries bytes: what
//! the console shows one way, what is typed the other.
//!
//! # Limits
//! Requests have [`REQUEST_BYTES_MAX`] bytes, answers [`ANSWER_BYTES_MAX`]. See [`server`] for how
//! many clients and how long they may take.
//!
//! # Failure
//! The socket of a tool that was killed stays in its folder, and refuses connections: [`find`]
//! passes it over.

pub mod client;
pub mod find;
mod server;
mod stream;

pub use server::{Patience, Server};

use crate::cluster::Status;
use anyhow::{Context, Result, ensure};
use cluster_tests::Order;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

/// Version of what is said; another one is refused.
const VERSION: u32 = 1;
/// First word of every request.
const NAME: &str = "korrigan";
/// Bytes of a request with its line feed: the longest order has about 50.
const REQUEST_BYTES_MAX: usize = 256;
/// Bytes of an answer: a list of 64 nodes with all their links has about 600,000.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Folder, in the run's, that only its owner can enter, and the socket in it.
const FOLDER: &str = "control";
const SOCKET: &str = "socket";

/// What is asked of whoever runs the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// What is the cluster doing?
    List,
    /// Do this.
    Order(Order),
}

/// What a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Something of whoever runs the cluster.
    Request(Request),
    /// To see the console of the node with this number, and to type on it.
    Console(u16),
}

/// What a client is told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is done, and this is what was done.
    Done(String),
    /// It is not done, and this is why and what to do.
    Refused(String),
    /// What the cluster is doing.
    Cluster(Status),
    /// From here on the connection is the console.
    Console,
}

/// A request on its way to whoever runs the cluster.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; it has room for one.
    pub answer: SyncSender<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    rest: T,
}

#[derive(Deserialize)]
struct Anything {}

impl Call {
    /// The line that says it, with its line feed.
    pub fn line(&self) -> String {
        match self {
            Self::Request(Request::List) => format!("{NAME} {VERSION} list\n"),
            Self::Request(Request::Order(order)) => format!("{NAME} {VERSION} {order}\n"),
            Self::Console(node) => format!("{NAME} {VERSION} console {node}\n"),
        }
    }

    /// What a line says, without its line feed.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        if words.next() != Some(NAME) {
            return Err(format!("a request begins with `{NAME} {VERSION}`"));
        }
        match words.next().map(str::parse::<u32>) {
            Some(Ok(VERSION)) => {}
            Some(Ok(version)) => return Err(other_version(version)),
            Some(Err(_)) | None => return Err(format!("a request begins with `{NAME} {VERSION}`")),
        }
        let rest: Vec<&str> = words.collect();
        match rest[..] {
            ["list"] => Ok(Self::Request(Request::List)),
            ["console", node] => match node.parse() {
                Ok(node) => Ok(Self::Console(node)),
                Err(_) => Err(format!("`{node}` must be a node's number")),
            },
            _ => Order::parse(&rest.join(" ")).map(|order| Self::Request(Request::Order(order))),
        }
    }
}

impl Answer {
    /// The line that says it, with its line feed.
    fn line(&self) -> String {
        let versioned = Versioned { version: VERSION, rest: self };
        // Nothing in an answer can fail to be JSON; if it does, that is the answer.
        let text = serde_json::to_string(&versioned)
            .unwrap_or_else(|error| format!("{{\"version\":{VERSION},\"refused\":\"{error}\"}}"));
        text + "\n"
    }

    /// What a line says.
    ///
    /// # Errors
    /// It is no answer, or one of another version.
    fn parse(line: &str) -> Result<Self> {
        let what = "this is no answer of a cluster";
        let Versioned { version, rest: Anything {} } = serde_json::from_str(line).context(what)?;
        ensure!(version == VERSION, other_version(version));
        Ok(serde_json::from_str::<Versioned<Self>>(line).context(what)?.rest)
    }
}

fn other_version(version: u32) -> String {
    format!(
        "one side speaks version {version} of this, the other {VERSION}: use the ./korrigan that \
         the cluster was started with"
    )
}

/// A run's folder, held open: a socket's path may have 107 bytes only, so that it is named through
/// this process's table of files.
struct Short {
    folder: File,
}

impl Short {
    fn open(run: &Path) -> Result<Self> {
        let path = run.join(FOLDER);
        let folder =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { folder })
    }

    fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.folder.as_raw_fd()).into()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
