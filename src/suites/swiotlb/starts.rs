//! When the pool starts, from what, and what happens when there is nothing to start it with.

use super::own::{bits, device, finish, map_both, on_own_pool, pool, started};
use crate::{
    addr::{DmaMask, PAGE_SIZE, Pfn},
    dma::{Plan, Policy, SegmentInfo, Step},
    guest::{Guest, blame::of_memory},
    mm::{
        contiguous::{ContiguousMemory, Order, Region},
        reserve::Reserve,
    },
    options::PoolStart,
    println,
    report::verdict::Outcome,
    suites::check::{Finding, all_hold, failure, skip},
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
};

/// Where nobody needs a pool it has cost nothing so far, and what was set aside for it is back.
pub(super) fn nothing_is_spent_without_need(guest: &mut Guest) -> Finding {
    let state = &guest.pool;
    let Some(unneeded) = &state.unneeded else {
        return Err(skip("swiotlb-needed", "somebody needs a pool here"));
    };
    if state.when == PoolStart::Early {
        return Err(skip("swiotlb-asked-for", "swiotlb=early starts one at any rate"));
    }
    let (aside, returned) = (state.aside.bytes, unneeded.returned.bytes);
    let spent = unneeded.bytes;
    let parts = [("nothing spent", spent == 0), ("all given back", aside == returned)];
    let measured = || format!("{spent} bytes spent; {aside} set aside, {returned} given back");
    all_hold("swiotlb-spent", &parts, measured)?;
    Ok(format!("0 bytes spent; {aside} bytes set aside and given back; {}", unneeded.why))
}

pub(super) fn pool_is_started(guest: &mut Guest) -> Finding {
    // Where nobody else needs one, this suite does.
    guest.pool.start_late(&guest.clock);
    started(guest)?;
    let when = match guest.pool.when {
        PoolStart::Early => "early",
        PoolStart::Late => "late",
        PoolStart::Reserve => "reserve",
        PoolStart::Off => "off",
    };
    let stats = guest.pool.pool.stats();
    let asked = guest.pool.plan.bytes;
    let halved =
        if stats.bytes < asked { format!(" of {} asked for", asked >> 10) } else { String::new() };
    Ok(format!("{when}, {} KiB{halved}; segments: {}", stats.bytes >> 10, stats.segments))
}

pub(super) fn pool_is_low_and_contiguous(guest: &mut Guest) -> Finding {
    let mut wrong = None;
    let (mut count, mut lowest, mut highest) = (0, u64::MAX, 0);
    let mask = guest.pool.plan.mask;
    let from_reserve = guest.pool.unneeded.is_none() && guest.pool.aside.bytes > 0;
    pool(guest)?.for_each_segment(&mut |segment| {
        count += 1;
        lowest = lowest.min(segment.bus.0);
        highest = highest.max(segment.bus.0 + segment.len as u64);
        let problem = stray(guest, segment, from_reserve);
        wrong = wrong.take().or(problem);
        if !mask.covers(segment.bus, segment.len) {
            wrong = Some(format!("{} bytes at {} are beyond a {mask}", segment.len, segment.bus));
        }
    });
    if let Some(detail) = wrong {
        return Err(failure("swiotlb-not-contiguous", detail));
    }
    Ok(format!("in {lowest:#x}..{highest:#x}, within a {mask}; segments: {count}"))
}

/// The first page of a segment that does not follow the one before in both numberings, or that is none of
/// those set aside though it should be.
fn stray(guest: &Guest, segment: SegmentInfo, from_reserve: bool) -> Option<String> {
    let (xen, p2m) = (guest.memory.xen(), guest.memory.p2m());
    let mut previous: Option<Pfn> = None;
    for page in 0..(segment.len / PAGE_SIZE) as u64 {
        let pfn = segment.bus.frame().checked_add(page).and_then(|mfn| p2m.pfn_of(mfn, xen));
        let follows = previous.is_none_or(|last| last.checked_add(1) == pfn);
        let kept = pfn.is_some_and(|pfn| !from_reserve || guest.pool.reserve.holds(pfn));
        if !follows || !kept {
            return Some(format!("page {page} of the segment at {}: {pfn:?}", segment.bus));
        }
        previous = pfn;
    }
    None
}

/// Pages set aside cost no exchange; a pool is made of them and of no others; then all go back.
pub(super) fn reserve_is_exchanged_late(guest: &mut Guest) -> Finding {
    let memory = guest.memory;
    let reserve = Reserve::new(memory);
    let aside = reserve.set_aside(1 << 20).map_err(of_memory)?;
    let found = on_own_pool(guest, &reserve, &mut |own| {
        own.start(&Plan::new(aside.bytes), &mut |_| {})
            .map_err(|error| skip(error.code(), error.to_string()))?;
        let mut outside = 0;
        own.for_each_segment(&mut |segment| {
            let pfn = memory.p2m().pfn_of(segment.bus.frame(), memory.xen());
            outside += usize::from(!pfn.is_some_and(|pfn| reserve.holds(pfn)));
        });
        match outside {
            0 => Ok(String::new()),
            _ => Err(failure("swiotlb-reserve", format!("{outside} segments are from elsewhere"))),
        }
    });
    let returned = reserve.give_back().map_err(of_memory)?;
    found?;
    if returned != aside {
        return Err(failure("swiotlb-reserve", format!("{aside:?} set aside, {returned:?} back")));
    }
    Ok(format!("{} bytes set aside, exchanged, exchanged back and given back", aside.bytes))
}

/// A region that the caller has already serves as a pool, and is the caller's again afterwards.
pub(super) fn table_handed_in(guest: &mut Guest) -> Finding {
    let memory = guest.memory;
    let order = Order::new(6).unwrap_or(Order::ZERO);
    on_own_pool(guest, memory, &mut |own| {
        let refused = |error| crate::suites::memory::refused(error);
        let region = memory.acquire(order, DmaMask::BITS_32).map_err(refused)?;
        let bus = region.bus();
        let adopted = own.adopt(region).map_err(|error| {
            let reason = failure("swiotlb-adopt", error.to_string());
            let _ = memory.release(error.into_region());
            reason
        });
        adopted?;
        let served = serve(guest, own, bus.0..bus.0 + order.bytes() as u64);
        let mut back = None;
        let stopped = own.stop(&mut |region| back = Some(region));
        let same = back.as_ref().is_some_and(|region| region.bus() == bus);
        give(memory, back)?;
        served?;
        let parts = [("the same", same), ("whole", stopped.handed_back == order.bytes())];
        all_hold("swiotlb-adopt", &parts, || format!("{order} at {bus}: {stopped:?}"))?;
        Ok(format!("{} KiB at {bus}", order.bytes() >> 10))
    })
}

fn serve(
    guest: &Guest,
    own: &crate::dma::Pool<'_>,
    range: core::ops::Range<u64>,
) -> Result<(), Outcome> {
    let mut buffer = vec![7; 3000];
    let mapping = map_both(device(guest, own, bits(32), Policy::Force), &mut buffer)?;
    let bus = mapping.bus().0;
    finish(mapping, 0)?;
    if range.contains(&bus) {
        return Ok(());
    }
    Err(failure("swiotlb-adopt", format!("mapped at {bus:#x}, outside {range:#x?}")))
}

fn give(memory: &dyn ContiguousMemory, region: Option<Region>) -> Result<(), Outcome> {
    let released = region.map_or(Ok(()), |region| memory.release(region));
    released.map_err(|error| failure("memory-release", error.to_string()))
}

/// Below 1 MiB there is never enough: orders step down, the total halves to the floor, each refusal
/// has Xen's answer, and what was exchanged on the way is exchanged back.
pub(super) fn start_without_low_memory(guest: &mut Guest) -> Finding {
    let mask = DmaMask::from_bits(20).unwrap_or(DmaMask::BITS_32);
    let plan = Plan { mask, ..Plan::new(4 << 20) };
    on_own_pool(guest, guest.memory, &mut |own| {
        let (mut refusals, mut halvings, mut returned) = (0, 0, 0);
        let result = own.start(&plan, &mut |step| match step {
            Step::Refused { .. } => {
                refusals += 1;
                println!("  # {step}");
            }
            Step::Halved { .. } => {
                halvings += 1;
                println!("  # {step}");
            }
            Step::GaveBack { bytes } => returned += bytes,
            Step::Stuck(_) | Step::Acquired { .. } | Step::TooScattered { .. } => {}
        });
        let error = match result {
            Ok(started) => return Err(skip("swiotlb-low-memory-there", started.to_string())),
            Err(error) => error,
        };
        let parts = [
            ("no low memory", error.code() == "pool-no-low-memory"),
            ("halved twice", halvings == 2),
            ("refused each time", refusals >= 3),
        ];
        let measured = || format!("{refusals} refusals, {halvings} halvings: {error}");
        all_hold("swiotlb-halving", &parts, measured)?;
        Ok(format!("{refusals} refusals, halved {halvings} times, {returned} bytes back: {error}"))
    })
}
