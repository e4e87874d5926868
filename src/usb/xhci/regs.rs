//! Registers (eXtensible Host Controller Interface 1.2, section 5), by their names there. All are read and written as 32
//! bits; of those with 64 the lower half comes first.

use bitflags::bitflags;

/// CAPLENGTH in bits 0 to 7, where the operational registers begin; HCIVERSION in 16 to 31 (sections 5.3.1, 5.3.2).
pub(super) const CAPLENGTH: usize = 0x00;
/// Structural parameters 1 (section 5.3.3): MaxSlots in bits 0 to 7, MaxPorts in 24 to 31.
pub(super) const HCSPARAMS1: usize = 0x04;
/// Structural parameters 2 (section 5.3.4): Max Scratchpad Buffers, its upper five bits in 21 to 25, its lower in 27 to 31.
pub(super) const HCSPARAMS2: usize = 0x08;
/// Capability parameters 1 (section 5.3.6): AC64 in bit 0, xECP in 16 to 31, in units of four bytes.
pub(super) const HCCPARAMS1: usize = 0x10;
/// Where the doorbells begin (section 5.3.7).
pub(super) const DBOFF: usize = 0x14;
/// Where the runtime registers begin (section 5.3.8).
pub(super) const RTSOFF: usize = 0x18;
/// Bytes of the capability registers above.
pub(super) const CAPABILITIES: usize = 0x20;

/// [`HCCPARAMS1`] bit 0, AC64: addresses of 64 bits.
pub(super) const AC64: u32 = 1;

/// Max Scratchpad Buffers, from [`HCSPARAMS2`].
pub(super) const fn scratchpads(hcsparams2: u32) -> usize {
    ((hcsparams2 >> 21 & 0x1f) << 5 | hcsparams2 >> 27) as usize
}

/// Operational registers (section 5.4), from CAPLENGTH on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Command.
    UsbCmd = 0x00,
    /// Status.
    UsbSts = 0x04,
    /// Page size: bit n for 2^(n+12) bytes.
    PageSize = 0x08,
    /// Command ring control: where the command ring is, of a controller whose ring is not running.
    Crcr = 0x18,
    /// Where the device context base address array is.
    Dcbaap = 0x30,
    /// Configure: MaxSlotsEn in bits 0 to 7.
    Config = 0x38,
}

/// Bytes of the operational registers above.
pub(super) const OPERATIONAL: usize = 0x40;

/// Registers of interrupter 0 (section 5.5.2), from RTSOFF on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rt {
    /// Interrupter management.
    Iman = 0x20,
    /// Interrupter moderation: how long at least from one interrupt to the next, in units of 250 ns.
    Imod = 0x24,
    /// Entries of the event ring segment table.
    Erstsz = 0x28,
    /// Where that table is; writing it has the event ring begin anew.
    Erstba = 0x30,
    /// How far events were taken.
    Erdp = 0x38,
}

/// Bytes of the runtime registers above.
pub(super) const RUNTIME: usize = 0x40;

/// Bits that are reserved and have to stay what they are (RsvdP, section 5.1.1): of [`Op::UsbCmd`], [`Op::Config`], the lower
/// half of [`Op::Crcr`], [`Rt::Iman`], [`Rt::Erstsz`] and the lower half of [`Rt::Erstba`].
pub(super) const USBCMD_PRESERVED: u32 = 0xfffe_1070;
/// See [`USBCMD_PRESERVED`].
pub(super) const CONFIG_PRESERVED: u32 = 0xffff_fc00;
/// See [`USBCMD_PRESERVED`].
pub(super) const CRCR_PRESERVED: u32 = 0x30;
/// See [`USBCMD_PRESERVED`].
pub(super) const IMAN_PRESERVED: u32 = 0xffff_fffc;
/// See [`USBCMD_PRESERVED`].
pub(super) const ERSTSZ_PRESERVED: u32 = 0xffff_0000;
/// See [`USBCMD_PRESERVED`].
pub(super) const ERSTBA_PRESERVED: u32 = 0x3f;

/// [`Op::Crcr`] bit 0, RCS: commands are the controller's where their cycle bit is one.
pub(super) const RCS: u64 = 1;
/// [`Rt::Iman`] bit 0, IP: an interrupt is pending; cleared by writing a one.
pub(super) const IP: u32 = 1;
/// [`Rt::Iman`] bit 1, IE: the interrupter interrupts.
pub(super) const IE: u32 = 1 << 1;
/// [`Rt::Erdp`] bit 3, EHB: there was an interrupt, and there is no other until a one is written here.
pub(super) const EHB: u64 = 1 << 3;

/// USB Legacy Support, as an extended capability (section 7.1): its id.
pub(super) const LEGACY: u32 = 1;
/// USBLEGSUP bit 16: the firmware has the controller.
pub(super) const BIOS_OWNED: u32 = 1 << 16;
/// USBLEGSUP bit 24: the operating system wants it.
pub(super) const OS_OWNED: u32 = 1 << 24;
/// USBLEGCTLSTS, behind USBLEGSUP: what of it is not ours to change; all that causes an SMI is elsewhere.
pub(super) const LEGACY_PRESERVED: u32 = 0x000e_1fee;
/// USBLEGCTLSTS bits 29 to 31: what caused an SMI, cleared by writing ones.
pub(super) const LEGACY_EVENTS: u32 = 0xe000_0000;

bitflags! {
    /// [`Op::UsbCmd`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u32 {
        /// Run.
        const RS = 1;
        /// Host controller reset; reads as one until it is done.
        const HCRST = 1 << 1;
        /// Interrupter enable.
        const INTE = 1 << 2;
    }

    /// [`Op::UsbSts`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Halted.
        const HCH = 1;
        /// Host system error: an address was refused, or worse.
        const HSE = 1 << 2;
        /// Controller not ready: nothing else may be written.
        const CNR = 1 << 11;
        /// Host controller error.
        const HCE = 1 << 12;
    }
}

impl Status {
    /// What a running controller does not show.
    pub(super) const WRONG: Self = Self::HCH.union(Self::HSE).union(Self::HCE);
}
