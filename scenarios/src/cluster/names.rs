//! How the machines of a cluster are called, and where they listen.

/// Where members listen for clients.
const CLIENT_PORT: u16 = 2379;

/// Where members listen for each other.
const PEER_PORT: u16 = 2380;

/// Where members keep their data.
pub(super) const DATA_DIR: &str = "/data";

/// The host name of a site.
pub fn member_name(site: u32) -> String {
    format!("member-{}", site + 1)
}

/// Where the member at a site listens for clients.
pub fn client_address(site: u32) -> String {
    format!("{}:{CLIENT_PORT}", member_name(site))
}

/// Where the member at a site listens for its peers.
pub fn peer_address(site: u32) -> String {
    format!("{}:{PEER_PORT}", member_name(site))
}

/// The URL under which the peers of the member at a site reach it.
pub fn peer_url(site: u32) -> String {
    format!("http://{}", peer_address(site))
}
