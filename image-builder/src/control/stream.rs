// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines over a connection whose other end may be slow, silent or hostile.

use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Reads a line of at most `bytes_max` bytes, with its line feed, and nothing beyond it; returns it
/// without.
///
/// # Errors
/// The line is longer or no UTF-8, the other end closes before its end, or the time is up.
pub fn read_line(mut stream: &UnixStream, bytes_max: usize, deadline: Instant) -> Result<String> {
    let mut line = Vec::new();
    loop {
        stream.set_read_timeout(Some(left(deadline)?)).context("cannot set a time-out")?;
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => bail!("the line has no end"),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) => again(&error)?,
        }
        ensure!(line.len() < bytes_max, "the line has more than {bytes_max} bytes");
    }
    String::from_utf8(line).context("the line is not UTF-8")
}

/// Writes everything.
///
/// # Errors
/// The other end has gone, or the time is up.
pub fn write_all(mut stream: &UnixStream, mut bytes: &[u8], deadline: Instant) -> Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?)).context("cannot set a time-out")?;
        match stream.write(bytes) {
            Ok(0) => bail!("the connection takes nothing any more"),
            Ok(len) => bytes = &bytes[len..],
            Err(error) => again(&error)?,
        }
    }
    Ok(())
}

/// Time until the deadline.
fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(left > Duration::ZERO, "the time is up");
    Ok(left)
}

/// Passes over an interrupted or timed-out call: the deadline decides.
fn again(error: &std::io::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
        _ => bail!("the connection broke: {error}"),
    }
}
