//! `test`, where a device is: a second function, both functions of one, on another bus.

use std::time::Duration;

use super::abuse;
use crate::job::{Abuse, Act, Job};
use crate::judge::Verdict;
use crate::machine::{Device, REPORTING};
use crate::peers::Peers;

/// A job for each place.
pub(super) fn jobs(peers: &Peers) -> Vec<Job> {
    let [bridge, port] = other_bus();
    vec![second_function(peers), both_functions(), bridge, port]
}

/// A card that is not its device's first function, which stays with dom0: the guest sees a slot without a function 0.
fn second_function(peers: &Peers) -> Job {
    let mut job = Job::new("function-1", "smoke-late.cfg", Some(Device::Second))
        .word("suite=pci,irq,dma,net")
        .word("transfers=20")
        .shows("pci", "frontend_connects", "0000:00:00.1");
    job.words.extend(peers.words_for(1 << 20));
    job.limit = Duration::from_secs(90);
    job
}

/// Cards on another bus, of which the first is a conventional one: there the IOMMU sees the bridge's name in place of the card's.
/// The second is where the host has it, all of its config space may be written, and it reports an error to the port that it is
/// behind, of which the guest is told.
fn other_bus() -> [Job; 2] {
    let job = |name, device, seen, bits| {
        Job::new(name, "smoke-late.cfg", Some(device))
            .word("suite=pci,irq,dma")
            .word("transfers=20")
            .shows("pci", "frontend_connects", seen)
            .shows("pci", "harmless_bits_are_as_before", bits)
    };
    let bridge = job("behind-bridge", Device::Bridged, "0000:00:00.0", "10 of 28 bits");
    let port = job("host-numbers", Device::Reporting, "0000:02:00.0", "25 of 47 bits");
    let port = Job {
        host_numbers: true,
        permissive: true,
        abuse: Some(Abuse { at: "event_channel_rings", act: Act::Report(REPORTING, "COMP_ABORT") }),
        ..port.expect(Verdict::Failure, abuse::REPORTED)
    };
    [bridge, port]
}

/// Both functions of a device: each is found, driven and stopped on its own, and has its own rows; both use one pool, and
/// both have the same line, which is the first one's.
fn both_functions() -> Job {
    let mut job = Job::new("two-functions", "smoke-late.cfg", Some(Device::Second))
        .word("suite=irq,dma")
        .word("transfers=20")
        .shows("dma@0000:00:00.0", "every_length_comes_back", "lengths 60 to 1514")
        .shows("dma@0000:00:00.1", "every_length_comes_back", "lengths 60 to 1514");
    job.beside = Some(Device::First);
    job
}
