//! The device: what is written where, and in which order (virtio 1.2, section 3.1.1 and 4.1.5.1).
//!
//! Writes are posted (PCI Local Bus Specification 3.0, section 3.2.5): where the next step stands on one having arrived, a
//! register is read.

use super::{
    regs::{
        CONFIG_MSIX_VECTOR, CONFIGURATION, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DEVICE_STATUS,
        DRIVER_FEATURE, DRIVER_FEATURE_SELECT, Features, LINK_UP, NET_MAC, NET_STATUS, NO_VECTOR,
        QUEUE_DESC, QUEUE_ENABLE, QUEUE_MSIX_VECTOR, QUEUE_NOTIFY_OFF, QUEUE_SELECT, QUEUE_SIZE,
        RECEIVEQ1, Status, TRANSMITQ1,
    },
    structures::Structures,
};
use crate::{
    addr::{BusAddr, DmaMask, to_usize},
    arch::{time::Clock, wait::Deadline},
    device::{Cause, Refused, Registers, ResetError, StartError},
    dma::{DeviceStopped, Limits},
    nic::{
        HEADER,
        rings::{
            chip::{self, Descriptor, Places, Progress, Received},
            split,
        },
    },
    pci::Delivery,
};
use core::{cell::Cell, fmt, time::Duration};

/// How long a reset may take; QEMU's model takes none.
const LIMIT: Duration = Duration::from_secs(1);
/// The only vector that the host sets up.
const VECTOR: u16 = 0;
/// What a device is told before it is told which features the driver knows.
const KNOWN: Status = Status::ACKNOWLEDGE.union(Status::DRIVER);
/// The features without which there is no use of a device.
const NEEDED: [(Features, &str); 3] = [
    (Features::VERSION_1, "feature VERSION_1"),
    (
        Features::ACCESS_PLATFORM,
        "feature ACCESS_PLATFORM, so it would pass by the IOMMU: with QEMU, say iommu_platform=on",
    ),
    (Features::MAC, "address of its own"),
];

/// The device, and a clock to wait with.
pub(super) struct Chip<'m, R> {
    structures: Structures<R>,
    clock: &'m dyn Clock,
    /// Those that both know.
    features: Features,
    /// The doorbells of both queues.
    doorbells: [usize; 2],
    /// Whether interrupts come as messages from a table.
    tabled: bool,
    /// What was last seen of its link: [`LINK_UP`], or 0.
    link: Cell<u16>,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chip")
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(super) const fn new(structures: Structures<R>, clock: &'m dyn Clock) -> Self {
        let (features, link) = (Features::empty(), Cell::new(0));
        Self { structures, clock, features, doorbells: [0; 2], tabled: false, link }
    }

    /// The address of a device that was just reset, and all else that has to be known of it.
    pub(super) fn identify(&mut self) -> Result<[u8; 6], StartError> {
        let found = self.look();
        if found.is_err() {
            self.give_up();
        }
        found
    }

    fn look(&mut self) -> Result<[u8; 6], StartError> {
        self.set_status(KNOWN);
        self.features = self.offered();
        for (needed, what) in NEEDED {
            if !self.features.contains(needed) {
                self.status()?;
                return Err(StartError::Lacks(what));
            }
        }
        self.agree()?;
        for queue in [RECEIVEQ1, TRANSMITQ1] {
            self.write_u16(QUEUE_SELECT, queue);
            let (most, number) = (self.read_u16(QUEUE_SIZE), self.read_u16(QUEUE_NOTIFY_OFF));
            self.status()?;
            if most < split::LEN {
                return Err(StartError::Lacks("queues of 64 descriptors"));
            }
            self.doorbells[usize::from(queue)] = self.structures.doorbell(number)?;
        }
        let (regs, at) = self.structures.at(self.structures.device, NET_MAC);
        let mac = [0, 1, 2, 3, 4, 5].map(|n| regs.read_u8(at + n));
        self.status()?;
        Ok(mac)
    }

    fn offered(&self) -> Features {
        let half = |n: u32| {
            let (regs, at) = self.structures.at(self.structures.common, 0);
            regs.write_u32(at + DEVICE_FEATURE_SELECT, n);
            u64::from(regs.read_u32(at + DEVICE_FEATURE)) << (32 * n)
        };
        Features::from_bits_truncate(half(0) | half(1))
    }

    /// Tells a device that was just reset which features the driver knows. Nothing but those is known of it before it agrees
    /// (section 3.1.1).
    fn agree(&self) -> Result<(), ResetError> {
        self.set_status(KNOWN);
        let [a, b, c, d, e, f, g, h] = self.features.bits().to_le_bytes();
        for (n, half) in [(0, [a, b, c, d]), (1, [e, f, g, h])] {
            self.write_u32(DRIVER_FEATURE_SELECT, n);
            self.write_u32(DRIVER_FEATURE, u32::from_le_bytes(half));
        }
        self.set_status(KNOWN | Status::FEATURES_OK);
        if !self.status()?.contains(Status::FEATURES_OK) {
            return Err(Refused::Features(self.features.bits()).into());
        }
        Ok(())
    }

    /// Starts a device that was just reset.
    fn run(&self, rings: Places) -> Result<(), ResetError> {
        self.agree()?;
        self.set_queue(RECEIVEQ1, rings.receive);
        self.set_queue(TRANSMITQ1, rings.transmit);
        self.set_vectors()?;
        self.link_changed();
        self.set_status(KNOWN | Status::FEATURES_OK | Status::DRIVER_OK);
        self.status().map(drop)
    }

    /// Tells the device that nobody will use it (section 2.1).
    fn give_up(&self) {
        if let Ok(status) = self.status() {
            // No bit that the device made up: it is not to run.
            let told = status & (KNOWN | Status::FEATURES_OK);
            self.set_status(told | Status::FAILED);
            // Who does not answer any more need not be told.
            let _ = self.status();
        }
    }

    fn write_u16(&self, offset: usize, value: u16) {
        let (regs, at) = self.structures.at(self.structures.common, offset);
        regs.write_u16(at, value);
    }

    fn read_u16(&self, offset: usize) -> u16 {
        let (regs, at) = self.structures.at(self.structures.common, offset);
        regs.read_u16(at)
    }

    fn write_u32(&self, offset: usize, value: u32) {
        let (regs, at) = self.structures.at(self.structures.common, offset);
        regs.write_u32(at, value);
    }

    fn set_status(&self, status: Status) {
        let (regs, at) = self.structures.at(self.structures.common, DEVICE_STATUS);
        regs.write_u8(at, status.bits());
    }

    /// Every bit of it is set by nobody.
    fn status(&self) -> Result<Status, ResetError> {
        let (regs, at) = self.structures.at(self.structures.common, DEVICE_STATUS);
        match regs.read_u8(at) {
            u8::MAX => Err(ResetError::Gone),
            bits => Ok(Status::from_bits_retain(bits)),
        }
    }

    /// Says where a queue is, and that it is there.
    #[expect(clippy::cast_possible_truncation, reason = "both halves are written")]
    fn set_queue(&self, queue: u16, BusAddr(base): BusAddr) {
        self.write_u16(QUEUE_SELECT, queue);
        self.write_u16(QUEUE_SIZE, split::LEN);
        let places = [base, base + split::AVAILABLE as u64, base + split::USED as u64];
        for (place, register) in places.into_iter().zip((QUEUE_DESC..).step_by(8)) {
            self.write_u32(register, place as u32);
            self.write_u32(register + 4, (place >> 32) as u32);
        }
        self.write_u16(QUEUE_ENABLE, 1);
    }

    fn set_vectors(&self) -> Result<(), ResetError> {
        self.set_vector(CONFIG_MSIX_VECTOR, "configuration")?;
        for (queue, what) in [(RECEIVEQ1, "receive queue"), (TRANSMITQ1, "transmit queue")] {
            self.write_u16(QUEUE_SELECT, queue);
            self.set_vector(QUEUE_MSIX_VECTOR, what)?;
        }
        Ok(())
    }

    /// A device that has no room for a vector says so where it was told of it (section 4.1.5.1.2.2).
    fn set_vector(&self, register: usize, what: &'static str) -> Result<(), ResetError> {
        let vector = if self.tabled { VECTOR } else { NO_VECTOR };
        self.write_u16(register, vector);
        let found = if self.tabled { self.read_u16(register) } else { vector };
        if found != vector {
            self.status()?;
            return Err(Refused::Vector { what, vector, found }.into());
        }
        Ok(())
    }

    /// What the device says of its link, if it knows of it (section 5.1.4).
    fn link(&self) -> Option<u16> {
        let (regs, at) = self.structures.at(self.structures.device, NET_STATUS);
        self.features.contains(Features::STATUS).then(|| regs.read_u16(at))
    }

    /// Whether the link is another than when this was last asked. That is not told by another `config_generation`, which
    /// need not come before the driver has read what changed (section 4.1.4.3.1).
    fn link_changed(&self) -> bool {
        self.link().is_some_and(|status| {
            let link = status & LINK_UP;
            self.link.replace(link) != link
        })
    }

    fn ring(&self, queue: u16) {
        self.structures.ring(self.doorbells[usize::from(queue)], queue);
    }
}

impl<R: Registers> chip::Chip for Chip<'_, R> {
    fn name(&self) -> &'static str {
        "virtio-net"
    }

    /// There is no MSI on a virtio device (section 4.1.4.3).
    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Msix, Delivery::Intx]
    }

    fn deliver(&mut self, how: Delivery) -> Result<(), ResetError> {
        self.tabled = how == Delivery::Msix;
        self.set_vectors().inspect_err(|_| {
            self.tabled = false;
            // Whoever has no vector is asked for none.
            let _ = self.set_vectors();
        })
    }

    /// Any address, of a device that uses addresses as others do (section 6.1). Buffers start anywhere.
    fn limits(&self) -> Limits {
        Limits::new(DmaMask::BITS_64)
    }

    /// It is through with all memory once the status reads as 0 (section 2.4.1).
    fn reset(&self) -> Result<DeviceStopped, ResetError> {
        self.set_status(Status::empty());
        Deadline::new(self.clock, LIMIT).until("the device to come out of its reset", || {
            self.status().map(|status| status.is_empty())
        })?;
        Ok(DeviceStopped::seen())
    }

    fn start(&self, _: DeviceStopped, rings: Places, _: bool) -> Result<(), ResetError> {
        self.run(rings).inspect_err(|_| self.give_up())
    }

    fn check_there(&self) -> Result<(), ResetError> {
        self.status().map(drop)
    }

    fn needs_reset(&self) -> Result<bool, ResetError> {
        Ok(self.status()?.contains(Status::NEEDS_RESET))
    }

    /// A device that does not know of its link has one (section 5.1.4.2).
    fn link_up(&self) -> bool {
        match self.link() {
            Some(status) => status != u16::MAX && status & LINK_UP != 0,
            None => self.check_there().is_ok(),
        }
    }

    fn set_receive_tail(&self, _: u32) {
        self.ring(RECEIVEQ1);
    }

    fn set_transmit_tail(&self, _: u32) {
        self.ring(TRANSMITQ1);
    }

    /// The device counts none.
    fn take_missed(&mut self) -> u64 {
        0
    }

    /// Reading the causes lets go of the line. Messages have no causes (section 4.1.4.5.2); and what of them is a queue's
    /// only the queues tell. Of a link that came and went in between the causes tell alone; of one that changed while all
    /// were masked, the link.
    fn acknowledge(&self) -> Cause {
        let (regs, at) = self.structures.at(self.structures.isr, 0);
        let told = if self.tabled { 0 } else { regs.read_u8(at) };
        let Ok(status) = self.status() else { return Cause::GONE };
        if told == u8::MAX {
            return Cause::GONE;
        }
        let broken = status.contains(Status::NEEDS_RESET);
        // The same cause tells of an error.
        let came = told & CONFIGURATION != 0 && !broken && self.features.contains(Features::STATUS);
        let mut causes = Cause::empty();
        causes.set(Cause::LINK, self.link_changed() || came);
        causes.set(Cause::BROKEN, broken);
        causes
    }

    /// The queues were asked by their memory, and a configuration that changes interrupts at any rate. Whoever masks all
    /// counts on a line that is let go of.
    fn enable_interrupts(&self, causes: Cause) {
        if causes.is_empty() && !self.tabled {
            let (regs, at) = self.structures.at(self.structures.isr, 0);
            regs.read_u8(at);
        }
    }

    fn is_split(&self) -> bool {
        true
    }

    fn shortest(&self) -> usize {
        HEADER
    }

    fn loops(&self) -> bool {
        false
    }

    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor {
        split::to_receive(bus)
    }

    fn received(&self, word: u64) -> Option<Received> {
        let [a, b, c, d, ..] = word.to_le_bytes();
        let status = u32::from_le_bytes([a, b, c, d]);
        let length = to_usize(status.into()).saturating_sub(split::HEADER);
        (word != 0).then_some(Received { length, status, good: word & split::DONE != 0 })
    }

    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor {
        split::to_send(bus, len)
    }

    /// A device says of no frame that it was not sent. One that lists what it does not have never is through with anything.
    fn progress(&self, word: u64) -> Progress {
        if word & split::DONE != 0 { Progress::Sent } else { Progress::Pending }
    }
}
