// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of inodes, xattr(7).
//!
//! # Model
//! A name's first part says who may do what: `user.` is for who may read or write the file, `trusted.` for
//! root, `security.` for all to read and root to write. Others are not supported, access control lists
//! (`system.`) among them.
//!
//! # Limits
//! [`EXTRA_BYTES_MAX`] for one inode, names and values; `EXTRAS_BYTES_MAX` for all of a node.
//!
//! # Source
//! xattr(7), setxattr(2); tmpfs for what those leave open.

use crate::inode::{MAY_READ, MAY_WRITE, Meta};
use crate::limits::{EXTRA_BYTES_MAX, EXTRA_NAME_BYTES};
use crate::tree::Kind;
use abi::Errno;
use abi::linux::general::{XATTR_CREATE, XATTR_REPLACE};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::Credentials;
use serde::{Deserialize, Serialize};

/// What is done with the attributes of an inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ExtraOp {
    /// setxattr(2).
    Set {
        /// Name.
        name: String,
        /// Value.
        value: Vec<u8>,
        /// XATTR_ flags.
        flags: u32,
    },
    /// getxattr(2).
    Get(String),
    /// listxattr(2).
    List,
    /// removexattr(2).
    Remove(String),
}

impl ExtraOp {
    /// Whether the caller may do this with a file of that kind.
    ///
    /// # Errors
    /// EOPNOTSUPP, EINVAL: no such name can be. EPERM, EACCES, ENODATA.
    pub fn check(&self, who: &Credentials, meta: &Meta, kind: &Kind) -> Result<(), Errno> {
        let (name, writes) = match self {
            Self::Set { name, .. } | Self::Remove(name) => (name, true),
            Self::Get(name) => (name, false),
            Self::List => return Ok(()),
        };
        let directory = *kind == Kind::Directory;
        let (first, rest) = name.split_once('.').ok_or(Errno::EOPNOTSUPP)?;
        let refused = if writes { Errno::EPERM } else { Errno::ENODATA };
        match first {
            "user" | "trusted" | "security" if rest.is_empty() => Err(Errno::EINVAL),
            "trusted" | "security" if who.uid == 0 => Ok(()),
            "security" if !writes => Ok(()),
            "trusted" | "security" => Err(refused),
            "user" if !directory && !matches!(kind, Kind::File | Kind::LowerFile(_)) => {
                Err(refused)
            }
            // What all may write to would be a place for all to write notes on.
            "user"
                if writes
                    && directory
                    && meta.mode & 0o1000 != 0
                    && ![0, meta.uid].contains(&who.uid) =>
            {
                Err(Errno::EPERM)
            }
            "user" => meta.check(who, if writes { MAY_WRITE } else { MAY_READ }, directory),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

/// The attributes of one inode.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extras(BTreeMap<String, Vec<u8>>);

impl Extras {
    /// Bytes of names and values.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Whether these can be an inode's.
    pub fn are_sound(&self) -> bool {
        let named = |name: &String| (1..=EXTRA_NAME_BYTES).contains(&name.len());
        self.bytes() <= EXTRA_BYTES_MAX && self.0.keys().all(named)
    }

    /// What is read: a value, or the names that `who` may know of.
    ///
    /// # Errors
    /// ENODATA.
    pub fn read(&self, op: &ExtraOp, who: &Credentials) -> Result<Vec<u8>, Errno> {
        let shown = |name: &&String| who.uid == 0 || !name.starts_with("trusted.");
        match op {
            ExtraOp::Get(name) => self.0.get(name).cloned().ok_or(Errno::ENODATA),
            ExtraOp::List => Ok(self.0.keys().filter(shown).fold(Vec::new(), |mut all, name| {
                all.extend_from_slice(name.as_bytes());
                all.push(0);
                all
            })),
            ExtraOp::Set { .. } | ExtraOp::Remove(_) => Err(Errno::EINVAL),
        }
    }

    /// What they are once changed.
    ///
    /// # Errors
    /// ENODATA, EEXIST, EINVAL. ENOSPC: more than one inode may have.
    pub fn changed(&self, op: &ExtraOp) -> Result<Self, Errno> {
        let mut all = self.clone();
        match op {
            ExtraOp::Set { name, value, flags } => {
                let there = self.0.contains_key(name);
                match *flags {
                    XATTR_CREATE if there => return Err(Errno::EEXIST),
                    XATTR_REPLACE if !there => return Err(Errno::ENODATA),
                    0 | XATTR_CREATE | XATTR_REPLACE => {}
                    _ => return Err(Errno::EINVAL),
                }
                if name.is_empty() || name.len() > EXTRA_NAME_BYTES {
                    return Err(Errno::ERANGE);
                }
                all.0.insert(name.to_owned(), value.clone());
            }
            ExtraOp::Remove(name) => {
                all.0.remove(name).ok_or(Errno::ENODATA)?;
            }
            ExtraOp::Get(_) | ExtraOp::List => {}
        }
        if all.bytes() > EXTRA_BYTES_MAX { Err(Errno::ENOSPC) } else { Ok(all) }
    }
}
