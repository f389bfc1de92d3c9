use super::*;
use veridical_histories::OperationId;

fn trace(op: u64, is_write: bool) -> Trace {
    Trace {
        op: OperationId(op),
        client: op,
        call_ns: 0,
        return_ns: None,
        is_write,
        is_refused: false,
    }
}

/// Runs (value, call, return, is_write) on a key that holds nil.
fn run(operations: &[(i64, u64, u64, bool)]) -> Result<Zones, Box<Conflict>> {
    let mut zones = Zones::new(Value::Nil);
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (index, (_, call, returned, _)) in operations.iter().enumerate() {
        events.push((*call, index, true));
        events.push((*returned, index, false));
    }
    events.sort_unstable();
    for (_, index, is_call) in events {
        let (value, call, returned, is_write) = operations[index];
        let value = if value == 0 {
            Value::Nil
        } else {
            Value::Int(value)
        };
        let trace = trace(index as u64, is_write);
        match (is_call, is_write) {
            (true, true) => zones.write_called(value, call, trace),
            (true, false) => zones.read_called(call),
            (false, _) => zones.returned(&value, Span { call, returned }, trace)?,
        }
    }
    Ok(zones)
}

#[test]
fn a_value_that_was_overwritten_before_the_read_began_is_gone() {
    assert!(run(&[(1, 1, 2, true), (2, 3, 4, true), (1, 5, 6, false)]).is_err());
    assert!(run(&[(1, 1, 2, true), (2, 3, 6, true), (1, 5, 7, false)]).is_ok());
    assert!(run(&[(1, 1, 2, true), (0, 3, 4, false)]).is_err());
}

#[test]
fn two_values_cannot_each_come_after_the_other() {
    // Both written at once; then read 1, 2, 1 one after the other.
    let both = [(1, 1, 20, true), (2, 2, 21, true)];
    let reads = |order: [i64; 3]| {
        let mut all = both.to_vec();
        for (at, value) in order.into_iter().enumerate() {
            let call = 3 + 2 * at as u64;
            all.push((value, call, call + 1, false));
        }
        run(&all)
    };
    assert!(reads([1, 2, 2]).is_ok());
    let conflict = reads([1, 2, 1]).unwrap_err();
    assert!(matches!(*conflict, Conflict::Interleaved { .. }));
}

#[test]
fn a_value_nobody_wrote_is_refused_at_the_return_of_its_read() {
    let conflict = run(&[(9, 1, 2, false)]).unwrap_err();
    assert!(matches!(*conflict, Conflict::Unwritten { .. }));
    // Its write may be called while the read is open, and not later.
    assert!(run(&[(9, 1, 4, false), (9, 2, 3, true)]).is_ok());
    assert!(run(&[(9, 1, 2, false), (9, 3, 4, true)]).is_err());
}

#[test]
fn what_is_kept_is_bounded_by_what_overlaps() {
    let operations: Vec<(i64, u64, u64, bool)> = (0..10_000)
        .map(|i| (i + 1, 1 + 2 * i as u64, 2 + 2 * i as u64, true))
        .collect();
    let mut zones = run(&operations).unwrap();
    assert!(zones.len() <= 2 * EVICTION_SLACK);
    assert!(zones.is_idle(20_001));
    assert_eq!(zones.take(), (Value::Int(10_000), Vec::new()));
}
