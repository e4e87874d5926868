//! An address from a DHCP server (RFC 2131).

use super::{
    error::{NetError, Waited},
    stack::Stack,
};
use crate::arch::time::Clock;
use core::time::Duration;
use smoltcp::{
    iface::SocketHandle,
    socket::dhcpv4::{Event, RetryConfig, Socket},
    time::Duration as Span,
    wire::{Ipv4Address, Ipv4Cidr},
};

/// What a DHCP server gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address and its network.
    pub address: Ipv4Cidr,
    /// The way out of the network, if the server named one.
    pub router: Option<Ipv4Address>,
    /// The server.
    pub server: Ipv4Address,
    /// From the first request to the answer.
    pub took: Duration,
}

impl Stack<'_> {
    /// Asks for an address and takes it, within `limit`.
    pub fn dhcp(&mut self, limit: Duration) -> Result<Lease, NetError> {
        let mut socket = Socket::new();
        // A first request can be lost while a switch still learns the port; seconds matter here.
        let mut retry = RetryConfig::default();
        retry.discover_timeout = Span::from_secs(1);
        retry.initial_request_timeout = Span::from_secs(1);
        socket.set_retry_config(retry);
        let handle = self.sockets.add(socket);
        let start = self.clock.now();
        let lease = self.run(Waited::Dhcp, limit, |stack| Ok(stack.leased(handle)));
        self.sockets.remove(handle);
        let lease = Lease { took: Clock::now(self.clock).since(start), ..lease? };
        self.set_address(lease.address, lease.router)?;
        Ok(lease)
    }

    fn leased(&mut self, handle: SocketHandle) -> Option<Lease> {
        match self.sockets.get_mut::<Socket<'_>>(handle).poll()? {
            Event::Configured(config) => Some(Lease {
                address: config.address,
                router: config.router,
                server: config.server.identifier,
                took: Duration::ZERO,
            }),
            Event::Deconfigured => None,
        }
    }
}
