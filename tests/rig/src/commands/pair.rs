//! `pair`: two domains, each with a card, on one wire. Both send at once, and each looks at every byte that comes.

use std::process::ExitCode;
use std::time::Duration;

use super::smoke::DEFAULT_NIC;
use super::workbench::Spread;
use super::{Bench, conclude};
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::machine::{Card, Device, End, Side, Wire};

/// More MiB than this, and QEMU's note of each address would take gigabytes.
const TRACED: u32 = 64;
/// MiB a second, at least, that an emulated machine moves each way.
const SLOWEST: u32 = 1;

pub(super) fn run(options: &Options, mib: u32, rough: Option<u64>) -> Result<ExitCode> {
    let cards = cards(options.device())?;
    let bench = Bench::prepare("pair", options)?;
    let mut jobs = jobs(cards, rough.map_or(Wire::Hub, Wire::Rough), mib);
    for job in &mut jobs {
        job.limit = options.limit(job.limit.as_secs());
        job.memory = options.memory;
        job.words.extend(options.words());
        job.raw_words.clone_from(&options.cmdline);
    }
    let mut options = options.clone();
    options.no_trace |= mib > TRACED;
    let records = bench.run(&options, DEFAULT_NIC, &jobs, Spread::One)?;
    for record in &records {
        let note = record.note("pair", CHECK).unwrap_or("nothing");
        println!("{}: {note}", record.name);
    }
    conclude(bench.record(records), &bench)
}

/// The check that tells how fast it went.
const CHECK: &str = "every_byte_arrives_both_ways";

/// A card for each end; one name stands for both.
fn cards(names: &str) -> Result<[Option<&'static Card>; 2]> {
    let (a, b) = names.split_once(',').unwrap_or((names, names));
    Ok([card(a)?, card(b)?])
}

fn card(name: &str) -> Result<Option<&'static Card>> {
    match Card::find(name) {
        None if name != DEFAULT_NIC => {
            let what = format!("`{name}` is no card that the guest has a driver for");
            let remedy = "name one or two, with a comma between: docs/hardware.md lists them";
            Err(Error::unfit(what, remedy))
        }
        card => Ok(card),
    }
}

/// Both guests, which go together.
pub(super) fn jobs(cards: [Option<&'static Card>; 2], wire: Wire, mib: u32) -> [Job; 2] {
    let name = if wire == Wire::Hub { "pair" } else { "pair-rough" };
    let mut jobs = [(cards[0], Side::A), (cards[1], Side::B)].map(|(card, side)| {
        let end = End { card, side, wire };
        let name = format!("{name}-{}", side.name());
        let mut job = Job::new(name, "pair.cfg", Some(Device::End(end)));
        job.words.extend(end.words(mib));
        job.limit = Duration::from_secs((120 + mib / SLOWEST).into());
        job.shows("pair", CHECK, "MiB each way")
    });
    jobs[1].together = true;
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_card_or_two_are_named_and_no_other() {
        let names = |names| cards(names).unwrap().map(|card| card.map_or("rtl8139", |c| c.name));
        assert_eq!(names("rtl8139"), ["rtl8139"; 2]);
        assert_eq!(names("e1000e,rtl8139"), ["e1000e", "rtl8139"]);
        for wrong in ["none", "e1000,", "e1000,lonely", "e1000,e1000,e1000"] {
            assert!(cards(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_second_goes_together_with_the_first_and_is_the_other_end() {
        let [a, b] = jobs([None, Card::find("e1000e")], Wire::Hub, 8);
        assert!(!a.together && b.together);
        assert_eq!(a.words.last().unwrap(), "pair=a,8");
        assert_eq!(b.words.last().unwrap(), "pair=b,8");
        assert_ne!(a.device.unwrap().slot(), b.device.unwrap().slot());
    }
}
