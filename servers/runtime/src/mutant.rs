// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mistakes that the simulator makes on purpose, one at a time, to see whether its checkers notice.
//!
//! Without the feature `mutants`, which only the simulator has, none of them can be chosen and nothing is
//! left of the questions in the code.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(feature = "mutants")]
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mutant {
    /// A message of an old epoch is acted on.
    OldEpochsCount = 1,
    /// A frame that was lost is not sent again.
    LostFramesStayLost,
    /// A message is handed on twice.
    MessagesComeTwice,
    /// A call to a node that is down is not ended.
    CallsOutliveTheirNode,
    /// O_APPEND writes where the description stands.
    AppendsWhereItStands,
    /// rename(2) leaves the old name.
    RenameKeepsTheOldName,
    /// O_EXCL is not looked at.
    ExclusiveIsIgnored,
    /// unlink(2) says that it is done, and does nothing.
    UnlinkDoesNothing,
    /// What a read brought from another node is given back too.
    PipeBytesComeTwice,
    /// A parent on another node does not hear of its child's end.
    ExitsAreNotTold,
    /// A signal to a process on its way is answered before it arrives.
    SignalsOvertake,
    /// What a step told leaves before the backup has what the step changed.
    BackupsAreNotAwaited,
    /// An answer is forgotten when it has been given, though it may be asked for again.
    AnswersAreNotKept,
    /// A slot's backup does not take in what it was given.
    BackupsBeginEmpty,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::OldEpochsCount,
        Self::LostFramesStayLost,
        Self::MessagesComeTwice,
        Self::CallsOutliveTheirNode,
        Self::AppendsWhereItStands,
        Self::RenameKeepsTheOldName,
        Self::ExclusiveIsIgnored,
        Self::UnlinkDoesNothing,
        Self::PipeBytesComeTwice,
        Self::ExitsAreNotTold,
        Self::SignalsOvertake,
        Self::BackupsAreNotAwaited,
        Self::AnswersAreNotKept,
        Self::BackupsBeginEmpty,
    ];

    /// Whether this mistake is made now.
    #[inline(always)]
    pub fn is_on(self) -> bool {
        #[cfg(feature = "mutants")]
        return CHOSEN.load(Ordering::Relaxed) == self as u8;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// Makes this mistake from now on, or none.
    #[cfg(feature = "mutants")]
    pub fn choose(mutant: Option<Self>) {
        CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
    }
}
