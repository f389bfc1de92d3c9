//! The flags of `veridical bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::local_cluster::LocalClusterFlags;
use super::series::Scale;
use super::workload::WorkloadKind;

/// Connections by default: enough that no single one is the bottleneck, and no more than
/// there are clients.
const DEFAULT_CONNECTIONS_MAX: usize = 16;

/// How the store is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WireProtocol {
    /// etcd's API; works with etcd, too
    Grpc,
    /// The pipelined protocol of this project
    Native,
}

/// How many operations travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// What clients that share a connection ask at the same time.
    Auto,
    /// As many as each client asks at once.
    Of(usize),
}

impl Batch {
    /// Operations that each client asks at once.
    pub(super) fn of_each_client(self) -> usize {
        match self {
            Self::Auto => 1,
            Self::Of(operations) => operations,
        }
    }
}

/// The flags of `veridical bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchFlags {
    /// Client URLs or host:port of members (comma-separated); connections are spread
    /// over them
    #[arg(
        long,
        env = "VERIDICAL_ENDPOINTS",
        default_value = "127.0.0.1:2379",
        value_delimiter = ','
    )]
    pub(super) endpoints: Vec<String>,

    #[command(flatten)]
    pub(super) local: LocalClusterFlags,

    /// What the clients do
    #[arg(long, default_value = "put")]
    pub(super) workload: WorkloadKind,

    /// Clients; each sends its next request when the last one was answered, and not before it
    /// is due by --rate
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pub(super) clients: usize,

    /// Measure once for each of these numbers of clients, and print one table:
    /// `clients=1,8,64`, or `clients=1..512`, which doubles. All meet the same members, unless
    /// --local-cluster has to start new ones for each (--verify, --nemesis, several programs)
    #[arg(
        long,
        value_name = "clients=LIST",
        conflicts_with_all = ["clients", "history"]
    )]
    pub(super) scale: Option<Scale>,

    /// Operations that are begun each second by all clients together, at instants that are
    /// fixed before. Latencies count from these, so that a store that stands still is charged
    /// with everything that was due meanwhile [default: each client as fast as it is answered]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<u64>,

    /// Connections that the clients share [default: as many as clients, at most 16]
    #[arg(long, value_parser = positive)]
    connections: Option<usize>,

    /// Operations that each client sends as one request, or `auto`: what the clients of a
    /// connection ask at the same time travels together (pipelined protocol; with gRPC N
    /// calls are made at once)
    #[arg(long, default_value = "1", value_name = "N|auto", value_parser = batch)]
    pub(super) batch: Batch,

    /// Independent clusters that hold the keys: the endpoints are theirs in turn, the same
    /// number of each. What clusters tell cannot be checked as one history
    #[arg(
        long,
        default_value_t = 1,
        value_parser = positive,
        conflicts_with_all = ["verify", "history", "local_cluster"]
    )]
    pub(super) shards: usize,

    /// How long to measure, such as 20s or 500ms
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(super) duration: Duration,

    /// How long to run before measuring
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub(super) warmup: Duration,

    /// Keys; all are written before a workload that reads
    #[arg(long, default_value_t = 10_000, value_parser = positive)]
    pub(super) keys: usize,

    /// Bytes in a value
    #[arg(long, default_value_t = 256)]
    pub(super) value_bytes: usize,

    /// How the store is spoken to
    #[arg(long, default_value = "grpc")]
    pub(super) protocol: WireProtocol,

    /// Seed of the clients' choices
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,

    /// Check every answer while the benchmark runs, from what the store holds at its start;
    /// nobody else may write `bench/` keys meanwhile. Status 1 if the store did not tell the
    /// truth
    #[arg(long)]
    pub(super) verify: bool,

    /// Write the history to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(super) history: Option<PathBuf>,

    /// Write charts and the table of all points to this file, as one HTML page that needs
    /// nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

impl BenchFlags {
    /// How many connections are opened.
    pub(super) fn connections(&self) -> usize {
        self.connections
            .unwrap_or(DEFAULT_CONNECTIONS_MAX)
            .min(self.clients)
    }

    /// Operations of all clients that are under way at once, at most.
    pub(super) fn asked_at_once(&self) -> usize {
        self.clients.saturating_mul(self.batch.of_each_client())
    }

    /// `host:port` of the members of each shard; nothing if there are not as many of one as
    /// of the other.
    pub(super) fn addresses_by_shard(&self) -> Option<Vec<Vec<String>>> {
        let addresses = self.addresses();
        let members = addresses.len() / self.shards;
        if members == 0 || !addresses.len().is_multiple_of(self.shards) {
            return None;
        }
        Some(addresses.chunks(members).map(<[_]>::to_vec).collect())
    }

    /// `host:port` of the members.
    pub(super) fn addresses(&self) -> Vec<String> {
        let address = |endpoint: &String| {
            let endpoint = endpoint.trim();
            endpoint
                .strip_prefix("http://")
                .unwrap_or(endpoint)
                .trim_end_matches('/')
                .to_owned()
        };
        self.endpoints
            .iter()
            .map(address)
            .filter(|address| !address.is_empty())
            .collect()
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be above 0".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("must be above 0".to_owned()),
        Ok(rate) => Ok(rate),
        Err(error) => Err(format!("{error}")),
    }
}

fn batch(text: &str) -> Result<Batch, String> {
    match text {
        "auto" => Ok(Batch::Auto),
        number => positive(number).map(Batch::Of),
    }
}

/// Reads `20s`, `1.5s`, `500ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("expected a number with ms, s, m or h, such as 20s".to_owned()),
    };
    let number: f64 = number.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: BenchFlags,
    }

    /// The flags of a command line.
    pub(crate) fn parse(flags: &[&str]) -> Result<BenchFlags, clap::Error> {
        let words = std::iter::once("bench").chain(flags.iter().copied());
        Program::try_parse_from(words).map(|program| program.flags)
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["20", "", "s", "-1s", "1d", "1 s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn there_are_never_more_connections_than_clients() {
        assert_eq!(parse(&["--clients=3"]).unwrap().connections(), 3);
        assert_eq!(parse(&["--clients=300"]).unwrap().connections(), 16);
        assert_eq!(
            parse(&["--clients=300", "--connections=200"])
                .unwrap()
                .connections(),
            200
        );
        assert_eq!(
            parse(&["--clients=3", "--connections=200"])
                .unwrap()
                .connections(),
            3
        );
    }

    #[test]
    fn endpoints_are_urls_or_addresses() {
        let flags = parse(&["--endpoints=http://a:1/, b:2,"]).unwrap();
        assert_eq!(flags.addresses(), ["a:1", "b:2"]);
    }

    #[test]
    fn members_are_either_there_or_started() {
        assert_eq!(
            parse(&["--local-cluster=3"]).unwrap().local.members(),
            Some(3)
        );
        assert_eq!(parse(&[]).unwrap().local.members(), None);
        for flags in [
            &["--local-cluster=3", "--endpoints=a:1"][..],
            &["--local-cluster=0"],
            &["--local-cluster=10"],
            &["--program=etcd"],
            &["--nemesis=kill"],
            &["--local-cluster=3", "--nemesis=flood"],
            // Its members are those of one cluster.
            &["--local-cluster=2", "--shards=2"],
        ] {
            assert!(parse(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn batches_are_a_number_or_made_by_themselves() {
        assert_eq!(parse(&[]).unwrap().batch, Batch::Of(1));
        assert_eq!(parse(&["--batch=auto"]).unwrap().batch, Batch::Auto);
        assert_eq!(parse(&["--batch=100"]).unwrap().batch, Batch::Of(100));
        assert!(parse(&["--batch=0"]).is_err());
        assert!(parse(&["--batch=many"]).is_err());
    }

    #[test]
    fn each_shard_has_its_share_of_the_endpoints() {
        let of = |shards: &str| parse(&["--endpoints=a:1,a:2,b:1,b:2", shards]).unwrap();
        assert_eq!(
            of("--shards=2").addresses_by_shard(),
            Some(vec![
                vec!["a:1".to_owned(), "a:2".to_owned()],
                vec!["b:1".to_owned(), "b:2".to_owned()]
            ])
        );
        assert_eq!(of("--shards=3").addresses_by_shard(), None);
        assert!(parse(&["--shards=2", "--verify"]).is_err());
    }

    #[test]
    fn a_rate_is_above_zero() {
        assert_eq!(parse(&[]).unwrap().rate, None);
        assert_eq!(parse(&["--rate=5000"]).unwrap().rate, Some(5_000));
        for rate in ["--rate=0", "--rate=-1", "--rate=fast", "--rate="] {
            assert!(parse(&[rate]).is_err(), "{rate}");
        }
    }

    #[test]
    fn no_clients_are_refused() {
        assert!(parse(&["--clients=0"]).is_err());
        assert!(parse(&["--workload=ycsb-g"]).is_err());
    }
}
