//! The guest as dom0 in `test`: with devices of the machine's, and each sort of IOMMU before them.
//!
//! By Xen's default a dom0's devices reach all RAM, behind an IOMMU as well. Where Xen is to keep them to dom0's, a device that is
//! behind none is told, and the one beside it is not.

use super::home::Home;
use crate::job::{Fault, Job};
use crate::judge::Verdict;
use crate::machine::{Card, Device, Iommu, Model};

/// Suites of a card, where it is.
struct Seat {
    irq: &'static str,
    dma: &'static str,
    isolation: &'static str,
}

/// On the machine's first bus.
const ROOT: Seat =
    Seat { irq: "irq@0000:00:15.0", dma: "dma@0000:00:15.0", isolation: "isolation@0000:00:15.0" };
/// Behind a port of a root of its own.
const BEHIND: Seat =
    Seat { irq: "irq@0000:41:00.0", dma: "dma@0000:41:00.0", isolation: "isolation@0000:41:00.0" };

/// What is told of a card that reaches everything.
const OPEN: [Fault; 1] = [("isolation@0000:00:15.0.page_table_is_out_of_reach", "isolation-none")];
/// The same of the one beside a card that does not.
const BESIDE: [Fault; 1] =
    [("isolation@0000:00:18.0.page_table_is_out_of_reach", "isolation-none")];

/// What QEMU's AMD IOMMU refuses it notes, and tells Xen nothing of it.
const MUTE: [Fault; 1] = [("rig", "isolation-unwitnessed")];

/// A dom0 with a card, and perhaps with something beside it.
fn board(name: &str, seat: &Seat, beside: Option<Device>) -> Job {
    let mut job = Job::new(name, "no-device.cfg", card("e1000e"))
        .word("suite=board,pci,irq,dma,isolation")
        .word("transfers=20")
        .shows("board", "both_ways_agree", "segment 0000, buses 00 to ff")
        .shows(seat.irq, "msix_interrupts", "none masked, 1 unmasked")
        .shows(seat.dma, "every_length_comes_back", "lengths 60 to 1514");
    job.beside = beside;
    job
}

fn card(name: &str) -> Option<Device> {
    Card::find(name).map(Device::Card)
}

/// Each machine with its job.
pub(super) fn jobs() -> [(Job, Home<'static>); 4] {
    let open = |name, iommu| {
        let job = board(name, &ROOT, None).expect(Verdict::Success, &OPEN);
        (job, Home { iommu, ..Home::USUAL })
    };
    let kept = |job: Job, seat: &Seat, iommu| {
        let job = job.shows(seat.isolation, "page_table_is_out_of_reach", "blocked at");
        (job, Home { iommu, strict: true, ..Home::USUAL })
    };
    let nvme = Model::find("nvme").map(Device::Other);
    let some = board("dom0-some-iommu", &BEHIND, card("pcnet")).expect(Verdict::Failure, &BESIDE);
    [
        open("dom0-no-iommu", Iommu::None),
        open("dom0-iommu", Iommu::All),
        kept(some, &BEHIND, Iommu::Some),
        kept(board("dom0-amd", &ROOT, nvme).expect(Verdict::Skip, &MUTE), &ROOT, Iommu::Amd),
    ]
}
