//! The page of a run with as many messages as one may meet.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it runs a browser on the host"
)]

mod browser;
#[path = "browser/run_page.rs"]
mod run_page;

use veridical_harness::kept_logs::KeptLogs;
use veridical_harness::recording::{Fate, Frame, FrameKind, Life, Message, Turn};
use veridical_harness::recording::{Recording, StateChange};
use veridical_harness::report::{Class, Finding, RunReport, Subject};
use veridical_harness::view::View;
use veridical_histories::etcd::{EtcdEvent, KeyRange, RangeRequest, Request};
use veridical_histories::{Event, OperationId};
use veridical_scenarios::scenario::Store;
use veridical_scenarios::swarm;
use veridical_scenarios::view::MemberState;

const MEMBERS: u32 = 5;
const MESSAGES: u64 = 100_000;
const MESSAGE_NS: u64 = 600_000;

/// A busy minute of five members.
fn recording() -> Recording<MemberState> {
    let mut recording = Recording {
        processes: (1..=MEMBERS)
            .map(|number| format!("member-{number}"))
            .chain(["clients-0".to_owned()])
            .collect(),
        kinds: ["AppendEntries", "Heartbeat", "Vote", "Put"]
            .into_iter()
            .zip(["replication", "heartbeat", "election", "client"])
            .map(|(name, group)| FrameKind {
                name: name.to_owned(),
                group: group.to_owned(),
                fields: vec!["term".to_owned(), "index".to_owned()],
            })
            .collect(),
        keys: (0..20).map(|key| format!("k{key:02}")).collect(),
        end_ns: MESSAGES * MESSAGE_NS,
        ..Recording::default()
    };
    for process in 0..=MEMBERS {
        recording.lives.push(Life {
            at_ns: 0,
            process,
            turn: Turn::Started,
        });
    }
    for number in 0..MESSAGES {
        let from = (number * 7 % u64::from(MEMBERS + 1)) as u32;
        let to = (from + 1 + (number % u64::from(MEMBERS)) as u32) % (MEMBERS + 1);
        let sent_ns = number * MESSAGE_NS;
        let is_lost = number % 97 == 0;
        recording.messages.push_back(Message {
            sent_ns,
            ended_ns: Some(sent_ns + 1_000_000 + number % 13 * 300_000),
            from,
            to,
            ordinal: number,
            fate: if is_lost { Fate::Lost } else { Fate::Delivered },
            bytes: 100 + number % 50,
            frames: vec![Frame {
                kind: (number % 4) as u16,
                numbers: vec![number / 20_000, number],
                keys: vec![(number % 20) as u32],
            }],
            ..Message::default()
        });
        if number % 5 == 0 {
            let process = (number / 5 % u64::from(MEMBERS)) as u32;
            let term = number / 20_000 + 1;
            let leads = u64::from(process) == term % u64::from(MEMBERS);
            recording.states.push_back(StateChange {
                at_ns: sent_ns,
                process,
                state: MemberState {
                    role: if leads { "leader" } else { "follower" }.to_owned(),
                    term,
                    leader: Some(term % u64::from(MEMBERS) + 1),
                    commit: number,
                    applied: number,
                    last: number,
                    revision: number as i64,
                },
            });
        }
    }
    recording
}

fn history() -> Vec<EtcdEvent> {
    let range = |key: u64| {
        Request::Range(RangeRequest {
            range: KeyRange::single(format!("k{key:02}")),
            ..RangeRequest::default()
        })
    };
    let events = (0..20_000).flat_map(|number: u64| {
        let (op, at_ns) = (OperationId(number), number * 5 * MESSAGE_NS);
        [
            Event::call(at_ns, 0, op, range(number % 20)),
            Event::unknown(at_ns + 2_000_000, 0, op),
        ]
    });
    events.collect()
}

#[test]
fn a_hundred_thousand_messages_are_drawn_moved_filtered_and_scrubbed_without_delay() {
    let Some(chromium) = browser::chromium() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let plan = swarm::plan(1);
    let finding = Finding::new(Class::Liveness, "no-progress", "x </script> y");
    let subject = Subject {
        scenario: "swarm".to_owned(),
        seed: 1,
        planted: None,
    };
    let report = RunReport::without_result(subject, "cargo sim run".to_owned(), finding);
    let view = View::<Store> {
        plan: &plan,
        report: &report,
        recording: &recording(),
        history: &history(),
        logs: &KeptLogs::new(),
    };
    let mut page = Vec::new();
    view.write_page(&Store, &mut page).expect("written");
    let text = String::from_utf8(page).expect("text");
    assert!(!text.contains("http://") && !text.contains("https://"));
    assert_eq!(
        text.matches("</script>").count(),
        text.matches("<script").count(),
        "the data cannot end their script"
    );
    println!("{} bytes", text.len());
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    let path = folder.path().join("run.html");
    std::fs::write(&path, text).expect("written");
    let (seen, console) = browser::selftest(&chromium, &folder.path().join("profile"), &path);
    println!("{seen:#}");
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(seen["errors"], serde_json::json!([]));
    assert_eq!(seen["messages"], MESSAGES);
    assert_eq!(seen["listed_whole"], MESSAGES);
    // Those that fall together are one line.
    let drawn = seen["drawn_whole"].as_u64().expect("a count");
    assert!((1_000..40_000).contains(&drawn), "{seen}");
    assert_eq!(seen["messages_of_kind"], MESSAGES / 4);
    assert_eq!(seen["messages_of_key"], MESSAGES / 20);
    assert_eq!(seen["operations_of_key"], 1_000);
    let profile = folder.path().join("profile");
    browser::assert_quick(&run_page::STEPS, &seen, || {
        browser::selftest(&chromium, &profile, &path).0
    });
}
