//! The other end of the cable: a host with a DHCP server, an echo service and a web server.

use crate::{
    arch::time::{Clock, Instant},
    device::fake::TickingClock,
    net::{
        Wait,
        stack::{instant, time},
    },
    nic::{FRAME_MAX, fake::FakeRtl8139},
};
use alloc::{collections::VecDeque, format, string::String, vec, vec::Vec};
use core::time::Duration;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::{tcp, udp},
    wire::{
        DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, HardwareAddress, IpCidr,
        IpEndpoint, Ipv4Address,
    },
};

pub(super) const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
pub(super) const GUEST: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
pub(super) const SERVER_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

/// What the other end does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Good,
    /// Answers nothing at all.
    Silent,
    /// Loses every third frame on the way to the guest.
    Lossy,
    /// Flips a byte of each echoed datagram, with a good checksum.
    BadEcho,
    /// Echoes one byte more than came.
    LongEcho,
    /// Echoes one byte less than came.
    ShortEcho,
    /// Answers each DHCP message so many milliseconds late, and loses the first offers.
    SlowLease {
        millis: u64,
        lost: u32,
    },
    /// Lets others answer, from another address or port: a ping alone, a datagram first.
    Strangers,
    /// Gives this address, mask and router.
    Gives {
        address: [u8; 4],
        mask: [u8; 4],
        router: [u8; 4],
    },
    /// Says 404.
    NotFound,
    /// Names a wrong checksum.
    BadSum,
    /// Sends half of what was asked for.
    Half,
    /// Sends half of what was asked for, and nothing any more.
    Stalls,
}

#[derive(Debug, Default)]
pub(super) struct Cable {
    pub(super) arriving: VecDeque<Vec<u8>>,
    pub(super) leaving: Vec<Vec<u8>>,
}

pub(super) struct Arrived(Vec<u8>);
pub(super) struct Leaving<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.arriving.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }
}

/// The host at the other end; waiting lets it work.
pub(super) struct Peer<'a, 'm> {
    chip: &'a FakeRtl8139<'m>,
    clock: &'a TickingClock,
    manner: Manner,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    echo: SocketHandle,
    web: SocketHandle,
    answer: Option<(String, Vec<u8>)>,
    /// Bytes of the answer sent so far.
    done: usize,
    frames: usize,
    offers_lost: u32,
    /// DHCP answers for later.
    due: VecDeque<(Instant, Vec<u8>)>,
    pub(super) handled: usize,
}

fn udp_socket(port: u16) -> udp::Socket<'static> {
    let buffer =
        || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8 * FRAME_MAX]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).unwrap();
    socket
}

pub(super) fn body(len: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(len).collect()
}

impl<'a, 'm> Peer<'a, 'm> {
    pub(super) fn new(chip: &'a FakeRtl8139<'m>, clock: &'a TickingClock, manner: Manner) -> Self {
        let mut cable = Cable::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(SERVER_MAC)));
        let mut interface = Interface::new(config, &mut cable, time(clock.now()));
        interface.update_ip_addrs(|all| all.push(IpCidr::new(SERVER.into(), 24)).unwrap());
        let mut sockets = SocketSet::new([]);
        let web = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; 2048]),
            tcp::SocketBuffer::new(vec![0; 1 << 16]),
        );
        let (dhcp, echo, web) =
            (sockets.add(udp_socket(67)), sockets.add(udp_socket(7)), sockets.add(web));
        sockets.get_mut::<tcp::Socket<'_>>(web).listen(80).unwrap();
        let (answer, done, frames, handled) = (None, 0, 0, 0);
        Self {
            chip,
            clock,
            manner,
            cable,
            interface,
            sockets,
            dhcp,
            echo,
            web,
            answer,
            done,
            frames,
            offers_lost: 0,
            due: VecDeque::new(),
            handled,
        }
    }

    /// Lets everything that is on its way arrive, and the services work.
    fn step(&mut self) {
        for mut frame in self.chip.take_sent() {
            if !pong(&mut frame) {
                self.cable.arriving.push_back(frame);
                continue;
            }
            if self.manner == Manner::Strangers {
                // The server's address with its halves exchanged, which leaves the checksum as it is.
                frame[26..30].rotate_left(2);
            }
            if self.manner != Manner::Silent {
                self.cable.leaving.push(frame);
            }
        }
        if self.manner == Manner::Silent {
            self.cable.arriving.clear();
        }
        let now = time(self.clock.now());
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        self.serve_dhcp();
        self.serve_echo();
        self.serve_web();
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        for frame in core::mem::take(&mut self.cable.leaving) {
            self.frames += 1;
            if self.manner != Manner::Lossy || !self.frames.is_multiple_of(3) {
                self.chip.deliver(&frame);
            }
        }
    }

    fn serve_dhcp(&mut self) {
        let now = self.clock.now();
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.dhcp);
        if let Ok((bytes, _)) = socket.recv() {
            let packet = DhcpPacket::new_checked(bytes).unwrap();
            let answer = lease(&DhcpRepr::parse(&packet).unwrap(), self.manner);
            let (delay, lost) = match self.manner {
                Manner::SlowLease { millis, lost } => (Duration::from_millis(millis), lost),
                _ => (Duration::ZERO, 0),
            };
            if self.offers_lost < lost {
                self.offers_lost += 1;
            } else {
                self.due.push_back((now.after(delay), answer));
            }
        }
        while self.due.front().is_some_and(|(when, _)| *when <= now) {
            let (_, bytes) = self.due.pop_front().unwrap();
            let everyone = IpEndpoint { addr: Ipv4Address::BROADCAST.into(), port: 68 };
            socket.send_slice(&bytes, everyone).unwrap();
        }
    }

    fn serve_echo(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.echo);
        let Ok((bytes, from)) = socket.recv() else { return };
        let mut bytes = bytes.to_vec();
        match self.manner {
            Manner::BadEcho if bytes.len() > 100 => bytes[99] ^= 1,
            Manner::LongEcho => bytes.push(7),
            Manner::ShortEcho => drop(bytes.pop()),
            _ => {}
        }
        socket.send_slice(&bytes, from.endpoint).unwrap();
        if self.manner == Manner::Strangers {
            bytes.push(7);
            // Another port of the server's, and before the answer.
            let other = self.sockets.get_mut::<udp::Socket<'_>>(self.dhcp);
            other.send_slice(&bytes, from.endpoint).unwrap();
        }
    }

    fn serve_web(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.web);
        if self.answer.is_none() && socket.can_recv() {
            let request = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap();
            self.answer = Some(answer(&request, self.manner));
        }
        let Some((head, body)) = &self.answer else { return };
        let all = head.len() + body.len();
        while self.done < all && socket.can_send() {
            let rest = head.as_bytes().get(self.done..).filter(|rest| !rest.is_empty());
            let rest = rest.unwrap_or_else(|| &body[self.done - head.len()..]);
            self.done += socket.send_slice(rest).unwrap();
        }
        if self.done == all && self.manner != Manner::Stalls {
            socket.close();
        }
    }
}

/// What the server answers to `asked`.
fn lease(asked: &DhcpRepr<'_>, manner: Manner) -> Vec<u8> {
    let message_type = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        _ => DhcpMessageType::Ack,
    };
    let (your_ip, mask, router) = match manner {
        Manner::Gives { address, mask, router } => (address.into(), mask.into(), router.into()),
        _ => (GUEST, Ipv4Address::new(255, 255, 255, 0), SERVER),
    };
    let answer = DhcpRepr {
        message_type,
        your_ip,
        server_ip: SERVER,
        router: Some(router),
        subnet_mask: Some(mask),
        server_identifier: Some(SERVER),
        lease_duration: Some(86400),
        requested_ip: None,
        client_identifier: None,
        parameter_request_list: None,
        max_size: None,
        broadcast: true,
        ..asked.clone()
    };
    let mut bytes = vec![0; answer.buffer_len()];
    answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
    bytes
}

fn answer(request: &[u8], manner: Manner) -> (String, Vec<u8>) {
    let text = core::str::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap();
    let len: usize = path[1..].parse().unwrap();
    let mut body = body(len);
    let sum = crc32fast::hash(&body) ^ u32::from(manner == Manner::BadSum);
    if matches!(manner, Manner::Half | Manner::Stalls) {
        body.truncate(len / 2);
    }
    let status = if manner == Manner::NotFound { "404 Not Found" } else { "200 OK" };
    let head = format!("HTTP/1.0 {status}\r\nContent-Length: {len}\r\nX-CRC32: {sum:08x}\r\n\r\n");
    (head, body)
}

/// Turns an echo request for the server into its answer; `false` for every other frame.
fn pong(frame: &mut [u8]) -> bool {
    let request = frame.len() > 34
        && frame[12..14] == [8, 0]
        && frame[23] == 1
        && frame[30..34] == SERVER.octets()
        && frame[34] == 8;
    if request {
        let (to, from) = frame[..12].split_at_mut(6);
        to.swap_with_slice(from);
        let (source, target) = frame[26..34].split_at_mut(4);
        source.swap_with_slice(target);
        frame[34] = 0;
        // One's complement: taking 8 from the type's byte adds 8 to the sum's.
        let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
        let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        frame[36..38].copy_from_slice(&folded.to_be_bytes());
    }
    request
}

impl Wait for Peer<'_, '_> {
    fn wait(&mut self, deadline: Instant) {
        loop {
            self.step();
            let now = self.clock.now();
            if self.chip.interrupts() || now >= deadline {
                return;
            }
            let timer = self.interface.poll_at(time(now), &self.sockets).map(instant);
            let due = self.due.front().map_or(deadline, |(when, _)| *when);
            let next = timer.unwrap_or(deadline).min(due).max(now.after(Duration::from_micros(50)));
            self.clock.advance_to(next.min(deadline));
        }
    }

    fn handled(&mut self) {
        self.handled += 1;
    }
}
