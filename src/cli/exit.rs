//! Exit codes, and which one it is where several apply.

use std::process::ExitCode;

/// What the process answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done, and durable.
    Done,
    /// 1: failed; earlier snapshots are as they were.
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: done, but some objects could not be read.
    Partial,
    /// 4: damage was found or is left.
    Damage,
    /// 5: the store is in use by another run.
    Busy,
    /// 6: a snapshot looks wrong, or a prune was refused.
    Suspicious,
    /// 129: the terminal went away.
    HungUp,
    /// 130: interrupted (SIGINT).
    Interrupted,
    /// 143: told to end (SIGTERM).
    Terminated,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Damage => 4,
            Self::Busy => 5,
            Self::Suspicious => 6,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// How much it weighs within one command: what never began, was cut off or could not begin says so before
    /// anything it found; then the contract's "1, then 4, 6, 3".
    const fn weight(self) -> u8 {
        match self {
            Self::Usage => 9,
            Self::Terminated => 8,
            Self::Interrupted => 7,
            Self::HungUp => 6,
            Self::Failed => 5,
            Self::Busy => 4,
            Self::Damage => 3,
            Self::Suspicious => 2,
            Self::Partial => 1,
            Self::Done => 0,
        }
    }

    /// The one that a command ends with when several apply.
    pub fn of_several(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max_by_key(|e| e.weight()).unwrap_or(Self::Done)
    }

    /// The one that a command over all profiles ends with: the worst of theirs, in the order 1, 2, 4, 6, 3, 5, 0.
    /// A signal ends them all, so it comes first.
    pub fn of_profiles(all: impl IntoIterator<Item = Self>) -> Self {
        let weight = |e: &Self| match e {
            Self::Terminated => 9,
            Self::Interrupted => 8,
            Self::HungUp => 7,
            Self::Failed => 6,
            Self::Usage => 5,
            Self::Damage => 4,
            Self::Suspicious => 3,
            Self::Partial => 2,
            Self::Busy => 1,
            Self::Done => 0,
        };
        all.into_iter().max_by_key(weight).unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit::{self, *};

    #[test]
    fn the_contracts_order() {
        for (several, one) in [
            (vec![], Done),
            (vec![Done, Partial], Partial),
            (vec![Partial, Suspicious], Suspicious),
            (vec![Suspicious, Damage, Partial], Damage),
            (vec![Partial, Failed, Damage], Failed),
            (vec![Failed, Interrupted], Interrupted),
        ] {
            assert_eq!(Exit::of_several(several.clone()), one, "{several:?}");
        }
        let mut order = vec![Done, Busy, Partial, Suspicious, Damage, Usage, Failed];
        while let Some(worst) = order.last().copied() {
            assert_eq!(Exit::of_profiles(order.clone()), worst);
            order.pop();
        }
    }
}
