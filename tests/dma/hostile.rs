//! Numbers nobody should send: any limits, and a translation that answers anything. Nothing overflows, and what
//! is said to be within reach is.

use super::*;
use proptest::prelude::*;

/// Says that pages are at these places, one after another, whatever the address.
#[derive(Debug)]
struct Anything {
    first: usize,
    places: Vec<(u64, u64)>,
}

impl Translate for Anything {
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let page = address.addr() / PAGE_SIZE - self.first;
        let &(phys, bus) = self.places.get(page)?;
        let offset = (address.addr() % PAGE_SIZE) as u64;
        Some(Place { phys: PhysAddr(phys & !0xfff | offset), bus: BusAddr(bus & !0xfff | offset) })
    }
}

fn any_power() -> impl Strategy<Value = PowerOfTwo> {
    prop_oneof![3 => 0..17u32, 1 => 0..64u32].prop_map(|log| power(1 << log))
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let mask = (12..=64u32).prop_map(bits);
    let max_len = prop_oneof![2 => Just(usize::MAX), 1 => any::<usize>(), 1 => 0..5000usize];
    (mask.clone(), mask, any_power(), prop::option::of(any_power()), any_power(), max_len).prop_map(
        |(mask, phys_mask, alignment, boundary, keep_offset, max_len)| Limits {
            mask,
            phys_mask,
            alignment,
            boundary,
            keep_offset,
            max_len,
        },
    )
}

fn any_place() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..1u64 << 33, (0..5u64).prop_map(|below| u64::MAX - below * 0x1000)]
}

/// Whether a place is what a device with these limits demands, by arithmetic that can't overflow.
fn is_met(limits: &Limits, bus: u64, len: usize) -> bool {
    let (first, last) = (u128::from(bus), u128::from(bus) + len as u128 - 1);
    let alignment = limits.alignment.bytes() as u128;
    let crosses = |boundary: PowerOfTwo| {
        let boundary = boundary.bytes() as u128;
        first / boundary != last / boundary
    };
    last <= u128::from(limits.mask.highest().0)
        && first % alignment == 0
        && !limits.boundary.is_some_and(crosses)
        && len <= limits.max_len
}

#[test]
fn what_would_go_on_at_address_0_is_not_in_line() {
    let memory = vec![0_u8; 3 * PAGE_SIZE];
    let skip = memory.as_ptr().align_offset(PAGE_SIZE);
    let buffer = &memory[skip..][..PAGE_SIZE + 1];
    let last_page = u64::MAX - 0xfff;
    let places = vec![(0, last_page), (0x1000, 0)];
    let translate = Anything { first: buffer.as_ptr().addr() / PAGE_SIZE, places };
    let limits = Limits::new(bits(64));
    let why = dma_capable(&translate, buffer, &limits).unwrap_err();
    assert!(
        matches!(why, Why::NotContiguous { offset: PAGE_SIZE, found: BusAddr(0), .. }),
        "{why}"
    );
    assert_eq!(dma_capable(&translate, &buffer[..PAGE_SIZE], &limits).unwrap().bus.0, last_page);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1000 }))]

    #[test]
    fn what_goes_direct_is_in_line_and_in_reach(
        limits in any_limits(),
        start in (any_place(), any_place()),
        // Mostly neighbours.
        strays in prop::collection::vec(prop::option::weighted(0.05, any_place()), 3),
        range in (0..PAGE_SIZE, 1..2 * PAGE_SIZE),
    ) {
        let memory = vec![0_u8; 4 * PAGE_SIZE];
        let skip = memory.as_ptr().align_offset(PAGE_SIZE);
        let buffer = &memory[skip + range.0..][..range.1];
        let places: Vec<_> = strays.iter().zip([0, 0x1000, 0x2000]).map(|(stray, offset): (_, u64)| {
            (start.0.wrapping_add(offset), stray.unwrap_or(start.1.wrapping_add(offset)))
        }).collect();
        let translate = Anything { first: buffer.as_ptr().addr() / PAGE_SIZE, places };
        let capable = dma_capable(&translate, buffer, &limits);
        let machine = FakeMachine::default();
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        let device = Device::new(&pool, &translate, limits, Policy::Auto);
        match device.map::<ToDevice, _>(buffer) {
            Ok(mapping) => {
                prop_assert_eq!(capable.unwrap().bus, mapping.bus());
                prop_assert!(is_met(&limits, mapping.bus().0, buffer.len()), "{:?}", mapping);
                let end = buffer.as_ptr().wrapping_add(buffer.len() - 1);
                let last = translate.place_of(end).unwrap().bus.0;
                prop_assert_eq!(last, mapping.bus().0 + (buffer.len() as u64 - 1));
                mapping.abandon();
            }
            Err(error) => prop_assert!(capable.is_err() || buffer.len() > limits.max_len, "{}", error),
        }
    }

    #[test]
    fn what_bounces_meets_any_limits_or_is_refused(
        limits in any_limits(),
        lens in prop::collection::vec(1..6000usize, 1..6),
    ) {
        let machine = FakeMachine::default();
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        let plan = Plan { floor: PAGE_SIZE, ..Plan::new(16 * PAGE_SIZE) };
        pool.start(&plan.growing_by(order(2)), &mut |_| {}).unwrap();
        let device = Device::new(&pool, &machine, limits, Policy::Force);
        let mut held = Vec::new();
        for len in lens {
            match device.map::<FromDevice, _>(vec![0; len]) {
                Ok(mapping) => {
                    prop_assert!(is_met(&limits, mapping.bus().0, len), "{:?}", mapping);
                    held.push(mapping);
                }
                Err(error) => prop_assert!(!error.remedy().is_empty()),
            }
        }
        if let Ok(ring) = device.coherent(5000) {
            let ring_limits = Limits { max_len: usize::MAX, ..limits };
            prop_assert!(is_met(&ring_limits, ring.bus().0, 5000), "{:?}", ring);
            ring.close().unwrap();
        }
        for mapping in held {
            mapping.finish(0).unwrap();
        }
        prop_assert!(pool.stats().is_balanced());
    }
}
