//! Mappings and shared memory on one pool, against a model that knows each byte.
//!
//! Asserts: a mapping is within its device's mask, aligned as it demands, inside its boundary, and apart from all
//! others; the device reads what the buffer holds; the buffer gets what the device wrote, as far as it says it wrote,
//! and nothing else; a byte changed next to a guarded mapping is told; what can't be mapped has a true reason; in the
//! end every slot is free and every frame back.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::{BusAddr, DmaMask},
    dma::{
        Bidirectional, Coherent, Device, FinishError, FromDevice, Limits, MapError, Mapping, Plan,
        Policy, Pool, PowerOfTwo, Table, ToDevice, fake::FakeMachine,
    },
    mm::contiguous::Order,
};
use std::cell::RefCell;

thread_local! {
    // Its pages are never freed: one machine for all inputs. A table is 300 KiB: one, too.
    static MACHINE: RefCell<(FakeMachine, Box<Table>)> = RefCell::default();
}

const DEVICES: usize = 3;
const POOL: usize = 64 << 10;
/// The longest mapping: some ten slots.
const LONGEST: usize = 20_000;

fn power(bytes: usize) -> PowerOfTwo {
    PowerOfTwo::new(bytes).unwrap_or(PowerOfTwo::ONE)
}

fn limits(input: &Input) -> Limits {
    let bits = input.one_of(&[32, 24, 28, 31, 64]);
    let mut limits = Limits::new(DmaMask::from_bits(bits).unwrap_or(DmaMask::BITS_32));
    if input.once_in(2) {
        limits = limits.aligned_to(power(1 << input.below(14)));
    }
    if input.once_in(2) {
        limits = limits.within(power(1 << (9 + input.below(10))));
    }
    if input.once_in(2) {
        limits = limits.keeping_offset(power(1 << input.below(13)));
    }
    limits
}

enum Kind<'m> {
    To(Mapping<'m, ToDevice, Vec<u8>>),
    From(Mapping<'m, FromDevice, Vec<u8>>),
    Both(Mapping<'m, Bidirectional, Vec<u8>>),
    Shared(Coherent<'m>),
}

struct Live<'m> {
    id: usize,
    kind: Kind<'m>,
    bus: u64,
    len: usize,
    /// What the device and the buffer hold, as far as both are known.
    bytes: Vec<u8>,
}

struct World<'m> {
    machine: &'m FakeMachine,
    input: &'m Input,
    devices: [Device<'m>; DEVICES],
    live: Vec<Live<'m>>,
    next: usize,
}

impl<'m> World<'m> {
    fn map(&mut self) {
        let device = &self.devices[self.input.below(DEVICES)];
        let most = self.input.one_of(&[600, 600, 4500, 600, 4500, 600, 4500, LONGEST]);
        let (id, len) = (self.next, 1 + self.input.below(most));
        self.next += 1;
        let buffer = bytes_of(id, len).to_vec();
        let kind = match self.input.below(3) {
            0 => device.map(buffer).map(Kind::To),
            1 => device.map(buffer).map(Kind::From),
            _ => device.map(buffer).map(Kind::Both),
        };
        let limits = *device.limits();
        match kind {
            Ok(kind) => self.keep(id, kind, &limits, bytes_of(id, len).to_vec()),
            Err(MapError::TooLarge { limit, .. }) => assert!(len > limit, "{len} of {limit}"),
            Err(MapError::OutOfMask { .. }) => assert!(limits.mask.bits() < 32),
            Err(MapError::Exhausted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn share(&mut self) {
        let device = &self.devices[self.input.below(DEVICES)];
        let (id, len) = (self.next, 1 + self.input.below(9000));
        self.next += 1;
        let limits = *device.limits();
        if let Ok(memory) = device.coherent(len) {
            let mut seen = vec![1; len];
            memory.read(0, &mut seen);
            assert!(seen == vec![0; len], "shared memory is not zeroed");
            self.keep(id, Kind::Shared(memory), &limits, seen);
        }
    }

    fn keep(&mut self, id: usize, kind: Kind<'m>, limits: &Limits, bytes: Vec<u8>) {
        let (bus, len) = match &kind {
            Kind::To(mapping) => (mapping.bus().0, mapping.len()),
            Kind::From(mapping) => (mapping.bus().0, mapping.len()),
            Kind::Both(mapping) => (mapping.bus().0, mapping.len()),
            Kind::Shared(memory) => (memory.bus().0, memory.len()),
        };
        let last = bus + len as u64 - 1;
        assert!(limits.mask.covers(BusAddr(bus), len), "{len} at {bus:#x} for {limits:?}");
        assert_eq!(bus % limits.alignment.bytes() as u64, 0, "{bus:#x} for {limits:?}");
        if let Some(boundary) = limits.boundary {
            let unit = boundary.bytes() as u64;
            assert_eq!(bus / unit, last / unit, "{len} at {bus:#x} cross {unit:#x}");
        }
        for other in &self.live {
            assert!(last < other.bus || other.bus + other.len as u64 <= bus, "two share bytes");
        }
        self.live.push(Live { id, kind, bus, len, bytes });
    }

    /// The device writes a part of what it may write.
    fn write(&mut self) {
        let (n, from, len) = self.part();
        let Some(live) = self.live.get_mut(n) else { return };
        if matches!(live.kind, Kind::To(_)) {
            return;
        }
        let end = (from + len).min(live.len);
        let new = &bytes_of(live.id + 100, end)[from..];
        assert!(self.machine.bus_write(BusAddr(live.bus + from as u64), new));
        live.bytes[from..end].copy_from_slice(new);
    }

    /// The device reads a part of what it may read.
    fn read(&mut self) {
        let (n, from, len) = self.part();
        let Some(live) = self.live.get(n) else { return };
        if matches!(live.kind, Kind::From(_)) {
            return;
        }
        let end = (from + len).min(live.len);
        let mut seen = vec![0; end - from];
        assert!(self.machine.bus_read(BusAddr(live.bus + from as u64), &mut seen));
        assert_eq!(seen, live.bytes[from..end], "the device reads other bytes");
    }

    fn part(&self) -> (usize, usize, usize) {
        let n = self.input.below(self.live.len().max(1));
        let all = self.live.get(n).map_or(1, |live| live.len);
        let from = self.input.below(all);
        (n, from, 1 + self.input.below(all - from))
    }

    fn end(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let live = self.live.swap_remove(self.input.below(self.live.len()));
        match live.kind {
            Kind::To(mapping) if self.input.once_in(8) => drop(mapping.abandon()),
            Kind::From(mapping) if self.input.once_in(8) => drop(mapping.abandon()),
            Kind::Both(mapping) if self.input.once_in(8) => drop(mapping.abandon()),
            kind => self.finish(Live { kind, ..live }),
        }
    }

    /// All a device may write is written, so that what comes back is known to the byte.
    fn finish(&self, live: Live<'m>) {
        let Live { id, kind, bus, len, bytes } = live;
        let written = self.input.below(len + 1);
        let new = bytes_of(id + 150, written);
        let device = BusAddr(bus);
        match kind {
            Kind::To(mapping) => assert_eq!(mapping.finish(0).ok(), Some(bytes)),
            Kind::From(mapping) => {
                assert!(self.machine.bus_write(device, new));
                let back = mapping.finish(written).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(back[..written], *new, "not what the device wrote");
                let own = &bytes_of(id, len)[written..];
                assert_eq!(back[written..], *own, "bytes beyond what the device wrote");
            }
            Kind::Both(mapping) => {
                assert!(self.machine.bus_write(device, new));
                let back = mapping.finish(written).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(back[..written], *new, "not what the device wrote");
            }
            Kind::Shared(memory) => {
                let mut seen = vec![0; len];
                memory.read(0, &mut seen);
                assert_eq!(seen, bytes, "shared memory holds other bytes");
                assert!(memory.close().is_ok());
            }
        }
    }

    /// The device writes a byte beside a fresh mapping alone in the pool, where its guard is.
    fn stray(&mut self) {
        let device = &self.devices[self.input.below(DEVICES)];
        if !self.live.is_empty() {
            return;
        }
        let len = 1 + self.input.below(3000);
        let Ok(mapping) = device.map::<FromDevice, _>(bytes_of(self.next, len).to_vec()) else {
            return;
        };
        let behind = self.input.once_in(2);
        let at = if behind { mapping.bus().0 + len as u64 } else { mapping.bus().0 - 1 };
        let mut old = [0];
        // Where boundary or alignment leave no room for a guard, there is none: the slot's own edge.
        let edge = at % 2048 == if behind { 0 } else { 2047 };
        if edge || !self.machine.bus_read(BusAddr(at), &mut old) {
            return drop(mapping.abandon());
        }
        assert!(self.machine.bus_write(BusAddr(at), &[!old[0]]));
        let told = mapping.finish(0);
        assert!(
            matches!(told, Err(FinishError::Overrun { .. })),
            "a stray byte at {at:#x}: {told:?}"
        );
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    MACHINE.with_borrow_mut(|(machine, table)| {
        machine.reset();
        play(machine, table, &input);
    });
}

fn play(machine: &FakeMachine, table: &mut Table, input: &Input) {
    let free = machine.free_frames();
    let pool = Pool::new(table, machine);
    let order = |n| Order::new(n).unwrap_or(Order::MAX);
    let bytes = POOL >> input.below(3);
    let mut plan = Plan { max_order: order(4), floor: 4096, ..Plan::new(bytes) };
    if input.once_in(2) {
        plan = plan.growing_by(order(4));
    }
    if input.once_in(4) {
        plan.mask = DmaMask::from_bits(24).unwrap_or(DmaMask::BITS_32);
    }
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    {
        let device = |_| Device::new(&pool, machine, limits(input), Policy::Force);
        let devices = std::array::from_fn(device);
        let mut world = World { machine, input, devices, live: Vec::new(), next: 1 };
        while !input.is_over() && world.next < 200 {
            match input.below(16) {
                0..6 => world.map(),
                6 => world.share(),
                7 | 8 => world.write(),
                9 | 10 => world.read(),
                11 => world.stray(),
                12 => drop(pool.shrink()),
                _ => world.end(),
            }
        }
        for live in std::mem::take(&mut world.live) {
            world.finish(live);
        }
    }
    assert!(pool.stats().is_balanced() && pool.stats().in_use == 0, "{:?}", pool.stats());
    drop(pool);
    let balance = machine.balance();
    assert_eq!((balance.out, balance.bad_releases), (0, 0));
    assert_eq!(machine.free_frames(), free);
}
