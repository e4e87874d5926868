//! The IP stack over a card, and the network's checks as jobs: each has a deadline and a result with numbers.
//!
//! ```text
//! Stack::dhcp  arp  ping  udp_echo  download  pair   one file each
//!        \  run: receive a batch - let the job look - send - wait for the interrupt or a timer
//! smoltcp Interface  --  phy (tokens, buffers go round)  --  Nic
//! ```
//!
//! A job that fails leaves the stack usable: sockets are taken out again either way.
//!
//! Waiting is the caller's: a [`Wait`] sleeps on the card's interrupt, so this layer knows neither Xen nor
//! threads. What a card reports as broken ends the job with the card's own error.

pub mod arp;
pub mod dhcp;
pub mod download;
pub mod error;
mod http;
pub mod lease;
pub mod pair;
mod phy;
pub mod ping;
mod run;
pub mod stack;
pub mod stream;
pub mod udp;

#[cfg(test)]
mod tests;

pub use arp::ArpReply;
pub use download::Download;
pub use error::{NetError, Party, Waited};
pub use lease::{Lease, LeaseFault, Offer};
pub use pair::PairReport;
pub use ping::PingReport;
pub use smoltcp::wire::Ipv4Cidr;
pub use stack::{Stack, Wait};
pub use udp::UdpReport;
