//! A campaign over many machines: each takes every n-th seed.
//!
//! Which one a process is, is said by a flag or by the environment of the engine that
//! started it: a Slurm job array, or a Kubernetes job with indexed completions.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One part of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, from 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

/// Why the environment does not say which shard this is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// A variable or a flag is not what it should be.
    #[error("{name}={value:?} is not a number, or not a shard of the form I/N with I < N")]
    Malformed {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The number of shards is not known.
    #[error("{index} is set, but nothing says how many shards there are: set {count}")]
    NoCount {
        /// The variable with the shard's number.
        index: &'static str,
        /// What should say how many there are.
        count: &'static str,
    },
}

/// How many shards a Kubernetes job has: it does not say so by itself.
pub const COUNT_VARIABLE: &str = "VERIDICAL_SHARDS";

const SLURM_ID: &str = "SLURM_ARRAY_TASK_ID";
const SLURM_COUNT: &str = "SLURM_ARRAY_TASK_COUNT";
const SLURM_MIN: &str = "SLURM_ARRAY_TASK_MIN";
const SLURM_STEP: &str = "SLURM_ARRAY_TASK_STEP";
const KUBERNETES_INDEX: &str = "JOB_COMPLETION_INDEX";

impl Shard {
    /// All of a campaign.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether the seed is this shard's.
    pub const fn has(self, seed: u64) -> bool {
        seed % self.count == self.index
    }

    /// The shard that the environment names; `variable` reads it.
    ///
    /// # Errors
    /// See [`ShardError`].
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ShardError> {
        let number = |name: &str| {
            variable(name)
                .map(|value| {
                    value.parse::<u64>().map_err(|_| ShardError::Malformed {
                        name: name.to_owned(),
                        value,
                    })
                })
                .transpose()
        };
        if let Some(id) = number(SLURM_ID)? {
            let count = number(SLURM_COUNT)?.ok_or(ShardError::NoCount {
                index: SLURM_ID,
                count: SLURM_COUNT,
            })?;
            let first = number(SLURM_MIN)?.unwrap_or(0);
            let step = number(SLURM_STEP)?.unwrap_or(1).max(1);
            return Self::checked(SLURM_ID, id.wrapping_sub(first) / step, count);
        }
        if let Some(index) = number(KUBERNETES_INDEX)? {
            let count = number(COUNT_VARIABLE)?.ok_or(ShardError::NoCount {
                index: KUBERNETES_INDEX,
                count: COUNT_VARIABLE,
            })?;
            return Self::checked(KUBERNETES_INDEX, index, count);
        }
        Ok(Self::WHOLE)
    }

    fn checked(name: &str, index: u64, count: u64) -> Result<Self, ShardError> {
        if index < count {
            return Ok(Self { index, count });
        }
        Err(ShardError::Malformed {
            name: name.to_owned(),
            value: format!("{index}/{count}"),
        })
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let malformed = || ShardError::Malformed {
            name: "--shard".to_owned(),
            value: text.to_owned(),
        };
        let (index, count) = text.split_once('/').ok_or_else(malformed)?;
        let (index, count) = (index.parse(), count.parse());
        match (index, count) {
            (Ok(index), Ok(count)) => Self::checked("--shard", index, count),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(variables: &[(&str, &str)]) -> Result<Shard, ShardError> {
        Shard::from_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_shards_of_a_campaign_have_each_seed_once() {
        for count in 1..7 {
            for seed in 0..100 {
                let shards = (0..count).filter(|index| {
                    Shard {
                        index: *index,
                        count,
                    }
                    .has(seed)
                });
                assert_eq!(shards.count(), 1);
            }
        }
    }

    #[test]
    fn slurm_arrays_may_begin_anywhere_and_have_steps() {
        let task = within(&[
            ("SLURM_ARRAY_TASK_ID", "16"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "3"),
        ]);
        assert_eq!(task, Ok(Shard { index: 2, count: 4 }));
        let plain = within(&[
            ("SLURM_ARRAY_TASK_ID", "0"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ]);
        assert_eq!(plain, Ok(Shard { index: 0, count: 4 }));
    }

    #[test]
    fn an_indexed_job_needs_to_be_told_how_many_there_are() {
        let job = [("JOB_COMPLETION_INDEX", "3"), ("VERIDICAL_SHARDS", "5")];
        assert_eq!(within(&job), Ok(Shard { index: 3, count: 5 }));
        assert!(matches!(within(&job[..1]), Err(ShardError::NoCount { .. })));
    }

    #[test]
    fn nonsense_is_refused_and_no_engine_means_everything() {
        assert_eq!(within(&[]), Ok(Shard::WHOLE));
        for text in ["", "1", "3/3", "x/2", "1/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!("1/3".parse(), Ok(Shard { index: 1, count: 3 }));
        assert!(within(&[("SLURM_ARRAY_TASK_ID", "x")]).is_err());
    }
}
