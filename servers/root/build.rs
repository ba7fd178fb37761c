// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links a static program without start files at a fixed address.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in ["-nostartfiles", "-static", "-no-pie"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
