// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that name files, as values: what is asked, and what becomes of the answer.
//!
//! # Model
//! ```text
//! arguments --> NameCall --(a place starts from a descriptor: ask InodeOf, once for each)-->
//!           --(ask fs-server)--> Here(answer): done
//!                            --> Elsewhere(path): procfs answers, or names another path: again
//! ```

use super::path::Directory;
use super::socket::Named;
use super::table::OpenFile;
use abi::InodeId;
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::file::Attributes;
use fs_api::name::{At, Credentials};

/// Paths that proc-server's links may lead to before the call gets ELOOP.
pub const HOPS_MAX: u8 = 8;

/// A path and where it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where a relative path starts.
    pub start: Start,
    /// The path.
    pub path: String,
}

/// Where a path starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// There.
    Directory(Directory),
    /// At the directory that this file shows, to be asked.
    Descriptor(OpenFile),
}

impl Place {
    /// An absolute path.
    pub fn absolute(path: String) -> Self {
        Self { start: Start::Directory(Directory::default()), path }
    }

    /// What fs-server is asked about; `None` while the start is not known.
    pub fn at(&self, who: Credentials) -> Option<At> {
        match &self.start {
            Start::Directory(directory) => {
                let (dir, path) = directory.start(&self.path);
                Some(At { dir, path, who })
            }
            Start::Descriptor(_) => None,
        }
    }

    /// The file whose inode must be asked for first.
    pub fn unknown(&self) -> Option<OpenFile> {
        match self.start {
            Start::Descriptor(file) => Some(file),
            Start::Directory(_) => None,
        }
    }

    /// The start is this inode.
    pub fn known(&mut self, inode: InodeId) {
        self.start = Start::Directory(Directory::Tree(Some(inode)));
    }
}

/// Where stat(2)'s answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatOut {
    /// A `struct stat` at this address.
    Stat(u64),
    /// A `struct statx` at this address.
    Statx(u64),
    /// Nowhere: the name only must exist; then statfs(2) answers there.
    Statfs(u64),
}

/// What is done with an extended attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extra {
    /// setxattr(2).
    Set {
        /// Its name.
        name: String,
        /// Where its value is.
        addr: u64,
        /// Bytes of it.
        len: u64,
        /// XATTR_ flags.
        flags: u32,
    },
    /// getxattr(2); without a name, listxattr(2).
    Get {
        /// Its name.
        name: String,
        /// Where the answer goes.
        addr: u64,
        /// Bytes there.
        len: u64,
    },
    /// removexattr(2).
    Remove {
        /// Its name.
        name: String,
    },
}

/// A call that names files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameCall {
    /// openat(2).
    Open {
        /// The name.
        place: Place,
        /// O_ flags.
        flags: u32,
        /// Permission bits.
        mode: u32,
    },
    /// stat(2) and its kin.
    Stat {
        /// The name.
        place: Place,
        /// Whether a link at the end is followed.
        follow: bool,
        /// Where the answer goes.
        out: StatOut,
    },
    /// faccessat(2).
    Access {
        /// The name.
        place: Place,
        /// R_OK, W_OK, X_OK.
        mode: u32,
    },
    /// readlinkat(2).
    ReadLink {
        /// The name.
        place: Place,
        /// Where the answer goes.
        addr: u64,
        /// Bytes there.
        len: u64,
    },
    /// mkdirat(2).
    MakeDirectory {
        /// The name.
        place: Place,
        /// Permission bits.
        mode: u32,
    },
    /// unlinkat(2).
    Unlink {
        /// The name.
        place: Place,
        /// AT_REMOVEDIR.
        directory: bool,
    },
    /// renameat2(2).
    Rename {
        /// Present name.
        from: Place,
        /// New name.
        to: Place,
        /// RENAME_ flags.
        flags: u32,
    },
    /// linkat(2).
    Link {
        /// Present name.
        from: Place,
        /// New name.
        to: Place,
        /// AT_SYMLINK_FOLLOW.
        follow: bool,
    },
    /// symlinkat(2).
    MakeLink {
        /// The link's name.
        place: Place,
        /// Where it points.
        target: String,
    },
    /// chmod(2), chown(2), utimensat(2).
    Change {
        /// The name.
        place: Place,
        /// Whether a link at the end is followed.
        follow: bool,
        /// What to change.
        attributes: Attributes,
    },
    /// truncate(2).
    Truncate {
        /// The name.
        place: Place,
        /// Bytes.
        len: u64,
    },
    /// setxattr(2) and its kin.
    Extra {
        /// The name.
        place: Place,
        /// Whether a link at the end is followed.
        follow: bool,
        /// What is done.
        what: Extra,
    },
    /// bind(2) to a path.
    MakeSocket {
        /// The name.
        place: Place,
        /// What is done with it.
        then: Box<Named>,
    },
    /// mknod(2) of a FIFO.
    MakeFifo {
        /// The name.
        place: Place,
        /// Permission bits.
        mode: u32,
    },
    /// A call on the socket of a path.
    FindSocket {
        /// The name.
        place: Place,
        /// What is done with it.
        then: Box<Named>,
    },
    /// chdir(2).
    Enter {
        /// The name.
        place: Place,
    },
}

impl NameCall {
    /// The places that it names: one or two.
    pub fn places(&self) -> [Option<&Place>; 2] {
        match self {
            Self::Open { place, .. }
            | Self::Stat { place, .. }
            | Self::Access { place, .. }
            | Self::ReadLink { place, .. }
            | Self::MakeDirectory { place, .. }
            | Self::Unlink { place, .. }
            | Self::MakeLink { place, .. }
            | Self::MakeSocket { place, .. }
            | Self::MakeFifo { place, .. }
            | Self::FindSocket { place, .. }
            | Self::Change { place, .. }
            | Self::Truncate { place, .. }
            | Self::Extra { place, .. }
            | Self::Enter { place } => [Some(place), None],
            Self::Rename { from, to, .. } | Self::Link { from, to, .. } => [Some(from), Some(to)],
        }
    }

    /// The same, to change them.
    pub fn places_mut(&mut self) -> [Option<&mut Place>; 2] {
        match self {
            Self::Open { place, .. }
            | Self::Stat { place, .. }
            | Self::Access { place, .. }
            | Self::ReadLink { place, .. }
            | Self::MakeDirectory { place, .. }
            | Self::Unlink { place, .. }
            | Self::MakeLink { place, .. }
            | Self::MakeSocket { place, .. }
            | Self::MakeFifo { place, .. }
            | Self::FindSocket { place, .. }
            | Self::Change { place, .. }
            | Self::Truncate { place, .. }
            | Self::Extra { place, .. }
            | Self::Enter { place } => [Some(place), None],
            Self::Rename { from, to, .. } | Self::Link { from, to, .. } => [Some(from), Some(to)],
        }
    }

    /// The first file whose inode must be asked for.
    pub fn unknown(&self) -> Option<OpenFile> {
        self.places().into_iter().flatten().find_map(Place::unknown)
    }

    /// The answer to the question of [`Self::unknown`].
    pub fn known(&mut self, inode: InodeId) {
        let place = self.places_mut().into_iter().flatten().find(|place| place.unknown().is_some());
        if let Some(place) = place {
            place.known(inode);
        }
    }
}
