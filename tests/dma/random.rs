//! Random life of a pool against a model: 100,000 steps of mapping, device access and finishing, each
//! byte compared, every slot free at the end.

use proptest::prelude::*;
use pvbounce::{
    addr::{BusAddr, DmaMask},
    dma::{
        Bidirectional, Coherent, Device, FromDevice, Limits, MapError, Mapping, Plan, Policy, Pool,
        PowerOfTwo, Table, ToDevice, fake::FakeMachine,
    },
    mm::contiguous::Order,
};

const STEPS: usize = if cfg!(miri) { 30 } else { 2000 };
const CASES: u32 = if cfg!(miri) { 1 } else { 50 };

#[derive(Clone, Copy, Debug)]
enum Op {
    Map {
        direction: u8,
        len: usize,
        device: usize,
        fill: u8,
    },
    Share {
        len: usize,
        device: usize,
    },
    /// The device writes `share`/256 of the mapping, then it ends.
    Finish {
        which: usize,
        share: usize,
        fill: u8,
    },
    Abandon {
        which: usize,
    },
    Shrink,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![6 => 1..2048usize, 3 => 2048..10_000usize, 1 => 10_000..150_000usize];
    let map = (0..3u8, len, 0..DEVICES, any::<u8>())
        .prop_map(|(direction, len, device, fill)| Op::Map { direction, len, device, fill });
    let finish = (any::<usize>(), 0..=256usize, any::<u8>())
        .prop_map(|(which, share, fill)| Op::Finish { which, share, fill });
    prop_oneof![
        50 => map,
        2 => (1..20_000usize, 0..DEVICES).prop_map(|(len, device)| Op::Share { len, device }),
        44 => finish,
        4 => any::<usize>().prop_map(|which| Op::Abandon { which }),
        1 => Just(Op::Shrink),
    ]
}

const DEVICES: usize = 4;

/// Devices of different reach and demands on one pool.
fn devices<'m>(pool: &'m Pool<'m>, machine: &'m FakeMachine) -> [Device<'m>; DEVICES] {
    let bits = |bits| DmaMask::from_bits(bits).unwrap();
    let power = |bytes| PowerOfTwo::new(bytes).unwrap();
    [
        Limits::new(bits(32)),
        Limits::new(bits(64)).keeping_offset(power(4096)),
        Limits::new(bits(28)).within(power(65536)),
        Limits::new(bits(24)).aligned_to(power(256)),
    ]
    .map(|limits| Device::new(pool, machine, limits, Policy::Force))
}

/// One mapping and what its buffer must hold when it ends.
enum Live<'m> {
    To(Mapping<'m, ToDevice, Vec<u8>>, u8),
    From(Mapping<'m, FromDevice, Vec<u8>>, u8),
    Both(Mapping<'m, Bidirectional, Vec<u8>>, u8),
    Shared(Coherent<'m>, u8),
}

impl<'m> Live<'m> {
    fn map(device: &Device<'m>, direction: u8, len: usize, fill: u8) -> Result<Self, MapError> {
        let buffer = vec![fill; len];
        Ok(match direction {
            0 => Self::To(device.map(buffer)?, fill),
            1 => Self::From(device.map(buffer)?, fill),
            _ => Self::Both(device.map(buffer)?, fill),
        })
    }

    fn extent(&self) -> (u64, usize) {
        match self {
            Self::To(mapping, _) => (mapping.bus().0, mapping.len()),
            Self::From(mapping, _) => (mapping.bus().0, mapping.len()),
            Self::Both(mapping, _) => (mapping.bus().0, mapping.len()),
            Self::Shared(memory, _) => (memory.bus().0, memory.len()),
        }
    }

    fn abandon(self) {
        match self {
            Self::To(mapping, _) => drop(mapping.abandon()),
            Self::From(mapping, _) => drop(mapping.abandon()),
            Self::Both(mapping, _) => drop(mapping.abandon()),
            Self::Shared(memory, _) => memory.close().unwrap(),
        }
    }

    /// The device checks what it may read, writes `share`/256 of what it may write, and lets go.
    fn end(self, machine: &FakeMachine, share: usize, byte: u8) {
        let (bus, len) = self.extent();
        let written = len * share / 256;
        let reads = |fill| {
            let mut seen = vec![0; len];
            assert!(machine.bus_read(BusAddr(bus), &mut seen));
            assert!(seen.iter().all(|&b| b == fill), "the device sees other bytes");
        };
        let writes = || assert!(machine.bus_write(BusAddr(bus), &vec![byte; written]));
        let holds = |buffer: Vec<u8>, fill| {
            let (new, old) = buffer.split_at(written);
            assert!(new.iter().all(|&b| b == byte), "not what the device wrote");
            assert!(old.iter().all(|&b| b == fill), "more than the device wrote");
        };
        match self {
            Self::To(mapping, fill) => {
                reads(fill);
                assert!(mapping.finish(0).unwrap().iter().all(|&b| b == fill));
            }
            Self::From(mapping, fill) => {
                writes();
                holds(mapping.finish(written).unwrap(), fill);
            }
            Self::Both(mapping, fill) => {
                reads(fill);
                writes();
                holds(mapping.finish(written).unwrap(), fill);
            }
            Self::Shared(memory, fill) => {
                reads(fill);
                memory.close().unwrap();
            }
        }
    }
}

fn run(ops: &[Op], growing: bool) {
    let machine = FakeMachine::default();
    let before = machine.free_frames();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let plan = Plan { max_order: Order::new(7).unwrap(), ..Plan::new(2 << 20) };
    let plan = if growing { plan.growing_by(Order::new(6).unwrap()) } else { plan };
    pool.start(&plan, &mut |_| {}).unwrap();
    let devices = devices(&pool, &machine);
    let mut live: Vec<Live<'_>> = Vec::new();
    for &op in ops {
        match op {
            Op::Map { direction, len, device, fill } => {
                match Live::map(&devices[device], direction, len, fill) {
                    Ok(mapping) => push(&mut live, mapping, devices[device].limits()),
                    Err(MapError::TooLarge { limit, .. }) => assert!(len > limit),
                    Err(MapError::OutOfMask { .. }) => assert!(!growing && device >= 2),
                    Err(MapError::Exhausted { wanted, largest, .. }) => {
                        assert!(largest < wanted.next_power_of_two() || device == 1);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Share { len, device } => {
                let memory = devices[device].coherent(len).unwrap();
                memory.write_u8(len - 1, 0);
                push(&mut live, Live::Shared(memory, 0), devices[device].limits());
            }
            Op::Finish { which, share, fill } if !live.is_empty() => {
                live.swap_remove(which % live.len()).end(&machine, share, fill);
            }
            Op::Abandon { which } if !live.is_empty() => {
                live.swap_remove(which % live.len()).abandon();
            }
            Op::Finish { .. } | Op::Abandon { .. } => {}
            Op::Shrink => drop(pool.shrink()),
        }
    }
    live.into_iter().for_each(|mapping| mapping.end(&machine, 256, 0x77));
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    drop(pool);
    let balance = machine.balance();
    assert_eq!((balance.out, balance.bad_releases), (0, 0));
    assert_eq!(machine.free_frames(), before);
}

/// Remembers a mapping that must be in reach and touch no other.
fn push<'m>(live: &mut Vec<Live<'m>>, new: Live<'m>, limits: &Limits) {
    let (bus, len) = new.extent();
    assert!(limits.mask.covers(BusAddr(bus), len));
    assert_eq!(bus % limits.alignment.bytes() as u64, 0);
    for other in live.iter() {
        let (start, count) = other.extent();
        assert!(bus + len as u64 <= start || start + count as u64 <= bus, "two mappings overlap");
    }
    live.push(new);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn nothing_is_lost_mixed_up_or_kept(
        ops in prop::collection::vec(op(), STEPS),
        growing in any::<bool>(),
    ) {
        run(&ops, growing);
    }
}
