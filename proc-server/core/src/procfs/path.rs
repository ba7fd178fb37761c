// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names below `/proc` and `/sys/cluster`.

use abi::Errno;
use alloc::string::String;

/// What a path of proc-server names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// `/proc`.
    Root,
    /// `/proc/self`.
    Myself,
    /// A file of the node.
    Top(Top),
    /// `/proc/PID`.
    Process(u32),
    /// A file of a process.
    Of(u32, Of),
    /// A link of a process.
    Link(u32, Link),
    /// `/proc/PID/fd`.
    Descriptors(u32),
    /// `/proc/PID/fd/N`.
    Descriptor(u32, u64),
    /// `/proc/net`.
    Net,
    /// A file of `/proc/net`.
    InNet(InNet),
    /// `/sys/cluster`.
    Cluster,
    /// A file of `/sys/cluster`.
    InCluster(InCluster),
}

macro_rules! names {
    ($(#[$doc:meta])* $enum:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $enum { $($(#[$variant_doc])* $variant),* }

        impl $enum {
            /// All of them, by name.
            pub const ALL: &[(&'static str, Self)] = &[$(($name, Self::$variant)),*];

            fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|row| row.0 == name).map(|row| row.1)
            }

            /// Its place among them, for inode numbers.
            pub const fn number(self) -> u64 {
                self as u64
            }
        }
    };
}

names! {
    /// Files of `/proc` itself.
    Top {
        /// Memory.
        Meminfo = "meminfo",
        /// Time of the cores.
        Stat = "stat",
        /// Time since boot.
        Uptime = "uptime",
        /// Runnable threads.
        Loadavg = "loadavg",
        /// Processors.
        Cpuinfo = "cpuinfo",
        /// Kernel.
        Version = "version",
        /// File systems mounted.
        Mounts = "mounts",
        /// File systems known.
        Filesystems = "filesystems",
    }
}
names! {
    /// Files of a process.
    Of {
        /// For programs.
        Stat = "stat",
        /// For people.
        Status = "status",
        /// Sizes.
        Statm = "statm",
        /// Arguments.
        Cmdline = "cmdline",
        /// Environment.
        Environ = "environ",
        /// Name.
        Comm = "comm",
        /// Mappings.
        Maps = "maps",
        /// Limits, as text.
        Limits = "limits",
        /// File systems mounted.
        Mounts = "mounts",
        /// The node where it runs; writing a number moves it.
        Node = "node",
    }
}
names! {
    /// Links of a process.
    Link {
        /// The program.
        Exe = "exe",
        /// The working directory.
        Cwd = "cwd",
        /// The root directory.
        Root = "root",
    }
}
names! {
    /// Files of `/proc/net`.
    InNet {
        /// Interfaces.
        Dev = "dev",
        /// Their addresses of IPv6.
        IfInet6 = "if_inet6",
        /// Routes.
        Route = "route",
    }
}
names! {
    /// Files of `/sys/cluster`.
    InCluster {
        /// Calls that are not implemented, and how often they were made on this node.
        Unimplemented = "unimplemented",
        /// The nodes.
        Nodes = "nodes",
        /// Commands to the administration.
        Admin = "admin",
    }
}

/// Reads an absolute path without `.` and `..`: what it names, and what follows behind a link.
///
/// # Errors
/// ENOENT; ENOTDIR: something follows behind a file.
pub fn parse(path: &str) -> Result<(Name, String), Errno> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let name = match parts.next() {
        Some("proc") => match parts.next() {
            None => Name::Root,
            Some("self") => Name::Myself,
            Some("net") => match parts.next() {
                None => Name::Net,
                Some(part) => Name::InNet(InNet::from_name(part).ok_or(Errno::ENOENT)?),
            },
            Some(part) => match number(part) {
                Some(pid) => in_process(pid, &mut parts)?,
                None => Name::Top(Top::from_name(part).ok_or(Errno::ENOENT)?),
            },
        },
        Some("sys") if parts.next() == Some("cluster") => match parts.next() {
            None => Name::Cluster,
            Some(part) => Name::InCluster(InCluster::from_name(part).ok_or(Errno::ENOENT)?),
        },
        _ => return Err(Errno::ENOENT),
    };
    let mut rest = String::new();
    for part in parts {
        rest.push('/');
        rest.push_str(part);
    }
    match name {
        Name::Myself | Name::Link(..) | Name::Descriptor(..) => Ok((name, rest)),
        _ if rest.is_empty() => Ok((name, rest)),
        Name::Root | Name::Process(_) | Name::Descriptors(_) | Name::Cluster | Name::Net => {
            Err(Errno::ENOENT)
        }
        Name::Top(_) | Name::Of(..) | Name::InCluster(_) | Name::InNet(_) => Err(Errno::ENOTDIR),
    }
}

fn in_process<'a>(pid: u32, parts: &mut impl Iterator<Item = &'a str>) -> Result<Name, Errno> {
    let Some(part) = parts.next() else { return Ok(Name::Process(pid)) };
    if part == "fd" {
        let Some(fd) = parts.next() else { return Ok(Name::Descriptors(pid)) };
        let fd = number(fd).ok_or(Errno::ENOENT)?;
        return Ok(Name::Descriptor(pid, u64::from(fd)));
    }
    if let Some(link) = Link::from_name(part) {
        return Ok(Name::Link(pid, link));
    }
    Ok(Name::Of(pid, Of::from_name(part).ok_or(Errno::ENOENT)?))
}

/// A number without sign and leading zeroes.
fn number(part: &str) -> Option<u32> {
    let plain = part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || part.len() > 1 && part.starts_with('0') {
        return None;
    }
    part.parse().ok()
}

impl Name {
    /// The process that it belongs to.
    pub const fn pid(self) -> Option<u32> {
        match self {
            Self::Process(pid)
            | Self::Of(pid, _)
            | Self::Link(pid, _)
            | Self::Descriptors(pid)
            | Self::Descriptor(pid, _) => Some(pid),
            Self::Root
            | Self::Myself
            | Self::Top(_)
            | Self::Net
            | Self::InNet(_)
            | Self::Cluster
            | Self::InCluster(_) => None,
        }
    }

    /// Whether it is a directory.
    pub const fn is_directory(self) -> bool {
        matches!(
            self,
            Self::Root | Self::Process(_) | Self::Descriptors(_) | Self::Cluster | Self::Net
        )
    }

    /// Whether it is a symbolic link.
    pub const fn is_link(self) -> bool {
        matches!(self, Self::Myself | Self::Link(..) | Self::Descriptor(..))
    }

    /// Whether it can be written.
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::Of(_, Of::Node) | Self::InCluster(InCluster::Admin))
    }

    /// A number for stat(2) that no other name has.
    pub const fn inode(self) -> u64 {
        let (pid, kind) = match self {
            Self::Root => (0, 1),
            Self::Myself => (0, 2),
            Self::Cluster => (0, 3),
            Self::Net => (0, 4),
            Self::Top(top) => (0, 0x100 + top.number()),
            Self::InCluster(file) => (0, 0x200 + file.number()),
            Self::InNet(file) => (0, 0x300 + file.number()),
            Self::Process(pid) => (pid, 1),
            Self::Descriptors(pid) => (pid, 2),
            Self::Of(pid, file) => (pid, 0x100 + file.number()),
            Self::Link(pid, link) => (pid, 0x200 + link.number()),
            Self::Descriptor(pid, fd) => (pid, 0x1000 + fd),
        };
        (pid as u64) << 20 | kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_say() {
        let named = |path| parse(path).map(|(name, _)| name);
        assert_eq!(named("/proc"), Ok(Name::Root));
        assert_eq!(named("/proc/meminfo"), Ok(Name::Top(Top::Meminfo)));
        assert_eq!(named("/proc/net"), Ok(Name::Net));
        assert_eq!(named("/proc/net/dev"), Ok(Name::InNet(InNet::Dev)));
        assert_eq!(named("/proc/12/"), Ok(Name::Process(12)));
        assert_eq!(named("/proc/12/stat"), Ok(Name::Of(12, Of::Stat)));
        assert_eq!(named("/proc/12/fd"), Ok(Name::Descriptors(12)));
        assert_eq!(named("/proc/12/fd/7"), Ok(Name::Descriptor(12, 7)));
        assert_eq!(named("/sys/cluster/admin"), Ok(Name::InCluster(InCluster::Admin)));
        let rest = parse("/proc/self/fd/1").map(|(_, rest)| rest);
        assert_eq!(rest.as_deref(), Ok("/fd/1"));
        let rest = parse("/proc/3/cwd/a/b").map(|(_, rest)| rest);
        assert_eq!(rest.as_deref(), Ok("/a/b"));
    }

    #[test]
    fn names_that_do_not_exist_are_errors() {
        for path in [
            "/proc/x",
            "/proc/012",
            "/proc/-1",
            "/proc/1/x",
            "/proc/net/x",
            "/sys/cluster/x",
            "/etc",
        ] {
            assert_eq!(parse(path), Err(Errno::ENOENT), "{path}");
        }
        assert_eq!(parse("/proc/meminfo/x"), Err(Errno::ENOTDIR));
        assert_eq!(parse("/proc/1/fd/99999999999"), Err(Errno::ENOENT));
    }
}
