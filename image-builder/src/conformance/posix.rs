// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Open POSIX Test Suite 1.5.2, Debian's posixtestsuite: one program for each assertion.

use super::source::Source;
use crate::process::output;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TESTS: Source = Source {
    path: "pool/main/p/posixtestsuite/posixtestsuite_1.5.2.orig.tar.gz",
    sha256: "15a2185672127cba851d35ec9d538ff6148defdbb75f99c7e9c50aeba0f94757",
};
/// Asynchronous I/O is left out.
const LEFT_OUT: [&str; 2] = ["aio_", "lio_"];

/// Runs each program, by turns on all nodes. What they end with: 0 passed, 1 failed, 2 unresolved, 4 unsupported,
/// 5 untested (include/posixtest.h). Some wait for half a minute.
const RUNNER: &str = r#"#!/bin/sh
nodes=$1 only=$2
mkdir -p /tmp/judge
cd /tmp/judge
number=0
for program in /judge/posix/*; do
    name=${program##*/}
    [ -z "$only" ] || echo "$name" | grep -q "$only" || continue
    number=$((number + 1))
    on=
    [ $nodes = 1 ] || on="onnode $((number % nodes + 1))"
    $on timeout -s KILL 90 "$program" </dev/null >/tmp/judge.out 2>&1
    case $? in
        0) echo "PASS: $name" ;;
        4|5) echo "UNTESTED: $name" ;;
        *) echo "FAIL: $name" ;;
    esac
done
"#;

/// Makes the folder: the programs, and the C library that they are linked with.
///
/// # Errors
/// The source cannot be fetched, a file not written, or hardly any program be built.
pub fn prepare(folder: &Path, overlay: &Path) -> Result<()> {
    let tests = TESTS.unpack(folder)?.join("posixtestsuite");
    let to = overlay.join("judge/posix");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let runner = overlay.join(super::RUNNER);
    fs::write(&runner, RUNNER).with_context(|| format!("cannot write {}", runner.display()))?;
    let marker = folder.join("built");
    if !marker.is_file() {
        let built = build_all(&tests, &to)?;
        eprintln!("{built} programs of the Open POSIX Test Suite are built");
        fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;
    }
    libraries(&to, overlay)
}

fn build_all(tests: &Path, to: &Path) -> Result<usize> {
    let mut built = 0;
    let folders = sorted(&tests.join("conformance/interfaces"))?;
    for (number, folder) in folders.iter().enumerate() {
        eprint!("\rbuilding the Open POSIX Test Suite: {}/{} ", number + 1, folders.len());
        let interface = folder.file_name().unwrap_or_default().to_string_lossy();
        if LEFT_OUT.iter().any(|prefix| interface.starts_with(prefix)) {
            continue;
        }
        for source in sorted(folder)? {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            // An assertion's number, as in 3-1.c; the others are parts of these, or are only built.
            let is_case = stem.starts_with(|c: char| c.is_ascii_digit())
                && source.extension().is_some_and(|it| it == "c")
                && !stem.ends_with("-buildonly");
            let program = to.join(format!("{interface}.{stem}"));
            built += usize::from(is_case && build(tests, &source, &program)?);
        }
    }
    eprintln!();
    if built == 0 { bail!("no program of {} could be built", tests.display()) } else { Ok(built) }
}

/// Whether it could be built: some use what C libraries of today do not have.
fn build(tests: &Path, source: &Path, program: &Path) -> Result<bool> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-w", "-O1", "-s", "-std=gnu99", "-D_POSIX_C_SOURCE=200112L", "-D_XOPEN_SOURCE=600"]);
    gcc.arg("-I").arg(tests.join("include")).arg("-o").arg(program).arg(source);
    gcc.args(["-lpthread", "-lrt", "-lm"]).stderr(Stdio::null());
    Ok(gcc.status().context("cannot start gcc: is it installed?")?.success())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    let mut paths = entries.map(|it| it.map(|it| it.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// Copies the shared libraries that the programs name, and their loader.
fn libraries(programs: &Path, overlay: &Path) -> Result<()> {
    let Some(program) = sorted(programs)?.into_iter().next() else { bail!("there is no program") };
    for line in output(Command::new("ldd").arg(&program))?.lines() {
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            continue;
        };
        let to = overlay.join(path.trim_start_matches('/'));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::copy(path, &to).with_context(|| format!("cannot copy {path}"))?;
    }
    Ok(())
}
