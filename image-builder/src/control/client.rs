// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks a running cluster through its control socket.

use super::stream::{read_line, write_all};
use super::{ANSWER_BYTES_MAX, Answer, Call, Short};
use anyhow::{Context, Result};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for request and answer: a little more than the cluster has.
const CALL_TIME: Duration = Duration::from_secs(15);

/// Connects to the cluster whose run's folder this is.
///
/// # Errors
/// Nobody serves the socket.
pub fn connect(run: &Path) -> Result<UnixStream> {
    let short = Short::open(run)?;
    UnixStream::connect(short.socket()).context("nobody serves the control socket")
}

/// Asks; returns the answer, and the connection for what follows it.
///
/// # Errors
/// Nobody serves the socket, or the answer does not come or is none.
pub fn call(run: &Path, call: &Call) -> Result<(Answer, UnixStream)> {
    let stream = connect(run)?;
    let deadline = Instant::now() + CALL_TIME;
    // A server that has no time for us answers and closes before it has read: the answer counts.
    let sent = write_all(&stream, call.line().as_bytes(), deadline);
    let line = read_line(&stream, ANSWER_BYTES_MAX, deadline);
    let line = line.or_else(|error| sent.and(Err(error))).with_context(|| {
        format!(
            "the cluster does not answer: is its terminal stopped? Its folder is {}",
            run.display()
        )
    })?;
    Ok((Answer::parse(&line)?, stream))
}
