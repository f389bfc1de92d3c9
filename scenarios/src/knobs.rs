//! The settings of members in a plan: drawn from the table in `core/node`
//! ([`veridical_node::KNOBS`]), written by name.
//!
//! Each knob is left at its default in a share of the seeds that the table names, and
//! otherwise takes a value from its range or, now and then, one of its edge values. So a
//! seed has some knobs at extremes and the others where they usually are, as in swarm
//! testing. Each draws from a stream of its own: a new knob moves no other.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use std::collections::BTreeMap;
use veridical_node::{KNOBS, Knob, Limits};
use veridical_world::{Rng, Stream};

/// Of the knobs that are not at their defaults, this share is at an edge.
const EDGE_SHARE: f64 = 0.2;

/// Ranges that span this factor are drawn from by magnitude: a few bytes are as likely
/// as a few thousand.
const WIDE: u64 = 16;

/// The settings of a seed.
pub fn draw(seed: u64) -> Limits {
    let mut limits = Limits::default();
    for knob in KNOBS {
        let mut rng = Rng::for_part(seed, Stream::Knobs, knob.name);
        if !rng.chance(f64::from(knob.default_percent) / 100.0) {
            (knob.set)(&mut limits, value(knob, &mut rng));
        }
    }
    limits.repair();
    limits
}

fn value(knob: &Knob, rng: &mut Rng) -> u64 {
    if rng.chance(EDGE_SHARE) {
        return knob.edges[rng.index(knob.edges.len())];
    }
    let (low, high) = knob.range;
    if high / low.max(1) < WIDE {
        return rng.between(low, high);
    }
    let magnitude = |value: u64| u64::from(u64::BITS - value.leading_zeros());
    match rng.between(magnitude(low), magnitude(high)) {
        0 => low,
        bits => rng
            .between(1 << (bits - 1), (1 << bits) - 1)
            .clamp(low, high),
    }
}

/// The settings of which one after the other that differs is put back to its default.
/// A step that would break a constraint is left out.
pub fn steps_to_default(limits: &Limits) -> Vec<Limits> {
    limits
        .changed()
        .map(|(knob, _)| {
            let mut step = limits.clone();
            (knob.set)(&mut step, knob.default);
            step
        })
        .filter(|step| step.validate().is_ok())
        .collect()
}

/// What differs from the default, by name.
pub fn changed(limits: &Limits) -> BTreeMap<String, u64> {
    limits
        .changed()
        .map(|(knob, value)| (knob.name.to_owned(), value))
        .collect()
}

/// Writes all settings by name, so that the plan means the same when a default changes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(limits: &Limits, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(KNOBS.iter().map(|knob| (knob.name, (knob.get)(limits))))
}

/// Reads settings by name. Those that are not there are at their defaults: a plan that
/// was written before a knob existed was run with them.
///
/// # Errors
/// There is no such setting, or it is no number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let mut limits = Limits::default();
    for (name, value) in BTreeMap::<String, u64>::deserialize(deserializer)? {
        let Some(knob) = KNOBS.iter().find(|knob| knob.name == name) else {
            return Err(D::Error::custom(format!("there is no knob {name:?}")));
        };
        (knob.set)(&mut limits, value);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 1_000;

    #[test]
    fn drawn_settings_are_valid_and_each_knob_has_its_default_its_edges_and_its_range() {
        let drawn: Vec<Limits> = (0..SEEDS).map(draw).collect();
        for limits in &drawn {
            assert_eq!(limits.validate(), Ok(()));
        }
        for knob in KNOBS {
            let values: Vec<u64> = drawn.iter().map(|limits| (knob.get)(limits)).collect();
            let defaults = values
                .iter()
                .filter(|value| **value == knob.default)
                .count();
            let expected = SEEDS as usize * usize::from(knob.default_percent) / 100;
            assert!(
                defaults.abs_diff(expected) < SEEDS as usize / 8,
                "{}: {defaults} defaults",
                knob.name
            );
            for edge in knob.edges {
                assert!(values.contains(edge), "{}: never {edge}", knob.name);
            }
            let inside = |value: &&u64| (knob.range.0..=knob.range.1).contains(*value);
            assert!(values.iter().filter(inside).count() > 200, "{}", knob.name);
        }
    }

    #[test]
    fn settings_survive_their_written_form_and_what_is_missing_is_the_default() {
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Holder(#[serde(with = "super")] Limits);
        for seed in 0..20 {
            let holder = Holder(draw(seed));
            let text = serde_json::to_string(&holder).expect("settings can be written");
            assert_eq!(
                serde_json::from_str::<Holder>(&text).expect("and read"),
                holder
            );
        }
        let old: Holder = serde_json::from_str(r#"{"shards": 3}"#).expect("an old plan");
        let expected = Limits {
            shards: 3,
            ..Limits::default()
        };
        assert_eq!(old.0, expected);
        assert!(serde_json::from_str::<Holder>(r#"{"shard": 3}"#).is_err());
    }

    #[test]
    fn steps_lead_to_the_default_through_valid_settings() {
        for seed in 0..50 {
            let mut limits = draw(seed);
            while let Some(step) = steps_to_default(&limits).into_iter().next() {
                assert_eq!(step.validate(), Ok(()));
                limits = step;
            }
            assert_eq!(limits, Limits::default());
        }
    }
}
