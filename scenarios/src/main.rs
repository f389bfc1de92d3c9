fn main() {
    #[cfg(madsim)]
    {
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
