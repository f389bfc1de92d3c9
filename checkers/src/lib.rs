//! Linearizability checkers: exact, online, in bounded memory.
