//! Suite `isolation` in nested runs: what each kind of device reaches, and what becomes of a guest that tells it wrong.

use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::{CARDS, Device, Model};

/// What devices reach: each kind of them, and a guest that tells the opposite of what it saw.
pub(super) fn jobs() -> impl Iterator<Item = Job> {
    let job = |name: &str, device| {
        Job::new(format!("isolation-{name}"), "smoke-late.cfg", device).word("suite=isolation")
    };
    let told = |name: &str, device| {
        job(name, device).shows("isolation", "frame_never_mapped_is_tried", "reached at").shows(
            "isolation",
            "page_table_is_out_of_reach",
            "blocked at",
        )
    };
    let card = |name| CARDS.iter().find(|card| card.name == name).map(Device::Card);
    // What it reads is its own: its answer is about frames alone.
    let own = |name| {
        job(name, Model::find(name).map(Device::Other)).shows(
            "isolation",
            "frame_never_mapped_is_tried",
            "reached at",
        )
    };
    let mut both = Job::new("isolation-two", "smoke-late.cfg", Some(Device::Nic))
        .word("suite=isolation")
        .shows("isolation@0000:00:00.0", "page_table_is_out_of_reach", "blocked at")
        .shows("isolation@0000:00:01.0", "page_table_is_out_of_reach", "blocked at");
    both.beside = Model::find("edu").map(Device::Other);
    let turned = job("turned", Some(Device::Nic)).word("selftest=isolation").expect(
        Verdict::Failure,
        &[
            ("isolation.page_table_is_out_of_reach", "isolation-none"),
            ("rig", "xen-complained"),
            ("rig", "dma-outside"),
            ("rig", "isolation-untrue"),
            ("rig", "isolation-unwitnessed"),
        ],
    );
    let control = job("control", Some(Device::Nic))
        .word("selftest=loopback")
        .expect(Verdict::Failure, &[("isolation.pool_is_reached", "isolation-control")]);
    let disk = job("ahci", Model::find("ahci").map(Device::Other))
        .expect(Verdict::Skip, &[("isolation.pool_is_reached", "ahci-read-only")]);
    [told("e1000e", card("e1000e")), own("nvme"), own("xhci"), both, turned, control, disk]
        .into_iter()
}
