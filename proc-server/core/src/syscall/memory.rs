// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: mmap(2) and its kin, brk(2).

use super::{AskResult, Call, Next, SysResult, Wait};
use crate::files::{OpenFile, Target};
use crate::machine::Machine;
use abi::Errno;
use abi::limits::{PAGE_BYTES, USER_TOP};
use abi::linux::general::{
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_PRIVATE,
    MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_EXEC,
    PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE,
};
use fs_api::file::{FileObject, ObjectOf};
use mem_api::{Backing, Map, ObjectRelease, Protect, Protection, Regions, Remap, Unmap};
use runtime::Wire;

const PAGE: u64 = PAGE_BYTES as u64;

/// An mmap(2) of a file that waits for the object behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapWait {
    map: Map,
    offset: u64,
}

const fn page_up(addr: u64) -> u64 {
    addr.saturating_add(PAGE - 1) & !(PAGE - 1)
}

fn protection(bits: u64) -> Result<Protection, Errno> {
    let bits = bits as u32;
    let known = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP;
    if bits & !known != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Protection {
        read: bits & (PROT_READ | PROT_WRITE | PROT_EXEC) != 0,
        write: bits & PROT_WRITE != 0,
        execute: bits & PROT_EXEC != 0,
    })
}

/// mmap(2).
pub fn mmap<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, prot, flags, fd, offset] = call.args;
    let flags = flags as u32;
    let shared = match flags & MAP_TYPE {
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    let fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
    if len == 0 || offset % PAGE != 0 || fixed && addr % PAGE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len > USER_TOP {
        return Err(Errno::ENOMEM.into());
    }
    let map = Map {
        space: call.space()?,
        addr: if fixed { addr } else { addr & !(PAGE - 1) },
        len,
        protection: protection(prot)?,
        backing: Backing::Anonymous,
        shared,
        fixed: flags & MAP_FIXED != 0,
        no_replace: flags & MAP_FIXED_NOREPLACE == MAP_FIXED_NOREPLACE,
        grows_down: flags & MAP_GROWSDOWN != 0,
    };
    if flags & MAP_ANONYMOUS != 0 {
        return Ok(Next::Done(call.cx.leaf(&map)?.addr));
    }
    let file = mapped_file(call, fd)?;
    let wait = Wait::MapFile(MapWait { map, offset });
    Ok(call.ask_server(file.server(), &ObjectOf { file: file.file }, 0, wait))
}

fn mapped_file<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<OpenFile, Errno> {
    match &call.process().own.files.get(fd)?.target {
        Target::File(file) => Ok(*file),
        Target::Local(_) => Err(Errno::ENODEV),
    }
}

/// Goes on with an mmap(2) of a file.
pub(crate) fn map_resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: MapWait,
    result: AskResult,
) -> SysResult {
    let found = FileObject::get(&result?.msg)?;
    let MapWait { mut map, offset } = wait;
    map.backing = Backing::Object { object: found.object, offset };
    let mapped = if map.shared && map.protection.write && !found.writable {
        Err(Errno::EACCES)
    } else {
        call.cx.leaf(&map)
    };
    // The mapping holds a reference of its own.
    call.cx.leaf(&ObjectRelease { object: found.object })?;
    Ok(Next::Done(mapped?.addr))
}

/// munmap(2).
pub fn munmap<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, ..] = call.args;
    if addr % PAGE != 0 || len == 0 || len > USER_TOP {
        return Err(Errno::EINVAL.into());
    }
    let space = call.space()?;
    call.cx.leaf(&Unmap { space, addr, len })?;
    Ok(Next::Done(0))
}

/// mprotect(2).
pub fn mprotect<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, prot, ..] = call.args;
    let protection = protection(prot)?;
    if addr % PAGE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len > USER_TOP {
        return Err(Errno::ENOMEM.into());
    }
    if len == 0 {
        return Ok(Next::Done(0));
    }
    let space = call.space()?;
    call.cx.leaf(&Protect { space, addr, len, protection })?;
    Ok(Next::Done(0))
}

/// mremap(2).
pub fn mremap<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, new_len, flags, to, _] = call.args;
    let flags = flags as u32;
    let may_move = flags & MREMAP_MAYMOVE != 0;
    let fixed = flags & MREMAP_FIXED != 0;
    let unknown = flags & !(MREMAP_MAYMOVE | MREMAP_FIXED) != 0;
    if unknown || fixed && !may_move || addr % PAGE != 0 || new_len == 0 || len == 0 {
        return Err(Errno::EINVAL.into());
    }
    if len > USER_TOP || new_len > USER_TOP {
        return Err(Errno::ENOMEM.into());
    }
    let space = call.space()?;
    let fixed = fixed.then_some(to);
    let op = Remap { space, addr, len: page_up(len), new_len: page_up(new_len), may_move, fixed };
    Ok(Next::Done(call.cx.leaf(&op)?.addr))
}

/// madvise(2): MADV_DONTNEED empties private anonymous memory; other advice is not needed.
pub fn madvise<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, advice, ..] = call.args;
    if addr % PAGE != 0 || len > USER_TOP || addr > USER_TOP {
        return Err(Errno::EINVAL.into());
    }
    if advice as u32 != MADV_DONTNEED {
        return Ok(Next::Done(0));
    }
    let space = call.space()?;
    let end = addr + page_up(len);
    let mut at = addr;
    while at < end {
        let list = call.cx.leaf(&Regions { space, after: at })?.0;
        if list.is_empty() {
            break;
        }
        for region in list {
            let (start, stop) = (region.start.max(addr), region.end.min(end));
            at = region.end.max(at + PAGE);
            if start >= stop {
                continue;
            }
            if region.backing != Backing::Anonymous || region.shared || region.grows_down {
                return Err(Errno::EINVAL.into());
            }
            call.cx.leaf(&Map {
                space,
                addr: start,
                len: stop - start,
                protection: region.protection,
                backing: Backing::Anonymous,
                shared: false,
                fixed: true,
                no_replace: false,
                grows_down: false,
            })?;
        }
    }
    Ok(Next::Done(0))
}

/// brk(2): the end of the heap, changed or not.
pub fn brk<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let wanted = call.args[0];
    let (start, end) = call.process().own.heap;
    if wanted < start || wanted > USER_TOP {
        return Ok(Next::Done(end));
    }
    let space = call.space()?;
    let (old, new) = (page_up(end), page_up(wanted));
    let changed = if new > old {
        call.cx
            .leaf(&Map {
                space,
                addr: old,
                len: new - old,
                protection: Protection { read: true, write: true, execute: false },
                backing: Backing::Anonymous,
                shared: false,
                fixed: true,
                no_replace: true,
                grows_down: false,
            })
            .map(|_| ())
    } else if new < old {
        call.cx.leaf(&Unmap { space, addr: new, len: old - new })
    } else {
        Ok(())
    };
    if changed.is_err() {
        return Ok(Next::Done(end));
    }
    call.process_mut().own.heap.1 = wanted;
    Ok(Next::Done(wanted))
}
