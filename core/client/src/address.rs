//! Addresses of members, as people write them.

/// Why a text is not the address of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no address at all.
    #[error("a client needs at least one endpoint")]
    None,
    /// TLS is asked for, which this client does not have.
    #[error("'{0}' asks for TLS, which this client does not have (expected http://host:port)")]
    Tls(String),
    /// It is neither `host:port` nor `http://host:port`.
    #[error("'{0}' is no address of a member (expected host:port or http://host:port)")]
    Malformed(String),
}

/// `host:port` of `host:port` or `http://host:port`.
///
/// # Errors
/// It is neither.
pub(crate) fn host_and_port(text: &str) -> Result<String, AddressError> {
    let rest = match text.split_once("://") {
        None => text,
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("https", _)) => return Err(AddressError::Tls(text.to_owned())),
        Some(_) => return Err(AddressError::Malformed(text.to_owned())),
    };
    let malformed = || AddressError::Malformed(text.to_owned());
    let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
    port.parse::<u16>().map_err(|_| malformed())?;
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let has_other = |character: char| {
        "/?#@[]".contains(character) || character.is_whitespace() || character == ':'
    };
    if host.is_empty() || !is_v6 && host.contains(has_other) {
        return Err(malformed());
    }
    Ok(rest.to_owned())
}

/// `host:port` of each.
///
/// # Errors
/// One of them is no address, or there is none.
#[cfg(not(madsim))]
pub(crate) fn hosts_and_ports(
    texts: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<String>, AddressError> {
    let addresses: Vec<String> = texts
        .into_iter()
        .map(|text| host_and_port(text.as_ref()))
        .collect::<Result<_, _>>()?;
    match addresses.is_empty() {
        true => Err(AddressError::None),
        false => Ok(addresses),
    }
}

#[cfg(not(madsim))]
impl<T: crate::Connector + Default> crate::Client<T, veridical_env::RealClock> {
    /// A client of the cluster whose members are at these addresses, `host:port` or
    /// `http://host:port`, with the usual timeouts. It connects with its first request.
    ///
    /// ```
    /// use veridical_client::PipelinedClient;
    ///
    /// let client = PipelinedClient::connect(["10.0.0.1:2379", "http://10.0.0.2:2379"])?;
    /// assert!(PipelinedClient::connect(["10.0.0.1"]).is_err());
    /// # Ok::<(), veridical_client::AddressError>(())
    /// ```
    ///
    /// # Errors
    /// One of them is no address, or there is none.
    pub fn connect(
        endpoints: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, AddressError> {
        let config = crate::ClientConfig::new(hosts_and_ports(endpoints)?);
        Ok(Self::new(
            T::default(),
            veridical_env::RealClock::default(),
            config,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_a_scheme() {
        for (text, expected) in [
            ("10.0.0.1:2379", "10.0.0.1:2379"),
            ("http://10.0.0.1:2379", "10.0.0.1:2379"),
            ("http://localhost:2379/", "localhost:2379"),
            ("http://[::1]:2379", "[::1]:2379"),
        ] {
            assert_eq!(host_and_port(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            ":2379",
            "localhost:",
            "localhost:70000",
            "ftp://localhost:2379",
            "http://localhost:2379/path",
            "http://user@localhost:2379",
            "::1:2379",
        ] {
            let error = AddressError::Malformed(text.to_owned());
            assert_eq!(host_and_port(text), Err(error), "{text}");
        }
        let tls = host_and_port("https://localhost:2379");
        assert!(matches!(tls, Err(AddressError::Tls(_))));
    }
}
