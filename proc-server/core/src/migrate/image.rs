// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process as it travels: one value.

use crate::files::OpenFile;
use crate::limits::THREADS_PER_PROCESS_MAX;
use crate::machine::Fpu;
use crate::process::ProcessOwn;
use crate::thread::{Progress, ThreadOwn};
use abi::Errno;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the format; another one is refused.
const VERSION: u16 = 5;
/// Bytes of the FPU state.
const FPU_BYTES: usize = 512;

/// A thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ThreadImage {
    /// Its state.
    pub own: ThreadOwn,
    /// FXSAVE image.
    pub fpu: Vec<u8>,
}

/// A process. Times that are since boot at the source are nanoseconds left here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    version: u16,
    /// Its state.
    pub process: ProcessOwn,
    /// Its threads, the oldest first.
    pub threads: Vec<ThreadImage>,
    /// Its monotonic clock at the export.
    pub monotonic_ns: u64,
    /// mem-server's description of its space.
    pub space: Vec<u8>,
}

impl Image {
    /// The image at `now_ns` since boot.
    pub fn new(
        mut process: ProcessOwn,
        mut threads: Vec<ThreadImage>,
        space: Vec<u8>,
        now_ns: u64,
    ) -> Self {
        let monotonic_ns = now_ns.saturating_add_signed(process.clock_offset_ns);
        process.alarm.deadline_ns = process.alarm.left_ns(now_ns);
        process.timers.shift(|deadline_ns| deadline_ns.saturating_sub(now_ns).max(1));
        for thread in &mut threads {
            shift(&mut thread.own.progress, |deadline| deadline.saturating_sub(now_ns));
        }
        Self { version: VERSION, process, threads, monotonic_ns, space }
    }

    /// The bytes that travel.
    ///
    /// # Errors
    /// EMSGSIZE.
    pub fn encode(&self) -> Result<Vec<u8>, Errno> {
        postcard::to_allocvec(self).map_err(|_| Errno::EMSGSIZE)
    }

    /// Reads an image that came from another node.
    ///
    /// # Errors
    /// EPROTO: it is none, or of another version, or outside of the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        let image: Self = postcard::from_bytes(bytes).map_err(|_| Errno::EPROTO)?;
        let process = &image.process;
        let sound = image.version == VERSION
            && (1..=THREADS_PER_PROCESS_MAX).contains(&image.threads.len())
            && process.files.is_well_formed()
            && process.actions.is_well_formed()
            && process.pending.is_well_formed()
            && process.timers.is_well_formed()
            && process.name.len() <= crate::limits::NAME_BYTES * 4
            && process.stopped_by <= crate::signal::number::MAX
            && process.parent_death_signal <= crate::signal::number::MAX
            && image.threads.iter().all(ThreadImage::is_sound);
        if sound { Ok(image) } else { Err(Errno::EPROTO) }
    }

    /// Puts its times on this node's clock.
    pub fn arrive(&mut self, now_ns: u64) {
        let offset = i128::from(self.monotonic_ns) - i128::from(now_ns);
        self.process.clock_offset_ns = i64::try_from(offset).unwrap_or(0);
        if self.process.alarm.deadline_ns != 0 {
            let left_ns = self.process.alarm.deadline_ns;
            self.process.alarm.deadline_ns = now_ns.saturating_add(left_ns);
        }
        self.process.timers.shift(|left_ns| now_ns.saturating_add(left_ns));
        for thread in &mut self.threads {
            shift(&mut thread.own.progress, |left_ns| now_ns.saturating_add(left_ns));
        }
    }

    /// Its open file descriptions, each once.
    pub fn distinct_files(&self) -> Vec<OpenFile> {
        distinct(&self.process)
    }
}

/// The open file descriptions of a process, each once.
pub(crate) fn distinct(process: &ProcessOwn) -> Vec<OpenFile> {
    let mut files: Vec<OpenFile> = process.files.files().collect();
    files.sort_unstable_by_key(|file| file.file);
    files.dedup();
    files
}

fn shift(progress: &mut Option<Progress>, by: impl FnOnce(u64) -> u64) {
    if let Some(Progress::Deadline(deadline)) = progress {
        *deadline = by(*deadline);
    }
}

impl ThreadImage {
    fn is_sound(&self) -> bool {
        self.fpu.len() == FPU_BYTES && self.own.pending.is_well_formed()
    }

    /// Its FPU state.
    pub fn fpu(&self) -> Fpu {
        let bytes = self.fpu.first_chunk().copied();
        bytes.map_or(Fpu::INITIAL, Fpu)
    }
}
