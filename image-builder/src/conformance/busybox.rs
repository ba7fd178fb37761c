// SPDX-License-Identifier: MIT OR Apache-2.0
//! busybox's own tests, of the version that is Debian 12's busybox-static.

use super::source::Source;
use crate::process::run;
use crate::rootfs::busybox::Busybox;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const TESTS: Source = Source {
    path: "pool/main/b/busybox/busybox_1.35.0.orig.tar.bz2",
    sha256: "faeeb244c35a348a334f4a59e44626ee870fb07b6884d68c10ae8bc19f83a694",
};
/// Its packaging: how busybox-static is configured.
const PACKAGING: Source = Source {
    path: "pool/main/b/busybox/busybox_1.35.0-4+deb12u1.debian.tar.xz",
    sha256: "1cacbe095ef4880ea7879933c8e3c5075d1527cd6fbcb626a9b41e5daefd1a46",
};

/// Runs the tests of each applet, in as many parts as there are nodes, each on one of them. Those for which the
/// Internet is needed are left out.
const RUNNER: &str = r#"#!/bin/sh
nodes=$1 only=$2
cd /judge/busybox/testsuite
all=$(ls | sed -n 's/\.tests$//p'; for it in *; do [ -d "$it" ] && echo "$it"; done)
all=$(echo "$all" | sort -u | grep -vx wget)
[ -z "$only" ] || all=$(echo "$all" | grep -x "$only")
part=0
while [ $part -lt $nodes ]; do
    names=$(echo "$all" | awk -v part=$part -v nodes=$nodes 'NR % nodes == part')
    part=$((part + 1))
    on=
    [ $nodes = 1 ] || on="onnode $part"
    [ -z "$names" ] || HOME=/root $on sh ./runtest $names </dev/null 2>&1
done
"#;

/// Makes the folder: the tests, the configuration, busybox itself.
///
/// # Errors
/// A source cannot be fetched, or a file not written.
pub fn prepare(workspace: &Workspace, folder: &Path, overlay: &Path) -> Result<()> {
    let (tests, packaging) = (TESTS.unpack(folder)?, PACKAGING.unpack(folder)?);
    let to = overlay.join("judge/busybox");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let from = tests.join("busybox-1.35.0/testsuite");
    run(Command::new("cp").arg("-rT").arg(from).arg(to.join("testsuite")))?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, to.join(name)).with_context(|| format!("cannot copy {}", from.display()))
    };
    copy(&packaging.join("debian/config/pkg/static"), ".config")?;
    copy(&Busybox::path(workspace)?, "busybox")?;
    let runner = overlay.join(super::RUNNER);
    fs::write(&runner, RUNNER).with_context(|| format!("cannot write {}", runner.display()))
}
