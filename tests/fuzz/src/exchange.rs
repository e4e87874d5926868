//! The guest's memory over a Xen that refuses, stops half-way, or answers what no Xen should.
//!
//! Asserts: whatever fails, each page has a frame that the guest owns, and Xen's table agrees; no frame is lost to or
//! won from Xen; a free page is mapped nowhere; what is held is mapped, and a region low and aligned. A lie that takes
//! frames away costs those, and no page has another's frame, unless Xen's table vouches for it. Where nothing fails,
//! everything comes back.

use crate::Input;
use pvbounce::{
    addr::{DmaMask, Mfn, Pfn, to_usize},
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

/// Frames of the machine, and the guest's at its top: the low ones are free, and some above. Few, so that all of them
/// can be looked at after each step.
const MACHINE: u64 = 212;
const GUEST: usize = 64;
const LOW: Mfn = Mfn(128);
const LOW_BITS: u32 = 19;
const ALL: PfnRange = PfnRange { start: Pfn(0), count: GUEST as u64 };

/// What the guest holds.
enum Held<'m> {
    Region(Region),
    Pages(Pages<'m>),
}

/// What the story has seen that allows for more than refusals do.
#[derive(Debug, Default)]
struct Seen {
    spoilt: bool,
    /// Frames were taken from the guest.
    theft: bool,
    /// Pages lost their frames, though they may still be the guest's.
    loss: bool,
    /// Frames of others had the guest's names.
    forgery: bool,
}

impl Seen {
    /// A half-done update is undone by another call, so only one of them can fail.
    fn spoil(&mut self, xen: &FakeXen, input: &Input, updates: bool) {
        self.spoilt = true;
        match input.below(6) {
            _ if updates => xen.fail_after_updates(input.below(20)),
            0 => xen.fail_calls(1 + input.below(12) as u64, 1),
            1 => xen.fail_calls(1 + input.below(12) as u64, 1 + input.below(4) as u64),
            2 => xen.fail_after_chunks(input.below(20) as u64),
            3 if input.once_in(4) => name_others(xen),
            3 => self.lie(xen, input.one_of(&Lie::ALL)),
            _ => xen.limit_order(input.below(5).try_into().unwrap_or(0)),
        }
    }

    fn lie(&mut self, xen: &FakeXen, lie: Lie) {
        self.theft |= matches!(lie, Lie::Foreign | Lie::ForeignByOurNames);
        self.forgery |= lie == Lie::ForeignByOurNames;
        self.loss |= matches!(lie, Lie::Duplicate | Lie::NoFrames | Lie::Untold);
        xen.lie(lie);
    }
}

/// Gives low frames that are not the guest's the guest's names, each the page of the same number: what Xen leaves
/// untouched in the list of a trade then reads as a frame that came.
fn name_others(xen: &FakeXen) {
    for n in 0..ALL.count {
        if !xen.truth(Mfn(n)).ours {
            xen.plant_foreign(Mfn(n), Pfn(n));
        }
    }
}

fn take<'m>(xen: &FakeXen, memory: &'m Memory<'m>, input: &Input) -> Option<Held<'m>> {
    let mapped = |run: PfnRange| {
        run.iter().all(|pfn| memory.p2m().get(pfn).is_some_and(|mfn| xen.truth(mfn).mapped))
    };
    let order = Order::new(input.below(5).try_into().unwrap_or(0))?;
    let low = DmaMask::from_bits(LOW_BITS)?;
    let pages = match input.below(3) {
        0 => Pages::new(memory, 1 + input.below(24) as u64),
        1 => Pages::scattered(memory, 1 + input.below(8) as u64),
        _ => {
            let region = memory.acquire(order, low).ok()?;
            let run = PfnRange { start: region.pfn(), count: order.pages() as u64 };
            assert!(mapped(run), "{region:?} is not mapped");
            assert!(low.covers(region.bus(), region.len()), "{region:?}");
            assert!(region.mfn().0.is_multiple_of(order.pages() as u64), "{region:?}");
            return Some(Held::Region(region));
        }
    };
    let pages = pages.ok()?;
    assert!(mapped(pages.run()), "{pages:?} are not mapped");
    Some(Held::Pages(pages))
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
    let set = reserve.set_aside(input.below(40) << 12);
    if let (Ok(_), Some(order), Some(low)) = (set, Order::new(3), DmaMask::from_bits(LOW_BITS))
        && let Ok(region) = reserve.acquire(order, low)
    {
        let _refused = reserve.release(region);
    }
    let _kept = reserve.give_back();
}

fn check(xen: &FakeXen, memory: &Memory<'_>, owned: usize, seen: &Seen) {
    let owns = xen.owned();
    assert!(owns == owned || owns < owned && seen.theft, "{owns} of {owned} frames: {seen:?}");
    let (mut whole, mut free) = (0, [false; GUEST]);
    memory.each_free(&mut |run| run.iter().for_each(|pfn| free[to_usize(pfn.0)] = true));
    for (pfn, mfn) in memory.p2m().frames(ALL) {
        let truth = xen.truth(mfn);
        assert_eq!(truth.name, Some(pfn), "P2M and M2P disagree about {mfn}");
        whole += 1;
        assert!(seen.forgery || truth.ours, "{pfn} has {mfn}, which is another's");
        let was_free = std::mem::take(&mut free[to_usize(pfn.0)]);
        assert!(!was_free || !truth.mapped, "{pfn} is free, yet mapped");
    }
    assert!(whole == GUEST || seen.theft || seen.loss, "pages without frames: {seen:?}");
    assert!(!free.contains(&true), "free pages without frames: {free:?}");
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let entries: [AtomicU64; GUEST] = [const { AtomicU64::new(u64::MAX) }; _];
    let xen = FakeXen::new(MACHINE, &entries);
    let memory = Memory::fake(&xen, P2m::new(&entries), &[ALL]);
    let (owned, free_low) = (xen.owned(), xen.free_below(LOW));
    let mut held = Vec::new();
    let (mut seen, updates) = (Seen::default(), input.once_in(4));
    for _ in 0..16 {
        if input.is_over() {
            break;
        }
        match input.below(8) {
            0 | 1 => seen.spoil(&xen, &input, updates),
            2..5 => held.extend(take(&xen, &memory, &input)),
            5 => reserve(&memory, &input),
            _ if held.is_empty() => {}
            _ => give(&memory, held.swap_remove(input.below(held.len()))),
        }
        check(&xen, &memory, owned, &seen);
    }
    held.into_iter().for_each(|held| give(&memory, held));
    check(&xen, &memory, owned, &seen);
    if !seen.spoilt {
        assert_eq!(memory.free_pages() + memory.table_pages(), ALL.count, "pages kept");
        assert_eq!(xen.free_below(LOW), free_low, "low frames kept");
    }
}
