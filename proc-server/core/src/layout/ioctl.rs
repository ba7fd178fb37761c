// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctl(2) requests that we know: what each copies in and out.
//!
//! A request that does not stand here gets ENOTTY, as its argument's size is not known.

use super::terminal::{Termios, Winsize};
use abi::linux::ioctl::{
    FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, TCFLSH, TCGETS, TCSBRK, TCSBRKP, TCSETS, TCSETSF,
    TCSETSW, TCXONC, TIOCGPGRP, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCOUTQ, TIOCSCTTY, TIOCSPGRP,
    TIOCSWINSZ,
};

/// How a request's argument is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// It is a number.
    Number,
    /// It points to a structure of this many bytes, which the request reads.
    In(usize),
    /// It points to a structure of this many bytes, which the request writes.
    Out(usize),
}

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// FIOCLEX, FIONCLEX: the descriptor's close-on-exec flag.
    CloseOnExec(bool),
    /// FIONBIO: the description's O_NONBLOCK flag; the argument points to an int.
    NonBlocking,
    /// The file's server decides.
    File(Argument),
}

/// What the request with this number is; `None` if we do not know it.
pub const fn request(number: u32) -> Option<Request> {
    let int = size_of::<i32>();
    let argument = match number {
        FIOCLEX => return Some(Request::CloseOnExec(true)),
        FIONCLEX => return Some(Request::CloseOnExec(false)),
        FIONBIO => return Some(Request::NonBlocking),
        TCGETS => Argument::Out(size_of::<Termios>()),
        TCSETS | TCSETSW | TCSETSF => Argument::In(size_of::<Termios>()),
        TIOCGWINSZ => Argument::Out(size_of::<Winsize>()),
        TIOCSWINSZ => Argument::In(size_of::<Winsize>()),
        TIOCGPGRP | TIOCGSID | FIONREAD | TIOCOUTQ => Argument::Out(int),
        TIOCSPGRP => Argument::In(int),
        TIOCSCTTY | TIOCNOTTY | TCFLSH | TCSBRK | TCSBRKP | TCXONC => Argument::Number,
        _ => return None,
    };
    Some(Request::File(argument))
}
