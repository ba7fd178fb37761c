// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the direction of dependencies: task -> core -> api -> abi, and calls down the asks column
//! only. That rule keeps the system free of deadlock, so it is enforced and not remembered.
//!
//! # Model
//! A package's place in the tree says what it is ([`Part`]); each of its dependencies inside the
//! workspace must be one that this kind may have.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A package of the workspace and what it depends on.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, from the workspace's root.
    pub folder: String,
    /// Its dependencies: names, without those of tests.
    pub dependencies: Vec<String>,
}

/// Which server asks which: DESIGN's table, with the drivers that everybody may ask left out.
const ASKS: [(&str, &[&str]); 11] = [
    ("console", &[]),
    ("timer", &[]),
    ("net", &[]),
    ("disk", &[]),
    ("mem", &["net"]),
    ("fs", &["mem", "net", "disk"]),
    ("ipc", &["mem", "fs", "net"]),
    ("proc", &["mem", "fs", "ipc", "net"]),
    ("ckpt", &["proc", "mem", "fs"]),
    ("shell", &["net", "disk", "mem", "fs", "ipc", "proc", "ckpt"]),
    ("views", &["net", "disk", "mem", "fs", "ipc", "proc", "ckpt", "shell"]),
];

/// What a package is, by its place in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Abi,
    /// servers/cluster and servers/runtime: what every server is made with.
    Common,
    Microkernel,
    Api(String),
    Core(String),
    Task(String),
    /// servers/drivers, servers/domain and servers/root: what touches seL4 and devices.
    Machine,
    /// Programs for Linux and for the host.
    Program,
    Outside,
}

/// The packages of the workspace, from what `cargo metadata` prints.
///
/// # Errors
/// It is not what `cargo metadata` prints.
pub fn packages(metadata: &str, root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Raw>,
    }
    #[derive(Deserialize)]
    struct Raw {
        name: String,
        manifest_path: String,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
    }
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cannot read what `cargo metadata` printed")?;
    let packages = metadata.packages.into_iter().map(|raw| {
        let manifest = Path::new(&raw.manifest_path);
        let folder = manifest.parent().unwrap_or(manifest).strip_prefix(root).unwrap_or(manifest);
        let shipped = |dependency: &Dependency| dependency.kind.as_deref() != Some("dev");
        let dependencies = raw.dependencies.into_iter().filter(shipped).map(|d| d.name).collect();
        Package { name: raw.name, folder: folder.to_string_lossy().into_owned(), dependencies }
    });
    Ok(packages.collect())
}

/// Every dependency that must not be, as a sentence.
pub fn check(packages: &[Package]) -> Vec<String> {
    let parts: BTreeMap<&str, Part> =
        packages.iter().map(|package| (package.name.as_str(), part(&package.folder))).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let from = part(&package.folder);
        for name in &package.dependencies {
            let to = parts.get(name.as_str()).unwrap_or(&Part::Outside);
            if let Err(why) = allowed(&from, to) {
                wrong.push(format!("{} depends on {name}: {why}", package.name));
            }
        }
    }
    wrong
}

fn part(folder: &str) -> Part {
    let parts: Vec<&str> = folder.split('/').collect();
    let server = |name: &str| name.strip_suffix("-server").unwrap_or(name).to_owned();
    match parts.as_slice() {
        ["servers", "abi"] => Part::Abi,
        ["servers", "cluster" | "runtime"] => Part::Common,
        ["servers", "root" | "domain"] | ["servers", "drivers", _] => Part::Machine,
        ["microkernel", "kernel"]
        | ["image-builder"]
        | ["tests", _]
        | ["servers", "shell", "tools"] => Part::Program,
        ["microkernel", ..] => Part::Microkernel,
        ["servers", "drivers", name, "api"] | ["servers", name, "api"] | [name, "api"] => {
            Part::Api(server(name))
        }
        ["servers", name, "core"] | [name, "core"] => Part::Core(server(name)),
        ["servers", name, "task"] | [name, "task"] => Part::Task(server(name)),
        _ => Part::Outside,
    }
}

fn allowed(from: &Part, to: &Part) -> Result<(), String> {
    let no = |why: &str| Err(why.to_owned());
    match (from, to) {
        (_, Part::Outside) | (Part::Program | Part::Outside, _) => Ok(()),
        (_, Part::Program) => no("nothing that runs on seL4 depends on a program"),
        (Part::Abi, _) => no("abi is the bottom and depends on nothing here"),
        (_, Part::Abi) => Ok(()),
        (Part::Microkernel, Part::Microkernel) => Ok(()),
        (Part::Microkernel, _) => no("microkernel/ knows nothing of the servers"),
        (Part::Common | Part::Api(_) | Part::Core(_), Part::Microkernel) => {
            no("what decides never depends on microkernel/")
        }
        (Part::Common, Part::Common) => Ok(()),
        (Part::Common, _) => no("what all servers share knows none of them"),
        (_, Part::Common) => Ok(()),
        (Part::Api(a) | Part::Core(a), Part::Api(b)) => asks(a, b),
        (Part::Api(_), _) => no("an api depends on apis and abi only"),
        (Part::Core(_), _) => no("a core depends on apis and abi only"),
        (Part::Task(a), Part::Core(b) | Part::Task(b)) if a != b => {
            no("a task runs its own core; it meets other servers through their api")
        }
        (Part::Task(_), Part::Machine)
        | (Part::Task(_) | Part::Machine, Part::Api(_) | Part::Core(_) | Part::Task(_))
        | (Part::Task(_) | Part::Machine, Part::Microkernel)
        | (Part::Machine, Part::Machine) => Ok(()),
    }
}

fn asks(from: &str, to: &str) -> Result<(), String> {
    let drivers = ["console", "timer"];
    let row = ASKS.iter().find(|(server, _)| *server == from).map(|(_, row)| *row);
    let row = row.ok_or_else(|| format!("{from} has no row in the table of who asks whom"))?;
    if from == to || drivers.contains(&to) || row.contains(&to) {
        return Ok(());
    }
    Err(format!("{from} may not ask {to}; what goes up goes as an upcall through `take`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|&name| name.to_owned()).collect();
        Package { name: name.to_owned(), folder: folder.to_owned(), dependencies }
    }

    fn with(dependant: Package) -> Vec<String> {
        check(&[
            package("abi", "servers/abi", &[]),
            package("runtime", "servers/runtime", &["abi"]),
            package("microkernel-sys", "microkernel/sys", &[]),
            package("mem-api", "mem-server/api", &["abi"]),
            package("mem-core", "mem-server/core", &["mem-api"]),
            package("proc-api", "proc-server/api", &["abi"]),
            package("ipc-api", "servers/ipc/api", &["abi"]),
            dependant,
        ])
    }

    #[test]
    fn calls_down_the_column_are_allowed() {
        let core = ["proc-api", "mem-api", "ipc-api", "runtime", "abi", "serde"];
        assert!(with(package("proc-core", "proc-server/core", &core)).is_empty());
        let task = ["mem-core", "mem-api", "microkernel-sys", "proc-api"];
        assert!(with(package("mem-task", "mem-server/task", &task)).is_empty());
    }

    #[test]
    fn calls_up_the_column_are_refused() {
        let wrong = with(package("fs-core", "fs-server/core", &["proc-api"]));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("fs may not ask proc"), "{wrong:?}");
    }

    #[test]
    fn core_on_kernel_or_core_is_refused() {
        for dependency in ["microkernel-sys", "mem-core"] {
            let wrong = with(package("proc-core", "proc-server/core", &[dependency]));
            assert_eq!(wrong.len(), 1, "{wrong:?}");
        }
        assert_eq!(with(package("proc-task", "proc-server/task", &["mem-core"])).len(), 1);
    }

    #[test]
    fn bottom_depends_on_nothing_above() {
        assert_eq!(with(package("cluster", "servers/cluster", &["mem-api"])).len(), 1);
        assert_eq!(with(package("microkernel-rt", "microkernel/rt", &["runtime"])).len(), 1);
    }

    #[test]
    fn metadata_is_read_without_test_dependencies() {
        let metadata = r#"{"packages": [{"name": "a", "manifest_path": "/w/servers/abi/Cargo.toml",
            "dependencies": [{"name": "serde", "kind": null}, {"name": "proptest", "kind": "dev"}]}]}"#;
        let packages = packages(metadata, Path::new("/w")).expect("it is metadata");
        assert_eq!(packages[0].folder, "servers/abi");
        assert_eq!(packages[0].dependencies, ["serde"]);
    }
}
