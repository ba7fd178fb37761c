// SPDX-License-Identifier: MIT OR Apache-2.0
//! Printing through whatever the program registered.

use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

type Sink = fn(&str);

static SINK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets where output goes. Until then it is dropped. May be called by several threads at once.
pub fn set_sink(sink: Sink) {
    SINK.store(sink as *mut (), Ordering::Release);
}

/// Writes to the sink, piece by piece as the formatting yields them.
pub fn print(arguments: fmt::Arguments<'_>) {
    let pointer = SINK.load(Ordering::Acquire);
    if pointer.is_null() {
        return;
    }
    // SAFETY: a pointer that is not null was stored by `set_sink`, from a function of this type.
    let sink = unsafe { core::mem::transmute::<*mut (), Sink>(pointer) };
    // `To` yields no errors, but a `Display` may; what it wrote so far is out.
    let _ = fmt::write(&mut To(sink), arguments);
}

struct To(Sink);

impl fmt::Write for To {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0(text);
        Ok(())
    }
}

/// Prints to the registered sink.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => { $crate::print::print(::core::format_args!($($arguments)*)) };
}

/// Prints a line to the registered sink.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arguments:tt)*) => {
        $crate::print::print(::core::format_args!("{}\n", ::core::format_args!($($arguments)*)))
    };
}
