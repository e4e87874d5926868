//! NVM Express controllers, of which nothing is ever written: Identify, Read and Compare are all that there is
//! (NVM Express Base Specification 2.0, NVM Command Set Specification 1.0).
//!
//! ```text
//! regs        controller properties, by their names       command     commands, and where their fields are
//! prp         where data lies, in pages                   identify    what the controller and its namespaces say
//! queue       commands out, completions in                controller  which property when
//! commands    commands given and waited for               transfer    blocks as transfers
//! interrupts  masks, and what is acknowledged
//! ```
//!
//! What the medium holds is what there is to move. [`Mover::fill`] reads blocks; [`Mover::send`] has the controller
//! read those bytes from wherever they lie, and compare them with the blocks (Compare): it says itself whether it found a
//! wrong one; [`Mover::fetch`] has it write the same blocks to other memory. A controller without Compare reads no data
//! from memory: then the blocks are read to where the bytes lie, [`Mover::one_way`] says so, and what is compared is two
//! ways into memory.
//!
//! There are two I/O queues, and one command is under way at a time. Commands that are waited for go to the one whose
//! completions never interrupt. The second half of a transfer goes to the other; its interrupt is over once that completion
//! queue's head is told, which is what acknowledging comes to.
//!
//! Disabling (CC.EN) is what stops a controller, and CSTS.RDY shows that it did; at the end it is told before (CC.SHN), and
//! has the time that it asks for. One that completes nothing in time, or
//! what it was not asked for, is disabled, and set up anew for the next command.

mod command;
mod commands;
mod controller;
pub mod error;
mod identify;
mod interrupts;
mod prp;
mod queue;
mod regs;
mod transfer;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

pub use command::Opcode;
pub use error::{NvmeError, Status};

use crate::{
    addr::DmaMask,
    arch::time::Clock,
    device::{
        self, Arrival, Cause, DmaRange, Driver, Lengths, Mover, QuiesceError, Registers,
        ResetError, Sent, StartError, Traffic, evidence::Ranges, life::Life,
    },
    dma::{
        self, Coherent, DeviceStopped, FinishError, FromDevice, Lent, Limits, Mapping, OwnedSlice,
        PowerOfTwo, Source, ToDevice,
    },
    pci::Delivery,
    report::{Outcome, Reason},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use command::Blocks;
use controller::Controller;
use core::{fmt, time::Duration};
use identify::{Identity, Namespace};
use queue::{Done, POLLED, QUEUES, Queue};

/// How long blocks may take before they are missed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the list of pages starts in the memory shared with the controller, behind the queue pairs.
const LIST: usize = 3 * queue::BYTES;
/// Bytes of that memory.
const SHARED: usize = LIST + regs::PAGE;

/// 64-bit addresses that are multiples of four, and pages: the first may be used from any place on.
const fn limits() -> Limits {
    let limits = Limits { max_len: prp::MOST, ..Limits::new(DmaMask::BITS_64) };
    match (PowerOfTwo::new(4), PowerOfTwo::new(regs::PAGE)) {
        (Some(four), Some(page)) => limits.aligned_to(four).keeping_offset(page),
        _ => limits,
    }
}

/// A controller that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m, R: Registers> {
    controller: Controller<'m, R>,
    version: [u16; 3],
    stopped: DeviceStopped,
}

/// What interrupted or is to.
#[derive(Clone, Copy, Debug, Default)]
struct Interrupts {
    /// Whether a completion was seen in the queue that interrupts of which the controller does not know that it was.
    untaken: bool,
    /// Whether something came that would have interrupted, had the driver not played the mask.
    held_back: bool,
    /// Whether the controller was given a command in order to interrupt for that.
    ringing: bool,
}

/// A started controller, and one namespace of it.
pub struct Nvme<'m, R: Registers> {
    controller: Controller<'m, R>,
    dma: dma::Device<'m>,
    version: [u16; 3],
    identity: Identity,
    namespace: Namespace,
    life: Life,
    unmasked: bool,
    /// How it interrupts.
    delivery: Delivery,
    queues: [Queue; QUEUES],
    /// The queue pairs, and a list of pages; `None` once taken back.
    shared: Option<Lent<Coherent<'m>>>,
    /// What was filled last.
    chosen: Option<Blocks>,
    /// Whether that was sent and not yet asked for.
    inside: bool,
    /// What the controller compares.
    reading: Option<Lent<Mapping<'m, ToDevice, Source>>>,
    /// What it writes in place of comparing.
    placing: Option<Lent<Mapping<'m, FromDevice, OwnedSlice>>>,
    /// What it writes besides.
    arriving: Option<Lent<Mapping<'m, FromDevice, Vec<u8>>>>,
    /// Which queue the command for that is in.
    inbound: usize,
    /// How it ended.
    done: Option<Done>,
    interrupts: Interrupts,
    /// What went wrong while an interrupt was acknowledged.
    failed: Option<NvmeError>,
    traffic: Traffic,
    ranges: Ranges,
}

impl<R: Registers> fmt::Debug for Nvme<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvme")
            .field("life", &self.life)
            .field("queues", &self.queues)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Idle<'m, R> {
    /// Disables the controller behind `regs`, whatever it was left doing. Memory decoding must be on.
    pub fn reset(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        let controller = Controller::new(regs, clock)?;
        let stopped = controller.disable()?;
        let version = controller.version();
        Ok(Self { controller, version, stopped })
    }
}

impl<'m, R: Registers + fmt::Debug + 'm> device::Idle<'m> for Idle<'m, R> {
    type Running = Nvme<'m, R>;

    fn limits(&self) -> Limits {
        limits()
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Nvme<'m, R>, StartError> {
        let Self { controller, version, stopped } = self;
        let most = controller.capabilities.most_entries();
        let shared = dma.coherent(SHARED)?;
        let mut ranges = Ranges::default();
        ranges.add_shared(&shared);
        let mut nvme = Nvme {
            controller,
            dma,
            version,
            identity: Identity::unknown(),
            namespace: Namespace { number: 0, blocks: 1, block: 512 },
            life: Life::Down(stopped),
            unmasked: false,
            delivery: Delivery::Intx,
            queues: [0, 1, 2].map(|id| Queue::new(usize::from(id) * queue::BYTES, id, most)),
            shared: Some(Lent::new(shared)),
            chosen: None,
            inside: false,
            reading: None,
            placing: None,
            arriving: None,
            inbound: POLLED,
            done: None,
            interrupts: Interrupts::default(),
            failed: None,
            traffic: Traffic::default(),
            ranges,
        };
        nvme.bring_up()?;
        (nvme.identity, nvme.namespace) = nvme.identify()?;
        Ok(nvme)
    }
}

impl<R: Registers> Nvme<'_, R> {
    fn lengths_of_a_command(&self) -> Lengths {
        let Namespace { blocks, block, .. } = self.namespace;
        let held = usize::try_from(blocks).map_or(usize::MAX, |n| n.saturating_mul(block));
        Lengths { min: block, max: self.identity.most.min(held) / block * block, step: block }
    }

    /// Has a controller that runs know that it is done with.
    fn shut_down(&mut self) -> Result<(), ResetError> {
        // Whoever asked for these bytes does so no more.
        let _ = self.end_arriving();
        if !self.life.is_running() {
            return Ok(());
        }
        self.controller.shut_down(self.identity.shutdown)
    }
}

impl<R: Registers> Mover for Nvme<'_, R> {
    fn lengths(&self) -> Lengths {
        self.lengths_of_a_command()
    }

    fn one_way(&self) -> Option<Reason> {
        let why =
            "the controller has no Compare (ONCS bit 0), and nothing else here has it read memory";
        (!self.identity.compares).then(|| Reason::new("nvme-no-compare", why))
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        Ok(self.life.check::<NvmeError>()?)
    }

    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        Ok(self.read_some(bytes, seed)?)
    }

    fn only_filled(&self) -> Option<Reason> {
        let why = "what the controller reads it compares with its medium, on which there is no page table";
        Some(Reason::new("nvme-own-blocks", why))
    }

    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome> {
        match (bytes, self.one_way()) {
            (Source::Probe(_), Some(reason)) => Err(Outcome::Skip(reason)),
            (bytes, _) => Ok(self.send_blocks(bytes)?),
        }
    }

    fn fetch(&mut self, sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        Ok(self.fetch_blocks(sent, back)?)
    }

    fn missing(&self, sent: &Sent) -> Outcome {
        let detail = format!(
            "{} bytes compared at {} were not read once more within {} s; {:?}",
            sent.len,
            sent.dma,
            PATIENCE.as_secs(),
            self.controller.check()
        );
        let remedy = "see `xl dmesg` for IOMMU faults; without any, the disk is stuck or very slow";
        Outcome::Failure(Reason::new("nvme-stuck", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl<R: Registers> Driver for Nvme<'_, R> {
    fn name(&self) -> &'static str {
        "nvme"
    }

    /// Its model and serial number, the version of the specification, and the namespace.
    fn label(&self) -> String {
        let (Namespace { number, blocks, block }, [major, minor, tertiary]) =
            (self.namespace, self.version);
        let version = format!("{major}.{minor}.{tertiary}");
        [self.identity.label.clone(), version, format!("namespace {number} of {blocks} x {block}")]
            .join(", ")
            .to_string()
    }

    fn deliveries(&self) -> &'static [Delivery] {
        &Delivery::LADDER
    }

    /// Both queues that interrupt do so by vector 0. How that comes is to be set up before they are made (NVMe 1.4, 7.6.1), and
    /// there are controllers that look then: so they are made anew.
    fn deliver(&mut self, how: Delivery) -> Result<(), ResetError> {
        let anew = how != self.delivery && self.life.is_running();
        self.delivery = how;
        if anew {
            // Whoever asked for these bytes does so no more.
            let _ = self.end_arriving();
            let stopped = self.controller.disable().map_err(|error| self.life.lose(error))?;
            let _ = self.reclaim(&stopped);
            self.life = Life::Down(stopped);
            // Whoever has it do something finds out.
            self.failed = self.failed.or(self.bring_up().err());
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Cause {
        self.take_completions()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.unmasked = causes.contains(Cause::RECEIVED);
        if !self.life.is_running() {
            return;
        }
        let set = self.set_mask();
        // Whoever looks for what came finds out.
        self.failed = self.failed.or(set.err());
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
        let told = self.shut_down();
        let stopped = self.controller.disable().map_err(|e| self.life.lose(e))?;
        self.take_back(&stopped)?;
        match told {
            Err(ResetError::Stuck(late)) => Err(QuiesceError::Late(late)),
            _ => Ok(()),
        }
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        // What Xen won't take back is counted by the pool.
        self.shared.take().map(|shared| shared.reclaim(stopped).close());
        self.reclaim(stopped)
    }
}

impl<R: Registers> Drop for Nvme<'_, R> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}
