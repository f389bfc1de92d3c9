use super::*;
use crate::OperationId;

fn read(text: &str, keys: Keys) -> Vec<Result<ObjectEvent, ReadError>> {
    EdnReader::new(text.as_bytes(), keys, 1 << 20).collect()
}

fn edn(text: &str) -> Vec<ObjectEvent> {
    read(text, Keys::Told)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn errors(text: &str) -> Vec<ReadError> {
    read(text, Keys::Told)
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// Events of one process each, from `process type f value`.
fn history(events: &[(u64, &str, &str, &str)]) -> String {
    let lines = events.iter().map(|(process, kind, f, value)| {
        format!("{{:process {process} :type :{kind} :f :{f} :value {value}}}\n")
    });
    lines.collect()
}

fn values(events: &[ObjectEvent]) -> Vec<String> {
    let shown = events.iter().map(|event| match &event.kind {
        crate::EventKind::Call { input, .. } => input.to_string(),
        crate::EventKind::Return { output, .. } => output.to_string(),
        crate::EventKind::Unknown { .. } => "unknown".to_owned(),
        crate::EventKind::Failed { .. } => "failed".to_owned(),
        crate::EventKind::Note { note } => match *note {},
    });
    shown.collect()
}

#[test]
fn keys_come_from_a_field_or_from_a_tuple() {
    let field = edn(
        r#"{:process 0, :type :invoke, :f :get, :key "7", :value nil}
        {:process 0, :type :ok, :f :get, :key "7", :value ""}"#,
    );
    let tuple = edn(
        r#"[{:f :get :value ["7" nil] :process 0 :type :invoke :index 0}
        {:f :get, :value ["7" ""], :process 0, :type :ok, :index 1}]"#,
    );
    assert_eq!(field, tuple);
    let request = Request {
        key: "7".into(),
        action: Action::Read,
    };
    assert_eq!(field[0], ObjectEvent::call(1, 0, OperationId(0), request));
}

#[test]
fn a_pair_is_a_key_and_a_value_only_where_calls_name_keys() {
    let independent = history(&[
        (0, "invoke", "write", "[1 10]"),
        (0, "ok", "write", "[1 10]"),
        (0, "invoke", "cas", "[1 [10 11]]"),
        (0, "ok", "cas", "[1 [10 11]]"),
        (1, "invoke", "cas", "[1 11 12]"),
        (1, "ok", "cas", "[1 11 12]"),
        (0, "invoke", "read", "[1 nil]"),
        (0, "ok", "read", "[1 12]"),
    ]);
    let read_as = values(&edn(&independent));
    assert_eq!(read_as[0], "1: write 10");
    assert_eq!(read_as[2], "1: cas 10 → 11");
    assert_eq!(read_as[4], "1: cas 11 → 12");
    assert_eq!(read_as[6..], ["1: read", "12"]);
    let of_one = history(&[
        (0, "invoke", "write", "[1 10]"),
        (0, "ok", "write", "[1 10]"),
        (0, "invoke", "read", "nil"),
        (0, "ok", "read", "[1 10]"),
        (1, "invoke", "add", "[3 4]"),
    ]);
    let read_as = values(&edn(&of_one));
    assert_eq!(
        read_as,
        ["write [1 10]", "done", "read", "[1 10]", "add [3 4]"]
    );
}

#[test]
fn what_can_be_read_with_and_without_keys_is_refused_unless_it_is_told() {
    let text = history(&[
        (0, "invoke", "write", "[1 [2 3]]"),
        (0, "ok", "write", "[1 [2 3]]"),
        (0, "invoke", "cas", "[1 [2 3]]"),
    ]);
    let refused = errors(&text);
    assert!(
        refused[0].to_string().starts_with("line 3, column 1"),
        "{refused:?}"
    );
    assert_eq!(*refused[0].affected(), Affected::History);
    let told: Vec<ObjectEvent> = read(&text, Keys::Independent)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(values(&told)[2], "1: cas 2 → 3");
    let told: Vec<ObjectEvent> = read(&text, Keys::One)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(values(&told)[2], "cas 1 → [2 3]");
    // Writes alone are explained either way.
    assert!(errors(&history(&[(0, "invoke", "write", "[1 [2 3]]")])).is_empty());
}

#[test]
fn calls_that_disagree_about_keys_are_errors() {
    let reads = |first, second| {
        errors(&history(&[
            (0, "invoke", "read", first),
            (1, "invoke", "read", second),
        ]))
    };
    assert!(reads("nil", "nil").is_empty() && reads("[1 nil]", "[2 nil]").is_empty());
    for (first, second) in [("nil", "[1 nil]"), ("[1 nil]", "nil")] {
        let errors = reads(first, second);
        assert!(errors[0].to_string().contains("as in line 1"), "{errors:?}");
    }
}

#[test]
fn transactions_carry_their_steps_and_answers() {
    let events = edn(
        "({:type :invoke, :f :txn, :value [[:append 5 1] [:r 5 nil]], :time 32, :process 0, :index 0}
        {:type :ok, :f :txn, :value [[:append 5 1] [:r 5 [1]]], :time 40, :process 0, :index 1}
        {:type :invoke, :f :txn, :value [[:r 5]], :time 42, :process 0, :index 2})",
    );
    assert_eq!(
        events[1],
        ObjectEvent::returned(
            40,
            0,
            OperationId(0),
            Answer::Txn(vec![Answer::Done, Answer::Value(Value::list([1.into()]))])
        )
    );
    assert_eq!(values(&events)[2], "txn (5 read)");
}

#[test]
fn a_process_that_lost_an_operation_goes_on_as_somebody_else() {
    let events = edn("{:type :invoke, :f :write, :value 3, :process 1}
        {:type :info, :f :write, :value 3, :process 1}
        {:type :info, :f :start, :value nil, :process :nemesis}
        {:type :invoke, :f :cas, :value [3 4], :process 1}");
    assert_eq!(events.len(), 3);
    assert_ne!(events[2].client, events[0].client);
}

#[test]
fn a_drain_is_a_dequeue_for_each_value_and_one_that_found_nothing() {
    let events = edn(&history(&[
        (0, "invoke", "enqueue", "31"),
        (1, "invoke", "drain", "nil"),
        (0, "ok", "enqueue", "31"),
        (1, "ok", "drain", "[31 32]"),
    ]));
    assert_eq!(
        values(&events),
        [
            "enqueue 31",
            "dequeue",
            "dequeue",
            "dequeue",
            "done",
            "31",
            "32",
            "nil"
        ]
    );
    for end in ["info", "fail"] {
        let errors = errors(&history(&[
            (1, "invoke", "drain", "nil"),
            (1, end, "drain", "nil"),
        ]));
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

#[test]
fn what_does_not_go_with_its_call_is_an_error_about_its_operation() {
    let write = (0, "invoke", "write", "1");
    for end in [
        (0, "ok", "read", "1"),
        (0, "fail", "read", "1"),
        (0, "ok", "write", "2"),
        (0, "invoke", "write", "2"),
        (0, "invoke", "read", "nil"),
    ] {
        let errors = errors(&history(&[write, end]));
        let affected = errors[0].affected();
        assert!(
            matches!(
                affected,
                Affected::Operation {
                    op: OperationId(0),
                    ..
                }
            ),
            "{errors:?}"
        );
        assert!(errors[0].may_be_consequence());
    }
    for end in [(1, "ok", "write", "1"), (1, "info", "write", "1")] {
        let errors = errors(&history(&[write, end]));
        assert_eq!(*errors[0].affected(), Affected::History, "{errors:?}");
    }
}

#[test]
fn a_function_that_is_not_known_is_an_error_of_the_call_and_not_of_its_end() {
    let errors = errors(&history(&[
        (0, "invoke", "swap", "1"),
        (0, "ok", "swap", "1"),
        (0, "invoke", "read", "nil"),
    ]));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().starts_with("line 1,"));
    let keyed = history(&[
        (1, "invoke", "read", "[7 nil]"),
        (0, "invoke", "swap", "[7 1]"),
    ]);
    let keyed: Vec<_> = read(&keyed, Keys::Told)
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert_eq!(*keyed[0].affected(), Affected::Key(7.into()));
}

#[test]
fn a_field_that_is_missing_or_misspelt_is_an_error() {
    let line = "{:process 0, :type :invoke, :f :write, :value 3, :time 5, :node \"n1\"}";
    assert_eq!(edn(line).len(), 1);
    for (from, to) in [
        (":process", ":proces"),
        (":process 0, ", ""),
        (":type", ":tpye"),
        (":f ", ":ff "),
        (":value", ":vaule"),
        (":value 3, ", ""),
        (":time", ":tiem"),
        (":node", ":kye"),
        (":node \"n1\"", ":time 6"),
    ] {
        let damaged = line.replace(from, to);
        assert_ne!(damaged, line);
        assert_eq!(errors(&damaged).len(), 1, "{damaged}");
    }
}

#[test]
fn events_are_in_the_order_of_their_index_or_else_of_their_times() {
    let read = |fields: [&str; 3]| {
        let lines = fields.iter().enumerate().map(|(process, fields)| {
            format!("{{:process {process} :type :invoke :f :read :value nil {fields}}}\n")
        });
        read(&lines.collect::<String>(), Keys::Told)
    };
    let times = |fields| -> Vec<u64> {
        read(fields)
            .into_iter()
            .map(|event| event.unwrap().time_ns)
            .collect()
    };
    assert_eq!(times([":time 5", ":time 5", ":time 9"]), [5, 5, 9]);
    assert_eq!(
        times([":time 5 :index 0", ":time 3 :index 1", ":time 9 :index 2"]),
        [5, 6, 9]
    );
    assert_eq!(times(["", "", ""]), [1, 2, 3]);
    for fields in [
        [":time 5", ":time 3", ":time 9"],
        [":time 5 :index 1", ":time 6 :index 0", ":time 9 :index 2"],
        [":time 5", "", ":time 9"],
        ["", ":time 5", ""],
        [":time 5 :index 1", ":time 6", ":time 9 :index 2"],
        [":time 1.5", ":time 3", ":time 9"],
        [":time -1", ":time 3", ":time 9"],
    ] {
        assert!(read(fields).iter().any(Result::is_err), "{fields:?}");
    }
}

#[test]
fn a_value_is_parsed_alone() {
    assert_eq!(parse_value("0").unwrap(), Value::Int(0));
    assert_eq!(parse_value("null").unwrap(), Value::Nil);
    assert_eq!(
        parse_value(" [1 \"a\"] ").unwrap(),
        Value::list([1.into(), "a".into()])
    );
    assert!(parse_value("").is_err() && parse_value("1 2").is_err() && parse_value("[").is_err());
}
