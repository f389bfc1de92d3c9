//! A model of one's own in about thirty lines: a bounded semaphore.
//!
//! `cargo run -p veridical-checkers --example own_model`

use veridical_checkers::{Model, Operation, check_operations};

/// At most `permits` holders at a time.
struct Semaphore {
    permits: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Request {
    TryAcquire,
    Release,
}

impl Model for Semaphore {
    /// How many permits are taken.
    type State = u32;
    type Input = Request;
    /// Whether it succeeded.
    type Output = bool;
    /// One semaphore: nothing to divide by.
    type Key = ();

    fn key(&self, _: &Request) {}

    fn initial(&self) -> u32 {
        0
    }

    fn step(&self, taken: &u32, request: &Request, output: Option<&bool>, next: &mut Vec<u32>) {
        let (can, after) = match request {
            Request::TryAcquire => (*taken < self.permits, taken + 1),
            Request::Release => (*taken > 0, taken.saturating_sub(1)),
        };
        // An answer that was recorded has to be right; one that was not may be either.
        if output.is_none_or(|output| *output == can) {
            next.push(if can { after } else { *taken });
        }
    }
}

fn main() {
    let acquire = |client, call_ns, return_ns, succeeded| Operation {
        client,
        input: Request::TryAcquire,
        call_ns,
        end: Some((return_ns, succeeded)),
    };
    let one_at_a_time = vec![
        acquire(1, 0, 10, true),
        acquire(2, 5, 15, false),
        Operation {
            client: 1,
            input: Request::Release,
            call_ns: 20,
            end: Some((30, true)),
        },
        acquire(2, 25, 35, true),
    ];
    let verdict = check_operations(Semaphore { permits: 1 }, one_at_a_time);
    println!("one at a time: {verdict}");
    assert!(verdict.is_ok());

    let both = vec![acquire(1, 0, 10, true), acquire(2, 20, 30, true)];
    let verdict = check_operations(Semaphore { permits: 1 }, both);
    println!("two at a time: {verdict}");
    assert!(verdict.violation().is_some());
}
