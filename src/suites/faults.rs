//! Faults on purpose, each where a real one would be: `selftest=` picks one, and a check has to find it.
//!
//! | fault        | where                                             | seen by                                    |
//! |--------------|---------------------------------------------------|--------------------------------------------|
//! | `corrupt`    | what a device that the CPU plays reads            | `swiotlb` `every_length_and_offset_…`      |
//! | `copyback`   | what such a device writes                         | the same                                   |
//! | `loopback`   | between a driver and its caller                   | `dma` `every_length_comes_back`            |
//! | `dirty`      | the hypercall layer soils pages                   | `memory` `…_come_zeroed`                   |
//! | `hide-range` | the report                                        | the rig, which has QEMU's trace            |
//! | `isolation`  | between the suite and what it saw                | `isolation` `page_table_…`, and the rig    |
//! | `mask-irq`   | between a driver and its caller                   | `irq` `intx_interrupts`                    |
//! | `message`    | between the suite and what it read                | `irq` `msi_interrupts`, `msix_interrupts`  |
//! | `bus-master` | the way to config space                           | `close` `device_lets_go`                   |
//! | `keep-port`  | the guest                                         | `close` `nothing_is_kept`, and `hotplug`   |
//! | `leak`       | the guest                                         | the same                                   |
//! | `panic`      | the guest                                         | the rig: CRASH                             |
//! | `hang`       | the guest                                         | the rig: TIMEOUT                           |
//! | `fail:K`     | the hypercall layer, the store, the grant table   | whoever called; docs/testing.md            |

use crate::{guest::Guest, mm::pages::Pages, options::SelfTest, report::ktap::DmaRange};
use alloc::vec::Vec;

/// What the guest itself does wrong, after the first suite, or the first round of devices that come and go.
pub(super) fn strike(guest: &Guest) {
    match guest.options.selftest {
        Some(SelfTest::Panic) => panic!("selftest=panic asked for this"),
        Some(SelfTest::Hang) => loop {
            core::hint::spin_loop();
        },
        Some(SelfTest::Leak) => {
            // Without a page there is none to keep, and the run ends otherwise than expected.
            let _ = Pages::new(guest.memory, 1).map(Pages::leak);
        }
        Some(SelfTest::KeepPort) => {
            let _ = guest.events.bind_ipi();
        }
        _ => {}
    }
}

/// Where the device's messages go, or a place in memory.
pub(super) fn stray(fault: Option<SelfTest>, address: u64) -> u64 {
    if fault == Some(SelfTest::Message) { address & 0xf_ffff } else { address }
}

/// Leaves a range out of the report.
pub(super) fn hide(fault: Option<SelfTest>, ranges: &mut Vec<DmaRange>) {
    if fault == Some(SelfTest::HideRange) {
        ranges.pop();
    }
}
