// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes, xattr(7): by a path, by a link itself, by a descriptor.

use super::name_call::{Extra, NameCall, Place, Start};
use super::{glue, names};
use crate::machine::Machine;
use crate::syscall::{Call, Fail, SysResult};
use abi::Errno;
use abi::linux::general::{XATTR_CREATE, XATTR_REPLACE, XATTR_SIZE_MAX};
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::name::FileKind;

/// Bytes of an attribute's name, as in Linux.
const NAME_BYTES: usize = 255;
/// Bytes of the longest value that fs-server takes, names beside it.
const VALUE_BYTES_MAX: u64 = 4096;

/// How a call names the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A path; a link at its end is followed.
    Path,
    /// A path; a link at its end is meant itself.
    Link,
    /// A descriptor.
    Descriptor,
}

fn ask<M: Machine>(call: &mut Call<'_, '_, M>, by: By, what: Extra) -> SysResult {
    let file = call.args[0];
    let place = match by {
        By::Path | By::Link => names::place(call, names::CWD, file)?,
        By::Descriptor => {
            let file = glue::file(call, file, Errno::EOPNOTSUPP)?;
            if matches!(file.kind, FileKind::Pipe | FileKind::Terminal) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            Place { start: Start::Descriptor(file), path: String::new() }
        }
    };
    names::advance(call, Box::new(NameCall::Extra { place, follow: by == By::Path, what }), 0)
}

fn name<M: Machine>(call: &mut Call<'_, '_, M>) -> Result<String, Fail> {
    let addr = call.args[1];
    let bytes = match call.zero_ended(addr, NAME_BYTES + 1) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::ERANGE.into()),
        bytes => bytes?,
    };
    if bytes.is_empty() || bytes.len() > NAME_BYTES {
        return Err(Errno::ERANGE.into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| Errno::EINVAL)?)
}

/// setxattr(2), lsetxattr(2), fsetxattr(2).
pub fn set<M: Machine>(call: &mut Call<'_, '_, M>, by: By) -> SysResult {
    let [_, _, addr, len, flags, _] = call.args;
    let flags = flags as u32;
    if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = name(call)?;
    match len {
        0..=VALUE_BYTES_MAX => {}
        _ if len <= u64::from(XATTR_SIZE_MAX) => return Err(Errno::ENOSPC.into()),
        _ => return Err(Errno::E2BIG.into()),
    }
    ask(call, by, Extra::Set { name, addr, len, flags })
}

/// getxattr(2), lgetxattr(2), fgetxattr(2).
pub fn get<M: Machine>(call: &mut Call<'_, '_, M>, by: By) -> SysResult {
    let [_, _, addr, len, ..] = call.args;
    let name = name(call)?;
    ask(call, by, Extra::Get { name, addr, len })
}

/// listxattr(2), llistxattr(2), flistxattr(2).
pub fn list<M: Machine>(call: &mut Call<'_, '_, M>, by: By) -> SysResult {
    let [_, addr, len, ..] = call.args;
    ask(call, by, Extra::Get { name: String::new(), addr, len })
}

/// removexattr(2), lremovexattr(2), fremovexattr(2).
pub fn remove<M: Machine>(call: &mut Call<'_, '_, M>, by: By) -> SysResult {
    let name = name(call)?;
    ask(call, by, Extra::Remove { name })
}
