//! Which key comes next.

use veridical_histories::random::Random;

/// The skew that YCSB uses.
const THETA: f64 = 0.99;

/// Chooses among `items` numbers so that the k-th most popular one comes with a
/// probability proportional to 1 / k^0.99 (Gray et al., *Quickly Generating
/// Billion-Record Synthetic Databases*, SIGMOD 1994, as YCSB uses it).
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    items: u64,
    zeta: f64,
    zeta_of_two: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// A distribution over `0..items`. Takes time proportional to `items`.
    ///
    /// # Panics
    /// If there are no items.
    pub(crate) fn new(items: u64) -> Self {
        assert!(items > 0, "there is nothing to choose from");
        let zeta = |items: u64| {
            (1..=items)
                .map(|rank| (rank as f64).powf(-THETA))
                .sum::<f64>()
        };
        let (zeta, zeta_of_two) = (zeta(items), zeta(items.min(2)));
        Self {
            items,
            zeta,
            zeta_of_two,
            alpha: 1.0 / (1.0 - THETA),
            eta: (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of_two / zeta),
        }
    }

    /// A rank; 0 is the most popular.
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.zeta_of_two {
            return 1;
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items - 1)
    }

    /// A number of which the popular ones are scattered over the whole range.
    pub(crate) fn scattered(&self, random: &mut Random) -> u64 {
        // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
        let mut hash = self.rank(random).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ (hash >> 31)) % self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_first_ranks_are_those_of_zipf() {
        let (items, draws) = (1_000, 200_000);
        let zipf = Zipf::new(items);
        let mut random = Random::new(7);
        let mut counts = vec![0_u32; items as usize];
        for _ in 0..draws {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        for rank in [0, 1, 9, 99] {
            let expected = f64::from(draws) * ((rank + 1) as f64).powf(-THETA) / zipf.zeta;
            let ratio = f64::from(counts[rank]) / expected;
            assert!((0.75..1.25).contains(&ratio), "rank {rank}: {ratio}");
        }
    }

    #[test]
    fn it_never_leaves_its_range() {
        for items in [1, 2, 3, 10] {
            let zipf = Zipf::new(items);
            let mut random = Random::new(items);
            for _ in 0..1_000 {
                assert!(zipf.rank(&mut random) < items);
                assert!(zipf.scattered(&mut random) < items);
            }
        }
    }
}
