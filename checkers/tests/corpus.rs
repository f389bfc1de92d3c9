//! Real histories with known verdicts, recorded by others. Skipped where they are missing.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use veridical_checkers::{Checker, CheckerOptions, ObjectKind, ObjectModel, Rejection, Verdict};
use veridical_histories::formats::{self, History, OpenOptions};

fn corpus() -> Option<PathBuf> {
    let folder = match std::env::var_os("VERIDICAL_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    };
    if folder.join("verdicts.tsv").is_file() {
        Some(folder)
    } else {
        println!(
            "skipped: no corpus in {} (set VERIDICAL_CORPUS)",
            folder.display()
        );
        None
    }
}

#[test]
fn verdicts_of_the_corpus_are_known_and_quick() {
    let Some(corpus) = corpus() else { return };
    let verdicts = std::fs::read_to_string(corpus.join("verdicts.tsv")).unwrap();
    let (mut checked, mut slowest, mut most) = (0, Duration::ZERO, 0);
    for line in verdicts.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, model, expected] = fields[..] else {
            panic!("not three fields: {line}")
        };
        let kind = ObjectKind::from_name(model).unwrap();
        let begin = Instant::now();
        let opened = formats::open(
            File::open(corpus.join(file)).unwrap(),
            &OpenOptions::default(),
        )
        .unwrap();
        let History::Object(events) = opened.history else {
            panic!("{file}: not of objects")
        };
        let mut checker = Checker::new(ObjectModel::new(kind), CheckerOptions::default());
        let mut verdict = None;
        for event in events {
            match checker.observe(&event.unwrap()) {
                Ok(()) => {}
                Err(Rejection::Violation(violation)) => {
                    verdict = Some(Verdict::Violation(violation));
                    break;
                }
                Err(Rejection::Malformed(malformed)) => panic!("{file}: {malformed}"),
            }
        }
        let verdict = verdict.unwrap_or_else(|| checker.finish());
        slowest = slowest.max(begin.elapsed());
        most = most.max(checker.statistics().configurations_max);
        assert_eq!(verdict.word(), expected, "{file}: {verdict}");
        checked += 1;
    }
    println!("{checked} files, slowest {slowest:?}, at most {most} configurations");
    assert!(checked > 0);
}
