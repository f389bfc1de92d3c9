//! Random numbers: one stream per subsystem, all derived from the run's seed.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom
//! number generators", 2019), seeded by SplitMix64 as its authors advise; both are those of
//! `rand_xoshiro`, whose version is pinned and whose first outputs are tested, because digests
//! and recorded traces hang on every bit. The distributions are written out here for the same
//! reason: those of `rand` may change with its version, and no function of the C library is
//! used, since `log` differs in its last bit between versions of libm.

use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The subsystems that draw random numbers. A draw in one never moves another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Which ready task runs next (seeds the madsim runtime).
    Schedule,
    /// Delays and faults of the network.
    Network,
    /// Delays, faults and crash outcomes of the disks.
    Disk,
    /// Origins and skews of the clocks.
    Clock,
    /// What the clients of the system under test do.
    Workload,
    /// Configuration values of the system under test.
    Knobs,
    /// Which faults are injected, when and where.
    Nemesis,
    /// Seeds handed to processes by `Environment::random_seed`.
    Process,
}

/// All streams, in the order of their numbers.
#[cfg(test)]
const STREAMS: [Stream; 8] = [
    Stream::Schedule,
    Stream::Network,
    Stream::Disk,
    Stream::Clock,
    Stream::Workload,
    Stream::Knobs,
    Stream::Nemesis,
    Stream::Process,
];

/// The first output of SplitMix64 from `state`: a well-mixed word.
fn split_mix(state: u64) -> u64 {
    SplitMix64::seed_from_u64(state).next_u64()
}

/// A generator of random numbers (xoshiro256++).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    generator: Xoshiro256PlusPlus,
}

impl Rng {
    /// A generator whose numbers are a function of `seed` alone.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            generator: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// The generator of `stream` in the run with this seed.
    pub fn for_stream(seed: u64, stream: Stream) -> Self {
        Self::from_seed(stream_seed(seed, stream))
    }

    /// The generator of a named part of a stream: a new part, or a draw more in one of
    /// them, does not move the others.
    pub fn for_part(seed: u64, stream: Stream, name: &str) -> Self {
        Self::from_seed(keyed_seed(seed, stream, name_code(name), 0))
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number in `0..bound`, uniform up to 2⁻⁶⁴ of bias.
    ///
    /// # Panics
    /// If `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range must not be empty");
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "a range must not be empty");
        match high - low {
            u64::MAX => self.next_u64(),
            width => low + self.below(width + 1),
        }
    }

    /// An index into a collection of `length` elements.
    ///
    /// # Panics
    /// If `length` is 0.
    #[inline]
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number in `[0, 1)` with 53 random bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Whether something of this probability happens. Draws nothing when the answer
    /// is certain, so that a fault that is switched off costs nothing.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            false
        } else if probability >= 1.0 {
            true
        } else {
            self.unit() < probability
        }
    }

    /// An exponentially distributed number with this mean, rounded down; at most
    /// 37 times the mean. Draws nothing when `mean` is 0.
    #[inline]
    pub fn exponential(&mut self, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        // In (0, 1], so that the logarithm is finite.
        let u = ((self.next_u64() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
        (-natural_logarithm(u) * mean as f64) as u64
    }

    /// A new generator, seeded by this one.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// Fills `target` with random bytes.
    pub fn fill(&mut self, target: &mut [u8]) {
        for chunk in target.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

/// The seed of `stream` in the run with this seed.
pub fn stream_seed(seed: u64, stream: Stream) -> u64 {
    split_mix(seed ^ (stream as u64 + 1).wrapping_mul(0xD605_BBB5_8C8A_BBFD))
}

/// The seed of the decision number `ordinal` at the site with this code in `stream`: a
/// function of nothing else, so that no other decision moves it.
pub(crate) fn keyed_seed(seed: u64, stream: Stream, code: u64, ordinal: u64) -> u64 {
    let of_site = split_mix(stream_seed(seed, stream) ^ code.wrapping_mul(0xBB67_AE85_84CA_A73B));
    split_mix(of_site ^ ordinal.wrapping_mul(0xA54F_F53A_5F1D_36F1))
}

/// A name as a number (FNV-1a; Fowler, Noll and Vo, RFC 9923).
const fn name_code(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut code = 0xCBF2_9CE4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        code = (code ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01B3);
        index += 1;
    }
    code
}

/// ln x for x in (0, 1], from additions, multiplications and one division only, all of
/// which IEEE 754 fixes to the bit. Relative error below 1e-9.
fn natural_logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i64 - 1023;
    // The mantissa as a number around 1, and ln m = 2 artanh((m − 1)/(m + 1)).
    let m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    let (m, exponent) = if m > std::f64::consts::SQRT_2 {
        (m * 0.5, exponent + 1)
    } else {
        (m, exponent)
    };
    let z = (m - 1.0) / (m + 1.0);
    let zz = z * z;
    let series = 1.0
        + zz * (1.0 / 3.0
            + zz * (1.0 / 5.0
                + zz * (1.0 / 7.0
                    + zz * (1.0 / 9.0 + zz * (1.0 / 11.0 + zz * (1.0 / 13.0 + zz / 15.0))))));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_agrees_with_the_published_first_outputs() {
        // xoshiro256++ from the state 1, 2, 3, 4.
        let mut seed = [0; 32];
        for (word, bytes) in seed.chunks_exact_mut(8).enumerate() {
            bytes[0] = word as u8 + 1;
        }
        let mut rng = Rng {
            generator: Xoshiro256PlusPlus::from_seed(seed),
        };
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(
            first,
            [41943041, 58720359, 3588806011781223, 3591011842654386]
        );
    }

    #[test]
    fn a_seed_has_the_numbers_that_recorded_runs_were_made_with() {
        let mut rng = Rng::from_seed(1);
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(
            first,
            [
                0xCFC5_D07F_6F03_C29B,
                0xBF42_4132_963F_E08D,
                0x19A3_7D57_57AA_F520,
                0xBF08_119F_05CD_56D6
            ]
        );
        assert_eq!(stream_seed(1, Stream::Network), 0x81FB_BE92_BA8B_C85D);
        assert_eq!(keyed_seed(1, Stream::Disk, 7, 3), 0x1946_9C07_CBE8_43BF);
    }

    #[test]
    fn streams_and_seeds_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            for stream in STREAMS {
                assert!(seen.insert(Rng::for_stream(seed, stream).next_u64()));
            }
        }
    }

    #[test]
    fn parts_of_a_stream_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            for name in ["", "a", "b", "ab", "ba"] {
                assert!(seen.insert(Rng::for_part(seed, Stream::Knobs, name).next_u64()));
            }
        }
    }

    #[test]
    fn the_logarithm_is_the_logarithm() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..10_000 {
            let x = rng.unit().max(1e-16);
            assert!(
                (natural_logarithm(x) - x.ln()).abs() <= 1e-8 * x.ln().abs().max(1e-3),
                "{x}"
            );
        }
    }

    #[test]
    fn exponential_numbers_have_their_mean() {
        let mut rng = Rng::from_seed(2);
        let sum: u64 = (0..100_000).map(|_| rng.exponential(1_000_000)).sum();
        let mean = sum / 100_000;
        assert!((980_000..1_020_000).contains(&mean), "{mean}");
    }

    #[test]
    fn every_value_of_a_range_is_drawn() {
        let mut rng = Rng::from_seed(3);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[rng.between(10, 14) as usize - 10] += 1;
        }
        assert!(
            seen.iter().all(|count| (850..1150).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn certain_outcomes_draw_nothing() {
        let mut rng = Rng::from_seed(4);
        let before = rng.clone();
        assert!(!rng.chance(0.0));
        assert!(rng.chance(1.0));
        assert_eq!(rng.exponential(0), 0);
        assert_eq!(rng, before);
    }
}
