// SPDX-License-Identifier: MIT OR Apache-2.0
//! The edits fit the source that Cargo.lock pins, and the kernel that they make is sound.
//!
//! Compiling it needs a python with the generators' modules: KORRIGAN_PYTHON, or the virtual environment that the
//! host tool makes under `target/`. Without one that test says so and ends.

use std::fs;
use std::path::{Path, PathBuf};

use microkernel_kernel::{EDITS_DIR, Options, build, edit, source};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn edits_apply_to_the_pinned_source() {
    let package = source::find(&workspace()).unwrap();
    assert_eq!(package.sel4_version, "5.0.0");
    let edits = edit::load(&workspace().join(EDITS_DIR)).unwrap();
    let tree = scratch("edited");
    source::copy(&package, &tree).unwrap();
    edit::apply_all(&edits, &tree).unwrap();
    fs::remove_dir_all(tree).unwrap();
}

#[test]
fn edits_of_the_plan_are_all_there() {
    let edits = edit::load(&workspace().join(EDITS_DIR)).unwrap();
    let numbers: Vec<&str> = edits.iter().map(|e| &e.name[..2]).collect();
    let plan = (1..=18).chain(20..=26);
    for number in plan {
        assert!(numbers.contains(&format!("{number:02}").as_str()), "edit {number} is missing");
    }
}

#[test]
fn edits_name_target_tests_that_exist() {
    let checks =
        fs::read_to_string(workspace().join("microkernel/kernel-tests/src/main.rs")).unwrap();
    for edit in edit::load(&workspace().join(EDITS_DIR)).unwrap() {
        let head = edit.text.split("@@ file").next().unwrap();
        let tests = &head[head.find("\ntest: ").unwrap()..];
        for name in tests.split('`').skip(1).step_by(2).filter(|n| !n.starts_with('-')) {
            assert!(checks.contains(&format!("\"{name}\"")), "{}: no check {name}", edit.name);
        }
    }
}

#[test]
fn kernel_builds_passes_its_checks_and_is_cached() {
    let Some(python) = python() else {
        eprintln!("skipped: no python with six, ply and tempita (set KORRIGAN_PYTHON)");
        return;
    };
    let out = scratch("kernel");
    let mut said = Vec::new();
    for _ in 0..2 {
        let mut progress = |line: &str| said.push(line.to_owned());
        let options = Options {
            workspace: &workspace(),
            out_dir: &out,
            debug: false,
            python: &python,
            progress: &mut progress,
        };
        let image = build(options).unwrap();
        assert!(image.elf64.exists() && image.elf32.exists());
    }
    assert!(said.iter().filter(|l| l.contains("compiling")).count() <= 1, "built twice: {said:?}");
}

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("KORRIGAN_PYTHON").map(PathBuf::from);
    let made = workspace().join("target/venv/bin/python");
    named.or_else(|| made.exists().then_some(made))
}
