//! How many keys a plan has, what they look like, and how long a few values are.

use veridical_node::Limits;
use veridical_world::{Rng, Stream};

use crate::keyspace::{ADVERSARIAL_MAX, Keyspace};

/// Seeds whose keys are adversarial.
const ADVERSARIAL_SHARE: f64 = 0.12;

/// Seeds with so many keys that each shard has many.
const MANY_SHARE: f64 = 0.04;

/// Keys of such a seed.
const MANY: (u64, u64) = (200, 5_000);

/// So many keys are put at once, at most, and so often.
const AT_ONCE_MAX: usize = 100;
const FILLINGS_MAX: u32 = 60;

/// Bytes of a request for each key that is put, with room for the rest of it.
const BYTES_OF_A_PUT: usize = 64;

/// How many puts of long keys a request has room for.
const PUTS_AT_ONCE: usize = 4;

/// Chunks of a snapshot, without earlier versions of keys.
const CHUNKS_MAX: usize = 200;

/// Seeds with a few large values, and how large, in bytes.
const LARGE_VALUES_SHARE: f64 = 0.05;
const LARGE_VALUE_BYTES: (u64, u64) = (20_000, 400_000);

/// Members of such a seed have settings that let such values through in time.
const ROOM_BYTES: usize = 1 << 20;

/// The keys of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) keyspace: Keyspace,
    /// How many.
    pub(super) keys: u32,
    /// All are put at first, so many at once; 0 if they are not.
    pub(super) at_once: u32,
}

impl Keys {
    /// Makes room for the keys. Chunks of snapshots are so large that all keys go into a few hundred of
    /// them: a newcomer on a slow network has to have its snapshot before the next one replaces it.
    pub(super) fn fit(&self, limits: &mut Limits) {
        let keys = (0..self.keys).map(|number| self.keyspace.key(number).len());
        let (all, longest) = keys.fold((0, 0), |(all, longest), key| {
            (all + key + BYTES_OF_A_PUT, longest.max(key))
        });
        limits.snapshot_chunk_bytes = limits.snapshot_chunk_bytes.max(all / CHUNKS_MAX);
        if longest > BYTES_OF_A_PUT {
            limits.max_request_bytes = limits.max_request_bytes.max(PUTS_AT_ONCE * longest);
            limits.repair();
        }
    }

    /// Of a seed, which has a `few` keys as a rule; from a stream of their own.
    pub(super) fn draw(seed: u64, few: u32, limits: &Limits) -> Self {
        let mut rng = Rng::for_part(seed, Stream::Workload, "keys");
        let kind = rng.unit();
        if kind < ADVERSARIAL_SHARE {
            return Self {
                keyspace: Keyspace::Adversarial,
                keys: rng.between(1, u64::from(ADVERSARIAL_MAX)) as u32,
                at_once: 0,
            };
        }
        let room = limits.max_request_bytes / BYTES_OF_A_PUT;
        let at_once = limits.max_txn_ops.min(room).min(AT_ONCE_MAX) as u32;
        if kind < ADVERSARIAL_SHARE + MANY_SHARE && at_once > 1 {
            let keys = rng.between(MANY.0, MANY.1) as u32;
            return Self {
                keyspace: Keyspace::Numbers,
                keys: keys.min(at_once * FILLINGS_MAX),
                at_once,
            };
        }
        Self {
            keyspace: Keyspace::Names,
            keys: few,
            at_once: 0,
        }
    }
}

/// How long a few values are, in bytes, in some seeds; their members take such requests.
pub(super) fn large_values(seed: u64, limits: &mut Limits) -> u32 {
    let mut rng = Rng::for_part(seed, Stream::Workload, "large values");
    if !rng.chance(LARGE_VALUES_SHARE) {
        return 0;
    }
    limits.max_request_bytes = limits.max_request_bytes.max(ROOM_BYTES);
    limits.snapshot_chunk_bytes = limits.snapshot_chunk_bytes.max(ROOM_BYTES / 8);
    limits.repair();
    rng.between(LARGE_VALUE_BYTES.0, LARGE_VALUE_BYTES.1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_few_keys_mostly_and_adversarial_or_many_ones_sometimes() {
        let limits = Limits::default();
        let drawn = |seed| Keys::draw(seed, 7, &limits);
        let share = |keyspace| {
            (0..1_000)
                .filter(|seed| drawn(*seed).keyspace == keyspace)
                .count()
        };
        assert!(share(Keyspace::Names) > 700);
        assert!((60..200).contains(&share(Keyspace::Adversarial)));
        assert!((15..80).contains(&share(Keyspace::Numbers)));
        assert!((0..1_000).any(|seed| drawn(seed).keys > 4_000));
    }

    #[test]
    fn members_take_the_large_values_of_their_seed() {
        let mut seeds = 0;
        for seed in 0..400 {
            let mut limits = crate::knobs::draw(seed);
            let bytes = large_values(seed, &mut limits);
            assert!(limits.max_request_bytes > bytes as usize);
            assert_eq!(limits.validate(), Ok(()));
            seeds += u32::from(bytes > 0);
        }
        assert!((5..50).contains(&seeds), "{seeds}");
    }
}
