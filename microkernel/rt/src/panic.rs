// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a panic does: print, call the hook, stop the thread.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicPtr, Ordering};

type Hook = fn(&PanicInfo<'_>);

static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what is called after a panic was printed: to say what the thread was doing, for example. It
/// runs on the thread that panicked, and must not allocate.
pub fn set_hook(hook: Hook) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

#[cfg_attr(test, allow(dead_code))]
fn hook() -> Option<Hook> {
    let pointer = HOOK.load(Ordering::Acquire);
    if pointer.is_null() {
        return None;
    }
    // SAFETY: a pointer that is not null was stored by `set_hook`, from a function of this type.
    Some(unsafe { core::mem::transmute::<*mut (), Hook>(pointer) })
}

/// Stops the calling thread: an invalid instruction, which its fault handler sees.
pub fn stop() -> ! {
    loop {
        // SAFETY: raises an exception and changes nothing.
        unsafe { core::arch::asm!("ud2", options(nomem, nostack)) }
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    crate::println!("{info}");
    if let Some(hook) = hook() {
        hook(info);
    }
    stop()
}
