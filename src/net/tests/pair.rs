//! A pair: one end is this stack over the real driver, the other a host that keeps to the rules, or breaks one of them.

use super::peer::Cable;
use super::*;
use crate::{
    net::{
        error::{Progress, Stopped},
        pair::address,
        stack::{instant, time},
        stream::Place,
    },
    options::End,
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    socket::tcp::{Socket, SocketBuffer},
    wire::{EthernetAddress, HardwareAddress, IpCidr},
};

const MIB: u64 = 1 << 20;

/// What the other end does with the bytes it sends, or instead of sending them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sends {
    /// What it has to.
    All,
    /// One bit is another one, at this offset.
    Flipped(u64),
    /// From this offset on, what belongs so many bytes later.
    Skips(u64, u64),
    /// From this offset on, what belongs so many bytes earlier.
    Repeats(u64, u64),
    /// What the guest itself sends.
    Mirror,
    /// So many bytes, then it closes.
    Leaves(u64),
    /// So many bytes, then it resets the connection.
    Resets(u64),
    /// So many bytes, and then nothing; nor does it look at what comes.
    Stalls(u64),
    /// It is not there at all.
    Absent,
}

/// What the wire does to every n-th frame; 0 is to none.
#[derive(Clone, Copy, Debug, Default)]
struct Wire {
    drops: usize,
    repeats: usize,
    swaps: usize,
    /// A bit of every n-th large frame to the guest is another one, under whatever checksum,
    flips: usize,
    /// in this byte.
    at: usize,
}

impl Wire {
    fn flip(&self, count: usize, frame: &mut [u8]) {
        if frame.len() > 800 && nth(count, self.flips) {
            frame[self.at] ^= 4;
        }
    }
}

struct Other<'a, 'm> {
    chip: &'a FakeRtl8139<'m>,
    clock: &'a TickingClock,
    end: End,
    bytes: u64,
    sends: Sends,
    wire: Wire,
    frames: usize,
    held: [Option<Vec<u8>>; 2],
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// When the connection was last asked for.
    asked: Option<Instant>,
    sent: u64,
    got: u64,
}

impl<'a, 'm> Other<'a, 'm> {
    fn new(
        chip: &'a FakeRtl8139<'m>,
        clock: &'a TickingClock,
        end: End,
        bytes: u64,
        (sends, wire): (Sends, Wire),
    ) -> Self {
        let mut cable = Cable::default();
        let mac = [0x52, 0x54, 0, 0, 0, 2];
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        let mut interface = Interface::new(config, &mut cable, time(clock.now()));
        let address = IpCidr::new(address(end).into(), 24);
        interface.update_ip_addrs(|all| all.push(address).unwrap());
        let buffer = || SocketBuffer::new(vec![0; 1 << 15]);
        let mut sockets = SocketSet::new([]);
        let socket = sockets.add(Socket::new(buffer(), buffer()));
        if end == End::A {
            sockets.get_mut::<Socket<'_>>(socket).listen(7777).unwrap();
        }
        let (held, asked) = ([None, None], None);
        let (frames, sent, got) = (0, 0, 0);
        Self {
            chip,
            clock,
            end,
            bytes,
            sends,
            wire,
            frames,
            held,
            cable,
            interface,
            sockets,
            socket,
            asked,
            sent,
            got,
        }
    }

    fn step(&mut self) {
        for frame in self.chip.take_sent() {
            if self.sends != Sends::Absent {
                let carried = self.carry(0, frame);
                self.cable.arriving.extend(carried);
            }
        }
        let now = time(self.clock.now());
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        self.work();
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        for frame in core::mem::take(&mut self.cable.leaving) {
            for mut frame in self.carry(1, frame) {
                self.wire.flip(self.frames, &mut frame);
                self.chip.deliver(&frame);
            }
        }
    }

    /// What arrives of a frame, one way or the other.
    fn carry(&mut self, way: usize, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.frames += 1;
        let Wire { drops, repeats, swaps, .. } = self.wire;
        if nth(self.frames, drops) {
            return Vec::new();
        }
        if nth(self.frames, swaps) && self.held[way].is_none() {
            self.held[way] = Some(frame);
            return Vec::new();
        }
        let again = nth(self.frames, repeats).then(|| frame.clone());
        [frame].into_iter().chain(again).chain(self.held[way].take()).collect()
    }

    fn work(&mut self) {
        let (now, limit) = (self.clock.now(), self.limit());
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let again = self.asked.is_none_or(|asked| now.since(asked) > Duration::from_secs(2));
        if self.end == End::B && !socket.is_open() && self.sent == 0 && again {
            self.asked = Some(now);
            let to = (address(End::A), 7777);
            socket.connect(self.interface.context(), to, 50_000).unwrap();
        }
        let stalls = matches!(self.sends, Sends::Stalls(after) if self.sent == after);
        while socket.can_recv() && !stalls {
            let place = Place { end: self.end.other(), offset: self.got };
            self.got += socket
                .recv(|bytes| {
                    place.check(bytes).unwrap();
                    (bytes.len(), bytes.len() as u64)
                })
                .unwrap();
        }
        while self.sent < limit && socket.can_send() {
            let left = usize::try_from(limit - self.sent).unwrap().min(1000);
            let mut bytes = vec![0; left];
            stream(self.end, self.sends, self.sent, &mut bytes);
            self.sent += socket.send_slice(&bytes).unwrap() as u64;
        }
        let flushed = self.sent == limit && socket.send_queue() == 0;
        match self.sends {
            Sends::Leaves(_) if flushed => socket.close(),
            Sends::Resets(_) if flushed => socket.abort(),
            Sends::Stalls(_) => {}
            _ if flushed && self.got == self.bytes => socket.close(),
            _ => {}
        }
    }

    fn limit(&self) -> u64 {
        match self.sends {
            Sends::Leaves(after) | Sends::Resets(after) | Sends::Stalls(after) => after,
            _ => self.bytes,
        }
    }
}

fn nth(count: usize, n: usize) -> bool {
    n != 0 && count.is_multiple_of(n)
}

/// What is sent at an offset.
fn stream(end: End, sends: Sends, offset: u64, bytes: &mut [u8]) {
    let true_at = |offset| {
        let mut byte = [0];
        let end = if sends == Sends::Mirror { end.other() } else { end };
        Place { end, offset }.fill(&mut byte);
        byte[0]
    };
    for (byte, at) in bytes.iter_mut().zip(offset..) {
        *byte = match sends {
            Sends::Flipped(place) if at == place => true_at(at) ^ 0x40,
            Sends::Skips(from, by) if at >= from => true_at(at + by),
            Sends::Repeats(from, by) if at >= from => true_at(at - by),
            _ => true_at(at),
        };
    }
}

impl Wait for Other<'_, '_> {
    fn wait(&mut self, deadline: Instant) {
        loop {
            self.step();
            let now = self.clock.now();
            if self.chip.interrupts() || now >= deadline {
                return;
            }
            let timer = self.interface.poll_at(time(now), &self.sockets).map(instant);
            let next = timer.unwrap_or(deadline).max(now.after(Duration::from_micros(50)));
            self.clock.advance_to(next.min(deadline));
        }
    }

    fn handled(&mut self) {}
}

/// What this end makes of such another one.
fn pair(end: End, bytes: u64, sends: Sends, wire: Wire) -> Result<PairReport, NetError> {
    unlike(end, [bytes; 2], sends, wire)
}

/// The same, where this end and the other one were told these lengths.
fn unlike(
    end: End,
    [bytes, others]: [u64; 2],
    sends: Sends,
    wire: Wire,
) -> Result<PairReport, NetError> {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeRtl8139::new(&machine, MAC), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let idle = Idle::reset(&chip, &clock).unwrap();
    let device = Device::new(&pool, &machine, idle.limits(), Policy::Auto);
    let mut card = idle.start(device).unwrap();
    let mut other = Other::new(&chip, &clock, end.other(), others, (sends, wire));
    let report = Stack::new(&mut card, &clock, &mut other, 0x1234).pair(end, bytes);
    match report {
        Ok(_) => assert_eq!((other.got, other.sent), (bytes, bytes), "the other end has all, too"),
        Err(NetError::PairStopped { progress: Progress { acknowledged, .. }, .. }) => {
            // What was acknowledged is what it has, but for what lies unread in its window, or was not heard of.
            let unread = if matches!(sends, Sends::Stalls(_)) { 1 << 15 } else { 0 };
            let had = other.got.saturating_sub(24 << 10)..=other.got + unread;
            assert!(had.contains(&acknowledged), "{sends:?}: {acknowledged} of {had:?}");
        }
        Err(_) => {}
    }
    report
}

const BOTH: [End; 2] = [End::A, End::B];

#[test]
fn all_bytes_go_both_ways_whichever_end_this_is() {
    for end in BOTH {
        let report = pair(end, 3 * MIB, Sends::All, Wire::default()).unwrap();
        assert_eq!(report.bytes, 3 * MIB);
        let [first, last] = [report.sent_in, report.received_in];
        assert!(first < last * 2 && last < first * 2, "both ends have as much to do: {report:?}");
    }
}

#[test]
fn a_wire_that_drops_repeats_and_swaps_frames_costs_time_and_no_byte() {
    for end in BOTH {
        for wire in [
            Wire { drops: 37, ..Wire::default() },
            Wire { repeats: 5, ..Wire::default() },
            Wire { swaps: 7, ..Wire::default() },
            Wire { drops: 101, repeats: 23, swaps: 13, ..Wire::default() },
        ] {
            pair(end, MIB, Sends::All, wire).unwrap_or_else(|error| panic!("{wire:?}: {error}"));
        }
    }
}

#[test]
fn a_wrong_byte_is_found_where_it_stands_and_where_it_belongs() {
    let place = 123_457;
    for (sends, origin) in [
        (Sends::Flipped(place), place),
        (Sends::Skips(place, 1460), place + 1460),
        (Sends::Repeats(place, 2048), place - 2048),
    ] {
        for end in BOTH {
            let error = pair(end, MIB, sends, Wire::default()).unwrap_err();
            let NetError::PairByte(wrong) = error else { panic!("{sends:?}: {error}") };
            // One in 256 bytes is the same by chance.
            let late = wrong.offset - place;
            assert!(late < 4, "{sends:?}: {wrong}");
            let from = Place { end: end.other(), offset: origin + late };
            assert_eq!(wrong.origin, Some(from), "{sends:?}: {wrong}");
            assert_eq!((error.code(), error.party()), ("pair-byte-mismatch", Party::Machine));
        }
    }
    let error = pair(End::A, MIB, Sends::Mirror, Wire::default()).unwrap_err();
    assert!(error.to_string().ends_with("what this end sends as its byte 1"), "{error}");
}

#[test]
fn what_the_card_changes_is_found_and_not_sent_again() {
    let wire = Wire { flips: 50, at: 800, ..Wire::default() };
    let error = pair(End::B, MIB, Sends::All, wire).unwrap_err();
    assert_eq!(error.code(), "pair-byte-mismatch", "{error}");
}

#[test]
fn a_header_that_is_changed_on_its_way_is_told_although_tcp_sends_it_again() {
    // From the first byte behind the frame's own header to the last before the stream.
    for at in 14..54 {
        for end in BOTH {
            let wire = Wire { flips: 50, at, ..Wire::default() };
            let error = pair(end, MIB / 4, Sends::All, wire).unwrap_err();
            let codes = ["pair-frame-damaged", "pair-byte-mismatch"];
            assert!(codes.contains(&error.code()), "byte {at}: {error}");
            assert_eq!(error.party(), Party::Machine);
        }
    }
}

#[test]
fn an_end_that_stops_is_not_this_ones_failure() {
    for (sends, code) in [
        (Sends::Absent, "pair-no-peer"),
        (Sends::Leaves(50_000), "pair-left"),
        (Sends::Resets(50_000), "pair-left"),
        (Sends::Stalls(50_000), "pair-stalled"),
        (Sends::Stalls(MIB), "pair-stalled"),
    ] {
        for end in BOTH {
            let error = pair(end, MIB, sends, Wire::default()).unwrap_err();
            assert_eq!((error.code(), error.party()), (code, Party::Network), "{sends:?}: {error}");
            assert!(!error.remedy().is_empty());
        }
    }
}

#[test]
fn an_end_that_is_silent_is_not_waited_for_as_long_as_the_whole_would_take() {
    let error = pair(End::A, 64 * MIB, Sends::Stalls(50_000), Wire::default()).unwrap_err();
    let NetError::PairStopped { how: Stopped::Silent(timeout), .. } = error else {
        panic!("{error}")
    };
    assert_eq!(timeout.after.as_secs(), 30);
}

#[test]
fn how_far_it_came_is_told() {
    let error = pair(End::A, MIB, Sends::Leaves(50_000), Wire::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(" of 1048576 bytes out were acknowledged, 50000 came in: "), "{text}");
}

#[test]
fn ends_that_were_told_different_lengths_say_so() {
    let told = |lengths| unlike(End::A, lengths, Sends::All, Wire::default()).unwrap_err();
    let more = told([MIB, 2 * MIB]);
    assert_eq!((more.code(), more.party()), ("pair-length", Party::Guest), "{more}");
    let less = told([2 * MIB, MIB]);
    assert_eq!((less.code(), less.party()), ("pair-stalled", Party::Network), "{less}");
}
