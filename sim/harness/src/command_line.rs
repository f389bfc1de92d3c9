//! What every program of a scenario understands.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::campaign::shard::Shard;

/// The command line of a program of a scenario; its name, its version and what it is about
/// come from [`Scenario::about`](crate::Scenario::about).
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub struct CommandLine {
    /// What to do; without it, 100 seeds of the default scenario.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run seeds of a scenario.
    Run(RunArguments),
    /// Name the scenarios and the planted bugs.
    List,
    /// Look for each planted bug until a seed finds it.
    Recall(RecallArguments),
    /// Run many seeds, on one machine or as a part of many, and group what fails.
    Campaign(CampaignArguments),
    /// Run seeds, keep the plans that reach what few others do, and run them changed.
    Explore(ExploreArguments),
    /// Run a kept failure again, also after the code has changed.
    Replay(ReplayArguments),
    /// Make a kept failure small.
    Shrink(ShrinkArguments),
    /// Run all kept failures again: repaired ones stay away, planted bugs are found.
    Bugbase(BugbaseArguments),
    /// Show a kept failure: as a page, or as a trace for Perfetto.
    View(ViewArguments),
    /// Run one seed in this process and print its report as JSON.
    #[command(hide = true)]
    One(OneArguments),
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The scenario; the first one of `list` by default.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// The first seed; 1 if it is not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many seeds; 1 if --seed is given, 100 otherwise.
    #[arg(long)]
    pub seeds: Option<u64>,
    /// Print what was counted, too: faults and their effects, queues, coverage points.
    #[arg(long)]
    pub counters: bool,
    /// Processes at once; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Begin no further seed after the first failure. What a checker could not decide is none.
    #[arg(long)]
    pub until_failure: bool,
    /// Run each seed in two processes and compare.
    #[arg(long)]
    pub check_determinism: bool,
    /// Plant a bug (see `list`).
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
    /// Write each seed's report as a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the plan of the first seed and run nothing.
    #[arg(long)]
    pub print_plan: bool,
    /// Where the folders of failures go.
    #[arg(long, value_name = "DIR", default_value = "artefacts")]
    pub artefacts: PathBuf,
    /// Print the processes' logs of one seed by simulated time, from this level on, or by a
    /// filter as in RUST_LOG.
    #[arg(long, value_name = "LEVEL|FILTER")]
    pub log: Option<String>,
    /// Stop one seed at this simulated time (12s, 12.5s, 1500ms) and say how things are.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Duration>,
    /// Write a page that shows the run of one seed.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Export the run of one seed for another viewer, to the file of --output.
    #[arg(long, value_name = "FORMAT", requires = "output")]
    pub trace: Option<TraceFormat>,
    /// Where the export goes.
    #[arg(long, short, value_name = "FILE", requires = "trace")]
    pub output: Option<PathBuf>,
}

/// A form in which a run can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Chrome's trace event format, which Perfetto opens.
    Chrome,
}

impl RunArguments {
    /// Whether what is asked for is one run in this process, looked at closely.
    pub fn wants_one_run(&self) -> bool {
        self.log.is_some() || self.until.is_some() || self.html.is_some() || self.trace.is_some()
    }

    /// 100 seeds of the default scenario.
    pub fn default_campaign() -> Self {
        Self {
            scenario: None,
            seed: None,
            seeds: None,
            counters: false,
            jobs: None,
            until_failure: false,
            check_determinism: false,
            planted: None,
            json: None,
            junit: None,
            print_plan: false,
            artefacts: "artefacts".into(),
            log: None,
            until: None,
            html: None,
            trace: None,
            output: None,
        }
    }
}

/// Seeds of a run without arguments.
pub const DEFAULT_SEEDS: u64 = 100;

/// Arguments of `recall`.
#[derive(Args, Debug)]
pub struct RecallArguments {
    /// Only these bugs.
    #[arg(long, value_name = "BUG,…", value_delimiter = ',')]
    pub bug: Vec<String>,
    /// The scenario; the first one of `list` by default.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Runs for each bug at most.
    #[arg(long, default_value_t = 2_000)]
    pub seeds: u64,
    /// Look for each bug so many times, each time among other seeds.
    #[arg(long, default_value_t = 1)]
    pub repeat: u64,
    /// Run changed plans, too, as `explore` does, instead of seeds alone.
    #[arg(long, group = "guides")]
    pub guided: bool,
    /// Look both ways, by seeds alone and guided, and print a table of both.
    #[arg(long, group = "guides")]
    pub compare: bool,
    /// Begin with what a campaign of the same scenario has reached (its `--out`).
    #[arg(long, value_name = "DIR", requires = "guides")]
    pub learn: Vec<PathBuf>,
    /// Where the folders of changed plans that found something go.
    #[arg(long, value_name = "DIR", default_value = "artefacts")]
    pub artefacts: PathBuf,
    /// Processes at once; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Write each bug's result as a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `explore`.
#[derive(Args, Debug)]
pub struct ExploreArguments {
    /// The scenario, one that can be explored; the first one of `list` by default.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// The first seed: with the number of runs it decides everything.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The number of runs.
    #[arg(long, default_value_t = 1_000)]
    pub executions: u64,
    /// Print what was counted, too: faults and their effects, queues, coverage points.
    #[arg(long)]
    pub counters: bool,
    /// Processes at once; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Plant a bug (see `list`).
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
    /// Begin with what a campaign of the same scenario has reached (its `--out`).
    #[arg(long, value_name = "DIR")]
    pub learn: Vec<PathBuf>,
    /// End with the first failure. What a checker could not decide is none.
    #[arg(long, alias = "stop-at-first")]
    pub until_failure: bool,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "explore")]
    pub out: PathBuf,
}

/// Arguments of `campaign`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CampaignArguments {
    /// Something else than running.
    #[command(subcommand)]
    pub command: Option<CampaignCommand>,
    /// The scenario; the first one of `list` by default.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// The seeds of the whole campaign, A to B without B.
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "1..2001")]
    pub seeds: Range<u64>,
    /// Print what was counted, too: faults and their effects, queues, coverage points.
    #[arg(long)]
    pub counters: bool,
    /// Processes at once; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Begin no further seed after the first failure. What a checker could not decide is none.
    #[arg(long)]
    pub until_failure: bool,
    /// Begin no further seed after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub time_limit: Option<u64>,
    /// Where results go; a campaign that is there already goes on.
    #[arg(long, value_name = "DIR", default_value = "campaign")]
    pub out: PathBuf,
    /// Only the seeds of this shard, I from 0; by default what Slurm (job arrays) or
    /// Kubernetes (indexed jobs, with VERIDICAL_SHARDS) says, else all.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Run each seed in two processes and compare.
    #[arg(long)]
    pub check_determinism: bool,
    /// Plant a bug (see `list`).
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
    /// How long to make each kept failure small, in seconds; 0 for not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub shrink_time: u64,
}

/// What else `campaign` does.
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Put the results of shards together.
    Merge(MergeArguments),
}

/// Arguments of `campaign merge`.
#[derive(Args, Debug)]
pub struct MergeArguments {
    /// Folders of shards, or folders that hold them.
    #[arg(required = true)]
    pub dirs: Vec<PathBuf>,
    /// Where the result goes.
    #[arg(long, value_name = "DIR", default_value = "campaign-merged")]
    pub out: PathBuf,
}

/// `A..B`, or `A..=B`.
fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range has the form A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let from = number(from)?;
    let to = match to.strip_prefix('=') {
        Some(last) => number(last)?.checked_add(1).ok_or("too many seeds")?,
        None => number(to)?,
    };
    if from >= to {
        return Err("the range is empty".to_owned());
    }
    Ok(from..to)
}

/// `12s`, `12.5s`, `1500ms`: a simulated time.
fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').ok_or("a time ends in s or ms")?, 1.0),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a time is a number and a unit")?;
    Duration::try_from_secs_f64(number * unit_s).map_err(|error| error.to_string())
}

/// Arguments of `view`.
#[derive(Args, Debug)]
pub struct ViewArguments {
    /// The folder of the failure.
    pub dir: PathBuf,
    /// The file to write; run.html in the folder by default.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Export the run for another viewer instead of writing a page.
    #[arg(long, value_name = "FORMAT", requires = "output")]
    pub trace: Option<TraceFormat>,
}

/// Schedules under which a kept failure is looked for.
pub const DEFAULT_SCHEDULES: u32 = 32;

/// Arguments of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArguments {
    /// The folder of the failure.
    pub dir: PathBuf,
    /// How many schedules are tried at most until it fails in the same way.
    #[arg(long, default_value_t = DEFAULT_SCHEDULES)]
    pub schedules: u32,
    /// Plant this bug instead of the one that was planted; `none` for no bug.
    #[arg(long, value_name = "BUG")]
    pub planted: Option<String>,
    /// Take random decisions from the seed alone, not from the record.
    #[arg(long)]
    pub ignore_record: bool,
    /// Keep the run in this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `shrink`.
#[derive(Args, Debug)]
pub struct ShrinkArguments {
    /// The folder of the failure.
    pub dir: PathBuf,
    /// Where the small one goes; DIR-shrunk by default.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Processes at once; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// After this many seconds, what there is has to do.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub time_limit: u64,
}

/// Arguments of `bugbase`.
#[derive(Args, Debug)]
pub struct BugbaseArguments {
    /// The folder with the kept failures.
    #[arg(default_value = "bugbase")]
    pub dir: PathBuf,
    /// Add the failure in this folder first, as this program runs it.
    #[arg(long, value_name = "DIR")]
    pub add: Option<PathBuf>,
    /// The name that the added failure gets; that of its folder by default.
    #[arg(long, requires = "add")]
    pub name: Option<String>,
    /// How many schedules are tried at most until a failure shows in the same way.
    #[arg(long, default_value_t = DEFAULT_SCHEDULES)]
    pub schedules: u32,
}

/// Arguments of `one`.
#[derive(Args, Debug, Default)]
pub struct OneArguments {
    /// The scenario; the first one of `list` by default.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// The seed.
    #[arg(long, required_unless_present = "plan", default_value_t = 0)]
    pub seed: u64,
    /// A file with the plan, instead of a scenario and a seed; `-` for standard input.
    #[arg(long)]
    pub plan: Option<PathBuf>,
    /// Where random decisions are taken from.
    #[arg(long)]
    pub decisions: Option<PathBuf>,
    /// Tell when planned operations were called.
    #[arg(long)]
    pub timetable: bool,
    /// The planted bug.
    #[arg(long)]
    pub planted: Option<String>,
    /// Where the trace goes.
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// Where all of it goes.
    #[arg(long)]
    pub artefact: Option<PathBuf>,
    /// Let checkers go further before they call something undecided.
    #[arg(long)]
    pub larger_limits: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_time_has_a_unit_and_is_not_negative() {
        assert_eq!(parse_time("12s"), Ok(Duration::from_secs(12)));
        assert_eq!(parse_time("12.5s"), Ok(Duration::from_millis(12_500)));
        assert_eq!(parse_time("1500ms"), Ok(Duration::from_millis(1_500)));
        for text in ["", "12", "s", "-1s", "12m", "NaNs", "1e40s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!(parse_seeds("1..4"), Ok(1..4));
        assert_eq!(parse_seeds("1..=4"), Ok(1..5));
        for text in ["", "4", "4..4", "5..4", "a..b", "1..=18446744073709551615"] {
            assert!(parse_seeds(text).is_err(), "{text}");
        }
    }
}
