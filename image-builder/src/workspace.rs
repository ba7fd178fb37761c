// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the project's folders are.

use anyhow::{Result, ensure};
use std::env;
use std::path::{Path, PathBuf};

/// The project's folders.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace that this tool was built from.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn find() -> Result<Self> {
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = built_in.parent().unwrap_or(built_in).to_path_buf();
        ensure!(
            root.join("Cargo.toml").is_file(),
            "the project's folder {} is gone: run ./korrigan in the one you have",
            root.display()
        );
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The project's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where everything that is built goes.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The Python of the virtual environment that `./korrigan` makes, or the system's.
    pub fn python(&self) -> PathBuf {
        let own = self.target.join("venv/bin/python3");
        if own.is_file() { own } else { "python3".into() }
    }
}
