//! How often each key is used.

use crate::random::Random;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each key as often as any other.
    Uniform,
    /// The k-th key with weight 1/k^θ (θ = 0.99, as in YCSB).
    Zipf,
}

impl Distribution {
    /// The distribution of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "zipf" => Some(Self::Zipf),
            _ => None,
        }
    }
}

/// The skew θ, which is that of YCSB (Cooper et al., SoCC 2010).
const THETA: f64 = 0.99;

/// Ranks beyond this number share one weight each with their neighbours, so that the table
/// stays small.
const TABLE_MAX: u64 = 1 << 20;

/// Zipf's law over `0..items`: the rank k, counted from 0, is drawn with a probability
/// proportional to 1/(k + 1)^0.99.
///
/// Draws take constant time and no function of the C library (the alias method: Walker 1977,
/// Vose 1991). Rejection sampling, as `rand_distr` has it, needs no table, but raises to a power
/// and takes a logarithm for each draw.
#[derive(Clone, Debug)]
pub struct Zipf {
    items: u64,
    /// Ranks for each entry of the table.
    stride: u64,
    /// The share below which an entry stands for itself, and what it stands for above.
    table: Vec<(f64, u32)>,
}

impl Zipf {
    /// The distribution over `0..items`, or over `0..1` where there are no items. Takes time
    /// and memory proportional to `items`, up to a million.
    pub fn new(items: u64) -> Self {
        let items = items.max(1);
        let stride = items.div_ceil(TABLE_MAX);
        let entries = items.div_ceil(stride);
        let weights: Vec<f64> = (0..entries)
            .map(|entry| ((entry * stride + 1) as f64).powf(-THETA))
            .collect();
        let scale = entries as f64 / weights.iter().sum::<f64>();
        let mut scaled: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut table: Vec<(f64, u32)> = (0..entries).map(|entry| (1.0, entry as u32)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..scaled.len()).partition(|entry| scaled[*entry] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
            table[less] = (scaled[less], more as u32);
            scaled[more] -= 1.0 - scaled[less];
            if scaled[more] < 1.0 {
                small.push(more);
            } else {
                large.push(more);
            }
        }
        Self {
            items,
            stride,
            table,
        }
    }

    /// Draws a rank; 0 is the most frequent one.
    pub fn rank(&self, random: &mut Random) -> u64 {
        let entry = random.index(self.table.len());
        let (share, other) = self.table[entry];
        let entry = if random.unit() < share {
            entry as u64
        } else {
            u64::from(other)
        };
        let first = entry * self.stride;
        if self.stride == 1 {
            first
        } else {
            (first + random.below(self.stride)).min(self.items - 1)
        }
    }
}

/// Draws keys by a [`Distribution`].
#[derive(Clone, Debug)]
pub(super) enum KeyChooser {
    /// Any of this many keys.
    Uniform(u64),
    Zipf(Zipf),
}

impl KeyChooser {
    pub fn new(distribution: Distribution, keys: u64) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform(keys.max(1)),
            Distribution::Zipf => Self::Zipf(Zipf::new(keys)),
        }
    }

    pub fn choose(&self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform(keys) => random.below(*keys),
            Self::Zipf(zipf) => zipf.rank(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_prefers_the_first_keys_and_reaches_the_last() {
        let zipf = Zipf::new(100);
        let mut random = Random::new(1);
        let mut counts = [0u32; 100];
        (0..200_000).for_each(|_| counts[zipf.rank(&mut random) as usize] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[9]);
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
        assert!(counts[99] > 0);
    }

    #[test]
    fn no_rank_is_outside_however_many_items_there_are() {
        let mut random = Random::new(2);
        for items in [0, 1, 2, TABLE_MAX, TABLE_MAX + 1, 3 * TABLE_MAX + 7] {
            let zipf = Zipf::new(items);
            assert!((0..1_000).all(|_| zipf.rank(&mut random) < items.max(1)));
        }
    }
}
