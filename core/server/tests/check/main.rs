//! `veridical check` and `veridical history` as their users meet them.
