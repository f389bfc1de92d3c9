//! What each fault of a clock does, one property each.
#![cfg(madsim)]

use std::time::Duration;
use veridical_env::{Clock, Environment};
use veridical_world::{Fault, ProcessId, SimEnvironment, World, WorldConfig};

const A: ProcessId = ProcessId(0);
const SECOND: Duration = Duration::from_secs(1);

fn run<F, Fut>(story: F)
where
    F: FnOnce(World, SimEnvironment, SimEnvironment) -> Fut + Send,
    Fut: Future<Output = ()>,
{
    World::run(1, WorldConfig::default(), |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        story(world, a, b).await;
    });
}

fn close_to(found: Duration, expected: Duration) -> bool {
    found.abs_diff(expected) < Duration::from_millis(2)
}

#[test]
fn no_two_processes_agree_on_the_time() {
    run(|_, a, b| async move {
        assert_ne!(a.clock().monotonic(), b.clock().monotonic());
        assert_ne!(a.clock().wall(), b.clock().wall());
        assert!(a.clock().wall().abs_diff(b.clock().wall()) < SECOND);
    });
}

#[test]
fn a_sleep_is_over_no_sooner_than_asked_and_knows_no_least_duration() {
    run(|world, a, _| async move {
        for nanoseconds in [0, 1, 100, 12_345, 1_000_000, 987_654_321] {
            let wait = Duration::from_nanos(nanoseconds);
            let (local, begun) = (a.clock().monotonic(), world.now());
            a.clock().sleep(wait).await;
            assert!(a.clock().monotonic() - local >= wait);
            assert!(
                world.now() - begun < wait + Duration::from_micros(1),
                "{wait:?}"
            );
        }
    });
}

#[test]
fn drift_scales_timers_also_those_that_run() {
    run(|world, a, b| async move {
        let begun = world.now();
        let fast = tokio::spawn({
            let (world, clock) = (world.clone(), a.clock().clone());
            async move {
                clock.sleep(10 * SECOND).await;
                world.now()
            }
        });
        world.sleep(5 * SECOND).await;
        // Twice as fast for the second half.
        let drift = world.inject(&Fault::ClockDrift {
            process: A,
            drift_ppm: 1_000_000,
            duration_ms: None,
        });
        let ended = fast.await.expect("it ends");
        assert!(
            close_to(ended - begun, Duration::from_millis(7_500)),
            "{:?}",
            ended - begun
        );

        let (local, begun) = (a.clock().monotonic(), world.now());
        b.clock().sleep(SECOND).await;
        assert!(
            close_to(world.now() - begun, SECOND),
            "the other clock is not touched"
        );
        assert!(close_to(a.clock().monotonic() - local, 2 * SECOND));

        world.heal(drift);
        world.inject(&Fault::ClockDrift {
            process: A,
            drift_ppm: -500_000,
            duration_ms: Some(4_000),
        });
        let begun = world.now();
        a.clock().sleep(3 * SECOND).await;
        assert!(
            close_to(world.now() - begun, 5 * SECOND),
            "half as fast for 4 s, then as it should be"
        );
    });
}

#[test]
fn a_wall_jump_moves_the_wall_clock_only() {
    run(|world, a, _| async move {
        let (monotonic, wall) = (a.clock().monotonic(), a.clock().wall());
        world.inject(&Fault::ClockJump {
            process: A,
            jump_ms: -60_000,
        });
        assert!(close_to(wall - a.clock().wall(), 60 * SECOND));
        world.inject(&Fault::ClockJump {
            process: A,
            jump_ms: 120_000,
        });
        assert!(close_to(a.clock().wall() - wall, 60 * SECOND));
        assert!(close_to(a.clock().monotonic(), monotonic));
    });
}

#[test]
fn a_strobe_moves_the_wall_clock_forth_and_back() {
    run(|world, a, _| async move {
        let origin = a.clock().wall();
        world.inject(&Fault::ClockStrobe {
            process: A,
            amplitude_ms: 1_000,
            period_ms: 10,
            duration_ms: Some(500),
        });
        let mut backwards = 0;
        let mut last = a.clock().wall();
        for _ in 0..100 {
            world.sleep(Duration::from_millis(4)).await;
            backwards += usize::from(a.clock().wall() < last);
            last = a.clock().wall();
        }
        assert!(backwards > 15, "{backwards}");
        let begun = world.now();
        world.sleep(SECOND).await;
        let passed = a.clock().wall() - origin;
        assert!(close_to(passed, begun + SECOND), "{passed:?}");
    });
}
