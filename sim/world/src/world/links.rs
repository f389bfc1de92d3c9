//! Which directed links a fault concerns.

use crate::fault::ProcessId;
use std::collections::BTreeSet;

/// A directed link: the sender, then the receiver.
pub(super) type Link = (ProcessId, ProcessId);

/// Every link from a process of one side to another process of the other side.
pub(super) fn one_way(from: &[ProcessId], to: &[ProcessId]) -> Vec<Link> {
    from.iter()
        .flat_map(|sender| to.iter().map(move |receiver| (*sender, *receiver)))
        .filter(|(sender, receiver)| sender != receiver)
        .collect()
}

/// The same, and the links back.
pub(super) fn both_ways(one: &[ProcessId], other: &[ProcessId]) -> Vec<Link> {
    let mut links = one_way(one, other);
    links.extend(one_way(other, one));
    links
}

/// Every link between processes of different groups.
pub(super) fn between_groups(groups: &[Vec<ProcessId>]) -> Vec<Link> {
    let mut links = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        for other in &groups[index + 1..] {
            links.extend(both_ways(group, other));
        }
    }
    links
}

/// Every link between the two sides, except for those of the process that reaches both.
pub(super) fn around_bridge(
    left: &[ProcessId],
    bridge: ProcessId,
    right: &[ProcessId],
) -> Vec<Link> {
    let apart = |side: &[ProcessId]| -> Vec<ProcessId> {
        let others = side.iter().filter(|process| **process != bridge);
        others.copied().collect()
    };
    both_ways(&apart(left), &apart(right))
}

/// Every link that has to be cut so that each process of the ring reaches a majority of it,
/// and no two processes reach the same one. There is such a ring for 4, 5, 8 or 9 processes;
/// with 3, 6 or 7 the neighbours of a majority cannot be as many on both sides, a link is cut
/// as soon as one of its ends does without it, and each process reaches fewer than a majority.
pub(super) fn outside_majorities(ring: &[ProcessId]) -> Vec<Link> {
    let count = ring.len();
    // A majority is the process itself and `reach` others, as evenly as can be on both sides.
    let reach = count / 2;
    let (after, before) = (reach.div_ceil(2), reach / 2);
    let mut links = Vec::new();
    for (index, process) in ring.iter().enumerate() {
        for (other_index, other) in ring.iter().enumerate() {
            let ahead = (other_index + count - index) % count;
            let reaches = ahead <= after || count - ahead <= before;
            if process != other && !reaches {
                links.extend(both_ways(&[*process], &[*other]));
            }
        }
    }
    links
}

/// The links without repetition, in order, so that each is cut and healed once.
pub(super) fn distinct(links: Vec<Link>) -> BTreeSet<Link> {
    links.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> Vec<ProcessId> {
        range.map(ProcessId).collect()
    }

    #[test]
    fn no_process_has_a_link_to_itself() {
        assert_eq!(one_way(&ids(0..2), &ids(0..2)).len(), 2);
        assert_eq!(both_ways(&ids(0..1), &ids(0..3)).len(), 4);
    }

    #[test]
    fn groups_are_cut_from_each_other_and_not_within() {
        let links = distinct(between_groups(&[ids(0..2), ids(2..3), ids(3..5)]));
        assert_eq!(links.len(), 2 * (2 + 4 + 2));
        assert!(!links.contains(&(ProcessId(0), ProcessId(1))));
        assert!(links.contains(&(ProcessId(4), ProcessId(2))));
    }

    #[test]
    fn the_bridge_keeps_all_its_links() {
        let links = around_bridge(&ids(0..3), ProcessId(2), &ids(2..5));
        assert!(links.iter().all(|(from, to)| from.0 != 2 && to.0 != 2));
        assert_eq!(links.len(), 2 * 2 * 2);
    }

    #[test]
    fn everybody_on_a_ring_of_four_five_eight_or_nine_reaches_a_majority() {
        for count in [4, 5, 8, 9] {
            let cut = distinct(outside_majorities(&ids(0..count)));
            for process in 0..count {
                let reached = (0..count)
                    .filter(|other| !cut.contains(&(ProcessId(process), ProcessId(*other))))
                    .count();
                assert!(reached > count as usize / 2, "{process} of {count}");
            }
        }
    }
}
