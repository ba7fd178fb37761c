// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks through the tree as values: a walk that meets a directory of another home goes on there.

use crate::extras::ExtraOp;
use crate::limits::{FOLLOWED_MAX, WALK_BYTES};
use crate::tree::Tree;
use abi::limits::{NAME_BYTES, PATH_BYTES};
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::file::{Attributes, Stat};
use fs_api::name::Special;
use fs_api::name::{At, Credentials, FileKind};
use mem_api::Access;
use serde::{Deserialize, Serialize};

/// A walk: where it is and what is left of the path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Walk {
    /// The directory that it has reached.
    pub at: InodeId,
    /// What is left; empty: `at` itself is meant.
    pub rest: String,
    /// Links that it has followed.
    pub followed: u8,
    /// Whose permissions count.
    pub who: Credentials,
}

impl Walk {
    /// The walk of a path that a program gave.
    ///
    /// # Errors
    /// ENAMETOOLONG. ENOENT: the path is empty and there is no directory.
    pub fn new(at: &At) -> Result<Self, Errno> {
        Self::from_parts(at.dir, &at.path, at.who)
    }

    /// The same, from its parts.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_parts(dir: Option<InodeId>, path: &str, who: Credentials) -> Result<Self, Errno> {
        if path.len() >= PATH_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        if path.is_empty() && dir.is_none() {
            return Err(Errno::ENOENT);
        }
        let at = match dir {
            Some(dir) if !path.starts_with('/') => dir,
            Some(_) | None => Tree::root(),
        };
        Ok(Self { at, rest: path.into(), followed: 0, who })
    }

    /// The walk that is at its end already.
    pub fn at(inode: InodeId, who: Credentials) -> Self {
        Self { at: inode, rest: String::new(), followed: 0, who }
    }

    /// The next name and what follows it; `None` at the end.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn next(&self) -> Result<Option<Part<'_>>, Errno> {
        let path = self.rest.trim_start_matches('/');
        if path.is_empty() {
            return Ok(None);
        }
        let (name, tail) = path.split_at(path.find('/').unwrap_or(path.len()));
        if name.len() > NAME_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        let last = tail.trim_start_matches('/').is_empty();
        Ok(Some(Part { name, tail, last }))
    }

    /// Goes on in `dir` with `rest`.
    pub fn enter(&mut self, dir: InodeId, rest: String) {
        self.at = dir;
        self.rest = rest;
    }

    /// Puts a link's target before `tail`.
    ///
    /// # Errors
    /// ELOOP, ENAMETOOLONG.
    pub fn follow(&mut self, target: &str, tail: &str) -> Result<(), Errno> {
        if self.followed >= FOLLOWED_MAX {
            return Err(Errno::ELOOP);
        }
        if target.len() + tail.len() >= WALK_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        self.followed += 1;
        if target.starts_with('/') {
            self.at = Tree::root();
        }
        self.rest = String::from(target) + tail;
        Ok(())
    }
}

/// One name of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The name.
    pub name: &'a str,
    /// What follows: empty, or a slash and more.
    pub tail: &'a str,
    /// Whether nothing but slashes follows.
    pub last: bool,
}

/// What to do at the end of a walk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NameOp {
    /// openat(2).
    Open {
        /// O_ flags.
        flags: u32,
        /// Permissions of a new file, without the mask's.
        mode: u32,
    },
    /// stat(2).
    Stat {
        /// Follow a link at the end.
        follow: bool,
    },
    /// chdir(2).
    Enter,
    /// mkdirat(2).
    MakeDirectory {
        /// Permissions, without the mask's.
        mode: u32,
    },
    /// unlinkat(2).
    Unlink {
        /// AT_REMOVEDIR.
        directory: bool,
        /// The directory of the image whose home has agreed that it goes.
        sealed: Option<InodeId>,
    },
    /// symlinkat(2).
    MakeLink {
        /// Where the link points.
        target: String,
    },
    /// readlinkat(2).
    ReadLink,
    /// chmod(2), chown(2), utimensat(2).
    Change {
        /// Follow a link at the end.
        follow: bool,
        /// What to change.
        attributes: Attributes,
    },
    /// What is done with extended attributes.
    Extra {
        /// Follow a link at the end.
        follow: bool,
        /// What.
        op: ExtraOp,
    },
    /// truncate(2).
    Truncate {
        /// Bytes.
        len: u64,
    },
    /// faccessat(2).
    Access {
        /// R_OK, W_OK, X_OK.
        mode: u32,
    },
    /// The first path of renameat2(2): its end is the beginning of [`NameOp::RenameTo`].
    RenameFrom {
        /// The second path.
        to: alloc::boxed::Box<Walk>,
        /// RENAME_ flags.
        flags: u32,
    },
    /// The second path of renameat2(2).
    RenameTo {
        /// The present name.
        from: Spot,
        /// RENAME_ flags.
        flags: u32,
    },
    /// The first path of linkat(2).
    LinkFrom {
        /// The second path.
        to: alloc::boxed::Box<Walk>,
        /// AT_SYMLINK_FOLLOW.
        follow: bool,
    },
    /// The second path of linkat(2), where the first one was an inode.
    LinkInode {
        /// The inode.
        inode: InodeId,
    },
    /// The second path of linkat(2).
    LinkTo {
        /// The present name.
        from: Spot,
    },
    /// The name of a socket, bind(2), or a FIFO, mknod(2).
    MakeSpecial {
        /// Which.
        special: Special,
        /// Permissions, without the mask's.
        mode: u32,
    },
    /// The inode of a socket that may be written to, connect(2).
    FindSocket,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spot {
    /// The directory.
    pub dir: InodeId,
    /// The name.
    pub name: String,
    /// A slash followed it: it must be a directory.
    pub slash: bool,
}

/// What an operation on a name answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    /// Nothing more to say.
    Unit,
    /// stat(2).
    Stat(Stat),
    /// A directory.
    Inode(InodeId),
    /// An open file whose home is where it was opened.
    Opened(fs_api::name::Opened),
    /// The opener makes the description: a file of the image, a device or a directory.
    OpenThere {
        /// What.
        inode: InodeId,
        /// Of which kind.
        kind: FileKind,
    },
}

/// How far a walk came at one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// To its end.
    Found(Found),
    /// A link's target.
    Text(String),
    /// Extended attributes.
    Bytes(Vec<u8>),
    /// To a name of proc-server's.
    Elsewhere(String),
    /// To a directory whose home is another node.
    Continue(Walk, NameOp),
}

/// Why an operation does not end here and now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It failed.
    Fail(Errno),
    /// The walk goes on at the home of this slot.
    Go(SlotNo),
    /// Everyone must hear first that this place in a directory of the image is to change.
    Announce {
        /// The directory.
        dir: InodeId,
        /// As in [`fs_api::peer::Overlaid`].
        place: u64,
    },
    /// The home of this directory of the image must agree that it goes.
    Seal(InodeId),
    /// A page of an object is wanted here.
    Fetch {
        /// The object.
        object: ObjectId,
        /// A byte of the page.
        offset: u64,
        /// What for.
        access: Access,
    },
    /// The slot is about to move, or the node has none: with the next view it goes on.
    View,
    /// The description's slot has another home now: whoever asked asks there.
    Moved(SlotNo),
    /// Records of a directory are wanted from its home.
    Records {
        /// The directory.
        dir: InodeId,
        /// After this cookie.
        after: u64,
        /// At most so many bytes.
        len: u64,
    },
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Fail(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str) -> Walk {
        Walk::from_parts(None, path, Credentials::default()).expect("a path")
    }

    #[test]
    fn walk_takes_names_apart_at_slashes() {
        let w = walk("//a//b/");
        let part = w.next().expect("fits").expect("a name");
        assert_eq!((part.name, part.tail, part.last), ("a", "//b/", false));
        let w = walk("b//");
        let part = w.next().expect("fits").expect("a name");
        assert_eq!((part.name, part.tail, part.last), ("b", "//", true));
        assert_eq!(walk("///").next(), Ok(None));
    }

    #[test]
    fn walk_of_links_ends_after_forty() {
        let mut w = walk("x");
        for _ in 0..FOLLOWED_MAX {
            assert_eq!(w.follow("x", ""), Ok(()));
        }
        assert_eq!(w.follow("x", ""), Err(Errno::ELOOP));
    }

    #[test]
    fn walk_of_a_long_name_is_refused() {
        let name = "n".repeat(NAME_BYTES + 1);
        assert_eq!(walk(&name).next(), Err(Errno::ENAMETOOLONG));
    }
}
