//! The guest's memory over a Xen that refuses, stops half-way, or says it failed when it did not.
//!
//! Asserts: whatever fails, every page has a frame that the guest owns, and Xen's table agrees; no frame is lost to or
//! won from Xen; a free page is mapped nowhere; a region is low and aligned. Where nothing fails, everything comes back.

use crate::Input;
use pvbounce::{
    addr::{DmaMask, Mfn, Pfn},
    mm::{
        contiguous::{ContiguousMemory, Order, Region},
        memory::Memory,
        p2m::{P2m, PfnRange},
        pages::Pages,
        reserve::Reserve,
    },
    xen::hypercall::fake::{FakeXen, Lie},
};
use std::sync::atomic::AtomicU64;

/// 4 MiB of machine, 1 MiB of guest: low memory is free, the guest lies at the top.
const MACHINE: u64 = 1024;
const GUEST: u64 = 256;
const LOW_BITS: u32 = 20;

/// What the guest holds.
enum Held<'m> {
    Region(Region),
    Pages(Pages<'m>),
}

/// A half-done update is undone by another call, so only one of them can fail.
fn spoil(xen: &FakeXen, input: &Input, updates: bool) {
    match input.below(6) {
        _ if updates => xen.fail_after_updates(input.below(20)),
        0 => xen.fail_calls(1 + input.below(12) as u64, 1),
        1 => xen.fail_calls(1 + input.below(12) as u64, 1 + input.below(4) as u64),
        2 => xen.fail_after_chunks(input.below(20) as u64),
        3 => xen.lie(Lie::FailsAfterSwap),
        _ => xen.limit_order(input.below(6).try_into().unwrap_or(0)),
    }
}

fn take<'m>(memory: &'m Memory<'m>, input: &Input) -> Option<Held<'m>> {
    let order = Order::new(input.below(6).try_into().unwrap_or(0))?;
    let low = DmaMask::from_bits(LOW_BITS)?;
    match input.below(3) {
        0 => Pages::new(memory, 1 + input.below(40) as u64).ok().map(Held::Pages),
        1 => Pages::scattered(memory, 1 + input.below(8) as u64).ok().map(Held::Pages),
        _ => {
            let region = memory.acquire(order, low).ok()?;
            assert!(low.covers(region.bus(), region.len()), "{region:?}");
            assert!(region.mfn().0.is_multiple_of(order.pages() as u64), "{region:?}");
            Some(Held::Region(region))
        }
    }
}

fn give(memory: &Memory<'_>, held: Held<'_>) {
    match held {
        Held::Region(region) => drop(memory.release(region)),
        Held::Pages(pages) => drop(pages.close()),
    }
}

/// A pool's life on reserved pages.
fn reserve(memory: &Memory<'_>, input: &Input) {
    let reserve = Reserve::new(memory);
    let set = reserve.set_aside(input.below(64) << 12);
    if let (Ok(_), Some(order), Some(low)) = (set, Order::new(3), DmaMask::from_bits(LOW_BITS))
        && let Ok(region) = reserve.acquire(order, low)
    {
        let _refused = reserve.release(region);
    }
    let _kept = reserve.give_back();
}

fn check(xen: &FakeXen, memory: &Memory<'_>, owned: usize) {
    let all = PfnRange { start: Pfn(0), count: GUEST };
    assert_eq!(memory.p2m().first_disagreement(all, xen), None, "P2M and M2P disagree");
    assert_eq!(xen.owned(), owned, "frames lost or won");
    memory.each_free(&mut |run| {
        let mapped = run.iter().find(|pfn| memory.p2m().get(*pfn).is_some_and(|mfn| xen.maps(mfn)));
        assert_eq!(mapped, None, "free, yet mapped");
    });
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let entries: Vec<AtomicU64> = (0..GUEST).map(|_| AtomicU64::new(u64::MAX)).collect();
    let xen = FakeXen::new(MACHINE, &entries);
    let all = PfnRange { start: Pfn(0), count: GUEST };
    let memory = Memory::fake(&xen, P2m::new(&entries), &[all]);
    let (owned, free_low) = (xen.owned(), xen.free_below(Mfn(256)));
    let mut held = Vec::new();
    let (mut spoilt, updates) = (false, input.once_in(4));
    for _ in 0..24 {
        if input.is_over() {
            break;
        }
        match input.below(8) {
            0 | 1 => {
                spoil(&xen, &input, updates);
                spoilt = true;
            }
            2..5 => held.extend(take(&memory, &input)),
            5 => reserve(&memory, &input),
            _ if held.is_empty() => {}
            _ => give(&memory, held.swap_remove(input.below(held.len()))),
        }
        check(&xen, &memory, owned);
    }
    held.into_iter().for_each(|held| give(&memory, held));
    check(&xen, &memory, owned);
    if !spoilt {
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST, "pages kept");
        assert_eq!(xen.free_below(Mfn(256)), free_low, "low frames kept");
    }
}
