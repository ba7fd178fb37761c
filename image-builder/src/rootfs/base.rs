// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that every root file system has.

use super::Tree;
use anyhow::Result;

/// The folders of PATH, in its order.
pub const PATH_FOLDERS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

const DIRECTORIES: [(&str, u16); 18] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n";
const SHELLS: &str = "/bin/sh\n/bin/ash\n";

/// Sets the shell's prompt. It begins with OSC 133;A, the mark that terminals know as "a prompt
/// begins" and do not show: a session waits for it.
pub const PROMPT: &str = r"PS1='\[\e]133;A\007\]\h:\w\$ '";

/// What every login shell reads after [`PROMPT`].
const PROFILE: &str = r#"export PATH=/bin:/sbin:/usr/bin:/usr/sbin
export HOME=${HOME:-/root} TERM=${TERM:-vt100} USER=${USER:-root} LOGNAME=${LOGNAME:-root}
# Busybox's shell prefers its own applets to PATH: these names are the cluster's.
alias ps=/bin/ps halt=/bin/halt reboot=/bin/reboot
[ -d "$HOME" ] && cd "$HOME"
for script in /etc/profile.d/*.sh; do
    [ -r "$script" ] && . "$script"
done
unset script
"#;

/// Lays the base over the tree.
///
/// # Errors
/// None that its own constants do not cause.
pub fn lay(tree: &mut Tree) -> Result<()> {
    for (path, mode) in DIRECTORIES {
        tree.directory(path, mode)?;
    }
    let files = [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/shells", SHELLS),
    ];
    for (path, text) in files {
        tree.file(path, 0o644, text.as_bytes().to_vec())?;
    }
    tree.file("etc/profile", 0o644, format!("{PROMPT}\n{PROFILE}").into_bytes())?;
    tree.directory("etc/profile.d", 0o755)?;
    // As Linux has it: programs that look here find the kernel's list.
    tree.symlink("etc/mtab", "../proc/mounts")
}
