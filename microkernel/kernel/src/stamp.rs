// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells whether a built kernel is still the one that its inputs would give.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::edit::Edit;
use crate::make;
use crate::source::Package;

const STAMP: &str = "stamp";
const LOCK: &str = "lock";

/// Everything that the kernel is made of.
pub struct Inputs<'a> {
    pub package: &'a Package,
    pub edits: &'a [Edit],
    pub autoconf: &'a str,
    pub debug: bool,
}

impl Inputs<'_> {
    /// A number that changes when an input does.
    pub fn fingerprint(&self) -> Result<u64> {
        let compiler = Command::new("gcc").arg("--version").output().context("cannot run gcc")?;
        let mut hash = Fnv::new();
        hash.add(self.package.name.as_bytes());
        hash.add(self.autoconf.as_bytes());
        hash.add(make::COMPILER_FLAGS.join(" ").as_bytes());
        hash.add(&[u8::from(self.debug)]);
        hash.add(&compiler.stdout);
        for edit in self.edits {
            hash.add(edit.name.as_bytes());
            hash.add(edit.text.as_bytes());
        }
        Ok(hash.0)
    }
}

/// FNV-1a, 64 bits: needs to notice changes, not to resist an attacker, and to be the same on every Rust version.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a field and its length, so that bytes cannot move from one field to the next unnoticed.
    fn add(&mut self, field: &[u8]) {
        let length = field.len().to_le_bytes();
        for byte in length.iter().chain(field) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Keeps other processes out of an output folder until dropped.
pub fn lock(out: &Path) -> Result<File> {
    let path = out.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Whether the last finished build in `out` had this fingerprint.
pub fn matches(out: &Path, fingerprint: u64) -> bool {
    fs::read_to_string(out.join(STAMP)).is_ok_and(|text| text == render(fingerprint))
}

/// Forgets the last build: until the next is finished there is none.
pub fn clear(out: &Path) -> Result<()> {
    let path = out.join(STAMP);
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Records a finished build.
pub fn write(out: &Path, fingerprint: u64) -> Result<()> {
    fs::write(out.join(STAMP), render(fingerprint)).context("cannot write the stamp")
}

fn render(fingerprint: u64) -> String {
    format!("{fingerprint:016x}\n")
}
