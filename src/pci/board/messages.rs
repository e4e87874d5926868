//! MSI and MSI-X: Xen routes the message and writes it, the domain turns the capability on.
//!
//! ```text
//! MSI-X on, all masked -> PHYSDEVOP_map_pirq -> unmasked          off -> PHYSDEVOP_unmap_pirq
//!                         PHYSDEVOP_map_pirq -> MSI on
//! ```
//! Xen keeps the vector itself masked until its PIRQ is bound, so nothing comes before somebody listens.

use super::Board;
use crate::{
    pci::{
        Bdf, ConfigError, Delivery, Function, Host, PciError, Resources,
        msi::{Msi, Msix},
    },
    report::Reason,
    xen::{errno::XenError, events::Pirq, physdev::Message},
};
use alloc::{format, string::String, vec::Vec};

/// `Message Control` of either capability (PCI 3.0, sections 6.8.1.3 and 6.8.2.3).
const CONTROL: u16 = 2;
const MSI_ENABLE: u16 = 1 << 0;
/// Six bits from bit 4: how many vectors, as a power of two. One is asked for.
const MSI_VECTORS: u16 = 0b111 << 4;
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK_ALL: u16 = 1 << 14;

/// Why a message is not routed, or still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Xen did not route it.
    #[error("Xen routes no {how} for {bdf}: {error}")]
    Map {
        /// The function.
        bdf: Bdf,
        /// The way asked for.
        how: Delivery,
        /// Its refusal.
        error: XenError,
    },
    /// Xen did not take the route back.
    #[error("Xen does not take {pirq} of {bdf} back: {error}")]
    Unmap {
        /// The function.
        bdf: Bdf,
        /// The interrupt.
        pirq: Pirq,
        /// Its refusal.
        error: XenError,
    },
    /// Firmware gave the BAR no address that the table is in.
    #[error("the table of {0} is in a BAR without an address")]
    NoTable(Bdf),
    /// Config space.
    #[error(transparent)]
    Config(#[from] PciError),
}

impl From<ConfigError> for MessageError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.into())
    }
}

impl MessageError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Map { .. } => "irq-map",
            Self::Unmap { .. } => "irq-unmap",
            Self::NoTable(_) => "pci-no-address",
            Self::Config(error) => error.code(),
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Map { .. } => {
                "see Xen's log; on its command line `extra_guest_irqs=,N` gives dom0 more, and a device that is behind no \
                 IOMMU needs iommu=no-intremap"
            }
            Self::Unmap { .. } => "see Xen's log: is its event channel closed?",
            Self::NoTable(_) => "the board's firmware has to place it: update that",
            Self::Config(error) => error.remedy(),
        }
    }
}

protocol::coded!(MessageError);

impl Host for Board<'_> {
    fn functions(&self) -> &[Bdf] {
        &self.functions
    }

    fn object(&self, bdf: Bdf) -> Result<(), Reason> {
        let mut objections = self.objections.iter().filter(|(of, _)| *of == bdf);
        objections.next().map_or(Ok(()), |(_, objection)| Err((*objection).into()))
    }

    fn turn_on(&self, function: &Resources, how: Delivery) -> Result<Pirq, Reason> {
        let pirq = match (how, &function.msi, &function.msix) {
            (Delivery::Msi, Some(msi), _) => self.msi(function.bdf, msi)?,
            (Delivery::Msix, _, Some(msix)) => self.msix(function, msix)?,
            _ => return Err(function.lacks(how).into()),
        };
        self.on.borrow_mut().push((function.bdf, how, pirq));
        Ok(pirq)
    }

    fn turn_off(&self, bdf: Bdf, how: Delivery) -> Result<(), Reason> {
        let on = self.on.borrow().iter().position(|&(of, by, _)| (of, by) == (bdf, how));
        let Some(at) = on else { return Ok(()) };
        let (_, _, pirq) = self.on.borrow()[at];
        let off = self.capability_off(bdf, how);
        self.physdev.unmap(pirq).map_err(|error| MessageError::Unmap { bdf, pirq, error })?;
        self.on.borrow_mut().remove(at);
        Ok(off?)
    }
}

impl Board<'_> {
    /// What is still on, and has to be off by the end.
    pub fn kept(&self) -> Vec<String> {
        let on = self.on.borrow();
        on.iter().map(|(bdf, how, pirq)| format!("{bdf}'s {how}, {pirq}")).collect()
    }

    fn msi(&self, bdf: Bdf, msi: &Msi) -> Result<Pirq, MessageError> {
        self.set(bdf, msi.offset, MSI_ENABLE | MSI_VECTORS, 0)?;
        let pirq = self.map(bdf, Delivery::Msi, Message::Msi)?;
        self.undoing(pirq, self.set(bdf, msi.offset, MSI_VECTORS, MSI_ENABLE))
    }

    fn msix(&self, function: &Resources, msix: &Msix) -> Result<Pirq, MessageError> {
        let (bdf, offset) = (function.bdf, msix.offset);
        let bar = function.bars.iter().find(|bar| bar.index == msix.table.bar);
        let table_base = bar.and_then(|bar| bar.placed()).ok_or(MessageError::NoTable(bdf))?.0;
        self.set(bdf, offset, 0, MSIX_ENABLE | MSIX_MASK_ALL)?;
        let message = Message::Msix { table_base, entry: 0 };
        let pirq = self.map(bdf, Delivery::Msix, message).inspect_err(|_| {
            // That Xen refused is what gets told.
            let _ = self.set(bdf, offset, MSIX_ENABLE | MSIX_MASK_ALL, 0);
        })?;
        self.undoing(pirq, self.set(bdf, offset, MSIX_MASK_ALL, 0))
    }

    fn map(&self, bdf: Bdf, how: Delivery, message: Message) -> Result<Pirq, MessageError> {
        let mapped = self.physdev.map_message(bdf.into(), message);
        mapped.map_err(|error| MessageError::Map { bdf, how, error })
    }

    /// The PIRQ, given back if what had to follow failed.
    fn undoing(&self, pirq: Pirq, done: Result<(), MessageError>) -> Result<Pirq, MessageError> {
        if done.is_err() {
            // Why it is not used is what gets told.
            let _ = self.physdev.unmap(pirq);
        }
        done.map(|()| pirq)
    }

    fn capability_off(&self, bdf: Bdf, how: Delivery) -> Result<(), MessageError> {
        let Some(function) = Function::probe(self, bdf)? else { return Ok(()) };
        match how {
            Delivery::Intx => Ok(()),
            Delivery::Msi => {
                function.msi()?.map_or(Ok(()), |msi| self.set(bdf, msi.offset, MSI_ENABLE, 0))
            }
            Delivery::Msix => {
                function.msix()?.map_or(Ok(()), |msix| self.set(bdf, msix.offset, MSIX_ENABLE, 0))
            }
        }
    }

    /// Changes a capability's `Message Control`.
    fn set(&self, bdf: Bdf, offset: u16, less: u16, more: u16) -> Result<(), MessageError> {
        let gone = || ConfigError::NoDevice(bdf);
        let function = Function::probe(self, bdf)?.ok_or_else(gone)?;
        let control = function.read_u16(offset + CONTROL)?;
        Ok(function.write_u16(offset + CONTROL, control & !less | more)?)
    }
}
