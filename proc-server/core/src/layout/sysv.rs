// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects.

use super::layouts;

layouts! {
    /// `struct ipc64_perm`.
    IpcPerm = 48 {
        key: u32,
        uid: u32,
        gid: u32,
        cuid: u32,
        cgid: u32,
        mode: u32,
        sequence: u16,
        pad: [u16; 3],
        unused: [u64; 2],
    }
    /// `struct shmid64_ds`.
    ShmidDs = 112 {
        permissions: IpcPerm,
        bytes: u64,
        attached_s: i64,
        detached_s: i64,
        changed_s: i64,
        made_by: u32,
        used_by: u32,
        attachments: u64,
        unused: [u64; 2],
    }
    /// `struct semid64_ds` of x86-64.
    SemidDs = 104 {
        permissions: IpcPerm,
        operated_s: i64,
        unused_1: u64,
        changed_s: i64,
        unused_2: u64,
        count: u64,
        unused_3: [u64; 2],
    }
    /// `struct msqid64_ds`.
    MsqidDs = 120 {
        permissions: IpcPerm,
        sent_s: i64,
        received_s: i64,
        changed_s: i64,
        bytes: u64,
        messages: u64,
        room: u64,
        sent_by: u32,
        received_by: u32,
        unused: [u64; 2],
    }
    /// `struct sembuf`.
    Sembuf = 6 { number: u16, value: i16, flags: u16 }
    /// `struct shminfo64`: limits.
    Shminfo = 72 { max_bytes: u64, min_bytes: u64, objects: u64, attachments: u64, pages: u64, unused: [u64; 4] }
    /// `struct shm_info`: use.
    ShmInfo = 48 { objects: u32, pad: u32, pages: u64, resident: u64, swapped: u64, unused: [u64; 2] }
    /// `struct seminfo`: limits, or use.
    Seminfo = 40 {
        map: u32,
        sets: u32,
        semaphores: u32,
        undos: u32,
        per_set: u32,
        per_call: u32,
        undo_entries: u32,
        undo_bytes: u32,
        max_value: u32,
        max_undo: u32,
    }
    /// `struct msginfo`: limits, or use.
    Msginfo = 32 {
        pool: u32,
        map: u32,
        max_bytes: u32,
        queue_bytes: u32,
        queues: u32,
        segment_bytes: u32,
        messages: u32,
        segments: u16,
        pad: u16,
    }
}
