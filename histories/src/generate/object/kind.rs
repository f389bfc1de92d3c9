//! The objects that can be generated.

/// The objects that can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Reads and writes of unique values.
    Register,
    /// The same, with compare-and-swap.
    CasRegister,
    /// The same, with deletions.
    Kv,
    /// Texts with append.
    KvAppend,
    /// A set.
    Set,
    /// A first-in-first-out queue.
    Queue,
    /// A stack.
    Stack,
    /// A lock.
    Lock,
    /// A counter.
    Counter,
    /// Lists to which transactions append.
    ListAppend,
}

impl ObjectKind {
    /// All of them.
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
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether what is written can be written again ([`values`](super::ObjectWorkload::values)).
    pub const fn has_values(self) -> bool {
        matches!(self, Self::Register | Self::CasRegister | Self::Kv)
    }
}
