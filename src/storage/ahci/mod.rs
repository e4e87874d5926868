//! AHCI controllers with an ATA disk, of which nothing is ever written: IDENTIFY DEVICE and READ DMA EXT are all that there
//! is (Serial ATA AHCI 1.3.1, ATA/ATAPI Command Set 3).
//!
//! ```text
//! regs        registers, by their names                   command     a command in memory, and where its fields are
//! hba         which register when                         identify    what the disk says of itself
//! transfer    commands given and waited for, blocks as transfers
//! ```
//!
//! What the medium holds is what there is to move. The disk reads no data from memory, so [`Mover::one_way`] says that only
//! the way into memory is looked at: [`Mover::fill`] reads blocks; [`Mover::send`] has the same blocks read to where the bytes
//! lie; [`Mover::fetch`] has them read once more to other memory. The controller reads its commands from memory all the same.
//!
//! One command is under way at a time, in slot 0 of the first port that has a disk. Commands that are waited for do not
//! interrupt (PxIE); what the last of a transfer interrupts for is over once PxIS is cleared.
//!
//! A controller that does not do as told is reset as a whole (GHC.HR), which is also how it is seen to stop; at the end its
//! port is stopped in order before.

mod command;
pub mod error;
mod hba;
mod identify;
mod regs;
mod transfer;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

pub use command::Opcode;
pub use error::AhciError;

use crate::{
    addr::DmaMask,
    arch::time::Clock,
    device::{
        self, Arrival, Cause, DmaRange, Driver, Lengths, Mover, QuiesceError, Registers, Sent,
        StartError, Traffic, evidence::Ranges, life::Life,
    },
    dma::{
        self, Coherent, DeviceStopped, FinishError, FromDevice, Lent, Limits, Mapping, OwnedSlice,
        PowerOfTwo, Source,
    },
    pci::Delivery,
    report::{Outcome, Reason},
};
use alloc::{format, string::String, vec::Vec};
use command::{Blocks, MOST, SHARED};
use core::{fmt, time::Duration};
use hba::Hba;
use identify::Identity;

/// How long blocks may take before they are missed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Even addresses.
const fn limits(reach: DmaMask) -> Limits {
    let limits = Limits { max_len: MOST, ..Limits::new(reach) };
    match PowerOfTwo::new(2) {
        Some(two) => limits.aligned_to(two),
        None => limits,
    }
}

/// A controller that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m, R: Registers> {
    hba: Hba<'m, R>,
    stopped: DeviceStopped,
}

/// A started controller, and a disk at one of its ports.
pub struct Ahci<'m, R: Registers> {
    hba: Hba<'m, R>,
    dma: dma::Device<'m>,
    identity: Identity,
    life: Life,
    unmasked: bool,
    /// The command list, what is received, and a command's table; `None` once taken back.
    shared: Option<Lent<Coherent<'m>>>,
    under_way: Opcode,
    /// What was filled last.
    chosen: Option<Blocks>,
    /// Whether that was sent and not yet asked for.
    inside: bool,
    /// What the device writes where the bytes lie.
    placing: Option<Lent<Mapping<'m, FromDevice, OwnedSlice>>>,
    /// What it writes besides.
    arriving: Option<Lent<Mapping<'m, FromDevice, Vec<u8>>>>,
    /// What went wrong while an interrupt was acknowledged.
    failed: Option<AhciError>,
    traffic: Traffic,
    ranges: Ranges,
}

impl<R: Registers> fmt::Debug for Ahci<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahci")
            .field("hba", &self.hba)
            .field("life", &self.life)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Idle<'m, R> {
    /// Resets the controller behind `regs`, whatever it was left doing. Memory decoding must be on.
    pub fn reset(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        let (hba, stopped) = Hba::reset_of(regs, clock)?;
        Ok(Self { hba, stopped })
    }
}

impl<'m, R: Registers + fmt::Debug + 'm> device::Idle<'m> for Idle<'m, R> {
    type Running = Ahci<'m, R>;

    /// As wide as the controller says (CAP.S64A).
    fn limits(&self) -> Limits {
        limits(self.hba.reach())
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Ahci<'m, R>, StartError> {
        let Self { hba, stopped } = self;
        let shared = dma.coherent(SHARED)?;
        let mut ranges = Ranges::default();
        ranges.add_shared(&shared);
        let mut ahci = Ahci {
            hba,
            dma,
            identity: Identity::unknown(),
            life: Life::Down(stopped),
            unmasked: false,
            shared: Some(Lent::new(shared)),
            under_way: Opcode::Identify,
            chosen: None,
            inside: false,
            placing: None,
            arriving: None,
            failed: None,
            traffic: Traffic::default(),
            ranges,
        };
        ahci.bring_up()?;
        ahci.identity = ahci.identify()?;
        Ok(ahci)
    }
}

impl<R: Registers> Ahci<'_, R> {
    fn lengths_of_a_command(&self) -> Lengths {
        let Identity { blocks, block, .. } = self.identity;
        let held = usize::try_from(blocks).map_or(usize::MAX, |n| n.saturating_mul(block));
        Lengths { min: block, max: MOST.min(held) / block * block, step: block }
    }
}

/// Why a disk does not read what it is given.
fn never_reads() -> Reason {
    let why = "nothing that changes no medium has an ATA disk read data from memory";
    Reason::new("ahci-read-only", why)
}

impl<R: Registers> Mover for Ahci<'_, R> {
    fn lengths(&self) -> Lengths {
        self.lengths_of_a_command()
    }

    fn one_way(&self) -> Option<Reason> {
        Some(never_reads())
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        Ok(self.life.check::<AhciError>()?)
    }

    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        Ok(self.read_some(bytes, seed)?)
    }

    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome> {
        let Source::Bytes(bytes) = bytes else { return Err(Outcome::Skip(never_reads())) };
        let (record, bytes) = self.read_in_place(bytes)?;
        Ok((record, bytes.into()))
    }

    fn fetch(&mut self, sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        Ok(self.fetch_blocks(sent, back)?)
    }

    fn missing(&self, sent: &Sent) -> Outcome {
        let detail = format!(
            "{} bytes read to {} were not read once more within {} s; done: {:?}",
            sent.len,
            sent.dma,
            PATIENCE.as_secs(),
            self.hba.is_done(self.under_way)
        );
        let remedy = "see `xl dmesg` for IOMMU faults; without any, the disk is stuck or very slow";
        Outcome::Failure(Reason::new("ahci-stuck", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl<R: Registers> Driver for Ahci<'_, R> {
    fn name(&self) -> &'static str {
        "ahci"
    }

    /// The disk's model and serial number, the version of the specification, and the medium.
    fn label(&self) -> String {
        let (Identity { label, blocks, block }, [major, minor]) =
            (&self.identity, self.hba.version());
        format!("{label}, AHCI {major}.{minor:x}, {blocks} x {block}")
    }

    /// It sends a message wherever it would assert its pin, and has to be told nothing.
    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Msi, Delivery::Intx]
    }

    fn acknowledge(&mut self) -> Cause {
        self.take_interrupts()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.unmasked = causes.contains(Cause::RECEIVED);
        if self.life.is_running() {
            self.hba.set_mask(self.unmasked);
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.placing.as_ref().map_or(Ok(()), |memory| memory.check_guards())?;
        self.arriving.as_ref().map_or(Ok(()), |memory| memory.check_guards())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        if self.life.is_running() {
            // The reset after it is what has to be seen.
            let _ = self.hba.stop();
        }
        let stopped = self.hba.reset().map_err(|e| self.life.lose(e))?;
        Ok(self.take_back(&stopped)?)
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        // What Xen won't take back is counted by the pool.
        self.shared.take().map(|shared| shared.reclaim(stopped).close());
        self.reclaim(stopped)
    }
}

impl<R: Registers> Drop for Ahci<'_, R> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}
