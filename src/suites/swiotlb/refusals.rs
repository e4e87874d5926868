//! Policies, and what a mapping says that can't be made: each refusal its own code.

use super::own::{bits, device, finish, high_page, map_out, on_own_pool, on_started_pool};
use crate::{
    addr::PAGE_SIZE,
    dma::{MapError, Plan, Policy, ToDevice, Why},
    guest::{Guest, blame::of_memory},
    mm::pages::Pages,
    println,
    suites::check::{Finding, failure, skip},
};
use alloc::{format, string::ToString};

/// What a device that reaches everything could use in place is bounced all the same.
pub(super) fn force(guest: &mut Guest) -> Finding {
    on_started_pool(guest, &Plan::new(1 << 20), &mut |own| {
        let page = Pages::new(guest.memory, 1).map_err(of_memory)?;
        let auto = map_out(device(guest, own, bits(64), Policy::Auto), &page[..1514])?;
        let forced = map_out(device(guest, own, bits(64), Policy::Force), &page[..1514])?;
        let (direct, why, bus) = (!auto.bounced(), forced.why(), forced.bus());
        finish(auto, 0)?;
        finish(forced, 0)?;
        match (direct, why) {
            (true, Some(Why::Forced)) => Ok(format!("{bus}")),
            _ => Err(failure("swiotlb-force", format!("direct {direct}, forced: {why:?}"))),
        }
    })
}

/// What can't go direct is refused with what is wrong about it; what can, goes.
pub(super) fn noforce(guest: &mut Guest) -> Finding {
    let page = high_page(guest)?;
    on_started_pool(guest, &Plan::new(1 << 20), &mut |own| {
        let direct = map_out(device(guest, own, bits(64), Policy::Direct), &page[..1514])?;
        let bounced = direct.bounced();
        finish(direct, 0)?;
        let narrow = device(guest, own, bits(32), Policy::Direct);
        match narrow.map::<ToDevice, _>(&page[..1514]) {
            Err(error @ MapError::DirectOnly(Why::OutOfMask { .. })) if !bounced => {
                Ok(format!("{}: {error}", error.code()))
            }
            other => Err(failure("swiotlb-noforce", format!("bounced {bounced}, {other:?}"))),
        }
    })
}

/// `swiotlb=off`: what goes direct works, what would have to bounce fails and says that there is no pool.
pub(super) fn without_a_pool(guest: &mut Guest) -> Finding {
    let page = high_page(guest)?;
    on_own_pool(guest, guest.memory, &mut |own| {
        let direct = map_out(device(guest, own, bits(64), Policy::Auto), &page[..1514])?;
        finish(direct, 0)?;
        let narrow = device(guest, own, bits(32), Policy::Auto);
        match narrow.map::<ToDevice, _>(&page[..1514]) {
            Err(error @ MapError::NoPool(_)) => {
                Ok(format!("{}: {error}; remedy: {}", error.code(), error.remedy()))
            }
            other => Err(failure("swiotlb-off", format!("{other:?}"))),
        }
    })
}

/// Too large, exhausted, out of the mask, not contiguous, refused, empty: provoked, told apart.
pub(super) fn codes(guest: &mut Guest) -> Finding {
    let straddling = Pages::scattered(guest.memory, 2).map_err(of_memory)?;
    on_started_pool(guest, &Plan::new(1 << 20), &mut |own| {
        let on = |width, policy| device(guest, own, bits(width), policy);
        let forced = on(32, Policy::Force);
        let limit = forced.max_mapping();
        let buffer = Pages::new(guest.memory, (limit / PAGE_SIZE) as u64 + 1)
            .map_err(|e| skip("memory-short", e.to_string()))?;
        let provoke =
            |device: &crate::dma::Device<'_>, bytes: &[u8]| device.map::<ToDevice, _>(bytes).err();
        let half = limit / 2 + 1;
        let held = map_out(forced, &buffer[..half])?;
        let found = [
            ("dma-too-large", provoke(&forced, &buffer[..=limit])),
            ("dma-exhausted", provoke(&forced, &buffer[..half])),
            ("dma-no-low-segment", provoke(&on(20, Policy::Force), &buffer[..10])),
            ("dma-not-contiguous", provoke(&on(64, Policy::Direct), &straddling)),
            ("dma-refused", provoke(&on(32, Policy::Refuse), &buffer[..10])),
            ("dma-empty", provoke(&forced, &[])),
        ];
        finish(held, 0)?;
        for (code, error) in &found {
            let Some(error) = error else {
                return Err(failure("swiotlb-codes", format!("{code} was not refused")));
            };
            println!("  # {code}: {error}");
            if error.code() != *code || error.remedy().is_empty() {
                return Err(failure("swiotlb-codes", format!("{} for {code}", error.code())));
            }
        }
        Ok(format!("{} refusals", found.len()))
    })
}
