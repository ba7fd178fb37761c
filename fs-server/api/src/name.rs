// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on names: fs-server only.
//!
//! # Model
//! A path is resolved from a directory inode, through symbolic links. Names below `/proc` and
//! `/sys/cluster`, and `/dev/tty`, belong to proc-server: the answer is then [`Named::Elsewhere`]
//! with the absolute path.

use crate::file::{Attributes, Stat};
use abi::{FileId, InodeId, ServerId, SpaceId};
use alloc::string::String;
use runtime::{Msg, Wire, cold, hot, operations};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A path and where it starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct At {
    /// The directory that a relative path starts from; `None` is the root.
    pub dir: Option<InodeId>,
    /// The path, at most [`abi::limits::PATH_BYTES`]. Empty names `dir` itself.
    pub path: String,
    /// Who asks.
    pub who: Credentials,
}

/// Whose permissions count, and with what mask files are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// umask(2).
    pub mask: u32,
}

/// The answer about a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Named<T> {
    /// It is a file of fs-server.
    Here(T),
    /// It belongs to proc-server; the absolute path, without `.`, `..` and links.
    Elsewhere(String),
}

impl<T: Serialize + DeserializeOwned> Wire for Named<T> {
    fn put(&self, msg: &mut Msg) -> Result<(), abi::Errno> {
        runtime::put_postcard(self, msg)
    }

    fn get(msg: &Msg) -> Result<Self, abi::Errno> {
        runtime::get_postcard(msg)
    }
}

/// What kind of file it is; decides which operations proc-server uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A device such as /dev/null.
    Device,
    /// A pipe's end.
    Pipe,
    /// A terminal.
    Terminal,
    /// What a process has of a System V object: no descriptor names it.
    Held,
    /// An event counter, eventfd(2).
    Counter,
    /// A socket.
    Socket(SocketType),
    /// An epoll instance.
    Epoll,
    /// A timer, timerfd_create(2), and the clock of its times.
    Timer(TimerClock),
    /// signalfd(2), and the set of its signals.
    Signals(u64),
}

/// What clock a program's times are of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum TimerClock {
    /// CLOCK_REALTIME.
    Wall,
    /// CLOCK_MONOTONIC, CLOCK_BOOTTIME.
    Monotonic,
}

/// The type of a socket, socket(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SocketType {
    /// SOCK_STREAM: bytes.
    Stream,
    /// SOCK_DGRAM: messages, without connections.
    Datagram,
    /// SOCK_SEQPACKET: messages over connections.
    Packet,
    /// SOCK_STREAM of the Internet: bytes.
    Tcp(IpVersion),
    /// SOCK_DGRAM of the Internet: messages, which may be lost.
    Udp(IpVersion),
}

/// Which addresses a socket of the Internet shows to its program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum IpVersion {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

impl SocketType {
    /// Bytes without borders, over a connection.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::Tcp(_))
    }

    /// Messages without connections.
    pub const fn is_datagram(self) -> bool {
        matches!(self, Self::Datagram | Self::Udp(_))
    }

    /// AF_INET or AF_INET6; none: AF_UNIX.
    pub const fn internet(self) -> Option<IpVersion> {
        match self {
            Self::Tcp(version) | Self::Udp(version) => Some(version),
            Self::Stream | Self::Datagram | Self::Packet => None,
        }
    }
}

/// openat(2): flags and mode as there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The name.
    pub at: At,
    /// O_ flags.
    pub flags: u32,
    /// Permission bits of a new file, before the mask.
    pub mode: u32,
}
/// An open file. The calling node holds it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The open file description.
    pub file: FileId,
    /// What it is.
    pub kind: FileKind,
}
/// stat(2), lstat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NameStat {
    /// The name.
    pub at: At,
    /// Whether a link at the end is followed.
    pub follow: bool,
}
/// chdir(2): the directory's inode, if it may be entered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enter {
    /// The name.
    pub at: At,
}
/// mkdirat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MakeDirectory {
    /// The name.
    pub at: At,
    /// Permission bits, before the mask.
    pub mode: u32,
}
/// unlinkat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unlink {
    /// The name.
    pub at: At,
    /// AT_REMOVEDIR.
    pub directory: bool,
}
/// renameat2(2). EXDEV where the two directories have different homes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rename {
    /// Present name.
    pub from: At,
    /// New name: directory and path.
    pub to_dir: Option<InodeId>,
    /// New name.
    pub to_path: String,
    /// RENAME_ flags.
    pub flags: u32,
}
/// linkat(2). EXDEV where inode and directory have different homes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// Present name.
    pub from: At,
    /// New name: directory and path.
    pub to_dir: Option<InodeId>,
    /// New name.
    pub to_path: String,
    /// AT_SYMLINK_FOLLOW.
    pub follow: bool,
}
/// symlinkat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MakeLink {
    /// The name of the link.
    pub at: At,
    /// Where it points.
    pub target: String,
}
/// bind(2) of a Unix socket to a path: a new inode. EADDRINUSE: the name is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MakeSocket {
    /// The name.
    pub at: At,
    /// Permission bits, before the mask.
    pub mode: u32,
}
/// An inode that only names something of the ipc server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Special {
    /// A socket.
    Socket,
    /// A FIFO.
    Fifo,
}
/// mknod(2) of a FIFO. [`Open`] of one answers its inode's number as the file, and [`FileKind::Pipe`]: nothing is open yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MakeFifo {
    /// The name.
    pub at: At,
    /// Permission bits, before the mask.
    pub mode: u32,
}
/// connect(2) to a path: the inode, if it is a socket's that may be written to. ECONNREFUSED: it is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindSocket {
    /// The name.
    pub at: At,
}
/// readlinkat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadLink {
    /// The name.
    pub at: At,
}
/// chmod(2), chown(2), utimensat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeName {
    /// The name.
    pub at: At,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// What to change.
    pub attributes: Attributes,
}
/// truncate(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TruncateName {
    /// The name.
    pub at: At,
    /// Bytes.
    pub len: u64,
}
/// faccessat(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckAccess {
    /// The name.
    pub at: At,
    /// R_OK, W_OK, X_OK.
    pub mode: u32,
}
/// setxattr(2), with a value from the program's memory. EOPNOTSUPP, EPERM, ENODATA, EEXIST, ENOSPC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetExtra {
    /// The name.
    pub at: At,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// The attribute's name.
    pub name: String,
    /// The program's space.
    pub space: SpaceId,
    /// Where its value is.
    pub addr: u64,
    /// Bytes of it.
    pub len: u64,
    /// XATTR_CREATE or XATTR_REPLACE.
    pub flags: u32,
}
/// getxattr(2), into the program's memory; the length of the value. ERANGE: it is longer than `len`, which is 0
/// for who only asks for the length.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetExtra {
    /// The name.
    pub at: At,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// The attribute's name; empty: the names of all, each with a zero behind it, listxattr(2).
    pub name: String,
    /// The program's space.
    pub space: SpaceId,
    /// Where to.
    pub addr: u64,
    /// Bytes there.
    pub len: u64,
}
/// removexattr(2). ENODATA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RemoveExtra {
    /// The name.
    pub at: At,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// The attribute's name.
    pub name: String,
}
hot! {
    /// getcwd(2): the directory's absolute path.
    pub struct PathOf { pub inode: InodeId }
}
/// Text, as an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Text(pub String);
hot! {
    /// statfs(2) of the writable tree.
    pub struct TreeUse {}
}
/// Figures of the writable tree on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TreeFigures {
    /// Bytes that files may take.
    pub bytes_total: u64,
    /// Bytes left.
    pub bytes_free: u64,
    /// Inodes that may exist.
    pub inodes_total: u64,
    /// Inodes left.
    pub inodes_free: u64,
}

cold!(
    Open,
    NameStat,
    Enter,
    MakeDirectory,
    Unlink,
    Rename,
    Link,
    MakeLink,
    MakeSocket,
    FindSocket,
    MakeFifo,
    ReadLink,
    ChangeName,
    TruncateName,
    CheckAccess,
    SetExtra,
    GetExtra,
    RemoveExtra,
    Text,
    TreeFigures
);

operations! {
    ServerId::Fs;
    32, slow, once: Open => Named<Opened>;
    33, slow, repeat: NameStat => Named<Stat>;
    34, slow, repeat: Enter => Named<InodeId>;
    35, slow, once: MakeDirectory => Named<()>;
    36, slow, once: Unlink => Named<()>;
    37, slow, once: Rename => Named<()>;
    38, slow, once: Link => Named<()>;
    39, slow, once: MakeLink => Named<()>;
    40, slow, repeat: ReadLink => Named<String>;
    41, slow, repeat: ChangeName => Named<()>;
    42, slow, repeat: TruncateName => Named<()>;
    43, slow, repeat: CheckAccess => Named<()>;
    44, slow, repeat: PathOf => Text;
    45, slow, repeat: TreeUse => TreeFigures;
    46, slow, once: SetExtra => Named<()>;
    47, slow, repeat: GetExtra => Named<u64>;
    48, slow, once: RemoveExtra => Named<()>;
    49, slow, once: MakeSocket => Named<InodeId>;
    50, slow, repeat: FindSocket => Named<InodeId>;
    54, slow, once: MakeFifo => Named<InodeId>;
}
