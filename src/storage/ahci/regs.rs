//! Registers (Serial ATA AHCI 1.3.1, section 3), by their names there. All are 32 bits wide.

use bitflags::bitflags;

/// HBA capabilities.
pub(super) const CAP: usize = 0x00;
/// Global HBA control.
pub(super) const GHC: usize = 0x04;
/// Interrupt status: a bit for each port, cleared by writing ones.
pub(super) const IS: usize = 0x08;
/// Ports implemented.
pub(super) const PI: usize = 0x0c;
/// Version.
pub(super) const VS: usize = 0x10;

/// HBA capabilities extended.
pub(super) const CAP2: usize = 0x24;
/// BIOS/OS handoff control and status.
pub(super) const BOHC: usize = 0x28;

/// The registers of port 0; those of the others follow.
const PORTS: usize = 0x100;
/// Bytes of a port's registers.
const PORT: usize = 0x80;

/// Where a port's registers end.
pub(super) const fn end_of_port(number: u32) -> usize {
    PORTS + PORT * (number as usize + 1)
}

/// One of a port's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Px {
    /// Command list base address; the upper half is behind.
    Clb = 0x00,
    /// FIS base address; the upper half is behind.
    Fb = 0x08,
    /// Interrupt status, cleared by writing ones.
    Is = 0x10,
    /// Interrupt enable.
    Ie = 0x14,
    /// Command and status.
    Cmd = 0x18,
    /// Task file data: status in bits 0 to 7, error in 8 to 15.
    Tfd = 0x20,
    /// Signature.
    Sig = 0x24,
    /// Serial ATA status.
    Ssts = 0x28,
    /// Serial ATA control.
    Sctl = 0x2c,
    /// Serial ATA error, cleared by writing ones.
    Serr = 0x30,
    /// Command issue.
    Ci = 0x38,
}

impl Px {
    /// Its offset, for a port.
    pub(super) const fn of(self, port: u32) -> usize {
        PORTS + PORT * port as usize + self as usize
    }
}

/// [`CAP`] bit 31, S64A: addresses of 64 bits.
pub(super) const S64A: u32 = 1 << 31;
/// [`CAP2`] bit 0, BOH: there is [`BOHC`].
pub(super) const BOH: u32 = 1;
/// [`Px::Sig`] of an ATA disk (section 5.2.1).
pub(super) const SIG_ATA: u32 = 0x0000_0101;

/// [`Px::Ssts`] bits 0 to 3, DET: a device is there, and the link is up.
pub(super) const fn is_linked(ssts: u32) -> bool {
    ssts & 0xf == 3
}

/// [`Px::Sctl`]: no power saving, and COMRESET for as long as this stands there.
pub(super) const SCTL_RESET: u32 = 0x301;
/// [`Px::Sctl`]: no power saving.
pub(super) const SCTL_RUN: u32 = 0x300;

bitflags! {
    /// [`GHC`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Control: u32 {
        /// HBA reset; reads as one until it is done.
        const HR = 1;
        /// Interrupt enable.
        const IE = 1 << 1;
        /// AHCI enable.
        const AE = 1 << 31;
    }

    /// [`BOHC`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Handoff: u32 {
        /// BIOS owned semaphore: the firmware has the controller.
        const BOS = 1;
        /// OS owned semaphore: the operating system wants it.
        const OOS = 1 << 1;
        /// OS ownership change, cleared by writing a one.
        const OOC = 1 << 3;
        /// BIOS busy: the firmware ends what it began.
        const BB = 1 << 4;
    }

    /// [`Px::Cmd`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u32 {
        /// Start: commands are fetched.
        const ST = 1;
        /// Spin-up device.
        const SUD = 1 << 1;
        /// Power on device.
        const POD = 1 << 2;
        /// FIS receive enable.
        const FRE = 1 << 4;
        /// FIS receive running.
        const FR = 1 << 14;
        /// Command list running.
        const CR = 1 << 15;
    }

    /// [`Px::Is`] and [`Px::Ie`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Interrupt: u32 {
        /// A device-to-host register FIS: a DMA command is done.
        const DHRS = 1;
        /// A PIO setup FIS: what IDENTIFY ends with.
        const PSS = 1 << 1;
        /// Overflow: more bytes came than the command has room for.
        const OFS = 1 << 24;
        /// Interface non-fatal error.
        const INFS = 1 << 26;
        /// Interface fatal error.
        const IFS = 1 << 27;
        /// Host bus data error.
        const HBDS = 1 << 28;
        /// Host bus fatal error: an address was refused.
        const HBFS = 1 << 29;
        /// Task file error: the disk ended a command with an error.
        const TFES = 1 << 30;
    }

    /// The status in [`Px::Tfd`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TaskFile: u8 {
        /// Error.
        const ERR = 1;
        /// Data request.
        const DRQ = 1 << 3;
        /// Busy.
        const BSY = 1 << 7;
    }
}

impl Interrupt {
    /// What ends a transfer otherwise than well.
    pub(super) const ERRORS: Self =
        Self::OFS.union(Self::IFS).union(Self::HBDS).union(Self::HBFS).union(Self::TFES);
    /// What a transfer that is not waited for interrupts for.
    pub(super) const WANTED: Self = Self::DHRS.union(Self::ERRORS);
}
