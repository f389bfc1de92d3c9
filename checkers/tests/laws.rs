//! Laws that hold for every history, and a second oracle.

use proptest::prelude::*;
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use veridical_checkers::{ObjectKind, ObjectModel, Operation, check_operations};
use veridical_histories::object::{Action, Answer, Request, Value};

/// A read (of a value) or a write, its client, call and return.
#[derive(Clone, Debug)]
struct Drawn {
    client: u64,
    is_write: bool,
    value: i64,
    call_ns: u64,
    return_ns: Option<u64>,
}

fn to_operation(drawn: &Drawn) -> Operation<Request, Answer> {
    let value = if drawn.value == 0 {
        Value::Nil
    } else {
        Value::Int(drawn.value)
    };
    let (action, answer) = if drawn.is_write {
        (Action::Write(value), Answer::Done)
    } else {
        (Action::Read, Answer::Value(value))
    };
    Operation {
        client: drawn.client,
        input: Request {
            key: Value::Nil,
            action,
        },
        call_ns: drawn.call_ns,
        end: drawn.return_ns.map(|return_ns| (return_ns, answer)),
    }
}

fn is_ok(history: &[Drawn]) -> bool {
    let model = ObjectModel::new(ObjectKind::Register);
    check_operations(model, history.iter().map(to_operation)).is_ok()
}

/// Each client calls one operation after the other; every time occurs once.
fn histories() -> impl Strategy<Value = Vec<Drawn>> {
    let operation = (
        0..3u64,
        any::<bool>(),
        0..3i64,
        1..6u64,
        1..6u64,
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(operation, 1..9).prop_map(|drawn| {
        let mut free_at = [0; 3];
        let mut history = Vec::new();
        for (index, (client, is_write, value, gap, length, is_lost)) in
            drawn.into_iter().enumerate()
        {
            let at = &mut free_at[client as usize];
            let call_ns = (*at + gap) * 100 + 2 * index as u64;
            let return_ns = call_ns + length * 100 + 1;
            *at = return_ns.div_ceil(100);
            // A client that lost an operation would go on under another number.
            let return_ns = (!is_lost).then_some(return_ns);
            history.push(Drawn {
                client,
                is_write,
                value,
                call_ns,
                return_ns,
            });
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn stateright_says_the_same(mut history in histories()) {
        history.retain(|drawn| drawn.return_ns.is_some());
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (index, drawn) in history.iter().enumerate() {
            events.push((drawn.call_ns, false, index));
            events.push((drawn.return_ns.unwrap(), true, index));
        }
        events.sort_unstable();
        let mut tester = LinearizabilityTester::new(Register(0));
        for (_, is_end, index) in events {
            let Drawn { client, is_write, value, .. } = history[index];
            if is_end {
                let ret = if is_write { RegisterRet::WriteOk } else { RegisterRet::ReadOk(value) };
                tester.on_return(client, ret).unwrap();
            } else {
                let op = if is_write { RegisterOp::Write(value) } else { RegisterOp::Read };
                tester.on_invoke(client, op).unwrap();
            }
        }
        prop_assert_eq!(is_ok(&history), tester.is_consistent());
    }

    #[test]
    fn other_names_for_clients_and_values_change_nothing(history in histories()) {
        let mut renamed = history.clone();
        for drawn in &mut renamed {
            drawn.client = 100 - drawn.client;
            if drawn.value != 0 {
                drawn.value = 50 - drawn.value;
            }
        }
        prop_assert_eq!(is_ok(&history), is_ok(&renamed));
    }

    #[test]
    fn a_shorter_interval_never_makes_a_wrong_history_right(
        history in histories(),
        which in any::<prop::sample::Index>(),
    ) {
        let mut shorter = history.clone();
        let drawn = &mut shorter[which.index(history.len())];
        drawn.call_ns += 30;
        drawn.return_ns = drawn.return_ns.map(|return_ns| return_ns - 30);
        prop_assert!(is_ok(&history) || !is_ok(&shorter));
    }

    #[test]
    fn a_read_left_out_never_makes_a_right_history_wrong(
        history in histories(),
        which in any::<prop::sample::Index>(),
    ) {
        let at = which.index(history.len());
        if !history[at].is_write {
            let mut fewer = history.clone();
            fewer.remove(at);
            prop_assert!(!is_ok(&history) || is_ok(&fewer));
        }
    }
}
