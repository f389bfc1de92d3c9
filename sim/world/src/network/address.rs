//! Addresses of simulated hosts: `name:port` or `10.0.x.y:port`.

use crate::fault::ProcessId;
use std::io;

/// The address of a process's host.
pub fn host_address(process: ProcessId) -> String {
    let number = process.0 + 1;
    format!(
        "10.{}.{}.{}",
        number >> 16 & 255,
        number >> 8 & 255,
        number & 255
    )
}

/// The host and port that `address` names, as seen from `from`; `names` are those of
/// all processes by number.
pub fn resolve(address: &str, from: ProcessId, names: &[String]) -> io::Result<(ProcessId, u16)> {
    let (host, port) = split(address)?;
    if is_own(host) {
        return Ok((from, port));
    }
    let by_name = names.iter().position(|name| name == host);
    let by_number =
        || (0..names.len()).find(|index| host_address(ProcessId(*index as u32)) == host);
    match by_name.or_else(by_number) {
        Some(index) => Ok((ProcessId(index as u32), port)),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no simulated host is called {host:?}"),
        )),
    }
}

/// The port of an address to listen on, which has to be one of `process`'s own.
pub fn parse_port(address: &str, process: ProcessId, names: &[String]) -> io::Result<u16> {
    let (host, port) = split(address)?;
    match host {
        "0.0.0.0" | "[::]" => Ok(port),
        _ => match resolve(address, process, names)? {
            (found, port) if found == process => Ok(port),
            _ => Err(io::ErrorKind::AddrNotAvailable.into()),
        },
    }
}

fn is_own(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn split(address: &str) -> io::Result<(&str, u16)> {
    address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{address:?} is not host:port"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_name_by_number_and_by_itself() {
        let names = ["a".to_owned(), "b".to_owned()];
        let p = ProcessId;
        assert_eq!(resolve("b:80", p(0), &names).expect("a name"), (p(1), 80));
        assert_eq!(
            resolve("10.0.0.2:80", p(0), &names).expect("a number"),
            (p(1), 80)
        );
        assert_eq!(
            resolve("127.0.0.1:80", p(0), &names).expect("itself"),
            (p(0), 80)
        );
        assert!(resolve("c:80", p(0), &names).is_err());
        assert!(resolve("b", p(0), &names).is_err());
    }

    #[test]
    fn nobody_listens_for_another() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            parse_port("0.0.0.0:7", ProcessId(0), &names).expect("any"),
            7
        );
        assert_eq!(parse_port("a:7", ProcessId(0), &names).expect("its own"), 7);
        assert!(parse_port("b:7", ProcessId(0), &names).is_err());
    }
}
