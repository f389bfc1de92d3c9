//! Whom a partition cuts off from whom.
//!
//! The shapes are those of `docs/faults.md`: `isolate`, `one_way` and `bridge`.

use std::fmt;

use veridical_histories::random::Random;

/// How often the clients are cut off from the member, too.
const CLIENTS_PROBABILITY: f64 = 0.4;

/// Where packets come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    Member(usize),
    Clients,
}

/// Packets of `from` do not reach `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loss {
    pub(crate) from: Site,
    pub(crate) to: Site,
}

/// What of a member's packets is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Both,
    /// It is not heard.
    Sent,
    /// It does not hear.
    Received,
}

/// How one member is cut off from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// From all others, and perhaps from the clients.
    Isolate {
        /// What is lost.
        direction: Direction,
        /// Whether the clients are cut off like the members.
        with_clients: bool,
    },
    /// From all others but one, which all of them still reach.
    Bridge {
        /// How far behind the victim, in the circle of the members, that one is.
        distance: usize,
    },
}

impl Cut {
    /// Draws one for a cluster of so many members.
    pub(super) fn draw(random: &mut Random, members: usize) -> Self {
        match random.below(4) {
            0 if members > 2 => Self::Bridge {
                distance: 1 + random.index(members - 1),
            },
            choice => Self::Isolate {
                direction: match choice {
                    1 => Direction::Sent,
                    2 => Direction::Received,
                    _ => Direction::Both,
                },
                with_clients: random.chance(CLIENTS_PROBABILITY),
            },
        }
    }

    /// What is lost when it befalls this member.
    pub(crate) fn losses(self, victim: usize, members: usize) -> Vec<Loss> {
        let others = (0..members).filter(|member| *member != victim);
        let (sites, direction): (Vec<Site>, _) = match self {
            Self::Isolate {
                direction,
                with_clients,
            } => {
                let clients = with_clients.then_some(Site::Clients);
                (others.map(Site::Member).chain(clients).collect(), direction)
            }
            Self::Bridge { distance } => {
                let bridge = (victim + distance) % members;
                let cut_off = others.filter(|member| *member != bridge);
                (cut_off.map(Site::Member).collect(), Direction::Both)
            }
        };
        let victim = Site::Member(victim);
        let mut losses = Vec::new();
        for site in sites {
            if matches!(direction, Direction::Both | Direction::Sent) {
                losses.push(Loss {
                    from: victim,
                    to: site,
                });
            }
            if matches!(direction, Direction::Both | Direction::Received) {
                losses.push(Loss {
                    from: site,
                    to: victim,
                });
            }
        }
        losses
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate {
                direction,
                with_clients,
            } => {
                f.write_str(match direction {
                    Direction::Both => "isolate",
                    Direction::Sent => "one way, not heard",
                    Direction::Received => "one way, hears nothing",
                })?;
                f.write_str(match with_clients {
                    true => ", clients too",
                    false => "",
                })
            }
            Self::Bridge { .. } => f.write_str("bridge"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 200;

    fn drawn(members: usize) -> impl Iterator<Item = Cut> {
        (0..SEEDS).map(move |seed| Cut::draw(&mut Random::new(seed), members))
    }

    fn member(member: usize) -> Site {
        Site::Member(member)
    }

    #[test]
    fn every_shape_and_direction_is_drawn() {
        let mut shapes: Vec<String> = drawn(3).map(|cut| cut.to_string()).collect();
        shapes.sort_unstable();
        shapes.dedup();
        let expected = [
            "bridge",
            "isolate",
            "isolate, clients too",
            "one way, hears nothing",
            "one way, hears nothing, clients too",
            "one way, not heard",
            "one way, not heard, clients too",
        ];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn only_links_of_the_victim_are_cut_so_the_others_stay_a_majority() {
        for members in [3, 5, 7] {
            for cut in drawn(members) {
                for victim in 0..members {
                    let losses = cut.losses(victim, members);
                    assert!(!losses.is_empty(), "{cut:?}");
                    for loss in losses {
                        assert_ne!(loss.from, loss.to, "{cut:?}");
                        assert!([loss.from, loss.to].contains(&member(victim)), "{cut:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_way_leaves_the_way_back_open() {
        let cut = Cut::Isolate {
            direction: Direction::Sent,
            with_clients: true,
        };
        let to = |to| Loss {
            from: member(1),
            to,
        };
        let expected = [to(member(0)), to(member(2)), to(Site::Clients)];
        assert_eq!(cut.losses(1, 3), expected);
    }

    #[test]
    fn a_bridge_is_reached_by_both_sides() {
        let cut = Cut::Bridge { distance: 2 };
        let losses = cut.losses(1, 3);
        let loss = |from, to| Loss {
            from: member(from),
            to: member(to),
        };
        assert_eq!(losses, [loss(1, 2), loss(2, 1)]);
    }
}
