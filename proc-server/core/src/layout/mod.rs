// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's structures as programs see them: byte layouts of x86-64, and nothing else.
//!
//! They stand here, and not where they are used, because each is a contract with unmodified
//! programs: its size is asserted at compile time, and tests compare sizes and offsets with the
//! host's C library. A structure is copied in or out as bytes (`zerocopy`), never by pointer.
//!
//! # Source
//! The uapi headers of Linux 6.1 for x86-64; the man page of each call.

pub mod io;
pub mod ioctl;
pub mod signal;
pub mod socket;
pub mod stat;
pub mod system;
pub mod sysv;
pub mod terminal;
pub mod time;

#[cfg(test)]
mod tests;

pub use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What a structure must be to travel between a program and the server.
pub trait Layout: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// Bytes of the structure.
    const BYTES: usize = size_of::<Self>();

    /// The structure in the first bytes of `bytes`; `None` if they are too few.
    fn from_slice(bytes: &[u8]) -> Option<Self> {
        Self::read_from_prefix(bytes).ok().map(|(value, _)| value)
    }
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Layout for T {}

/// Declares structures with Linux's layout and asserts their sizes.
macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $bytes:literal { $($(#[$field_doc:meta])* $field:ident: $t:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        #[allow(missing_docs, reason = "fields have the names of the man page")]
        pub struct $name { $($(#[$field_doc])* pub $field: $t),* }

        static_assertions::const_assert_eq!(size_of::<$name>(), $bytes);

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )*};
}
pub(crate) use layouts;
