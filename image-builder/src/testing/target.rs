// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots a program in root's place that tests the kernel or the bindings and prints what it found.

use super::steps::Done;
use crate::guest;
use crate::process::typed;
use crate::qemu::{Accelerator, Machine, tied_to_us};
use crate::workspace::Workspace;
use abi::image::NodeEntry;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Time for one boot with all its checks, on a machine that has other work too.
const BOOT_TIME: Duration = Duration::from_secs(180);
/// Memory of the machine in MiB.
const MEMORY_MIB: u32 = 512;
/// Lines shown of a boot that failed.
const SHOWN_LINES: usize = 40;
/// Lines that wait to be looked at.
const LINES_MAX: usize = 64;

/// A program and the machine it is booted on.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    package: &'static str,
    program: &'static str,
    cores: u8,
    /// What it prints last.
    end: &'static str,
}

/// All of them.
pub const BOOTS: [Boot; 4] = [kernel_tests(1), kernel_tests(2), hello(1), hello(2)];

const fn kernel_tests(cores: u8) -> Boot {
    Boot { package: "kernel-tests", program: "kernel-tests", cores, end: "DONE" }
}

const fn hello(cores: u8) -> Boot {
    Boot { package: "microkernel-hello", program: "hello", cores, end: "hello: ok" }
}

impl Boot {
    /// Its name for the filter.
    pub fn name(&self) -> String {
        format!("target/{}/{}-core", self.program, self.cores)
    }
}

/// A QEMU that ends when this is dropped.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds and boots it.
///
/// # Errors
/// It does not build, a check fails, or it does not come to its end.
pub fn run(workspace: &Workspace, boot: &Boot) -> Result<Done> {
    let kernel = guest::kernel(workspace, false, &mut |_| {})?;
    let module = guest::for_sel4(workspace, &[boot.package])?.join(boot.program);
    let (cores, mac) = (boot.cores, [0; 6]);
    let node = NodeEntry { id: 1, cores, memory_mib: MEMORY_MIB, disk_mib: 0, mac };
    let (kernel, accelerator) = (kernel.elf32, Accelerator::find());
    let machine =
        Machine { node, kernel, module, accelerator, netdev: None, disk: None, counting: None };
    let mut command = machine.command();
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    println!("   {}", typed(&command));
    let mut command = tied_to_us(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut qemu = Qemu(command.spawn().context("cannot start QEMU")?);
    let lines = read_lines(qemu.0.stdout.take().context("a piped output is there")?);
    judge(&lines, boot.end)
}

fn read_lines(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// Reads to the end: every check must have passed.
fn judge(lines: &Receiver<String>, end: &str) -> Result<Done> {
    let deadline = Instant::now() + BOOT_TIME;
    let (mut all, mut failed) = (Vec::new(), 0);
    let stopped = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line == end => break None,
            Ok(line) => {
                if line.starts_with("FAIL") {
                    println!("   {line}");
                    failed += 1;
                }
                all.push(line);
            }
            Err(RecvTimeoutError::Timeout) => break Some("the time is up"),
            Err(RecvTimeoutError::Disconnected) => break Some("the machine stopped"),
        }
    };
    if let Some(why) = stopped {
        let tail = &all[all.len().saturating_sub(SHOWN_LINES)..];
        bail!("{why} before it printed {end:?}; its last lines:\n{}", tail.join("\n"));
    }
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    let passed = all.iter().filter(|line| line.starts_with("PASS")).count();
    if passed > 0 {
        println!("   {passed} checks of its own passed");
    }
    Ok(Done::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str]) -> Result<Done> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        for line in lines {
            sender.send((*line).to_owned()).expect("there is room");
        }
        drop(sender);
        judge(&receiver, "DONE")
    }

    #[test]
    fn boot_passes_only_if_it_ends_and_nothing_fails() {
        assert!(judged(&["PASS a", "DONE"]).is_ok());
        assert!(judged(&["PASS a", "FAIL b: why", "DONE"]).is_err());
        let error = judged(&["PASS a", "half a"]).expect_err("it does not end");
        assert!(error.to_string().contains("half a"), "{error}");
    }
}
