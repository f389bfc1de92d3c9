//! Crashes of the log.

use super::faulty_disk::crash::Crash;
use super::wal_scenario::{Scenario, Step, crash_strategy, step_strategy};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use veridical_planted::{Planted, PlantedBug};

fn run_steps(
    seed: u64,
    segment_bytes: u64,
    planted: Planted,
    steps: &[Step],
) -> Result<(), String> {
    let mut scenario = Scenario::new(seed, segment_bytes, planted);
    for (number, step) in steps.iter().enumerate() {
        scenario
            .step(step)
            .map_err(|error| format!("step {number}, {step:?}: {error}"))?;
    }
    let crash = Crash {
        survival_percent: 50,
        sector_bytes: 512,
        garbage: true,
    };
    scenario.step(&Step::Crash {
        crash,
        fail_open: None,
    })?;
    // Opened once more, it gives the same and has nothing left to cut off.
    scenario.step(&Step::Kill { fail_open: None })
}

fn steps_strategy() -> impl Strategy<Value = (u64, u64, Vec<Step>)> {
    (
        any::<u64>(),
        1..60_000u64,
        proptest::collection::vec(step_strategy(), 1..60),
    )
}

proptest! {
    #![proptest_config(Config { cases: 1500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_was_synchronised_is_recovered_and_the_rest_is_a_prefix((seed, segment_bytes, steps) in steps_strategy()) {
        if let Err(error) = run_steps(seed, segment_bytes, Planted::none(), &steps) {
            prop_assert!(false, "{error}");
        }
    }
}

#[test]
fn planted_defects_of_the_log_are_found() {
    const RUNS: usize = 400;
    for bug in [
        PlantedBug::DirentLoss,
        PlantedBug::WalRotateUnsynced,
        PlantedBug::WalReleasedTooMuch,
        PlantedBug::WalReleaseUnsynced,
        PlantedBug::WalTailOvercut,
        PlantedBug::WalTailTrusted,
        PlantedBug::WalSuffixResurrected,
        PlantedBug::WalVoteNotCarried,
        PlantedBug::WalPayloadUnchecked,
    ] {
        let mut runner = TestRunner::deterministic();
        let mut found = 0;
        for _ in 0..RUNS {
            let (seed, segment_bytes, steps) = steps_strategy()
                .new_tree(&mut runner)
                .expect("no filter")
                .current();
            let planted = Planted::only(bug);
            found += usize::from(run_steps(seed, segment_bytes, planted, &steps).is_err());
        }
        println!("{bug}: found in {found} of {RUNS} runs");
        assert!(found >= RUNS / 20, "{bug}: found in {found} of {RUNS} runs");
    }
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    /// Crash, recover, append, crash: garbage of the first crash must never come back.
    #[test]
    fn what_a_crash_cut_off_never_comes_back(
        seed: u64,
        rounds in proptest::collection::vec((any::<u64>(), any::<u64>(), crash_strategy()), 1..12),
    ) {
        let mut scenario = Scenario::new(seed, 1 << 20, Planted::none());
        for (first, second, crash) in rounds {
            let steps = [
                Step::Append { records: 3, seed: first },
                Step::Sync,
                Step::Append { records: 5, seed: second },
                Step::Append { records: 2, seed: second ^ first },
                Step::Crash { crash, fail_open: None },
            ];
            for step in steps {
                let result = scenario.step(&step);
                prop_assert!(result.is_ok(), "{step:?}: {result:?}");
            }
        }
    }
}
