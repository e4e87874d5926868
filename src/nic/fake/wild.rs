//! A device that says anything: what its registers read and what lies in its receive ring comes from a stream of
//! bytes that a fuzzer or a property test chooses.

use super::TickingClock;
use crate::{
    addr::BusAddr,
    arch::time::Clock,
    dma::{
        Device, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    nic::{Cause, DriverKind, FRAME_MAX, Nic, mmio::Registers, rtl8139::Idle},
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{cell::Cell, time::Duration};

/// Bytes of the receive buffer that the driver gives the chip.
const BUFFER: u16 = (32 << 10) + 16 + 2048;
/// The longest that any one call into a driver may take, whatever its device does.
const PATIENCE: Duration = Duration::from_secs(3);

/// The register file of an RTL8139; tame until told to be wild, and zero once the stream is over.
#[derive(Debug)]
pub struct WildChip<'a> {
    machine: &'a FakeMachine,
    stream: Cell<&'a [u8]>,
    wild: Cell<bool>,
    buffer: Cell<u32>,
}

impl<'a> WildChip<'a> {
    /// A tame chip.
    pub const fn new(machine: &'a FakeMachine, stream: &'a [u8]) -> Self {
        let (stream, wild, buffer) = (Cell::new(stream), Cell::new(false), Cell::new(0));
        Self { machine, stream, wild, buffer }
    }

    /// Whether nothing it says is to be believed.
    pub fn set_wild(&self, wild: bool) {
        self.wild.set(wild);
    }

    fn byte(&self) -> u8 {
        let (&first, rest) = self.stream.get().split_first().unwrap_or((&0, &[]));
        self.stream.set(rest);
        first
    }

    fn half(&self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn word(&self) -> u32 {
        u32::from(self.half()) | u32::from(self.half()) << 16
    }

    /// Puts a header into the ring: near the start, where the driver looks after each reset, or anywhere.
    fn scatter(&self) {
        let place = match self.byte() {
            near @ 0..0xc0 => u16::from(near) * 4,
            _ => self.half() % (BUFFER - 4) & !3,
        };
        let (status, length) = match self.byte() {
            good @ 0..0xc0 => (1, 64 + u16::from(good) * 8),
            _ => (self.half(), self.half()),
        };
        let header = [status.to_le_bytes(), length.to_le_bytes()].concat();
        self.machine.bus_write(BusAddr(u64::from(self.buffer.get()) + u64::from(place)), &header);
    }
}

impl Registers for &WildChip<'_> {
    fn len(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        match (self.wild.get(), offset) {
            (false, 0) => 0x52,
            (false, _) => 0,
            (true, _) => match self.byte() {
                0..0x80 => 0,
                0x80..0xc0 => u8::MAX,
                _ => self.byte(),
            },
        }
    }

    fn read_u16(&self, offset: usize) -> u16 {
        match (self.wild.get(), offset) {
            (false, _) => 0,
            (true, 0x3a) => {
                self.scatter();
                let at = self.half();
                if at < 0xf000 { at % BUFFER & !3 } else { at }
            }
            (true, _) => self.half(),
        }
    }

    fn read_u32(&self, _: usize) -> u32 {
        match self.wild.get() {
            false => 0,
            true => match self.byte() {
                0..0x40 => 0,
                0x40..0xa0 => 1 << 13 | 1 << 15,
                0xa0..0xb0 => 1 << 13 | 1 << 30,
                0xb0..0xc0 => u32::MAX,
                _ => self.word(),
            },
        }
    }

    fn write_u8(&self, _: usize, _: u8) {}

    fn write_u16(&self, _: usize, _: u16) {}

    fn write_u32(&self, offset: usize, value: u32) {
        if offset == 0x30 {
            self.buffer.set(value);
        }
    }
}

/// Drives the RTL8139's driver with a wild chip until the stream is over.
///
/// # Panics
/// If a call takes too long, a frame is impossible, or memory is not back once the chip was seen to stop.
pub fn drive_rtl8139(stream: &[u8]) {
    let machine = FakeMachine::new(Frames::default());
    let (clock, mut table) = (TickingClock::default(), Box::new(Table::new()));
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).expect("a pool");
    let device = Device::new(&pool, &machine, DriverKind::Rtl8139.limits(), Policy::Auto);
    let chip = WildChip::new(&machine, stream);
    let idle = Idle::reset(&chip, &clock).expect("a tame chip resets");
    let mut card = idle.start(device).expect("a tame chip starts");
    let mut received = Vec::new();
    chip.set_wild(true);
    while !chip.stream.get().is_empty() {
        let start = clock.now();
        step(&mut card, chip.byte(), &mut received);
        let took = clock.now().since(start);
        assert!(took < PATIENCE, "a call took {took:?}");
    }
    chip.set_wild(false);
    // Guard bytes are no concern of this chip's; it writes where it was told to.
    card.quiesce().expect("a tame chip stops");
    drop(card);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.in_flight), (0, 0), "memory kept from a stopped chip");
}

/// One call into the driver, and what must hold of its answer.
fn step(card: &mut dyn Nic, choice: u8, received: &mut Vec<u8>) {
    match choice % 8 {
        0 => drop(card.transmit(vec![choice; usize::from(choice) * 6])),
        1 => drop(card.reclaim()),
        2 => drop(card.transmit_in_place(vec![choice; 60].into())),
        3 => drop(card.acknowledge()),
        4 => card.enable_interrupts(Cause::from_bits_truncate(choice)),
        5 if choice > 0xc0 => drop(card.set_loopback(choice & 8 != 0)),
        _ => {
            if let Ok(Some(len)) = card.receive(received) {
                assert!(len <= received.len() && len <= FRAME_MAX + 4, "a frame of {len} bytes");
            }
        }
    }
    assert!(card.in_flight() <= 8, "{} frames in flight", card.in_flight());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn a_device_that_says_anything_ends_nothing_and_keeps_nothing(
            stream in prop::collection::vec(any::<u8>(), 0..2000)
        ) {
            drive_rtl8139(&stream);
        }
    }
}
