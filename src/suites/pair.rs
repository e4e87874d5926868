//! Suite `pair`: this guest's card and another guest's on one wire, both sending and receiving for as long as it takes.
//!
//! Runs only when named, and only where `pair=` says which of the two this is. Everything that comes is compared with
//! what had to come, byte by byte: see [`crate::net::pair`].

use super::{
    check::{Finding, Suite, attends, proof, skip},
    net::{card, link_is_up, no_card, ring_never_broke, with_stack},
};
use crate::{guest::Guest, report::Reason};
use alloc::format;

pub(super) const SUITE: Suite = Suite {
    name: "pair",
    missing: |guest| no_card(guest).or_else(|| no_end(guest)),
    of_a_device: true,
    tidies: false,
    checks: &[
        attends("link_is_up", link_is_up),
        proof("every_byte_arrives_both_ways", every_byte_arrives_both_ways),
        attends("ring_never_broke", ring_never_broke),
    ],
};

fn no_end(guest: &Guest) -> Option<Reason> {
    let remedy = "one guest needs pair=a, the other pair=b";
    let none = || Reason::new("no-pair", "pair= does not say which end this is").remedy(remedy);
    guest.options.pair.is_none().then(none)
}

fn every_byte_arrives_both_ways(guest: &mut Guest) -> Finding {
    let Some(pair) = guest.options.pair else {
        return Err(skip("no-pair", "pair= does not say which end this is"));
    };
    let before = card(guest)?.0.counters();
    let report = with_stack(guest, |stack| stack.pair(pair.end, pair.bytes))?;
    let after = card(guest)?.0.counters();
    let [out, back] = report.rates().map(|rate| rate >> 10);
    Ok(format!(
        "end {}: {} MiB each way, {out} KiB/s out, {back} KiB/s in; frames out: {} bounced, {} direct; in: {}, {} bounced",
        pair.end,
        report.bytes >> 20,
        after.tx_bounced - before.tx_bounced,
        after.tx_direct - before.tx_direct,
        after.rx_frames - before.rx_frames,
        after.rx_bounced - before.rx_bounced,
    ))
}
