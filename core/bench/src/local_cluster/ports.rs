//! Ports of the loopback interface that nobody uses.

use std::net::{Ipv4Addr, TcpListener};

use super::LocalClusterError;

/// Ports below those that Linux gives to outgoing connections (from 32768 on): a member that
/// was killed has to find its own port free when it starts again, however many connections
/// others have opened meanwhile.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// Ports that are kept from others until they are let go.
pub(crate) struct Ports {
    listeners: Vec<TcpListener>,
    numbers: Vec<u16>,
}

impl Ports {
    /// Takes that many free ports.
    ///
    /// # Errors
    /// There are not as many.
    pub(crate) fn take(count: usize) -> Result<Self, LocalClusterError> {
        // Benchmarks that run at once begin at different places.
        let start = (u64::from(std::process::id()) * 31 % u64::from(PORTS)) as u16;
        let mut ports = Self {
            listeners: Vec::new(),
            numbers: Vec::new(),
        };
        for step in 0..PORTS {
            if ports.numbers.len() == count {
                break;
            }
            let port = FIRST_PORT + (start + step) % PORTS;
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                ports.listeners.push(listener);
                ports.numbers.push(port);
            }
        }
        match ports.numbers.len() == count {
            true => Ok(ports),
            false => Err(LocalClusterError::NoPort),
        }
    }

    /// Lets them go for the members to listen on.
    pub(crate) fn release(self) -> Vec<u16> {
        drop(self.listeners);
        self.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_are_given_to_nobody_else() {
        let (first, second) = (Ports::take(4).unwrap(), Ports::take(4).unwrap());
        let (first, second) = (first.release(), second.release());
        assert_eq!((first.len(), second.len()), (4, 4));
        assert!(first.iter().all(|port| !second.contains(port)));
    }
}
