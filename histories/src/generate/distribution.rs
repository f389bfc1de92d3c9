//! Which keys are used how often.

use crate::random::Random;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as any other.
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

/// Keys above this share one weight each with their neighbours, so that the table of a
/// zipf distribution stays small.
const TABLE_MAX: u64 = 1 << 20;

/// Draws keys in constant time (Vose's alias method).
#[derive(Clone, Debug)]
pub(super) struct KeyChooser {
    keys: u64,
    /// Keys per table entry.
    stride: u64,
    /// The share below which an entry stands for itself, and what it stands for above.
    table: Vec<(f64, u32)>,
}

impl KeyChooser {
    pub fn new(distribution: Distribution, keys: u64) -> Self {
        let keys = keys.max(1);
        if distribution == Distribution::Uniform {
            return Self {
                keys,
                stride: 1,
                table: Vec::new(),
            };
        }
        let stride = keys.div_ceil(TABLE_MAX);
        let entries = keys.div_ceil(stride);
        let weights: Vec<f64> = (0..entries)
            .map(|entry| ((entry * stride + 1) as f64).powf(-0.99))
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
            keys,
            stride,
            table,
        }
    }

    pub fn choose(&self, random: &mut Random) -> u64 {
        if self.table.is_empty() {
            return random.below(self.keys);
        }
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
            (first + random.below(self.stride)).min(self.keys - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_prefers_the_first_keys_and_reaches_the_last() {
        let chooser = KeyChooser::new(Distribution::Zipf, 100);
        let mut random = Random::new(1);
        let mut counts = [0u32; 100];
        (0..200_000).for_each(|_| counts[chooser.choose(&mut random) as usize] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[9]);
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
        assert!(counts[99] > 0);
    }
}
