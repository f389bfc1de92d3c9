//! Bugs that can be planted on purpose, to measure whether the checks find them.

use std::fmt;
use std::marker::PhantomData;

/// A list of planted bugs, which [`planted_bugs!`](crate::planted_bugs) declares.
pub trait Bug: Copy + Eq + 'static {
    /// Every planted bug, in the order in which reports list them.
    const ALL: &'static [Self];

    /// The name used on the command line and in reports.
    fn name(self) -> &'static str;

    /// The bug's position in [`Bug::ALL`].
    fn index(self) -> u32;

    /// The bug with this name, or `None`.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Declares the planted bugs of a system: an enum with `ALL`, `name`, `from_name` and
/// `Display`, which implements [`Bug`]. A list holds at most 128 bugs, and no two of them
/// have the same name; otherwise it does not compile.
///
/// ```
/// use veridical_probe::{Planted, planted_bugs};
///
/// planted_bugs! {
///     /// What the lock service may be made to do wrong.
///     pub enum LockBug {
///         /// A lock is granted before the former holder has let go of it.
///         TwoHolders => "two-holders",
///         /// A lock survives the session of its holder.
///         OutlivesSession => "outlives-session",
///     }
/// }
///
/// struct Lock {
///     holder: Option<u64>,
///     planted: Planted<LockBug>,
/// }
///
/// impl Lock {
///     fn acquire(&mut self, session: u64) -> bool {
///         let free = self.holder.is_none() || self.planted.has(LockBug::TwoHolders);
///         if free {
///             self.holder = Some(session);
///         }
///         free
///     }
/// }
///
/// let mut lock = Lock { holder: None, planted: Planted::none() };
/// assert!(lock.acquire(1) && !lock.acquire(2));
/// assert_eq!(LockBug::from_name("two-holders"), Some(LockBug::TwoHolders));
/// assert_eq!(LockBug::ALL.len(), 2);
/// ```
///
/// Two bugs of one name do not compile:
///
/// ```compile_fail
/// veridical_probe::planted_bugs! {
///     /// Bugs of nobody.
///     pub enum Twice {
///         /// The first one.
///         First => "same",
///         /// The second one.
///         Second => "same",
///     }
/// }
/// ```
#[macro_export]
macro_rules! planted_bugs {
    (
        $(#[$list_doc:meta])*
        $visibility:vis enum $list:ident {
            $($(#[$doc:meta])* $variant:ident => $name:literal),+ $(,)?
        }
    ) => {
        $(#[$list_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility enum $list {
            $($(#[$doc])* $variant,)+
        }

        const _: () = $crate::assert_bug_names(&[$($name,)+]);

        impl $list {
            /// Every planted bug, in the order in which reports list them.
            $visibility const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used on the command line and in reports.
            $visibility const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The bug with this name, or `None`.
            #[allow(dead_code, reason = "not every list is read from a command line")]
            $visibility fn from_name(name: &str) -> ::core::option::Option<Self> {
                <Self as $crate::Bug>::from_name(name)
            }
        }

        impl $crate::Bug for $list {
            const ALL: &'static [Self] = Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            #[inline]
            fn index(self) -> u32 {
                self as u32
            }
        }

        impl ::core::fmt::Display for $list {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

/// Checks a list of bugs when it is compiled: a set of them is one word of bits, and a name
/// stands for one bug.
#[doc(hidden)]
pub const fn assert_bug_names(names: &[&str]) {
    assert!(
        names.len() <= u128::BITS as usize,
        "a list holds at most 128 planted bugs"
    );
    let mut first = 0;
    while first < names.len() {
        let mut second = first + 1;
        while second < names.len() {
            assert!(
                !is_same(names[first].as_bytes(), names[second].as_bytes()),
                "two planted bugs have the same name"
            );
            second += 1;
        }
        first += 1;
    }
}

const fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A set of planted bugs of the list `B`. It is empty unless the feature `planted-bugs` is on
/// and somebody planted one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Planted<B> {
    #[cfg(feature = "planted-bugs")]
    bits: u128,
    list: PhantomData<B>,
}

impl<B> Planted<B> {
    /// No bug at all.
    pub const fn none() -> Self {
        Self {
            #[cfg(feature = "planted-bugs")]
            bits: 0,
            list: PhantomData,
        }
    }
}

impl<B: Bug> Planted<B> {
    /// The set that holds only `bug`.
    #[cfg(feature = "planted-bugs")]
    pub fn only(bug: B) -> Self {
        Self {
            bits: 1 << bug.index(),
            list: PhantomData,
        }
    }

    /// Whether `bug` is planted. It is the constant `false` without the feature.
    #[inline(always)]
    pub fn has(self, bug: B) -> bool {
        #[cfg(feature = "planted-bugs")]
        {
            self.bits & (1 << bug.index()) != 0
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = bug;
            false
        }
    }
}

impl<B> Default for Planted<B> {
    fn default() -> Self {
        Self::none()
    }
}

impl<B: Bug> fmt::Debug for Planted<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planted = B::ALL.iter().filter(|bug| self.has(**bug));
        f.debug_set()
            .entries(planted.map(|bug| bug.name()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bug, Planted};

    crate::planted_bugs! {
        /// Bugs that are nowhere planted.
        enum Example {
            /// The first one.
            First => "first",
            /// The second one.
            Second => "second",
        }
    }

    #[test]
    fn every_name_finds_its_bug_and_no_other() {
        for bug in Example::ALL {
            assert_eq!(Example::from_name(bug.name()), Some(*bug));
            assert_eq!(Example::ALL[bug.index() as usize], *bug);
        }
        assert_eq!(Example::from_name("no-such-bug"), None);
    }

    #[test]
    fn nothing_is_planted_by_default() {
        for bug in Example::ALL {
            assert!(!Planted::none().has(*bug));
            assert!(!Planted::default().has(*bug));
        }
    }

    #[test]
    #[should_panic(expected = "two planted bugs have the same name")]
    fn a_name_stands_for_one_bug() {
        super::assert_bug_names(&["one", "other", "one"]);
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn a_set_of_one_has_exactly_that_bug() {
        for planted in Example::ALL {
            for asked in Example::ALL {
                assert_eq!(Planted::only(*planted).has(*asked), planted == asked);
            }
        }
        assert_eq!(
            format!("{:?}", Planted::only(Example::Second)),
            r#"{"second"}"#
        );
    }
}
