//! Chips that vanish between any two accesses to their registers.

use super::{
    bench::{Bench, MODELS, limits, with_pool, with_pool_of},
    chip::{RECEIVE, TRANSMIT},
};
use crate::{
    arch::time::Clock as _,
    device::{Cause, Ended, fake::leftovers},
    dma::DeviceStopped,
    nic::{
        Nic,
        fake::played::{Fault, Player},
    },
};
use alloc::vec::Vec;
use core::time::Duration;

const BROADCAST: [u8; 60] = [0xff; 60];

/// A card's whole life up to its stop; the code of the first thing that goes wrong.
fn live(bench: &Bench<'_>) -> Result<(), &'static str> {
    let mut card = bench.start().map_err(|e| e.code())?;
    let worked = work(bench.chip, &mut *card);
    let stopped = card.quiesce().map_err(|e| e.code());
    worked.and(stopped)
}

fn work(chip: &dyn Player, card: &mut dyn Nic) -> Result<(), &'static str> {
    let mut received = Vec::new();
    card.enable_interrupts(Cause::RECEIVER);
    chip.deliver(&BROADCAST);
    card.receive(&mut received).map_err(|e| e.code())?;
    acknowledge(card)?;
    for _ in 0..TRANSMIT {
        while !card.has_room() {
            card.reclaim().map_err(|e| e.code())?;
        }
        card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    }
    card.reclaim().map_err(|e| e.code())?;
    card.transmit_in_place(BROADCAST.to_vec().into()).map_err(|e| e.code())?;
    card.set_loopback(true).map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    card.receive(&mut received).map_err(|e| e.code())?;
    card.reclaim().map_err(|e| e.code())?;
    card.set_loopback(false).map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    acknowledge(card)
}

fn acknowledge(card: &mut dyn Nic) -> Result<(), &'static str> {
    if card.acknowledge().contains(Cause::GONE) { Err("device-gone") } else { Ok(()) }
}

/// Runs a card that vanishes after `accesses`; whether it came to that.
fn vanishes_after(accesses: usize, bench: &Bench<'_>) -> bool {
    let Bench { chip, clock, pool, .. } = bench;
    chip.vanish_after(accesses);
    let start = clock.now();
    let ended = live(bench);
    let took = clock.now().since(start);
    assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
    let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
    assert_eq!(ended, expected, "after {accesses}");
    // Of what it may still use nothing is handed out again, and of the rest all.
    let owned = chip.owned();
    let stats = pool.stats();
    let most = (1 + RECEIVE + TRANSMIT) as u64;
    assert!(
        stats.in_flight <= most && (chip.is_gone() || stats.in_flight == 0),
        "{accesses}: {stats:?}"
    );
    leftovers::check(pool, bench.machine, limits(), &owned);
    chip.is_gone()
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    for model in MODELS {
        let lives = |accesses: &usize| {
            let mut lived = false;
            with_pool_of(model, &mut |bench| lived = !vanishes_after(*accesses, bench));
            lived
        };
        let last = (0..1000).find(lives);
        assert!(last.is_some_and(|last| last > 80), "the sweep ends behind the last: {last:?}");
    }
}

/// Runs `end` on a card whose chip has three frames and then vanished.
fn with_frames_lost(end: impl Fn(&mut dyn Nic, &Bench<'_>)) {
    with_pool(|bench| {
        let chip = bench.chip;
        let mut card = bench.start().unwrap();
        chip.set_fault(Fault::NeverSend);
        for _ in 0..3 {
            card.transmit(BROADCAST.to_vec()).unwrap();
        }
        chip.settle();
        assert_eq!(chip.owned().len(), 2 + RECEIVE - 1 + 3);
        chip.vanish_after(0);
        let lost = card.transmit_in_place(BROADCAST.to_vec().into()).unwrap_err();
        assert_eq!(lost.code(), "device-gone");
        assert_eq!(card.reclaim().unwrap_err().code(), "device-gone");
        assert_eq!(card.quiesce().unwrap_err().code(), "device-gone");
        assert_eq!(bench.pool.stats().in_flight, 1 + RECEIVE as u64 + 3);
        end(&mut *card, bench);
    });
}

#[test]
fn memory_stays_with_a_device_that_was_not_seen_to_stop() {
    with_frames_lost(|_, bench| {
        let owned = bench.chip.owned();
        assert!(!owned.is_empty());
        leftovers::check(bench.pool, bench.machine, limits(), &owned);
    });
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    with_frames_lost(|card, bench| {
        card.take_back(&DeviceStopped::seen()).unwrap();
        let stats = bench.pool.stats();
        assert!(stats.is_balanced(), "{stats:?}");
        assert_eq!(card.transmit(BROADCAST.to_vec()).unwrap_err().error, Ended.into());
    });
}
