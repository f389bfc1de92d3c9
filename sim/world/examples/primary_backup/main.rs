//! Another system than ours, simulated: a register on a primary and a backup with a bug,
//! which is found, made small and drawn. docs/your-own-system.md walks through it.
//!
//! Run it in the simulated world; it takes the file for the picture, and `fixed` for the
//! system without the bug:
//!
//! ```text
//! cargo run --config "target.'cfg(all())'.rustflags=['--cfg=madsim']" --target-dir target/sim \
//!     --profile sim -p veridical-world --example primary_backup -- violation.html
//! ```

#[cfg(not(madsim))]
fn main() {
    eprintln!("this example runs in the simulated world only: build it with --cfg madsim");
}

#[cfg(madsim)]
mod system;

#[cfg(madsim)]
mod simulation;

#[cfg(madsim)]
fn main() -> std::io::Result<()> {
    use simulation::{Plan, draw, run};
    use system::Failover;
    use veridical_world::shrink::minimise;

    const SEEDS: u64 = 500;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let failover = match arguments.iter().any(|argument| argument == "fixed") {
        true => Failover::Never,
        false => Failover::Eager,
    };
    let fails = |plan: &Plan| run(plan, failover).verdict.violation().is_some();
    let Some(plan) = (1..=SEEDS).map(Plan::of_seed).find(fails) else {
        println!("{SEEDS} seeds, no violation");
        return Ok(());
    };
    println!(
        "seed {}: {} operations and {} faults show a violation",
        plan.seed,
        plan.operations.len(),
        plan.faults.len()
    );
    let faults = minimise(plan.faults.clone(), |faults| {
        fails(&Plan {
            faults: faults.to_vec(),
            ..plan.clone()
        })
    });
    let plan = Plan { faults, ..plan };
    let operations = minimise(plan.operations.clone(), |operations| {
        fails(&Plan {
            operations: operations.to_vec(),
            ..plan.clone()
        })
    });
    let plan = Plan { operations, ..plan };
    println!(
        "made small: {} operations and {} faults",
        plan.operations.len(),
        plan.faults.len()
    );
    for (at_ms, fault) in &plan.faults {
        println!("  {at_ms:>5} ms  {fault:?}");
    }
    for operation in &plan.operations {
        println!(
            "  {:>5} ms  client {} {:?}",
            operation.at_ms, operation.client, operation.write
        );
    }
    let run = run(&plan, failover);
    println!("{}", run.verdict);
    if let Some(path) = arguments.iter().find(|argument| *argument != "fixed") {
        draw(&run, &mut std::fs::File::create(path)?)?;
        println!("drawn in {path}");
    }
    Ok(())
}
