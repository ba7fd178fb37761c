// SPDX-License-Identifier: MIT OR Apache-2.0
//! Generates the invocation labels and stubs from the kernel's own interface descriptions.
//!
//! The descriptions travel in the `sel4-sys` package, next to the kernel source that is built from
//! it, so bindings and kernel cannot drift apart. Which methods exist depends on the kernel's
//! configuration; `api::is_configured` states ours.

mod api;
mod emit;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The order matters: labels are numbered through the three files in turn.
const DESCRIPTIONS: [&str; 3] = [
    "include/interfaces/sel4.xml",
    "sel4_arch_include/x86_64/interfaces/sel4arch.xml",
    "arch_include/x86/interfaces/sel4arch.xml",
];

fn main() {
    println!("cargo::rerun-if-changed=build");
    let libsel4 = package_dir("sel4-sys").join("seL4/libsel4");
    let mut methods = Vec::new();
    for name in DESCRIPTIONS {
        let path = libsel4.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        api::parse(&text, &mut methods)
            .unwrap_or_else(|e| panic!("cannot understand {}: {e}", path.display()));
    }
    api::append_edits(&mut methods);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    write(&out.join("labels.rs"), &emit::labels(&methods));
    write(&out.join("invocations.rs"), &emit::invocations(&methods));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}

/// Where cargo unpacked `package`, which Cargo.lock pins.
fn package_dir(package: &str) -> PathBuf {
    // Offline first: a build must not need the network for what is already there.
    let metadata = metadata(&["--offline"])
        .or_else(|_| metadata(&[]))
        .unwrap_or_else(|e| panic!("cargo metadata: {e}"));
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|all| all.iter().find(|p| p["name"] == package))
        .and_then(|p| p["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("cargo metadata names no package {package}"));
    Path::new(manifest).parent().expect("a manifest lies in a folder").to_owned()
}

fn metadata(extra: &[&str]) -> Result<serde_json::Value, String> {
    let output = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["metadata", "--format-version=1"])
        .args(extra)
        .current_dir(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}
