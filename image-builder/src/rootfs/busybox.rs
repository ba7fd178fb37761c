// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's busybox: where the tool finds it, and a link for each of its applets.

use super::Tree;
use crate::process::output;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The unmodified program and what it can be called as.
pub struct Busybox {
    program: Vec<u8>,
    applets: Vec<String>,
}

impl Busybox {
    /// From its bytes and what it prints for `--list-full`.
    pub fn new(program: Vec<u8>, list: &str) -> Self {
        let applets = list.lines().map(str::trim).filter(|line| !line.is_empty());
        Self { program, applets: applets.map(str::to_owned).collect() }
    }

    /// The one that `./korrigan` unpacked under target/, or the one that is installed.
    ///
    /// # Errors
    /// There is none, or it does not run here.
    pub fn find(workspace: &Workspace) -> Result<Self> {
        let path = Self::path(workspace)?;
        let cannot = || format!("cannot use {}", path.display());
        let program = fs::read(&path).with_context(cannot)?;
        let list = output(Command::new(&path).arg("--list-full")).with_context(cannot)?;
        Ok(Self::new(program, &list))
    }

    /// Where the program is.
    ///
    /// # Errors
    /// There is none.
    pub fn path(workspace: &Workspace) -> Result<PathBuf> {
        let unpacked = workspace.target().join("debian");
        let places = [unpacked.join("bin/busybox"), unpacked.join("usr/bin/busybox")];
        places.into_iter().chain(["/bin/busybox".into()]).find(|path| path.is_file()).context(
            "there is no busybox: run ./korrigan, which fetches Debian's package busybox-static",
        )
    }

    /// The applets' names, without their folders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.applets.iter().map(|applet| applet.rsplit('/').next().unwrap_or(applet))
    }

    /// Adds the program and a link for each applet.
    ///
    /// # Errors
    /// An applet's path cannot stand in the tree.
    pub fn lay(&self, tree: &mut Tree) -> Result<()> {
        tree.file("bin/busybox", 0o755, self.program.clone())?;
        for applet in self.applets.iter().filter(|applet| *applet != "bin/busybox") {
            let depth = applet.matches('/').count();
            let target = match (applet.strip_prefix("bin/"), depth) {
                (Some(_), 1) => "busybox".to_owned(),
                _ => format!("{}bin/busybox", "../".repeat(depth)),
            };
            tree.symlink(applet, &target)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::image::RootKind;

    #[test]
    fn applets_point_to_the_program() {
        let busybox = Busybox::new(b"bb".to_vec(), "bin/busybox\nbin/sh\nusr/bin/awk\nlinuxrc\n");
        let mut tree = Tree::new();
        busybox.lay(&mut tree).expect("the paths are right");
        let index = tree.pack().index;
        let link = |path: &str| match &index.iter().find(|entry| entry.path == path)?.kind {
            RootKind::Symlink(target) => Some(target.clone()),
            _ => None,
        };
        assert_eq!(link("bin/sh").as_deref(), Some("busybox"));
        assert_eq!(link("usr/bin/awk").as_deref(), Some("../../bin/busybox"));
        assert_eq!(link("linuxrc").as_deref(), Some("bin/busybox"));
    }
}
