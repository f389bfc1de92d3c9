//! The environment variables of etcd, `ETCD_NAME` and so on.
//!
//! Deployments of etcd set them; one that starts this program instead has to get what it asks
//! for, or to be told. So those that mean a flag that there is are read (the flag and the
//! `VERIDICAL_` variable win), those whose meaning would be lost are refused, and everything
//! else that begins with `ETCD_` is named in the log.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::flags::ServeFlags;

const PREFIX: &str = "ETCD_";

/// A flag that is etcd's, with its meaning there.
struct SharedFlag {
    /// As the parser names it.
    id: &'static str,
    variable: &'static str,
}

const SHARED_FLAGS: [SharedFlag; 16] = [
    shared("name", "ETCD_NAME"),
    shared("data_dir", "ETCD_DATA_DIR"),
    shared("listen_client_urls", "ETCD_LISTEN_CLIENT_URLS"),
    shared("advertise_client_urls", "ETCD_ADVERTISE_CLIENT_URLS"),
    shared("listen_peer_urls", "ETCD_LISTEN_PEER_URLS"),
    shared(
        "initial_advertise_peer_urls",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS",
    ),
    shared("initial_cluster", "ETCD_INITIAL_CLUSTER"),
    shared("initial_cluster_state", "ETCD_INITIAL_CLUSTER_STATE"),
    shared("initial_cluster_token", "ETCD_INITIAL_CLUSTER_TOKEN"),
    shared("force_new_cluster", "ETCD_FORCE_NEW_CLUSTER"),
    shared("heartbeat_interval", "ETCD_HEARTBEAT_INTERVAL"),
    shared("election_timeout", "ETCD_ELECTION_TIMEOUT"),
    shared("snapshot_count", "ETCD_SNAPSHOT_COUNT"),
    shared("max_txn_ops", "ETCD_MAX_TXN_OPS"),
    shared("max_request_bytes", "ETCD_MAX_REQUEST_BYTES"),
    shared("max_learners", "ETCD_MAX_LEARNERS"),
];

const fn shared(id: &'static str, variable: &'static str) -> SharedFlag {
    SharedFlag { id, variable }
}

impl SharedFlag {
    /// This program's own variable.
    fn own_variable(&self) -> String {
        format!("VERIDICAL_{}", self.id.to_uppercase())
    }

    /// Lets the argument take etcd's variable if its own is not set.
    fn extend(&self, argument: Arg) -> Arg {
        match !is_set(&self.own_variable()) && is_set(self.variable) {
            true => argument.env(self.variable),
            false => argument,
        }
    }

    /// Whether etcd's variable is set and something else counts.
    fn is_overruled(&self, matches: &ArgMatches) -> bool {
        let is_given = matches.value_source(self.id) == Some(ValueSource::CommandLine);
        is_set(self.variable) && (is_given || is_set(&self.own_variable()))
    }
}

/// What makes a variable one that must not be lost.
struct Refused {
    /// What is behind [`PREFIX`]: the whole of it, or its begin or end beside a `*`.
    pattern: &'static str,
    /// What this program does not do.
    reason: &'static str,
}

const NO_TLS: &str = "there is no TLS in this version";
const NO_AUTHENTICATION: &str = "there is no authentication in this version";
const NO_DISCOVERY: &str = "members are not discovered; name them with --initial-cluster";

/// Whoever sets these relies on them for who may connect, where data are, or who the members are.
const REFUSED: [Refused; 19] = [
    refused("*CERT_FILE", NO_TLS),
    refused("*KEY_FILE", NO_TLS),
    refused("*CA_FILE", NO_TLS),
    refused("*CRL_FILE", NO_TLS),
    refused("*CERT_AUTH", NO_TLS),
    refused("*AUTO_TLS", NO_TLS),
    refused("*CERT_ALLOWED_CN", NO_TLS),
    refused("*CERT_ALLOWED_HOSTNAME", NO_TLS),
    refused("CIPHER_SUITES", NO_TLS),
    refused("TLS_*", NO_TLS),
    refused("AUTH_TOKEN*", NO_AUTHENTICATION),
    refused("BCRYPT_COST", NO_AUTHENTICATION),
    refused("DISCOVERY*", NO_DISCOVERY),
    refused("HOST_WHITELIST", "every host may connect"),
    refused("PROXY", "there is no proxy"),
    refused("WAL_DIR", "the log is in the data folder"),
    refused("CONFIG_FILE", "there is no configuration file"),
    refused(
        "LISTEN_CLIENT_HTTP_URLS",
        "there is one port for clients, and it speaks gRPC",
    ),
    refused(
        "UNSAFE_NO_FSYNC",
        "what is acknowledged is always on the disk",
    ),
];

const fn refused(pattern: &'static str, reason: &'static str) -> Refused {
    Refused { pattern, reason }
}

impl Refused {
    fn has(&self, name: &str) -> bool {
        if let Some(end) = self.pattern.strip_prefix('*') {
            name.ends_with(end)
        } else if let Some(begin) = self.pattern.strip_suffix('*') {
            name.starts_with(begin)
        } else {
            name == self.pattern
        }
    }
}

/// Why the environment cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is set, and {reason}; unset it")]
pub(crate) struct EnvironmentError {
    variable: String,
    reason: &'static str,
}

/// The flags of `veridical serve`, with etcd's variables for those that are not given.
#[derive(Clone, Debug)]
pub struct ServeArguments {
    pub(super) flags: ServeFlags,
    /// Variables of etcd that a flag or a variable of this program's own has overruled.
    overruled: Vec<&'static str>,
}

/// What a variable is set to; as with etcd, nothing is as good as not being set.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

impl Args for ServeArguments {
    fn augment_args(command: Command) -> Command {
        let command = ServeFlags::augment_args(command);
        SHARED_FLAGS.iter().fold(command, |command, flag| {
            command.mut_arg(flag.id, |argument| flag.extend(argument))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let overruled = SHARED_FLAGS
            .iter()
            .filter(|flag| flag.is_overruled(matches))
            .map(|flag| flag.variable)
            .collect();
        Ok(Self {
            flags: ServeFlags::from_arg_matches(matches)?,
            overruled,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ServeArguments {
    /// What is to be said about etcd's variables that have no effect.
    ///
    /// # Errors
    /// A variable is set that asks for what this program does not do, and that must not be
    /// passed over.
    pub(crate) fn judge(
        &self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<String>, EnvironmentError> {
        let mut remarks = Vec::new();
        for (variable, value) in environment {
            let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let flag = name.to_lowercase().replace('_', "-");
            if self
                .overruled
                .iter()
                .any(|overruled| *overruled == variable)
            {
                remarks.push(format!("{variable} has no effect: --{flag} is given"));
                continue;
            }
            if SHARED_FLAGS
                .iter()
                .any(|shared| shared.variable == variable)
            {
                continue;
            }
            if let Some(refused) = REFUSED.iter().find(|refused| refused.has(name))
                && !is_off(&value)
            {
                return Err(EnvironmentError {
                    variable: variable.into_owned(),
                    reason: refused.reason,
                });
            }
            remarks.push(format!(
                "{variable} has no effect: there is no flag --{flag}"
            ));
        }
        remarks.sort();
        Ok(remarks)
    }
}

/// Whether a variable asks for nothing: what it is about is switched off.
fn is_off(value: &str) -> bool {
    matches!(value, "false" | "off" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: ServeArguments,
    }

    fn judge(
        overruled: &[&'static str],
        environment: &[(&str, &str)],
    ) -> Result<Vec<String>, EnvironmentError> {
        let program = Program::try_parse_from(["serve"]).expect("it needs no flag");
        let mut arguments = program.arguments;
        arguments.overruled = overruled.to_vec();
        let environment = environment
            .iter()
            .map(|(variable, value)| (variable.into(), value.into()));
        arguments.judge(environment)
    }

    #[test]
    fn what_the_cluster_or_its_clients_rely_on_is_refused() {
        for variable in [
            "ETCD_CERT_FILE",
            "ETCD_PEER_TRUSTED_CA_FILE",
            "ETCD_CLIENT_CERT_AUTH",
            "ETCD_PEER_AUTO_TLS",
            "ETCD_AUTH_TOKEN_TTL",
            "ETCD_DISCOVERY_SRV",
            "ETCD_WAL_DIR",
            "ETCD_CONFIG_FILE",
            "ETCD_TLS_MIN_VERSION",
        ] {
            let error = judge(&[], &[(variable, "x")]).expect_err(variable);
            assert!(error.to_string().starts_with(variable), "{error}");
            assert_eq!(judge(&[], &[(variable, "")]), Ok(Vec::new()), "{variable}");
        }
        assert!(judge(&[], &[("ETCD_CLIENT_CERT_AUTH", "false")]).is_ok());
    }

    #[test]
    fn whatever_else_has_no_effect_is_named() {
        let remarks = judge(
            &["ETCD_NAME"],
            &[
                ("ETCD_QUOTA_BACKEND_BYTES", "8589934592"),
                ("ETCD_NAME", "other"),
                ("ETCD_DATA_DIR", "read"),
                ("ETCD_LIEUTENANT", "x"),
                ("ETCDCTL_API", "3"),
                ("PATH", "/bin"),
            ],
        );
        assert_eq!(
            remarks.unwrap(),
            [
                "ETCD_LIEUTENANT has no effect: there is no flag --lieutenant",
                "ETCD_NAME has no effect: --name is given",
                "ETCD_QUOTA_BACKEND_BYTES has no effect: there is no flag --quota-backend-bytes",
            ]
        );
    }

    #[test]
    fn every_shared_flag_is_one_of_the_program() {
        let command = ServeFlags::augment_args(Command::new("serve"));
        for flag in SHARED_FLAGS {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_id() == flag.id);
            let own = argument.and_then(Arg::get_env).and_then(|own| own.to_str());
            assert_eq!(own, Some(flag.own_variable().as_str()));
            assert_eq!(flag.variable, format!("ETCD_{}", flag.id.to_uppercase()));
        }
    }
}
