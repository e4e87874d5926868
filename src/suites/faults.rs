//! Faults on purpose, each where a real one would be: `selftest=` picks one, and a check has to find it.
//!
//! | fault        | where                                             | seen by                                    |
//! |--------------|---------------------------------------------------|--------------------------------------------|
//! | `corrupt`    | what a device that the CPU plays reads            | `swiotlb` `every_length_and_offset_…`      |
//! | `copyback`   | what such a device writes                         | the same                                   |
//! | `loopback`   | between the card and its driver's caller          | `dma` `every_length_comes_back`            |
//! | `dirty`      | the hypercall layer soils pages                   | `memory` `…_come_zeroed`                   |
//! | `hide-range` | the report                                        | the rig, which has QEMU's trace            |
//! | `mask-irq`   | between the driver and its caller                 | `irq` `every_frame_interrupts`             |
//! | `bus-master` | the way to config space                           | `close` `device_lets_go`                   |
//! | `keep-port`  | the guest                                         | `close` `nothing_is_kept`                  |
//! | `leak`       | the guest                                         | the same                                   |
//! | `panic`      | the guest                                         | the rig: CRASH                             |
//! | `hang`       | the guest                                         | the rig: TIMEOUT                           |
//! | `fail:K`     | the hypercall layer, the store, the grant table   | whoever called; docs/testing.md            |

use super::{guest::Guest, ktap::DmaRange};
use crate::{
    dma::{DeviceStopped, FinishError, OwnedSlice},
    mm::pages::Pages,
    nic::{
        self, Cause, Counters, Nic, QuiesceError, ReceiveError, StartError, TransmitError,
        TxRecord, Unsent,
    },
    options::SelfTest,
    pci::{Bdf, Command, ConfigAccess, ConfigError, Width},
};
use alloc::{boxed::Box, vec::Vec};

/// What the guest itself does wrong, after the first suite.
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

/// Leaves a range out of the report.
pub(super) fn hide(fault: Option<SelfTest>, ranges: &mut Vec<DmaRange>) {
    if fault == Some(SelfTest::HideRange) {
        ranges.pop();
    }
}

/// The command register, with its low byte.
const COMMAND: u16 = 4;

/// A way to config space on which bus mastering can't be turned off.
#[derive(Debug)]
pub(super) struct StuckMaster<'a>(pub(super) &'a dyn ConfigAccess);

impl ConfigAccess for StuckMaster<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.0.read(bdf, offset, width)
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        let stuck = if offset == COMMAND { Command::MASTER.bits().into() } else { 0 };
        self.0.write(bdf, offset, width, value | stuck)
    }

    fn bars_are_virtual(&self) -> bool {
        self.0.bars_are_virtual()
    }
}

/// A card as it is, or with a fault between its driver and whoever calls that.
pub(super) fn card(nic: Box<dyn Nic>, fault: Option<SelfTest>) -> Box<dyn Nic> {
    match fault {
        Some(fault @ (SelfTest::Loopback | SelfTest::MaskIrq)) => {
            Box::new(FaultyCard { nic, fault, acknowledged: 0 })
        }
        _ => nic,
    }
}

/// Interrupts that come before they don't any more.
const RINGS: u32 = 3;

#[derive(Debug)]
struct FaultyCard {
    nic: Box<dyn Nic>,
    fault: SelfTest,
    acknowledged: u32,
}

impl Nic for FaultyCard {
    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError> {
        let received = self.nic.receive(frame)?;
        if self.fault == SelfTest::Loopback
            && let Some(byte) = received.and_then(|len| frame[..len].last_mut())
        {
            *byte ^= 1;
        }
        Ok(received)
    }

    fn acknowledge(&mut self) -> Cause {
        let cause = self.nic.acknowledge();
        self.acknowledged += u32::from(!cause.is_empty());
        if self.fault == SelfTest::MaskIrq && self.acknowledged >= RINGS {
            self.nic.enable_interrupts(Cause::empty());
        }
        cause
    }

    fn name(&self) -> &'static str {
        self.nic.name()
    }

    fn mac(&self) -> [u8; 6] {
        self.nic.mac()
    }

    fn link_up(&self) -> bool {
        self.nic.link_up()
    }

    fn set_loopback(&mut self, on: bool) -> Result<(), StartError> {
        self.nic.set_loopback(on)
    }

    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent> {
        self.nic.transmit(frame)
    }

    fn transmit_in_place(
        &mut self,
        frame: OwnedSlice,
    ) -> Result<(TxRecord, OwnedSlice), TransmitError> {
        self.nic.transmit_in_place(frame)
    }

    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        self.nic.reclaim()
    }

    fn has_room(&self) -> bool {
        self.nic.has_room()
    }

    fn in_flight(&self) -> usize {
        self.nic.in_flight()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.nic.enable_interrupts(causes);
    }

    fn counters(&self) -> Counters {
        self.nic.counters()
    }

    fn dma_ranges(&self) -> &[nic::DmaRange] {
        self.nic.dma_ranges()
    }

    fn last_tx(&self) -> Option<TxRecord> {
        self.nic.last_tx()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.nic.check_guards()
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        self.nic.quiesce()
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.nic.take_back(stopped)
    }
}
