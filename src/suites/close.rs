//! Suite `close`, always the last: the device lets go, and everything taken goes back.

use super::check::{Finding, Suite, all_hold, attends, failure, nothing};
use crate::{
    guest::Guest,
    report::{
        ktap::{CLOSE, Taken},
        verdict::{Outcome, Reason},
    },
};
use alloc::{format, string::ToString};

pub(super) const SUITE: Suite = Suite {
    name: CLOSE,
    missing: nothing,
    of_a_device: false,
    tidies: true,
    checks: &[
        attends("device_lets_go", device_lets_go),
        attends("pool_goes_back", pool_goes_back),
        attends("exchange_without_the_device", super::memory::exchange_without_the_device),
        attends("p2m_and_m2p_agree_at_the_end", super::memory::p2m_and_m2p_agree),
        attends("nothing_is_kept", nothing_is_kept),
    ],
};

fn device_lets_go(guest: &mut Guest) -> Finding {
    guest.let_go().map_err(Outcome::Failure)?;
    Ok("".into())
}

fn pool_goes_back(guest: &mut Guest) -> Finding {
    let (stopped, aside) = guest.pool.stop();
    let kept = guest.pool.pages();
    if stopped.in_flight != 0 {
        let detail = format!("{} buffers were not taken back from a device", stopped.in_flight);
        let remedy = "destroy the domain before the device is used again; see why it did not stop";
        return Err(Outcome::Failure(Reason::new("dma-memory-kept", detail).remedy(remedy)));
    }
    let parts = [
        ("no slot in use", stopped.slots_in_use == 0),
        ("none stuck", stopped.stuck_bytes == 0),
        ("none kept", kept == 0),
    ];
    all_hold("pool-leak", &parts, || format!("{kept} pages kept: {stopped:?}"))?;
    let aside = aside.bytes >> 10;
    Ok(format!("{} KiB exchanged back; {aside} KiB were set aside", stopped.released >> 10))
}

fn nothing_is_kept(guest: &mut Guest) -> Finding {
    let (taken, before, now) = (taken(guest), guest.frames_at_start, frames(guest));
    if now > before {
        let detail = format!("{now} frames are free, of {before} that there were");
        return Err(failure("frames-twice", detail));
    }
    let mut kept = guest.kept.clone();
    kept.extend(guest.memory.unreturned().says());
    match (taken.is_nothing(), kept.is_empty()) {
        (true, true) => Ok("".into()),
        (_, true) => Err(failure("leak", taken.to_string())),
        (_, false) => Err(failure("leak", format!("{taken}: {}", kept.join(", ")))),
    }
}

/// What is still held that was free at the start.
pub(super) fn taken(guest: &Guest) -> Taken {
    Taken {
        frames: guest.frames_at_start.saturating_sub(frames(guest)),
        grants: guest.grants.as_ref().map_or(0, |grants| grants.taken().into()),
        ports: guest.events.open().into(),
        pirqs: guest.events.pirqs().into(),
        slots: guest.pool.pool.stats().in_use as u64,
    }
}

/// Frames that are free, or page tables, which stay so.
fn frames(guest: &Guest) -> u64 {
    guest.memory.free_pages() + guest.memory.table_pages()
}
