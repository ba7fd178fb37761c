// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's source packages, from the mirror that this machine uses.

use crate::process::{output, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of Debian's archive.
pub struct Source {
    /// Its path below the archive's root.
    pub path: &'static str,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: &'static str,
}

impl Source {
    /// Unpacks it into a folder of `folder`, unless that was done before; returns the folder.
    ///
    /// # Errors
    /// It cannot be fetched, is another file than it was, or cannot be unpacked.
    pub fn unpack(&self, folder: &Path) -> Result<PathBuf> {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        let (archive, to) = (folder.join(name), folder.join(format!("{name}.unpacked")));
        if to.is_dir() {
            return Ok(to);
        }
        let url = format!("{}/{}", mirror()?, self.path);
        let mut fetch = Command::new("/usr/lib/apt/apt-helper");
        fetch.args(["download-file", &url]).arg(&archive).arg(format!("SHA256:{}", self.sha256));
        eprintln!("fetching {url}");
        run(&mut fetch).with_context(|| format!("cannot fetch {url}"))?;
        let part = folder.join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&part))?;
        fs::rename(&part, &to).with_context(|| format!("cannot make {}", to.display()))?;
        Ok(to)
    }
}

/// The root of the archive that busybox-static comes from.
fn mirror() -> Result<String> {
    let printed =
        output(Command::new("apt-get").args(["download", "-q", "--print-uris", "busybox-static"]))?;
    root_of(&printed).with_context(|| format!("apt-get names no archive: {printed:?}"))
}

fn root_of(printed: &str) -> Option<String> {
    let url = printed.lines().find_map(|line| line.strip_prefix('\''))?;
    let at = url.find("/pool/")?;
    Some(url[..at].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_what_stands_before_the_pool() {
        let printed = "'http://a.org/debian/pool/main/b/x.deb' x.deb 9 SHA256:00\n";
        assert_eq!(root_of(printed).as_deref(), Some("http://a.org/debian"));
        assert_eq!(root_of("nothing\n"), None);
    }
}
