//! What a DHCP server gave, believed only as far as it can be used: the one way to an address for the stack.
//!
//! The IP stack asserts that a router is a host; a server's word is no reason to trust that it is.

use core::{fmt, net::Ipv4Addr, time::Duration};
use smoltcp::wire::Ipv4Cidr;

/// An address that a host can have on its network, and hosts there to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    address: Ipv4Cidr,
    router: Option<Ipv4Addr>,
    server: Ipv4Addr,
    took: Duration,
}

/// What a lease is made of, as a server said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The address and its network.
    pub address: Ipv4Cidr,
    /// The way out of the network, if the server named one.
    pub router: Option<Ipv4Addr>,
    /// The server.
    pub server: Ipv4Addr,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, router, server } = self;
        match router {
            Some(router) => write!(f, "{address}, router {router}, server {server}"),
            None => write!(f, "{address}, no router, server {server}"),
        }
    }
}

/// Why a lease is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseFault {
    /// Shorter or longer prefixes have no room for a host and a neighbour.
    #[error("the network has a prefix of {0} bits, not 1 to 31")]
    Prefix(u8),
    /// 0/8, loopback, multicast, reserved or broadcast.
    #[error("the address is none that a host can have")]
    Address,
    /// As above, or the guest's own, or outside its network.
    #[error("the router is no host on the address's network")]
    Router,
    /// 0/8, loopback, multicast, reserved or broadcast.
    #[error("the server's address is none that a host can have")]
    Server,
}

impl Lease {
    /// Checks an offer that took so long to come.
    pub fn new(offer: Offer, took: Duration) -> Result<Self, LeaseFault> {
        let Offer { address, router, server } = offer;
        if !(1..=31).contains(&address.prefix_len()) {
            return Err(LeaseFault::Prefix(address.prefix_len()));
        }
        if !is_host_on(address, address.address()) {
            return Err(LeaseFault::Address);
        }
        let leads_out = |router| is_host_on(address, router) && router != address.address();
        if !router.is_none_or(leads_out) {
            return Err(LeaseFault::Router);
        }
        if !is_host(server) {
            return Err(LeaseFault::Server);
        }
        Ok(Self { address, router, server, took })
    }

    /// The address and its network.
    pub const fn address(&self) -> Ipv4Cidr {
        self.address
    }

    /// The way out of the network, if the server named one.
    pub const fn router(&self) -> Option<Ipv4Addr> {
        self.router
    }

    /// From the first request to the answer.
    pub const fn took(&self) -> Duration {
        self.took
    }

    /// A host on the same network: the router, else the server if it is there and not this guest.
    pub fn neighbour(&self) -> Option<Ipv4Addr> {
        let own = self.address.address();
        let near = |server: &Ipv4Addr| is_host_on(self.address, *server) && *server != own;
        self.router.or_else(|| Some(self.server).filter(near))
    }
}

/// Whether one machine can have the address: not 0/8, 127/8, nor 224/3 (RFC 1122, 3.2.1.3).
fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The same, and it lies in `network` and is neither its own name nor its broadcast address, which
/// networks of two addresses lack (RFC 3021).
fn is_host_on(network: Ipv4Cidr, address: Ipv4Addr) -> bool {
    let pair = network.prefix_len() == 31;
    let special = address == network.network().address() || Some(address) == network.broadcast();
    is_host(address) && network.contains_addr(&address) && (pair || !special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease(address: &str, router: Option<&str>, server: &str) -> Result<Lease, LeaseFault> {
        let parse = |text: &str| text.parse().unwrap();
        let offer = Offer {
            address: address.parse().unwrap(),
            router: router.map(parse),
            server: parse(server),
        };
        Lease::new(offer, Duration::ZERO)
    }

    #[test]
    fn a_lease_names_hosts_on_its_network() {
        let good = lease("10.0.2.15/24", Some("10.0.2.2"), "192.168.7.1").unwrap();
        assert_eq!(good.neighbour(), Some(Ipv4Addr::new(10, 0, 2, 2)));
        let near = lease("10.0.2.15/24", None, "10.0.2.3").unwrap();
        assert_eq!(near.neighbour(), Some(Ipv4Addr::new(10, 0, 2, 3)));
        for server in ["192.168.7.1", "10.0.2.15", "10.0.2.255", "10.0.2.0"] {
            assert_eq!(lease("10.0.2.15/24", None, server).unwrap().neighbour(), None, "{server}");
        }
        lease("10.0.2.14/31", Some("10.0.2.15"), "10.0.2.15").unwrap();
        lease("128.0.0.1/1", Some("191.255.255.255"), "1.1.1.1").unwrap();
    }

    #[test]
    fn what_no_host_can_have_is_refused() {
        for router in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "240.0.0.1"]
            .into_iter()
            .chain(["10.0.2.15", "10.0.2.0", "10.0.2.255", "10.0.3.1", "192.168.0.1"])
        {
            let refused = lease("10.0.2.15/24", Some(router), "10.0.2.2");
            assert_eq!(refused, Err(LeaseFault::Router), "{router}");
        }
        for address in ["0.0.0.0/24", "0.1.2.3/8", "127.0.0.1/8", "224.0.0.1/4", "240.0.0.1/4"]
            .into_iter()
            .chain(["255.255.255.255/24", "10.0.2.0/24", "10.0.2.255/24", "10.0.2.3/30"])
        {
            assert_eq!(lease(address, None, "10.0.2.2"), Err(LeaseFault::Address), "{address}");
        }
        for bits in [0, 32] {
            let refused = lease(&alloc::format!("10.0.2.15/{bits}"), None, "10.0.2.2");
            assert_eq!(refused, Err(LeaseFault::Prefix(bits)));
        }
        for server in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert_eq!(lease("10.0.2.15/24", None, server), Err(LeaseFault::Server), "{server}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_what_is_kept_is_a_host(
            address: u32, prefix in 0_u8..=32, router: Option<u32>, server: u32,
        ) {
            let offer = Offer {
                address: Ipv4Cidr::new(address.into(), prefix),
                router: router.map(Into::into),
                server: server.into(),
            };
            if let Ok(lease) = Lease::new(offer, Duration::ZERO) {
                for host in [Some(lease.address().address()), lease.router(), lease.neighbour()] {
                    let is_one = |host: Ipv4Addr| (1..=223).contains(&host.octets()[0]);
                    prop_assert!(host.is_none_or(is_one));
                }
            }
        }
    }
}
