// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the source text: where unsafe code may be, and that every file names its licence.

use super::layers::Package;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Folders whose packages may hold unsafe code: they touch seL4, devices or raw memory, or call the C library.
const UNSAFE: [&str; 6] = [
    "microkernel/",
    "servers/runtime",
    "servers/drivers/",
    "servers/domain",
    "servers/root",
    "servers/shell/tools",
];
const FORBID: &str = "#![forbid(unsafe_code)]";
const LICENCE: &str = "SPDX-License-Identifier:";

/// Every package that should forbid unsafe code and does not, and every file without a licence.
///
/// # Errors
/// A file cannot be read.
pub fn check(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in packages {
        let folder = root.join(&package.folder);
        if !may_be_unsafe(&package.folder) {
            check_forbids(&folder, &package.name, &mut wrong)?;
        }
        check_licences(&folder, &mut wrong)?;
    }
    wrong.sort();
    wrong.dedup();
    Ok(wrong)
}

fn may_be_unsafe(folder: &str) -> bool {
    UNSAFE.iter().any(|prefix| format!("{folder}/").starts_with(prefix))
}

fn check_forbids(folder: &Path, name: &str, wrong: &mut Vec<String>) -> Result<()> {
    for file in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)) {
        if file.is_file() && !read(&file)?.contains(FORBID) {
            wrong.push(format!("{name}: {} lacks {FORBID}", file.display()));
        }
    }
    Ok(())
}

fn check_licences(folder: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            check_licences(&path, wrong)?;
        } else if needs_licence(&path) {
            let text = read(&path)?;
            if !text.lines().take(3).any(|line| line.contains(LICENCE)) {
                wrong.push(format!("{} does not begin with {LICENCE}", path.display()));
            }
        }
    }
    Ok(())
}

fn needs_licence(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    ["rs", "toml", "c", "h", "S", "sh", "edit", "test"].contains(&extension)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_without_forbid_and_file_without_licence_are_found() {
        let root = tempfile::tempdir().expect("a folder");
        let source = root.path().join("x/src");
        fs::create_dir_all(&source).expect("a folder");
        fs::write(source.join("lib.rs"), "//! No licence.\n").expect("a file");
        let package = Package { name: "x".into(), folder: "x".into(), dependencies: Vec::new() };
        let wrong = check(root.path(), &[package]).expect("it can be read");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn unsafe_code_has_its_places() {
        assert!(may_be_unsafe("microkernel/sys") && may_be_unsafe("servers/root"));
        assert!(!may_be_unsafe("servers/shell/core") && !may_be_unsafe("mem-server/core"));
    }
}
