//! The same operations for our store and for etcd: every field of every response is compared,
//! except for what cannot be equal (numbers of clusters and members, terms, sizes, hashes,
//! leases that the server numbers).
//!
//! Sequences are drawn with all options of the API, mostly sensible and sometimes wrong ones.
//! Where the stores differ, the shortest sequence that shows it is printed. [`known`] lists the
//! differences that are meant; docs/serving.md says why.

mod answer;
mod api;
mod draw;
mod known;
mod operation;
mod run;
pub mod store;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::time::{Duration, Instant};

use crate::member::runtime;
use operation::Step;
use run::Difference;
use store::{Etcd, Pair};

/// How long a failing sequence is made shorter.
const SHORTEN_TIME_MAX: Duration = Duration::from_secs(180);

/// So many sequences take a moment; a nightly run has ten times as many.
const SEQUENCES: usize = 3;

const STEPS: usize = 250;

fn sequences() -> usize {
    if std::env::var_os("VERIDICAL_LONG").is_some() {
        10 * SEQUENCES
    } else {
        SEQUENCES
    }
}

/// The place and kind of the first difference that is not known, in stores that begin empty.
async fn difference_of(etcd: &Etcd, members: usize, steps: &[Step]) -> Option<(usize, Difference)> {
    let mut pair = Pair::start(etcd, members).await;
    for (place, step) in steps.iter().enumerate() {
        let Some(difference) = run::step(&mut pair, step).await else {
            continue;
        };
        match known::reason_for(&difference) {
            Some(known) if known.ends_the_sequence => return None,
            Some(_) => {}
            None => return Some((place, difference)),
        }
    }
    None
}

/// Leaves out whatever is not needed for a difference: halves, quarters, and so on down to
/// single steps.
async fn shortened(
    etcd: &Etcd,
    members: usize,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> (Vec<Step>, Difference) {
    let deadline = Instant::now() + SHORTEN_TIME_MAX;
    let mut chunk = steps.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < steps.len() && Instant::now() < deadline {
            let end = (at + chunk).min(steps.len());
            let rest: Vec<Step> = steps[..at].iter().chain(&steps[end..]).cloned().collect();
            match difference_of(etcd, members, &rest).await {
                Some((place, still)) => {
                    steps = rest;
                    steps.truncate(place + 1);
                    difference = still;
                }
                None => at = end,
            }
        }
        if chunk == 1 {
            return (steps, difference);
        }
        chunk = chunk.div_ceil(2);
    }
}

fn drawn_sequences_agree(members: usize, steps_max: usize) {
    let Some(etcd) = Etcd::installed() else {
        return;
    };
    let seed = [members as u8; 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let drawn = draw::steps(members, steps_max);
    for _ in 0..sequences() {
        let tree = drawn.new_tree(&mut runner).expect("steps can be drawn");
        let mut steps = tree.current();
        runtime().block_on(async {
            let Some((place, difference)) = difference_of(&etcd, members, &steps).await else {
                return;
            };
            eprintln!("step {place} differs: {difference}");
            steps.truncate(place + 1);
            let (steps, difference) = shortened(&etcd, members, steps, difference).await;
            let steps: Vec<String> = steps
                .iter()
                .map(|step| run::brief(&format!("  {step:?}\n")))
                .collect();
            panic!("{difference}\nafter\n{}", steps.concat());
        });
    }
}

#[test]
fn one_member_answers_as_etcd_does() {
    drawn_sequences_agree(1, STEPS);
}

#[test]
fn three_members_that_are_restarted_answer_as_etcd_does() {
    drawn_sequences_agree(3, STEPS / 2);
}

/// The list can only shrink: what does not differ any more has to leave it.
#[test]
fn each_known_difference_is_there_and_documented() {
    let Some(etcd) = Etcd::installed() else {
        return;
    };
    let documentation = include_str!("../../../../../docs/serving.md");
    for known in known::ALL {
        assert!(
            documentation.contains(known.documented),
            "docs/serving.md does not say: {}",
            known.documented
        );
        let steps = (known.example)();
        let seen = runtime().block_on(async {
            let mut pair = Pair::start(&etcd, 1).await;
            let mut seen = Vec::new();
            for step in &steps {
                seen.extend(run::step(&mut pair, step).await);
            }
            seen
        });
        assert!(
            seen.iter().any(|difference| {
                known::reason_for(difference).is_some_and(|reason| reason.name == known.name)
            }),
            "{}: both answer alike, remove it from the list; seen {seen:?}",
            known.name
        );
    }
}
