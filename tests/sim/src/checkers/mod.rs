// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold, one property a file. [`crate::check`] has what is checked at every step.

pub mod acknowledged;
pub mod linear;
pub mod link;
