//! The kinds of objects that histories are about.

use std::fmt;

/// Which object a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A value that is read and written.
    Register,
    /// A register with compare-and-swap.
    CasRegister,
    /// A map of such registers; a deletion makes nil.
    Kv,
    /// A map of texts with append; they begin empty.
    KvAppend,
    /// A set: add, remove, contains, read.
    Set,
    /// A first-in-first-out queue.
    Queue,
    /// A last-in-first-out stack.
    Stack,
    /// A lock that one owner holds at a time.
    Lock,
    /// A number that is incremented and read.
    Counter,
    /// Lists to which transactions append.
    ListAppend,
    /// A log of records.
    Log,
}

impl ObjectKind {
    /// Every kind, in the order in which reports name them.
    pub const ALL: &'static [Self] = &[
        Self::Register,
        Self::CasRegister,
        Self::Kv,
        Self::KvAppend,
        Self::Set,
        Self::Queue,
        Self::Stack,
        Self::Lock,
        Self::Counter,
        Self::ListAppend,
        Self::Log,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Kv => "kv",
            Self::KvAppend => "kv-append",
            Self::Set => "set",
            Self::Queue => "queue",
            Self::Stack => "stack",
            Self::Lock => "lock",
            Self::Counter => "counter",
            Self::ListAppend => "list-append",
            Self::Log => "log",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether an object is one value, which it may hold before anybody writes it.
    pub const fn has_initial(self) -> bool {
        match self {
            Self::Register | Self::CasRegister | Self::Kv | Self::KvAppend => true,
            Self::Counter | Self::Lock => true,
            Self::Set | Self::Queue | Self::Stack | Self::ListAppend | Self::Log => false,
        }
    }

    /// Whether a generated history can write a value more than once
    /// ([`values`](crate::generate::object::ObjectWorkload::values)).
    pub const fn has_values(self) -> bool {
        matches!(self, Self::Register | Self::CasRegister | Self::Kv)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
