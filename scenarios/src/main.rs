fn main() {
    #[cfg(madsim)]
    {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .init();
        for seed in std::env::args().skip(1) {
            let plan = veridical_scenarios::swarm::plan(seed.parse().expect("a seed"));
            let run = veridical_scenarios::run::run(&plan, Default::default());
            println!(
                "{}",
                serde_json::to_string_pretty(&run.report).expect("json")
            );
        }
    }
}
