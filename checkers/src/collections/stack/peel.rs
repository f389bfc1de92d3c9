//! Whether a set of values that were pushed and popped can be nested.
//!
//! Each value is certainly on the stack from the return of its push to the call of its pop.
//! Where no value is at some instant, the history can be cut there without loss: whatever
//! could be on the stack then can as well be popped before or pushed after. So each part
//! that is covered without a gap is judged by itself. In it some value has to be below all
//! others: one whose push was called before the first push has returned, and whose pop
//! returned after the last pop was called. Which of several is chosen does not matter, for
//! it is in nobody's way; it is taken out, and what is left is cut and judged again
//! (the decrease and conquer of Lee and Mathur 2025). Everything here takes
//! O(n log n) time.

/// A value that was pushed and popped, as its four events, which ascend in each pair; the
/// push returned before the pop was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    pub push_call: u64,
    pub push_end: u64,
    pub pop_call: u64,
    pub pop_end: u64,
}

/// A part that is covered without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The stays of the part, as a range.
    pub stays: std::ops::Range<usize>,
    /// The first and the last event that it covers.
    pub covered: (u64, u64),
    /// The last return of a pop.
    pub last_end: u64,
}

/// The parts of `stays`, which are in order of `push_end`.
pub(super) fn parts(stays: &[Stay]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (index, stay) in stays.iter().enumerate() {
        match parts.last_mut() {
            Some(part) if stay.push_end < part.covered.1 => {
                part.stays.end = index + 1;
                part.covered.1 = part.covered.1.max(stay.pop_call);
                part.last_end = part.last_end.max(stay.pop_end);
            }
            _ => parts.push(Part {
                stays: index..index + 1,
                covered: (stay.push_end, stay.pop_call),
                last_end: stay.pop_end,
            }),
        }
    }
    parts
}

/// What the choice of the lowest stay needs to know of a range.
#[derive(Clone, Copy, Debug)]
struct Summary {
    /// The first call of a push, and the last end of a pop, of those not known yet to be
    /// early or late enough.
    push_call: u64,
    pop_end: u64,
    /// Whether some stay is both early and late enough.
    has_lowest: bool,
}

const NOTHING: Summary = Summary {
    push_call: u64::MAX,
    pop_end: 0,
    has_lowest: false,
};

/// A segment tree over stays in order of `push_end`.
struct Choice {
    size: usize,
    nodes: Vec<Summary>,
}

impl Choice {
    fn new(stays: &[Stay]) -> Self {
        let size = stays.len().next_power_of_two();
        let mut nodes = vec![NOTHING; 2 * size];
        for (index, stay) in stays.iter().enumerate() {
            nodes[size + index] = Summary {
                push_call: stay.push_call,
                pop_end: stay.pop_end,
                has_lowest: false,
            };
        }
        let mut choice = Self { size, nodes };
        (1..size).rev().for_each(|node| choice.sum(node));
        choice
    }

    fn sum(&mut self, node: usize) {
        let (a, b) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
        self.nodes[node] = Summary {
            push_call: a.push_call.min(b.push_call),
            pop_end: a.pop_end.max(b.pop_end),
            has_lowest: a.has_lowest || b.has_lowest,
        };
    }

    fn set(&mut self, index: usize, summary: Summary) {
        let mut node = self.size + index;
        self.nodes[node] = summary;
        while node > 1 {
            node /= 2;
            self.sum(node);
        }
    }

    /// The first stay of a range for which `is_wanted` holds; it holds for a range iff for
    /// one of its stays.
    fn find(
        &self,
        range: &std::ops::Range<usize>,
        is_wanted: impl Fn(&Summary) -> bool + Copy,
    ) -> Option<usize> {
        self.find_below(1, 0, self.size, range, is_wanted)
    }

    fn find_below(
        &self,
        node: usize,
        first: usize,
        length: usize,
        range: &std::ops::Range<usize>,
        is_wanted: impl Fn(&Summary) -> bool + Copy,
    ) -> Option<usize> {
        if first >= range.end || first + length <= range.start || !is_wanted(&self.nodes[node]) {
            return None;
        }
        if length == 1 {
            return Some(first);
        }
        let half = length / 2;
        self.find_below(2 * node, first, half, range, is_wanted)
            .or_else(|| self.find_below(2 * node + 1, first + half, half, range, is_wanted))
    }

    /// A stay of `range` that can be below all others of it, which cover `covered`.
    fn lowest(&mut self, range: &std::ops::Range<usize>, covered: (u64, u64)) -> Option<usize> {
        // Parts only get smaller, so what is early or late enough once remains so.
        while let Some(early) = self.find(range, |it| it.push_call < covered.0) {
            let pop_end = self.nodes[self.size + early].pop_end;
            self.set(
                early,
                Summary {
                    push_call: u64::MAX,
                    pop_end,
                    has_lowest: pop_end == 0,
                },
            );
        }
        while let Some(late) = self.find(range, |it| it.pop_end > covered.1) {
            let push_call = self.nodes[self.size + late].push_call;
            self.set(
                late,
                Summary {
                    push_call,
                    pop_end: 0,
                    has_lowest: push_call == u64::MAX,
                },
            );
        }
        self.find(range, |it| it.has_lowest)
    }
}

/// A segment tree that counts how many stays cover each stretch between two events: the least
/// count of a range, without what was added to the whole range.
struct Cover {
    size: usize,
    least: Vec<i64>,
    added: Vec<i64>,
}

impl Cover {
    fn new(length: usize) -> Self {
        let size = length.next_power_of_two();
        Self {
            size,
            least: vec![0; 2 * size],
            added: vec![0; 2 * size],
        }
    }

    fn add(&mut self, range: &std::ops::Range<usize>, by: i64) {
        self.add_below(1, 0, self.size, range, by);
    }

    fn add_below(
        &mut self,
        node: usize,
        first: usize,
        length: usize,
        range: &std::ops::Range<usize>,
        by: i64,
    ) {
        if first >= range.end || first + length <= range.start {
            return;
        }
        if range.start <= first && first + length <= range.end {
            self.least[node] += by;
            self.added[node] += by;
            return;
        }
        let half = length / 2;
        self.add_below(2 * node, first, half, range, by);
        self.add_below(2 * node + 1, first + half, half, range, by);
        self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]) + self.added[node];
    }

    /// The first stretch of a range that nothing covers.
    fn first_free(&self, range: &std::ops::Range<usize>) -> Option<usize> {
        self.first_free_below(1, 0, self.size, range, 0)
    }

    fn first_free_below(
        &self,
        node: usize,
        first: usize,
        length: usize,
        range: &std::ops::Range<usize>,
        above: i64,
    ) -> Option<usize> {
        if first >= range.end || first + length <= range.start || self.least[node] + above > 0 {
            return None;
        }
        if length == 1 {
            return Some(first);
        }
        let (half, above) = (length / 2, above + self.added[node]);
        self.first_free_below(2 * node, first, half, range, above)
            .or_else(|| self.first_free_below(2 * node + 1, first + half, half, range, above))
    }
}

/// Whether `stays`, in order of `push_end`, can be nested.
pub(super) fn nest(stays: &[Stay]) -> bool {
    if stays.is_empty() {
        return true;
    }
    let mut events: Vec<u64> = stays
        .iter()
        .flat_map(|stay| [stay.push_end, stay.pop_call])
        .collect();
    events.sort_unstable();
    events.dedup();
    let stretch = |event: u64| events.partition_point(|it| *it < event);
    let stretches: Vec<std::ops::Range<usize>> = stays
        .iter()
        .map(|stay| stretch(stay.push_end)..stretch(stay.pop_call))
        .collect();
    let mut cover = Cover::new(events.len());
    stretches.iter().for_each(|range| cover.add(range, 1));
    let mut choice = Choice::new(stays);
    let everything = 0..events.len() - 1;
    let mut work = Vec::from([everything]);
    while let Some(mut range) = work.pop() {
        // What is covered up to the first gap, and what comes after.
        while let Some(free) = cover.first_free(&range) {
            if free > range.start {
                work.push(free + 1..range.end);
                range.end = free;
                break;
            }
            range.start += 1;
        }
        if range.is_empty() {
            continue;
        }
        let first = stretches.partition_point(|it| it.start < range.start);
        let last = stretches.partition_point(|it| it.start < range.end);
        let covered = (events[range.start], events[range.end]);
        let Some(lowest) = choice.lowest(&(first..last), covered) else {
            return false;
        };
        choice.set(lowest, NOTHING);
        cover.add(&stretches[lowest], -1);
        work.push(range);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::random::Random;

    /// Chooses an order of all events by trying.
    fn can_be_nested(stays: &[Stay]) -> bool {
        fn explore(stays: &[Stay], pushed: u32, popped: u32, stack: &mut Vec<usize>) -> bool {
            if popped.count_ones() as usize == stays.len() {
                return true;
            }
            // Nothing may come before an operation that ended before it was called.
            let open_ends = |skip: Option<usize>, skips_push: bool| {
                let ends = stays.iter().enumerate().map(|(index, stay)| {
                    let push = match pushed >> index & 1 {
                        0 if skip != Some(index) || !skips_push => stay.push_end,
                        _ => u64::MAX,
                    };
                    let pop = match popped >> index & 1 {
                        0 if skip != Some(index) || skips_push => stay.pop_end,
                        _ => u64::MAX,
                    };
                    push.min(pop)
                });
                ends.min().unwrap_or(u64::MAX)
            };
            for (index, stay) in stays.iter().enumerate() {
                if pushed >> index & 1 == 0 && stay.push_call < open_ends(Some(index), true) {
                    stack.push(index);
                    if explore(stays, pushed | 1 << index, popped, stack) {
                        return true;
                    }
                    stack.pop();
                }
            }
            if let Some(top) = stack.last().copied()
                && stays[top].pop_call < open_ends(Some(top), false)
            {
                stack.pop();
                if explore(stays, pushed, popped | 1 << top, stack) {
                    return true;
                }
                stack.push(top);
            }
            false
        }
        explore(stays, 0, 0, &mut Vec::new())
    }

    #[test]
    fn nesting_agrees_with_trying_every_order() {
        let mut random = Random::new(11);
        let mut count = [0; 2];
        for _ in 0..60_000 {
            let values = 1 + random.index(5);
            let mut events: Vec<u64> = (1..=4 * values as u64).collect();
            for at in 0..events.len() {
                // Events stay mostly near where they belong, so that many histories can be
                // nested.
                let other = (at + random.index(6)).min(events.len() - 1);
                events.swap(at, other);
            }
            let mut stays: Vec<Stay> = events
                .chunks(4)
                .map(|four| {
                    let mut four = [four[0], four[1], four[2], four[3]];
                    four.sort_unstable();
                    let [push_call, push_end, pop_call, pop_end] = four;
                    Stay {
                        push_call,
                        push_end,
                        pop_call,
                        pop_end,
                    }
                })
                .collect();
            stays.sort_by_key(|stay| stay.push_end);
            let expected = can_be_nested(&stays);
            assert_eq!(nest(&stays), expected, "{stays:?}");
            count[usize::from(expected)] += 1;
        }
        assert!(count[0] > 5_000 && count[1] > 5_000, "{count:?}");
    }

    #[test]
    fn a_deep_stack_takes_no_quadratic_time() {
        let depth = 200_000;
        let stays: Vec<Stay> = (0..depth)
            .map(|level| Stay {
                push_call: 2 * level,
                push_end: 2 * level + 1,
                pop_call: 4 * depth - 2 * level,
                pop_end: 4 * depth - 2 * level + 1,
            })
            .collect();
        assert!(nest(&stays));
        let mut wrong = stays;
        // The lowest is popped before the one above it.
        (wrong[0].pop_call, wrong[1].pop_call) = (wrong[1].pop_call, wrong[0].pop_call);
        (wrong[0].pop_end, wrong[1].pop_end) = (wrong[1].pop_end, wrong[0].pop_end);
        assert!(!nest(&wrong));
    }
}
