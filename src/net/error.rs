//! Why a network job failed: what was waited for, or what came instead.

use super::{
    lease::{LeaseFault, Offer},
    stream::Wrong,
};
use crate::{
    arch::time::TimedOut,
    nic::{ReceiveError, TransmitError},
};
use core::net::{Ipv4Addr, SocketAddrV4};

/// What a job was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// An address from a DHCP server.
    Dhcp,
    /// A neighbour's hardware address.
    Arp,
    /// An answer to a ping.
    Ping,
    /// A datagram to come back.
    Udp,
    /// A TCP connection.
    Connect,
    /// More of a download.
    Download,
    /// The other guest of a pair.
    Peer,
    /// More of what the other guest of a pair sends.
    Pair,
}

impl Waited {
    /// In words that fit "waited 5 ms for …".
    pub const fn what(self) -> &'static str {
        match self {
            Self::Dhcp => "an address from a DHCP server",
            Self::Arp => "an ARP reply",
            Self::Ping => "an answer to a ping",
            Self::Udp => "a datagram to come back",
            Self::Connect => "a TCP connection",
            Self::Download => "the rest of a download",
            Self::Peer => "the other guest of the pair",
            Self::Pair => "the other guest to go on",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp-timeout",
            Self::Arp => "arp-timeout",
            Self::Ping => "ping-timeout",
            Self::Udp => "udp-timeout",
            Self::Connect => "tcp-connect-timeout",
            Self::Download => "download-timeout",
            Self::Peer => "pair-no-peer",
            Self::Pair => "pair-stalled",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Dhcp => {
                "start a DHCP server on the card's network, or leave the `net` suite out; if there is \
                 one, look whether the card's interrupts and received frames are counted"
            }
            Self::Arp | Self::Ping => {
                "check that the target is on the card's network and answers; frames received so far \
                 are in the card's counters"
            }
            Self::Udp | Self::Connect => {
                "check that a server listens at the address and port given"
            }
            Self::Download => {
                "the connection stalled: compare frames received and missed in the card's counters, or \
                 ask for fewer bytes in download="
            }
            Self::Peer => {
                "start both guests within a minute and a half, one with pair=a and the other with pair=b, their \
                 cards on one wire"
            }
            Self::Pair => "see the other guest's report, and the cards' counters of both",
        }
    }
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The machine under test: card, bus, memory.
    Machine,
    /// The LAN or the host at its other end; the card does what it should.
    Network,
    /// This guest.
    Guest,
}

/// Why an exchange did not come to its end although no byte was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Nothing moved any more.
    #[error("{0}")]
    Silent(TimedOut),
    /// It closed or reset the connection.
    #[error("the other guest closed the connection")]
    Left,
}

/// How far an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{acknowledged} of {of} bytes out were acknowledged, {got} came in")]
pub struct Progress {
    /// Bytes that the other end has for sure.
    pub acknowledged: u64,
    /// Bytes that came.
    pub got: u64,
    /// Bytes there are each way.
    pub of: u64,
}

/// Why a network job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The cable is out.
    #[error("the link is down; waited for {}", .0.what())]
    LinkDown(Waited),
    /// It took too long.
    #[error("{timeout}")]
    TimedOut {
        /// What for.
        waited: Waited,
        /// The same in words, and how long.
        timeout: TimedOut,
    },
    /// A download stopped coming.
    #[error("{got} of {wanted} bytes came: {timeout}")]
    Stalled {
        /// Bytes of the body received.
        got: usize,
        /// Bytes asked for.
        wanted: usize,
        /// How long it had.
        timeout: TimedOut,
    },
    /// Some pings were answered, and some were not.
    #[error("{received} of {sent} pings answered")]
    Lost {
        /// Requests sent.
        sent: u32,
        /// Answers.
        received: u32,
    },
    /// A DHCP server gave something that can't be used.
    #[error("{fault}: {offer}")]
    Lease {
        /// What it gave.
        offer: Offer,
        /// What is wrong with it.
        fault: LeaseFault,
    },
    /// The card did not receive properly.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The card did not send properly.
    #[error(transparent)]
    Transmit(#[from] TransmitError),
    /// The card is gone from the bus.
    #[error("the card does not answer any more")]
    Gone,
    /// The card saw an error on the bus: one of its addresses was refused.
    #[error("the card reports an error on the bus")]
    Bus,
    /// A job that needs an address was started without one.
    #[error("no IPv4 address yet")]
    NoAddress,
    /// The stack refused a socket's use.
    #[error("the IP stack refused {0}")]
    Socket(&'static str),
    /// A datagram came back changed.
    #[error("a datagram of {len} bytes came back with {found} bytes, different from byte {at}")]
    Echo {
        /// Bytes sent.
        len: usize,
        /// Bytes that came back.
        found: usize,
        /// The first difference.
        at: usize,
    },
    /// The other end refused the connection or dropped it.
    #[error("{0} refused or dropped the connection")]
    Refused(SocketAddrV4),
    /// The answer's head can't be used.
    #[error("the HTTP answer has {0}")]
    Http(HttpError),
    /// The connection was closed too early.
    #[error("the server closed after {got} of {wanted} bytes")]
    Short {
        /// Bytes received.
        got: usize,
        /// Bytes announced.
        wanted: usize,
    },
    /// The bytes are not the ones sent.
    #[error("{bytes} bytes with CRC-32 {found:08x}; the server says {expected:08x}")]
    Corrupt {
        /// How many.
        bytes: usize,
        /// Of what arrived.
        found: u32,
        /// Of what was sent.
        expected: u32,
    },
    /// A byte of the other guest's stream is not what its offset says.
    #[error("{0}")]
    PairByte(Wrong),
    /// Frames of a pair came with headers that nobody sent.
    #[error("{frames} frames came with a wrong checksum of IPv4 or TCP")]
    PairDamaged {
        /// How many.
        frames: u64,
    },
    /// The other guest of a pair sends more.
    #[error("the other guest sends more than {wanted} bytes")]
    PairLength {
        /// What this one was told.
        wanted: u64,
    },
    /// The other guest of a pair did not go on.
    #[error("{progress}: {how}")]
    PairStopped {
        /// What it did.
        how: Stopped,
        /// How far both had come.
        progress: Progress,
    },
    /// A neighbour's answer made no sense.
    #[error("{0} claims a hardware address no card has")]
    BadNeighbour(Ipv4Addr),
}

/// What is wrong with the head of an HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It is no HTTP at all.
    #[error("no HTTP status line")]
    NotHttp,
    /// Not 200.
    #[error("status {0}, not 200")]
    Status(u16),
    /// No usable length.
    #[error("no usable Content-Length")]
    Length,
    /// A different length from what was asked for.
    #[error("{announced} bytes, not the {asked} asked for")]
    WrongLength {
        /// In Content-Length.
        announced: usize,
        /// In the request.
        asked: usize,
    },
    /// No checksum.
    #[error("no usable X-CRC32")]
    Checksum,
    /// It does not end.
    #[error("a head of more than {0} bytes")]
    TooLong(usize),
}

impl NetError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LinkDown(_) => "link-down",
            Self::TimedOut { waited, .. } => waited.code(),
            Self::Stalled { .. } => Waited::Download.code(),
            Self::Lost { .. } => "ping-lost",
            Self::Lease { .. } => "dhcp-bad-lease",
            Self::Receive(error) => error.code(),
            Self::Transmit(error) => error.code(),
            Self::Gone => "device-gone",
            Self::Bus => "nic-bus-error",
            Self::NoAddress => "net-no-address",
            Self::Socket(_) => "net-socket",
            Self::Echo { .. } => "udp-mismatch",
            Self::Refused(_) => "tcp-refused",
            Self::Http(_) => "http-answer",
            Self::Short { .. } => "download-short",
            Self::Corrupt { .. } => "download-crc",
            Self::PairByte(_) => "pair-byte-mismatch",
            Self::PairDamaged { .. } => "pair-frame-damaged",
            Self::PairLength { .. } => "pair-length",
            Self::PairStopped { how: Stopped::Silent(_), .. } => Waited::Pair.code(),
            Self::PairStopped { how: Stopped::Left, .. } => "pair-left",
            Self::BadNeighbour(_) => "arp-bad-address",
        }
    }

    /// Whose doing it is, as far as this end can tell.
    pub const fn party(&self) -> Party {
        match self {
            Self::LinkDown(_)
            | Self::TimedOut { .. }
            | Self::Stalled { .. }
            | Self::Lost { .. }
            | Self::Lease { .. }
            | Self::Refused(_)
            | Self::Http(_)
            | Self::Short { .. }
            | Self::PairStopped { .. }
            | Self::BadNeighbour(_) => Party::Network,
            // No mapping changes how long a datagram says it is under a good checksum.
            Self::Echo { len, found, .. } if *len != *found => Party::Network,
            Self::Receive(_)
            | Self::Transmit(_)
            | Self::Gone
            | Self::Bus
            | Self::Echo { .. }
            | Self::PairByte(_)
            | Self::PairDamaged { .. }
            | Self::Corrupt { .. } => Party::Machine,
            Self::NoAddress | Self::PairLength { .. } | Self::Socket(_) => Party::Guest,
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::LinkDown(_) => "plug the card's cable in, or turn its port on at the switch",
            Self::TimedOut { waited, .. } => waited.remedy(),
            Self::Stalled { .. } => Waited::Download.remedy(),
            Self::Lost { .. } => {
                "ping the router from another host on the card's network: routers may drop pings; if that \
                 one loses none, compare frames received and missed in the card's counters"
            }
            Self::Lease { .. } => "correct what the DHCP server gives: see its configuration",
            Self::Receive(error) => error.remedy(),
            Self::Transmit(error) => error.remedy(),
            Self::Gone => "the device was removed or lost its power: check slot and host",
            Self::Bus => "look for refused addresses in `xl dmesg`",
            Self::NoAddress => "run DHCP first",
            Self::Socket(_) => "a bug of this guest: please report it",
            Self::Echo { .. } | Self::Corrupt { .. } => {
                "bytes changed on their way although checksums held: compare with the `dma` suite, and \
                 with another server"
            }
            Self::Refused(_) => "start the server, or correct its address and port",
            Self::Http(_) => {
                "the server must answer `GET /<n>` with n bytes, Content-Length and X-CRC32"
            }
            Self::Short { .. } => "look at the server's own log",
            Self::PairByte(_) | Self::PairDamaged { .. } => {
                "bytes changed between the two guests' memories: run suite `dma` in both, which shows whose card or \
                 memory does it; then swiotlb=force"
            }
            Self::PairLength { .. } => "give both guests the same MiB in pair=",
            Self::PairStopped { how: Stopped::Silent(_), .. } => Waited::Pair.remedy(),
            Self::PairStopped { how: Stopped::Left, .. } => {
                "see the other guest's report for why it left, and whether both have the same MiB in pair="
            }
            Self::BadNeighbour(_) => "look for a second machine with the same address",
        }
    }
}
