//! Hypotheses: keeping those that hold, and bounding those that do.

use bytes::Bytes;
use veridical_histories::text_bytes::display;

use super::evaluate::Mismatch;
use super::operation::Open;
use super::slots::Pool;
use super::versions::Untold;
use super::world::World;
use super::{EtcdChecker, Stop};
use crate::verdict::{Cause, Undecided, ViolationKind, WitnessOperation};

/// What hypotheses may take in bytes at most, all together, whatever limit is given. While
/// a gap is filled there are twice as many.
const WORLDS_BYTES_MAX: usize = 64 << 20;

/// What contradicted the last hypothesis.
pub(super) struct Contradiction {
    pub kind: ViolationKind,
    pub mismatch: Mismatch,
    pub operations: Vec<WitnessOperation>,
}

/// Why a hypothesis does not hold, or not as it is.
pub(super) enum Doubt {
    /// It is contradicted.
    Wrong(Contradiction),
    /// It holds at most with another value than is assumed.
    Untold {
        untold: Untold,
        operations: Vec<WitnessOperation>,
    },
    /// It was said which way these slots were filled.
    Blurred(Vec<i64>),
}

impl From<Contradiction> for Doubt {
    fn from(contradiction: Contradiction) -> Self {
        Self::Wrong(contradiction)
    }
}

impl EtcdChecker {
    /// Keeps the hypotheses that `check` allows, in their order; the last contradiction
    /// counts when none is left. One that depends on an assumed value goes on as those in
    /// which the value is known.
    pub(super) fn retain_worlds(
        &mut self,
        mut check: impl FnMut(&Self, &mut World) -> Result<(), Doubt>,
    ) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.worlds);
        waiting.reverse();
        let mut last = None;
        while let Some(mut world) = waiting.pop() {
            match check(self, &mut world) {
                Ok(()) => self.worlds.push(world),
                Err(Doubt::Wrong(contradiction)) => last = Some(contradiction),
                Err(Doubt::Untold { untold, operations }) => {
                    let ways = self.told(&world, &untold);
                    if ways.is_empty() {
                        last = Some(untellable(&untold, operations));
                    }
                    waiting.extend(ways.into_iter().rev());
                }
                Err(Doubt::Blurred(revisions)) => {
                    let text = "old revisions tell who wrote them, and one of the ways is kept";
                    self.narrow(Cause::Configurations, text.to_owned());
                    waiting.extend(self.sharpened(&world, &revisions));
                }
            }
        }
        if !self.worlds.is_empty() {
            let worlds_max = self.options.worlds_max;
            if self.worlds.len() > worlds_max {
                self.worlds.truncate(worlds_max);
                let text = format!("an assumed value leaves more than {worlds_max} explanations");
                self.narrow(Cause::Configurations, text);
            }
            self.settle_hypotheses();
            return Ok(());
        }
        self.worlds.push(World::default());
        if self.is_beam {
            return Err(self.lose());
        }
        let contradiction = last.expect("a world was dropped, so there is a contradiction");
        Err(self.violated(
            contradiction.kind,
            contradiction.mismatch.expected,
            contradiction.mismatch.got,
            contradiction.operations,
        ))
    }

    /// A hypothesis with an assumed value known: as it is said to be, or in each way that
    /// is left.
    pub(super) fn told(&self, world: &World, untold: &Untold) -> Vec<World> {
        let Untold { key, revision, .. } = untold;
        let Some(stored) = self.view(world).get(key, *revision) else {
            return Vec::new();
        };
        let pool = self.pool(world);
        let values = match &untold.value {
            Some(value) => vec![value.clone()],
            None => world.slots.values(pool, *revision),
        };
        let with = |value: Bytes| {
            let filled = world.slots.tell(pool, *revision, &value)?;
            let mut told = world.clone();
            told.adopt(*revision, filled);
            told.overlay.tell(key, stored, value);
            Some(told)
        };
        values.into_iter().filter_map(with).collect()
    }

    /// The operations that may fill slots of `world`.
    pub(super) fn pool<'a>(&'a self, world: &'a World) -> Pool<'a> {
        Pool {
            unknown: &self.unknown,
            placed: &world.placed,
            foretold: &self.foretold,
        }
    }

    /// The last hypothesis is contradicted, but some were dropped at the limit: this
    /// proves nothing, and the replayed state is lost.
    pub(super) fn lose(&mut self) -> Stop {
        self.is_lost = true;
        if let Some(narrowed) = self.narrowed.take() {
            self.undecided.get_or_insert(narrowed);
        }
        self.writers.clear();
        self.observers.clear();
        self.observers_pending = 0;
        self.refusals.clear();
        self.evidence.clear();
        self.deliveries.clear();
        Stop::Undecided
    }

    /// An operation that certainly did not write what some hypotheses say it wrote.
    pub(super) fn drop_worlds_with(&mut self, open: &Open, return_ns: u64) -> Result<(), Stop> {
        if self
            .worlds
            .iter()
            .all(|world| !world.placed.contains_key(&open.op))
        {
            return Ok(());
        }
        self.retain_worlds(|_, world| match world.placed.get(&open.op) {
            None => Ok(()),
            Some(revision) => {
                let mut witness = open.witness();
                witness.return_ns = Some(return_ns);
                Err(Doubt::Wrong(Contradiction {
                    kind: ViolationKind::UnexplainedRevision,
                    mismatch: Mismatch {
                        expected: format!("something that wrote revision {revision}"),
                        got: "nothing did".to_owned(),
                    },
                    operations: vec![witness],
                }))
            }
        })
    }

    /// A single hypothesis is a certainty.
    pub(super) fn settle_hypotheses(&mut self) {
        if self.worlds.len() != 1 {
            return;
        }
        let world = &mut self.worlds[0];
        if world.overlay.is_empty() && world.ended.is_empty() && world.placed.is_empty() {
            return;
        }
        self.base.absorb(std::mem::take(&mut world.overlay));
        self.ended.append(&mut world.ended);
        let (unknown, revocations) = (&mut self.unknown, &mut self.revocations);
        world.placed.retain(|op, _| {
            let is_placed = unknown.remove(*op) | revocations.remove(op).is_some();
            !is_placed
        });
    }

    /// What hypotheses may take in bytes, all together.
    pub(super) fn worlds_bytes_max(&self) -> usize {
        (self.bytes_max / 4).min(WORLDS_BYTES_MAX)
    }

    /// Drops hypotheses while they take more memory than is allowed.
    pub(super) fn bound_worlds(&mut self, revision: i64) {
        let bytes_max = self.worlds_bytes_max();
        let bytes = |worlds: &[World]| worlds.iter().map(World::bytes).sum::<usize>();
        while self.worlds.len() > 1 && bytes(&self.worlds) > bytes_max {
            self.worlds.truncate(self.worlds.len() / 2);
            self.narrow(
                Cause::Memory,
                format!(
                    "the explanations that are left open up to revision {revision} do not fit into \
                     {} MiB",
                    bytes_max >> 20
                ),
            );
        }
        self.settle_hypotheses();
    }

    /// Not every explanation is followed any more.
    pub(super) fn narrow(&mut self, cause: Cause, text: String) {
        self.is_beam = true;
        let events = (self.statistics.events, self.statistics.events);
        self.narrowed.get_or_insert(Undecided {
            cause,
            key: None,
            events,
            text,
        });
    }
}

/// What is said of a value that nobody saw before, and nobody can have written.
fn untellable(untold: &Untold, operations: Vec<WitnessOperation>) -> Contradiction {
    let key = display(&untold.key);
    let got = match &untold.value {
        Some(value) => display(value),
        None => "none is left".to_owned(),
    };
    Contradiction {
        kind: ViolationKind::WrongResult,
        mismatch: Mismatch {
            expected: format!(
                "what a put of {key} of unknown outcome can have written at revision {}",
                untold.revision
            ),
            got,
        },
        operations,
    }
}
