//! An address from a DHCP server (RFC 2131).
//!
//! ```text
//!  0 s  DISCOVER      a frame can be lost while a switch still learns the port,
//!  2 s  DISCOVER      so the second comes soon; each has a transaction id of its own,
//! 11 s  DISCOVER      and a server that takes its time answers the one last heard:
//!                     none follows before it can have done so
//! ```

use super::{
    error::{NetError, Waited},
    lease::{Lease, Offer},
    stack::Stack,
};
use crate::arch::time::Clock;
use core::time::Duration;
use smoltcp::{
    iface::SocketHandle,
    socket::dhcpv4::{Event, RetryConfig, Socket},
    time::Duration as Span,
};

/// From the first DISCOVER to the second.
const SOON: Span = Span::from_secs(2);
/// From then on: a server may look first whether somebody has the address already.
const LATER: Span = Span::from_secs(9);
/// From a REQUEST to the next one, doubled every two. They share one transaction id: none makes an answer late.
const REQUEST_AGAIN: Span = Span::from_secs(2);

impl Stack<'_> {
    /// Asks for an address and takes it, within `limit`. Servers that take up to 8 s for each answer need 20 s.
    pub fn dhcp(&mut self, limit: Duration) -> Result<Lease, NetError> {
        let mut socket = Socket::new();
        socket.set_retry_config(retry(SOON));
        let handle = self.sockets.add(socket);
        let start = self.clock.now();
        let mut asked = false;
        let offer = self.run(Waited::Dhcp, limit, |stack| {
            let socket = stack.sockets.get_mut::<Socket<'_>>(handle);
            if core::mem::replace(&mut asked, true) {
                socket.set_retry_config(retry(LATER));
            }
            Ok(stack.offered(handle))
        });
        self.sockets.remove(handle);
        let (offer, took) = (offer?, Clock::now(self.clock).since(start));
        let lease = Lease::new(offer, took).map_err(|fault| NetError::Lease { offer, fault })?;
        self.take_lease(&lease)?;
        Ok(lease)
    }

    fn offered(&mut self, handle: SocketHandle) -> Option<Offer> {
        match self.sockets.get_mut::<Socket<'_>>(handle).poll()? {
            Event::Configured(config) => Some(Offer {
                address: config.address,
                router: config.router,
                server: config.server.identifier,
            }),
            Event::Deconfigured => None,
        }
    }
}

fn retry(discover: Span) -> RetryConfig {
    let mut retry = RetryConfig::default();
    retry.discover_timeout = discover;
    retry.initial_request_timeout = REQUEST_AGAIN;
    retry
}
