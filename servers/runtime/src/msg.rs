// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between servers: four words, a few bytes, and a window for bulk data.

use abi::limits::{MESSAGE_BYTES, WINDOW_BYTES};
use abi::{
    CoreId, Errno, FileId, InodeId, NodeId, ObjectId, Pid, ServerId, SlotNo, SpaceId, ThreadId,
    Ticket,
};
use alloc::vec::Vec;
use serde::{Serialize, de::DeserializeOwned};

/// One message. Hot operations use the words, which travel in CPU registers; cold ones are encoded
/// with postcard into the bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Msg {
    /// Four message registers.
    pub words: [u64; 4],
    /// Encoded data, at most [`MESSAGE_BYTES`].
    pub bytes: Vec<u8>,
}

impl Msg {
    /// The message of a request or a reply.
    ///
    /// # Errors
    /// EMSGSIZE: the value does not fit a message.
    pub fn of<T: Wire>(value: &T) -> Result<Self, Errno> {
        let mut msg = Self::default();
        value.put(&mut msg)?;
        Ok(msg)
    }
}

/// Bulk data beside a message: a view of the caller's window. A request's data stands in the first
/// `len` bytes; a reply puts its own there and sets `len`.
pub struct Bulk<'a> {
    /// The window, at most [`WINDOW_BYTES`].
    pub buf: &'a mut [u8],
    /// Bytes that count.
    pub len: usize,
    /// Whether the data is an answer, set by [`Bulk::set`].
    pub answered: bool,
}

impl<'a> Bulk<'a> {
    /// No bulk data.
    pub fn none() -> Self {
        Bulk { buf: &mut [], len: 0, answered: false }
    }

    /// Sends all of `buf`, or receives into it.
    pub fn new(buf: &'a mut [u8]) -> Self {
        let len = buf.len().min(WINDOW_BYTES);
        Bulk { buf, len, answered: false }
    }

    /// The data.
    pub fn data(&self) -> &[u8] {
        &self.buf[..self.len.min(self.buf.len())]
    }

    /// Puts `data` in as the answer.
    ///
    /// # Errors
    /// EMSGSIZE: it is longer than the window.
    pub fn set(&mut self, data: &[u8]) -> Result<(), Errno> {
        self.buf.get_mut(..data.len()).ok_or(Errno::EMSGSIZE)?.copy_from_slice(data);
        self.len = data.len();
        self.answered = true;
        Ok(())
    }
}

/// A type that travels as a message.
pub trait Wire: Sized {
    /// Encodes the value.
    ///
    /// # Errors
    /// EMSGSIZE: it does not fit.
    fn put(&self, msg: &mut Msg) -> Result<(), Errno>;
    /// Decodes a value.
    ///
    /// # Errors
    /// EPROTO: the message is not one of this type.
    fn get(msg: &Msg) -> Result<Self, Errno>;
}

impl Wire for () {
    fn put(&self, _msg: &mut Msg) -> Result<(), Errno> {
        Ok(())
    }

    fn get(_msg: &Msg) -> Result<Self, Errno> {
        Ok(())
    }
}

/// Encodes a value with postcard into the message's bytes: what [`cold!`](crate::cold) uses.
///
/// # Errors
/// EMSGSIZE: it does not fit.
pub fn put_postcard<T: Serialize>(value: &T, msg: &mut Msg) -> Result<(), Errno> {
    let bytes = postcard::to_allocvec(value).map_err(|_| Errno::EMSGSIZE)?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(Errno::EMSGSIZE);
    }
    msg.bytes = bytes;
    Ok(())
}

/// Decodes a value from the message's bytes: what [`cold!`](crate::cold) uses.
///
/// # Errors
/// EPROTO: the bytes are not such a value.
pub fn get_postcard<T: DeserializeOwned>(msg: &Msg) -> Result<T, Errno> {
    postcard::from_bytes(&msg.bytes).map_err(|_| Errno::EPROTO)
}

/// A value that fits one message word.
pub trait Word: Sized {
    /// The value as a word.
    fn to_word(&self) -> u64;
    /// The value, if the word is one.
    fn from_word(word: u64) -> Option<Self>;
}

macro_rules! word_number {
    ($($t:ty),*) => {$(
        impl Word for $t {
            fn to_word(&self) -> u64 {
                *self as u64
            }
            fn from_word(word: u64) -> Option<Self> {
                Self::try_from(word).ok()
            }
        }
    )*};
}
word_number!(u64, u32, u16, u8, usize);

impl Word for i64 {
    fn to_word(&self) -> u64 {
        self.cast_unsigned()
    }
    fn from_word(word: u64) -> Option<Self> {
        Some(word.cast_signed())
    }
}

impl Word for bool {
    fn to_word(&self) -> u64 {
        u64::from(*self)
    }
    fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

macro_rules! word_id {
    ($($t:ty: |$v:ident| $to:expr, |$w:ident| $from:expr;)*) => {$(
        impl Word for $t {
            fn to_word(&self) -> u64 {
                let $v = self;
                $to
            }
            fn from_word($w: u64) -> Option<Self> {
                $from
            }
        }
    )*};
}
word_id! {
    ObjectId: |v| v.raw(), |w| Some(Self::from_raw(w));
    FileId: |v| v.raw(), |w| Some(Self::from_raw(w));
    InodeId: |v| v.raw(), |w| Some(Self::from_raw(w));
    Pid: |v| u64::from(v.get()), |w| u32::try_from(w).ok().and_then(Self::new);
    NodeId: |v| u64::from(v.get()), |w| u16::try_from(w).ok().and_then(Self::new);
    SpaceId: |v| SpaceId::to_word(*v), |w| Some(SpaceId::from_word(w));
    ThreadId: |v| v.to_badge(), |w| Some(Self::from_badge(w));
    Ticket: |v| Ticket::to_word(*v), |w| Some(Ticket::from_word(w));
    SlotNo: |v| v.index() as u64, |w| u16::try_from(w).ok().and_then(Self::new);
    ServerId: |v| *v as u64, |w| u8::try_from(w).ok().and_then(Self::from_number);
    CoreId: |v| u64::from(v.0), |w| u8::try_from(w).ok().map(Self);
}

/// Defines a request or reply of at most four words.
#[macro_export]
macro_rules! hot {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $t:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "what the type's documentation does not say, names do")]
        pub struct $name { $($(#[$field_doc])* pub $field: $t),* }

        impl $crate::Wire for $name {
            fn put(&self, msg: &mut $crate::Msg) -> Result<(), abi::Errno> {
                let words = [$($crate::Word::to_word(&self.$field)),*];
                msg.words[..words.len()].copy_from_slice(&words);
                Ok(())
            }
            fn get(msg: &$crate::Msg) -> Result<Self, abi::Errno> {
                let mut words = msg.words.iter();
                $(
                    let word = *words.next().ok_or(abi::Errno::EPROTO)?;
                    let $field = <$t as $crate::Word>::from_word(word).ok_or(abi::Errno::EPROTO)?;
                )*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// Makes a serde type travel in a message's bytes.
#[macro_export]
macro_rules! cold {
    ($($t:ty),* $(,)?) => {$(
        impl $crate::Wire for $t {
            fn put(&self, msg: &mut $crate::Msg) -> Result<(), abi::Errno> {
                $crate::put_postcard(self, msg)
            }
            fn get(msg: &$crate::Msg) -> Result<Self, abi::Errno> {
                $crate::get_postcard(msg)
            }
        }
    )*};
}
