// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel answers when it refuses an invocation.

use core::fmt;

/// Why an invocation was refused, with what the kernel says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A message word has a value that makes no sense here: a bug of the caller.
    InvalidArgument {
        /// Which word, counted from 0.
        argument: u64,
    },
    /// A capability is missing or of the wrong kind; 0 is the one invoked.
    InvalidCapability {
        /// Which capability.
        capability: u64,
    },
    /// The object does not know this operation, or not in its state.
    IllegalOperation,
    /// A value lies outside what is allowed.
    Range {
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// An address is not aligned to the object's size.
    Alignment,
    /// A slot, or a table on the way to an address, does not exist.
    FailedLookup {
        /// The lookup in the source (true) or in the destination (false) failed.
        source: bool,
        /// How many bits were left to resolve.
        bits_left: u64,
    },
    /// The message has too few words or capabilities.
    TruncatedMessage,
    /// The destination is in use: delete what it holds first.
    DeleteFirst,
    /// The object has children: revoke it first.
    RevokeFirst,
    /// The untyped memory has too little left.
    NotEnoughMemory {
        /// How many bytes it has left.
        available_bytes: u64,
    },
    /// A number that seL4 5.0.0 does not use.
    Unknown {
        /// The number.
        code: u64,
    },
}

impl Error {
    /// Decodes the label and the message words of the kernel's answer; `None` for success.
    #[must_use]
    pub const fn decode(label: u64, words: [u64; 4]) -> Option<Self> {
        Some(match label {
            0 => return None,
            1 => Self::InvalidArgument { argument: words[0] },
            2 => Self::InvalidCapability { capability: words[0] },
            3 => Self::IllegalOperation,
            4 => Self::Range { min: words[0], max: words[1] },
            5 => Self::Alignment,
            6 => Self::FailedLookup { source: words[0] != 0, bits_left: words[2] },
            7 => Self::TruncatedMessage,
            8 => Self::DeleteFirst,
            9 => Self::RevokeFirst,
            10 => Self::NotEnoughMemory { available_bytes: words[0] },
            code => Self::Unknown { code },
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument { argument } => write!(f, "invalid argument {argument}"),
            Self::InvalidCapability { capability } => write!(f, "invalid capability {capability}"),
            Self::IllegalOperation => write!(f, "illegal operation"),
            Self::Range { min, max } => write!(f, "value outside {min:#x}..={max:#x}"),
            Self::Alignment => write!(f, "address not aligned"),
            Self::FailedLookup { source, bits_left } => {
                let end = if *source { "source" } else { "destination" };
                write!(f, "failed lookup of the {end}, {bits_left} bits left")
            }
            Self::TruncatedMessage => write!(f, "truncated message"),
            Self::DeleteFirst => write!(f, "destination in use"),
            Self::RevokeFirst => write!(f, "object has children"),
            Self::NotEnoughMemory { available_bytes } => {
                write!(f, "not enough memory: {available_bytes} bytes left")
            }
            Self::Unknown { code } => write!(f, "unknown error {code}"),
        }
    }
}

impl core::error::Error for Error {}

/// A level of the translation tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A [`PageTable`](crate::PageTable), covering 2 MiB.
    PageTable,
    /// A [`PageDirectory`](crate::PageDirectory), covering 1 GiB.
    PageDirectory,
    /// A [`Pdpt`](crate::Pdpt), covering 512 GiB.
    Pdpt,
}

/// Why a frame or table could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// This table has to be mapped at the address first.
    Missing(Table),
    /// Something is mapped at the address, or this capability is mapped elsewhere.
    Occupied,
    /// Any other refusal.
    Other(Error),
}

impl From<Error> for MapError {
    fn from(error: Error) -> Self {
        match error {
            Error::FailedLookup { bits_left: 21, .. } => Self::Missing(Table::PageTable),
            Error::FailedLookup { bits_left: 30, .. } => Self::Missing(Table::PageDirectory),
            Error::FailedLookup { bits_left: 39, .. } => Self::Missing(Table::Pdpt),
            Error::DeleteFirst => Self::Occupied,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(table) => write!(f, "missing {table:?}"),
            Self::Occupied => write!(f, "address or capability already mapped"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MapError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_label_zero_is_success() {
        assert_eq!(Error::decode(0, [1; 4]), None);
    }

    #[test]
    fn map_error_failed_lookup_names_the_missing_table() {
        for (bits_left, table) in
            [(21, Table::PageTable), (30, Table::PageDirectory), (39, Table::Pdpt)]
        {
            let error = Error::decode(6, [0, 2, bits_left, 0]).unwrap();
            assert_eq!(MapError::from(error), MapError::Missing(table));
        }
    }

    #[test]
    fn error_unknown_label_keeps_its_number() {
        assert_eq!(Error::decode(11, [0; 4]), Some(Error::Unknown { code: 11 }));
    }
}
