//! The example of docs/algorithms/disk.md: the page has exactly the outcomes that there are.

use super::CrashRules;
use super::tests::Bench;
use std::collections::BTreeSet;

const SECTOR: usize = 512;

/// What is left after a loss of power in the run with this seed, a letter for each sector:
/// two sectors of `a` were durable, and the last of them and the one behind it were written
/// over with `b` and not synchronised.
fn left_of_the_example(seed: u64, rules: CrashRules) -> String {
    let mut bench = Bench::with_rules(seed, rules);
    let file = bench.create_durably("f");
    bench.write_all(file, 0, &[b'a'; 2 * SECTOR]);
    bench.sync(file).expect("nothing is at fault");
    bench.write_all(file, SECTOR as u64, &[b'b'; 2 * SECTOR]);
    bench.crash();
    let bytes = bench.contents("f").expect("its name is durable");
    let sectors = bytes.chunks(SECTOR).map(|sector| {
        assert!(
            sector.iter().all(|byte| *byte == sector[0]),
            "no sector is torn here"
        );
        if sector[0] == 0 {
            '0'
        } else {
            sector[0] as char
        }
    });
    sectors.collect()
}

#[test]
fn a_write_over_two_sectors_has_the_six_outcomes_of_the_documentation() {
    let rules = CrashRules {
        torn_sector_probability: 0.0,
        ..CrashRules::harsh()
    };
    let seen: BTreeSet<String> = (0..400)
        .map(|seed| left_of_the_example(seed, rules))
        .collect();
    let page = include_str!("../../../../docs/algorithms/disk.md");
    let told: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|outcome| outcome.starts_with('a') && outcome.len() <= 3)
        .map(str::to_owned)
        .collect();
    assert_eq!(seen, told);
}
