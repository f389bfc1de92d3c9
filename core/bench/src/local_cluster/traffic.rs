//! What went over the TCP connections of the members, as Linux tells it of its sockets
//! (sock_diag(7)).
//!
//! No file in `/proc` has this: sockets are not counted in `/proc/PID/io`, and the counters of
//! an interface are those of all programs. Each connection has two ends on this machine; it is
//! counted at the end that accepted it, whose port is known.

use std::collections::BTreeMap;
use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use serde::Serialize;

/// `SOCK_DIAG_BY_FAMILY`: a question, and each answer to it.
const BY_FAMILY: u16 = 20;

/// `NLM_F_REQUEST | NLM_F_DUMP`
const FLAGS: u16 = 0x301;

/// `NLMSG_ERROR` and `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `INET_DIAG_INFO`, the attribute that holds a `struct tcp_info`.
const INFO: u16 = 2;

const TCP: u8 = 6;

/// `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER_BYTES: usize = 16;
const QUESTION_BYTES: usize = 56;
const ANSWER_BYTES: usize = 72;

/// `tcpi_bytes_acked` and `tcpi_bytes_received` in `struct tcp_info`.
const ACKED_AT: usize = 120;
const RECEIVED_AT: usize = 128;

/// The kernel fills at most 32 KiB at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A connection's accepting end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConnectionKey {
    local_port: u16,
    /// No two sockets have the same one, also one after the other.
    cookie: u64,
}

/// What has gone over each connection so far, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic(BTreeMap<ConnectionKey, u64>);

/// Bytes in both directions, without the headers of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NetworkBytes {
    /// Between members and clients.
    pub(crate) client_bytes: u64,
    /// Between members.
    pub(crate) peer_bytes: u64,
}

impl Traffic {
    /// Of all connections of this machine over IPv4, which members of a local cluster use.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn read() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::SOCK_DIAG),
        )?;
        send(&socket, &question(), SendFlags::empty())?;
        let mut traffic = Self::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if !traffic.take_in(&buffer[..length])? {
                return Ok(traffic);
            }
        }
    }

    /// What went since an earlier reading over connections that members have accepted. One
    /// that was closed meanwhile is not counted.
    pub(crate) fn since(
        &self,
        earlier: &Self,
        client_ports: &[u16],
        peer_ports: &[u16],
    ) -> NetworkBytes {
        let mut network = NetworkBytes {
            client_bytes: 0,
            peer_bytes: 0,
        };
        for (key, bytes) in &self.0 {
            let before = earlier.0.get(key).copied().unwrap_or(0);
            let bytes = bytes.saturating_sub(before);
            if client_ports.contains(&key.local_port) {
                network.client_bytes += bytes;
            } else if peer_ports.contains(&key.local_port) {
                network.peer_bytes += bytes;
            }
        }
        network
    }

    /// Takes one piece of the answer in. Whether there is more.
    fn take_in(&mut self, mut messages: &[u8]) -> io::Result<bool> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "sock_diag: another form");
        while !messages.is_empty() {
            let length = u32_at(messages, 0).ok_or_else(malformed)? as usize;
            let kind = u16_at(messages, 4).ok_or_else(malformed)?;
            if length < HEADER_BYTES {
                return Err(malformed());
            }
            let message = messages.get(HEADER_BYTES..length).ok_or_else(malformed)?;
            match kind {
                DONE => return Ok(false),
                ERROR => return Err(io::Error::other("sock_diag: refused")),
                BY_FAMILY => {
                    if let Some((key, bytes)) = connection(message) {
                        self.0.insert(key, bytes);
                    }
                }
                _ => {}
            }
            messages = messages.get(aligned(length)..).unwrap_or_default();
        }
        Ok(true)
    }
}

/// All TCP sockets, each with its `struct tcp_info`.
fn question() -> Vec<u8> {
    let length = HEADER_BYTES + QUESTION_BYTES;
    let mut question = Vec::with_capacity(length);
    question.extend_from_slice(&(length as u32).to_ne_bytes());
    question.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    question.extend_from_slice(&FLAGS.to_ne_bytes());
    question.extend_from_slice(&[0; 8]);
    let family = AddressFamily::INET.as_raw() as u8;
    let extensions = 1 << (INFO - 1);
    question.extend_from_slice(&[family, TCP, extensions, 0]);
    // In every state.
    question.extend_from_slice(&u32::MAX.to_ne_bytes());
    question.resize(length, 0);
    question
}

/// A connection and what went over it. `None` of one that is being opened or closed, of which
/// there is no `struct tcp_info`.
fn connection(message: &[u8]) -> Option<(ConnectionKey, u64)> {
    // The port is in the network's order, the cookie two numbers in this machine's.
    let local_port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let cookie = u64::from(u32_at(message, 44)?) | u64::from(u32_at(message, 48)?) << 32;
    let mut attributes = message.get(ANSWER_BYTES..)?;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if u16_at(attributes, 2)? == INFO {
            let info = attributes.get(4..length)?;
            let bytes = u64_at(info, ACKED_AT)? + u64_at(info, RECEIVED_AT)?;
            return Some((ConnectionKey { local_port, cookie }, bytes));
        }
        attributes = attributes.get(aligned(length.max(4))..)?;
    }
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_both_ends_send_is_counted_at_the_one_that_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut exchange = |asked: usize, answered: usize| {
            client.write_all(&vec![1; asked]).unwrap();
            server.read_exact(&mut vec![0; asked]).unwrap();
            server.write_all(&vec![2; answered]).unwrap();
            client.read_exact(&mut vec![0; answered]).unwrap();
            // The acknowledgement of the answer comes with what the client sends next.
            client.write_all(&[3]).unwrap();
            server.read_exact(&mut [0]).unwrap();
        };
        exchange(10, 20);
        let before = Traffic::read().unwrap();
        exchange(1_000, 500);
        let after = Traffic::read().unwrap();
        let network = |client_ports: &[u16], peer_ports: &[u16]| {
            after.since(&before, client_ports, peer_ports)
        };
        let seen = network(&[port], &[]);
        assert_eq!(seen.client_bytes, 1_501);
        assert_eq!(seen.peer_bytes, 0);
        assert_eq!(network(&[], &[port]).peer_bytes, 1_501);
        assert_eq!(network(&[], &[]).client_bytes, 0);
    }

    #[test]
    fn an_answer_of_another_form_is_an_error_or_nothing() {
        let mut traffic = Traffic::default();
        for message in [&[1_u8][..], &[0; 16], &[255; 20]] {
            assert!(traffic.take_in(message).is_err(), "{message:?}");
        }
        for length in 0..200 {
            assert_eq!(connection(&vec![0; length]), None);
        }
        assert_eq!(traffic, Traffic::default());
    }
}
