//! The chip: what is written to which register, and in which order (Am79C970A datasheet, "Initialization", "Loopback
//! Operation", "Reset").
//!
//! Writes are posted: a bridge may hold them until something is read through it (PCI Local Bus Specification 3.0,
//! section 3.2.5). Where the next step stands on a write having arrived, a register is read.

use super::{
    super::rings::chip::{self, Descriptor, Places, Progress, RECEIVE, Received, TRANSMIT},
    descriptor,
    regs::{
        APROM, BDP, FEATURES, FEATURES_PLAIN, IADR_HIGH, IADR_LOW, LINK_UP, LNKST, MASKS, MISSED,
        Mode, RAP, RDP, RESET, RESET_WORD, STATUS, SWS, SWS_PCI_II, Status,
    },
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::{time::Clock, wait::Deadline},
    device::{Cause, Registers, ResetError},
    dma::{DeviceStopped, Limits, PowerOfTwo},
    pci::Delivery,
};
use core::{cell::Cell, fmt, time::Duration};

/// How long a reset may take, or the reading of the initialization block; microseconds are enough.
const LIMIT: Duration = Duration::from_millis(100);

/// The registers and a clock to wait with.
pub(super) struct Chip<'m, R> {
    regs: R,
    clock: &'m dyn Clock,
    mac: [u8; 6],
    /// What [`MISSED`] was when it was last read.
    missed: Cell<u32>,
    /// [`Status::IENA`], or not: each write to the status tells it anew.
    enabled: Cell<Status>,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chip")
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(super) const fn new(regs: R, clock: &'m dyn Clock) -> Self {
        let (missed, enabled) = (Cell::new(0), Cell::new(Status::empty()));
        Self { regs, clock, mac: [0; 6], missed, enabled }
    }

    /// The card's own address, after a reset.
    pub(super) fn read_mac(&mut self) -> [u8; 6] {
        let [a, b, c, d] = self.regs.read_u32(APROM).to_le_bytes();
        let [e, f, ..] = self.regs.read_u32(APROM + 4).to_le_bytes();
        self.mac = [a, b, c, d, e, f];
        self.mac
    }

    /// Reads a CSR; none is ever all ones in 32 bits.
    fn csr(&self, number: u32) -> Result<u32, ResetError> {
        self.regs.write_u32(RAP, number);
        match self.regs.read_u32(RDP) {
            u32::MAX => Err(ResetError::Gone),
            value => Ok(value & 0xffff),
        }
    }

    fn set_csr(&self, number: u32, value: u32) {
        self.regs.write_u32(RAP, number);
        self.regs.write_u32(RDP, value);
    }

    fn status(&self) -> Result<Status, ResetError> {
        self.csr(STATUS).map(Status::from_bits_retain)
    }

    /// Looks at the status until `done`.
    fn wait(&self, what: &'static str, done: impl Fn(Status) -> bool) -> Result<(), ResetError> {
        Deadline::new(self.clock, LIMIT).until(what, || self.status().map(&done))
    }
}

impl<R: Registers> chip::Chip for Chip<'_, R> {
    fn name(&self) -> &'static str {
        "pcnet"
    }

    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Intx]
    }

    /// A card of 32 address lines. Buffers start anywhere.
    fn limits(&self) -> Limits {
        let limits = Limits::new(DmaMask::BITS_32);
        match PowerOfTwo::new(4) {
            Some(four) => limits.aligned_to(four),
            None => limits,
        }
    }

    /// In whichever mode it was left: the register that means nothing in the other one is read for nothing.
    fn reset(&self) -> Result<DeviceStopped, ResetError> {
        self.regs.read_u32(RESET);
        self.regs.read_u16(RESET_WORD);
        self.regs.write_u32(RDP, 0);
        self.missed.set(0);
        self.enabled.set(Status::empty());
        self.set_csr(STATUS, Status::STOP.bits());
        self.wait("the chip to stop", |status| {
            status.contains(Status::STOP) && !status.intersects(Status::TXON | Status::RXON)
        })?;
        Ok(DeviceStopped::seen())
    }

    fn init_block(&self, rings: Places, loopback: bool) -> Option<[u64; 4]> {
        let [a, b, c, d, e, f] = self.mac;
        let looped = Mode::LOOP | Mode::INTL | Mode::PROM;
        let mode = if loopback { looped } else { Mode::empty() };
        let lengths = RECEIVE.ilog2() << 20 | TRANSMIT.ilog2() << 28;
        let [low, high] = [[a, b, c, d], [e, f, 0, 0]].map(u32::from_le_bytes);
        // Mode and lengths, the address, no multicast, both rings.
        let words =
            [lengths | mode.bits(), low, high, 0, 0, half(rings.receive), half(rings.transmit), 0];
        let (pairs, _) = words.as_chunks::<2>();
        Some([0, 1, 2, 3].map(|n| u64::from(pairs[n][0]) | u64::from(pairs[n][1]) << 32))
    }

    fn start(&self, _: DeviceStopped, rings: Places, _: bool) -> Result<(), ResetError> {
        self.regs.write_u32(RAP, SWS);
        self.regs.write_u32(BDP, SWS_PCI_II);
        self.set_csr(MASKS, all_masked());
        self.set_csr(FEATURES, FEATURES_PLAIN);
        self.set_csr(IADR_LOW, half(rings.init) & 0xffff);
        self.set_csr(IADR_HIGH, half(rings.init) >> 16);
        self.set_csr(STATUS, Status::INIT.bits());
        self.wait("the chip to read its initialization block", |status| {
            status.contains(Status::IDON)
        })?;
        self.set_csr(STATUS, (Status::STRT | Status::IDON).bits());
        self.check_there()
    }

    fn check_there(&self) -> Result<(), ResetError> {
        self.status().map(drop)
    }

    fn link_up(&self) -> bool {
        self.regs.write_u32(RAP, LNKST);
        let state = self.regs.read_u32(BDP);
        state != u32::MAX && state & LINK_UP != 0
    }

    /// Nothing to tell: the chip finds descriptors by their words.
    fn set_receive_tail(&self, _: u32) {}

    fn set_transmit_tail(&self, _: u32) {
        self.set_csr(STATUS, (self.enabled.get() | Status::TDMD).bits());
    }

    fn take_missed(&mut self) -> u64 {
        let Ok(count) = self.csr(MISSED) else { return 0 };
        u64::from(count.wrapping_sub(self.missed.replace(count)) & 0xffff)
    }

    fn acknowledge(&self) -> Cause {
        let Ok(status) = self.status() else { return Cause::GONE };
        if status.intersects(causes_of(Cause::all())) {
            let causes = status & causes_of(Cause::all());
            self.set_csr(STATUS, (self.enabled.get() | causes).bits());
            // The line is let go of before Xen is told that it is: else it would ring once more for nothing.
            self.regs.read_u32(RDP);
        }
        cause(status)
    }

    fn enable_interrupts(&self, causes: Cause) {
        self.set_csr(MASKS, all_masked() & !causes_of(causes).bits());
        let enable = if causes.is_empty() { Status::empty() } else { Status::IENA };
        self.enabled.set(enable);
        self.set_csr(STATUS, enable.bits());
        // Whoever masks a cause counts on its silence from here on.
        self.regs.read_u32(RDP);
    }

    fn status_word(&self) -> usize {
        0
    }

    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor {
        descriptor::to_receive(bus)
    }

    fn received(&self, word: u64) -> Option<Received> {
        descriptor::received(word)
    }

    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor {
        descriptor::to_send(bus, len)
    }

    fn progress(&self, word: u64) -> Progress {
        descriptor::progress(word)
    }
}

/// An address within the chip's reach.
#[expect(clippy::cast_possible_truncation, reason = "the chip's reach is 32 bits")]
const fn half(BusAddr(bus): BusAddr) -> u32 {
    bus as u32
}

const CAUSES: [(Status, Cause); 5] = [
    (Status::RINT, Cause::RECEIVED),
    (Status::TINT, Cause::SENT),
    (Status::BABL, Cause::ERROR),
    (Status::MISS, Cause::OVERFLOW),
    (Status::MERR, Cause::BUS),
];

/// All that interrupts, and the end of initialization.
fn all_masked() -> u32 {
    (causes_of(Cause::all()) | Status::IDON).bits()
}

fn cause(status: Status) -> Cause {
    let set = CAUSES.iter().filter(|(bits, _)| status.intersects(*bits));
    set.fold(Cause::empty(), |all, &(_, cause)| all | cause)
}

fn causes_of(causes: Cause) -> Status {
    let set = CAUSES.iter().filter(|&&(_, cause)| causes.contains(cause));
    set.fold(Status::empty(), |all, &(bits, _)| all | bits)
}
