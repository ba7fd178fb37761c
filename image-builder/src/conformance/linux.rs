// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux under the same emulator, with the same busybox and the same overlay.

use crate::process;
use crate::qemu;
use crate::rootfs::busybox::Busybox;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The first program: mounts what programs expect, runs the suite, and ends the machine.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin HOME=/root
mkdir -p /proc /sys /dev /tmp /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
hostname node-1
ip link set lo up
sh /judge/run 1 ''
echo THE-END
poweroff -f
"#;

/// Runs the suite in `overlay`; what was printed.
///
/// # Errors
/// The kernel cannot be fetched, the machine not be started, or the time is up.
pub fn run(workspace: &Workspace, overlay: &Path, time: Duration) -> Result<String> {
    let folder = workspace.target().join("conformance/linux");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kernel = kernel(&folder)?;
    let archive = archive(workspace, overlay, &folder)?;
    let mut command = Command::new(qemu::PROGRAM);
    command.args(["-machine", "pc", "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-accel", "tcg", "-cpu", "max,-la57", "-smp", "1", "-m", "1024"]);
    command.args(["-display", "none", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
    command.args(["-append", "console=ttyS0 rdinit=/init quiet panic=-1"]);
    let mut tied = qemu::tied_to_us(&command);
    tied.stdin(Stdio::null()).stdout(Stdio::piped());
    let machine = Machine(tied.spawn().context("cannot start QEMU")?);
    listen(machine, Instant::now() + time)
}

/// QEMU, which ends with us.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listen(mut machine: Machine, deadline: Instant) -> Result<String> {
    let Some(console) = machine.0.stdout.take() else { bail!("QEMU has no output") };
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut printed = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.trim_end() == "THE-END" => return Ok(printed),
            Ok(line) => printed.push_str(&line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the time is up; the last lines:\n{}", tail(&printed))
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("Linux ended before the suite did; its last lines:\n{}", tail(&printed))
            }
        }
    }
}

fn tail(printed: &str) -> &str {
    let start = printed.len().saturating_sub(2000);
    let start = (start..printed.len()).find(|at| printed.is_char_boundary(*at)).unwrap_or(0);
    &printed[start..]
}

/// Debian's kernel for virtual machines.
fn kernel(folder: &Path) -> Result<PathBuf> {
    let boot = folder.join("kernel/boot");
    if let Some(found) = image_in(&boot) {
        return Ok(found);
    }
    let shown = process::output(Command::new("apt-cache").args([
        "show",
        "--no-all-versions",
        "linux-image-cloud-amd64",
    ]))
    .context("`--on-linux` needs Debian's package linux-image-cloud-amd64")?;
    let package = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
    let package = package
        .and_then(|it| it.split([' ', ',']).next())
        .context("the package names no kernel")?;
    eprintln!("fetching {package}");
    let mut fetch = Command::new("apt-get");
    fetch.args(["download", "-q", "-o", "APT::Sandbox::User=root", package]).current_dir(folder);
    run_quietly(&mut fetch)?;
    let file = fs::read_dir(folder)?.flatten().map(|it| it.path());
    let file = file.into_iter().find(|it| it.extension().is_some_and(|it| it == "deb"));
    let file = file.with_context(|| format!("{package} is not in {}", folder.display()))?;
    run_quietly(Command::new("dpkg").arg("-x").arg(file).arg(folder.join("kernel")))?;
    image_in(&boot).with_context(|| format!("{package} holds no kernel"))
}

fn run_quietly(command: &mut Command) -> Result<()> {
    process::run(command.stdout(Stdio::null()))
}

fn image_in(boot: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(boot).ok()?.flatten();
    let is_kernel = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    files.map(|it| it.path()).find(is_kernel)
}

/// The root file system as the kernel takes it: busybox under all its names, and the overlay.
fn archive(workspace: &Workspace, overlay: &Path, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    let _ = fs::remove_dir_all(&root);
    for name in ["bin", "etc", "root"] {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let busybox = Busybox::find(workspace)?;
    fs::copy(Busybox::path(workspace)?, root.join("bin/busybox")).context("cannot copy busybox")?;
    for name in busybox.names().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(name)).context("cannot link busybox")?;
    }
    for (name, text) in [
        ("init", INIT),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
    ] {
        fs::write(root.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    process::run(Command::new("chmod").arg("755").arg(root.join("init")))?;
    process::run(Command::new("cp").arg("-rT").arg(overlay).arg(&root))?;
    let to = folder.join("root.cpio");
    let script = r#"cd "$1" && find . | "$3" cpio -o -H newc >"$2" 2>/dev/null"#;
    let program = root.join("bin/busybox");
    process::run(Command::new("sh").args(["-c", script, "sh"]).arg(&root).arg(&to).arg(program))?;
    Ok(to)
}
