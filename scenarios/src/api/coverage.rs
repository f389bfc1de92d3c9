//! Tests of the table `coverage.tsv`: it names what the API has and nothing else, the functions
//! that it names are there, what it says to be sent is sent, and what it says to be compared is
//! missed when it is changed.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests read sources on the host"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use veridical_store::ApiError;

use crate::api::schema::{Kind, Schema};

/// The text of the table.
fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/coverage.tsv");
    std::fs::read_to_string(path).expect("the table is there")
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Treatment {
    /// By this function.
    Done(String),
    /// For this reason.
    Not(String),
}

type Table = BTreeMap<(Kind, String), Treatment>;

fn table(text: &str) -> Table {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let [kind, name, word, why] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}");
        };
        let (kind, done) = match kind {
            "rpc" => (Kind::Rpc, "sent"),
            "request" => (Kind::Request, "sent"),
            "option" => (Kind::Option, "sent"),
            "response" => (Kind::Response, "compared"),
            "error" => (Kind::Error, "compared"),
            other => panic!("there is no kind {other}"),
        };
        let treatment = match word {
            "not" if why.len() > 10 => Treatment::Not(why.to_owned()),
            word if word == done => Treatment::Done(why.to_owned()),
            _ => panic!("neither {done} nor not with a reason: {line}"),
        };
        ((kind, name.to_owned()), treatment)
    });
    rows.collect()
}

/// What the API has.
fn api(schema: &Schema) -> BTreeSet<(Kind, String)> {
    let mut elements = schema.elements();
    let named = ApiError::NAMED
        .iter()
        .map(|error| error.message.to_string());
    let etcds = named.filter(|message| message.starts_with("etcdserver: "));
    elements.extend(etcds.map(|message| (Kind::Error, message)));
    elements
}

/// What the table lacks, and what it names that there is not.
fn differences(schema: &Schema, table: &Table) -> (Vec<String>, Vec<String>) {
    let api = api(schema);
    let lacking = api.iter().filter(|element| !table.contains_key(element));
    let invented = table.keys().filter(|element| !api.contains(element));
    let names = |(_, name): &(Kind, String)| name.clone();
    (lacking.map(names).collect(), invented.map(names).collect())
}

#[test]
fn the_table_names_what_the_api_has_and_nothing_else() {
    let (lacking, invented) = differences(&Schema::of_the_api(), &table(&text()));
    assert_eq!(lacking, Vec::<String>::new(), "not in the table");
    assert_eq!(invented, Vec::<String>::new(), "not in the API");
}

#[test]
fn a_field_that_the_table_lacks_and_one_that_the_api_lacks_are_found() {
    let mut schema = Schema::of_the_api();
    schema.read("message StatusRequest {\n  bool verbose = 1;\n}");
    schema.read("service KV {\n  rpc Scan(RangeRequest) returns (RangeResponse);\n}");
    let mut table = table(&text());
    let treatment = Treatment::Not("nobody has it".to_owned());
    table.insert((Kind::Request, "PutRequest.hurry".to_owned()), treatment);
    let (lacking, invented) = differences(&schema, &table);
    assert_eq!(lacking, ["KV.Scan", "StatusRequest.verbose"]);
    assert_eq!(invented, ["PutRequest.hurry"]);
}

#[test]
fn the_functions_that_the_table_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (element, treatment) in table(&text()) {
        let Treatment::Done(place) = treatment else {
            continue;
        };
        let (file, function) = place.split_once("::").expect("a file and a function");
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let is_there = [format!("fn {function}("), format!("fn {function}<")]
            .iter()
            .any(|head| text.contains(head.as_str()));
        assert!(is_there, "{element:?}: there is no {place}");
    }
}

#[cfg(madsim)]
mod in_runs {
    use super::*;
    use crate::api::traffic::SharedTraffic;
    use crate::plan::Plan;
    use crate::{impatience, swarm};
    use veridical_harness::report::Class;
    use veridical_harness::run::Settings;

    /// Plans in which members are examined, and one with operators of all sorts.
    fn plans() -> Vec<Plan> {
        let examined = (1..)
            .map(swarm::plan)
            .filter(|plan| !plan.examinations.is_empty() && plan.service.is_none());
        let mut plans: Vec<Plan> = examined.take(EXAMINED).collect();
        let operated = (1..)
            .map(swarm::plan)
            .filter(|plan| !plan.changes.is_empty());
        plans.extend(operated.take(OPERATED));
        plans.push(impatience::plan(swarm::drawn(1)));
        plans
    }

    const EXAMINED: usize = 8;
    const OPERATED: usize = 3;

    /// What is rare may need some more.
    fn further_plans() -> impl Iterator<Item = Plan> {
        let operators = (2..6).map(|seed| impatience::plan(swarm::drawn(seed)));
        operators.chain((1..=SWARM).map(swarm::plan))
    }

    const SWARM: u64 = 200;

    /// What the table says and the traffic does not show, or the other way round.
    fn differences(table: &Table, seen: &BTreeSet<(Kind, String)>) -> Vec<String> {
        let mut untrue = Vec::new();
        for (element, treatment) in table {
            let is_seen = seen.contains(element);
            let is_request = matches!(element.0, Kind::Rpc | Kind::Request | Kind::Option);
            match treatment {
                Treatment::Done(_) if !is_seen => untrue.push(format!("{element:?} is not met")),
                Treatment::Not(_) if is_seen && is_request => {
                    untrue.push(format!("{element:?} is sent"));
                }
                Treatment::Done(_) | Treatment::Not(_) => {}
            }
        }
        untrue
    }

    fn run(plan: &Plan) -> Class {
        crate::run::run(plan, Settings::default()).report.verdict
    }

    #[test]
    fn what_the_table_says_is_what_runs_send_and_are_told() {
        let mut runs = 0;
        let mut untrue = Vec::new();
        for plan in plans().into_iter().chain(further_plans()) {
            assert_eq!(run(&plan), Class::Ok, "seed {}", plan.seed);
            runs += 1;
            untrue = differences(
                &table(&text()),
                &SharedTraffic::of_this_thread().lock().seen,
            );
            if untrue.is_empty() {
                break;
            }
        }
        println!("{runs} runs");
        assert_eq!(untrue, Vec::<String>::new());
    }

    #[test]
    fn whoever_changes_a_field_that_is_compared_is_found() {
        let traffic = SharedTraffic::of_this_thread();
        let plans = plans();
        let mut missed = Vec::new();
        for ((kind, name), treatment) in table(&text()) {
            if kind != Kind::Response || matches!(treatment, Treatment::Not(_)) {
                continue;
            }
            let is_found = plans.iter().any(|plan| {
                traffic.lock().tampers_with = Some(name.clone());
                run(plan) == Class::Violation
            });
            if !is_found {
                missed.push(name);
            }
        }
        // With one thread for all tests the next one has the same traffic.
        traffic.lock().tampers_with = None;
        assert_eq!(missed, Vec::<String>::new());
    }

    #[test]
    fn whoever_changes_a_field_changes_no_run_of_a_neighbour() {
        let traffic = SharedTraffic::of_this_thread();
        let field = "MemberListResponse.members";
        traffic.lock().tampers_with = Some(field.to_owned());
        let plan = impatience::plan(swarm::drawn(1));
        let neighbour = std::thread::scope(|scope| scope.spawn(|| run(&plan)).join());
        assert_eq!(neighbour.expect("it ends"), Class::Ok);
        assert!(traffic.lock().tampers_with.is_some(), "it was changed");
        assert_eq!(run(&plan), Class::Violation, "one's own run is changed");
        assert!(traffic.lock().tampers_with.is_none());
    }
}
