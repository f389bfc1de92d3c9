//! Addresses of members as etcd writes them: `http://host:port`. Host and port are those of
//! an `http::uri::Authority`; etcd wants a port where HTTP has one by default.

use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Port};

/// `http://host:port`, without a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Url {
    /// A name or an address; IPv6 addresses in brackets.
    host: String,
    port: u16,
}

/// Why a text is not an address of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UrlError {
    #[error("'{0}' has no scheme (expected http://host:port)")]
    NoScheme(String),
    #[error("'{0}' asks for TLS, which this version does not have (expected http://host:port)")]
    Tls(String),
    #[error("'{0}' has a scheme that is not served (expected http://host:port)")]
    Scheme(String),
    #[error("'{0}' has a path (expected http://host:port)")]
    Path(String),
    #[error("'{0}' has no host (expected http://host:port)")]
    NoHost(String),
    #[error("'{0}' has no port between 0 and 65535 (expected http://host:port)")]
    Port(String),
}

impl Url {
    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The port; 0 leaves it to the system.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host stands for every address of the machine, so that nobody else
    /// could be told to connect to it.
    pub(crate) fn is_unspecified(&self) -> bool {
        matches!(self.host.as_str(), "0.0.0.0" | "[::]" | "")
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let of = |error: fn(String) -> UrlError| error(text.to_owned());
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| of(UrlError::NoScheme))?;
        match scheme {
            "http" => {}
            "https" | "unixs" => return Err(of(UrlError::Tls)),
            _ => return Err(of(UrlError::Scheme)),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(of(UrlError::Path));
        }
        let authority: Authority = rest.parse().map_err(|_| of(UrlError::NoHost))?;
        let host = authority.host();
        if host.is_empty() {
            return Err(of(UrlError::NoHost));
        }
        // A port that begins with a plus sign is a number for Rust, and none in a URL.
        let is_number = |port: &Port<&str>| port.as_str().bytes().all(|b| b.is_ascii_digit());
        let port = authority
            .port()
            .filter(is_number)
            .ok_or_else(|| of(UrlError::Port))?
            .as_u16();
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_and_loses_only_its_trailing_slash() {
        for (text, address) in [
            ("http://localhost:2379", "localhost:2379"),
            ("http://10.0.0.1:0", "10.0.0.1:0"),
            ("http://[::1]:2379", "[::1]:2379"),
            ("http://a.example:2379/", "a.example:2379"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.address(), address);
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_wrong_with_it() {
        for (text, error) in [
            (
                "localhost:2379",
                UrlError::NoScheme as fn(String) -> UrlError,
            ),
            ("https://localhost:2379", UrlError::Tls),
            ("unix:///tmp/socket", UrlError::Scheme),
            ("http://localhost:2379/v3", UrlError::Path),
            ("http://:2379", UrlError::NoHost),
            ("http://::1:2379", UrlError::NoHost),
            ("http://localhost", UrlError::Port),
            ("http://[::1]", UrlError::Port),
            ("http://localhost:", UrlError::Port),
            ("http://localhost:+1", UrlError::Port),
            ("http://localhost:65536", UrlError::Port),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn only_the_wildcards_stand_for_every_address() {
        let is_unspecified = |text: &str| text.parse::<Url>().unwrap().is_unspecified();
        assert!(is_unspecified("http://0.0.0.0:1"));
        assert!(is_unspecified("http://[::]:1"));
        assert!(!is_unspecified("http://127.0.0.1:1"));
    }
}
