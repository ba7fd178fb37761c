// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a path starts.
//!
//! # Model
//! A directory is an inode of fs-server, or a directory of proc-server below `/proc` or
//! `/sys/cluster`, which only has a path. From the latter a relative path is made absolute by its
//! text; from there on fs-server resolves it like any other.

use abi::InodeId;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A directory that paths can start from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Directory {
    /// fs-server's; `None` is the root.
    Tree(Option<InodeId>),
    /// proc-server's: its absolute path.
    Elsewhere(String),
}

impl Default for Directory {
    fn default() -> Self {
        Self::Tree(None)
    }
}

impl Directory {
    /// The inode to start from and the path to ask fs-server for.
    pub fn start(&self, path: &str) -> (Option<InodeId>, String) {
        match self {
            Self::Tree(inode) => (*inode, path.into()),
            Self::Elsewhere(base) => (None, absolute(base, path)),
        }
    }
}

/// `path` as seen from directory `base`, an absolute path: without `.`, `..` and double slashes. A
/// slash at the end stays.
pub fn absolute(base: &str, path: &str) -> String {
    let mut out = String::with_capacity(base.len() + path.len() + 1);
    let base = if path.starts_with('/') { "" } else { base };
    for name in base.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(name);
            }
        }
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_path_below_proc_becomes_absolute() {
        for (base, path, wanted) in [
            ("/proc/1", "stat", "/proc/1/stat"),
            ("/proc/1", "../../etc//passwd", "/etc/passwd"),
            ("/proc", "../../..", "/"),
            ("/proc", "/tmp/./x", "/tmp/x"),
            ("/proc/1", "", "/proc/1"),
            ("/proc", "self/", "/proc/self/"),
        ] {
            assert_eq!(absolute(base, path), wanted);
        }
    }
}
