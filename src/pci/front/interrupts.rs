//! MSI and MSI-X through the backend: it programs the device and tells which PIRQs the messages become.
//!
//! Turn memory decode on first ([`crate::pci::Command::MEMORY`]): dom0 refuses otherwise. What was
//! turned on is remembered, so that closing turns it off.

use super::{
    ConfigError, Front, FrontError, Messages,
    link::{Answer, Request},
};
use crate::{
    pci::{Bdf, Delivery, Host, Resources},
    report::Reason,
    xen::{
        abi::pciif::{command, op},
        events::Pirq,
    },
};
use alloc::vec::Vec;

impl Messages {
    const fn on(self) -> u32 {
        match self {
            Self::Msi => command::ENABLE_MSI,
            Self::Msix => command::ENABLE_MSIX,
        }
    }

    const fn off(self) -> u32 {
        match self {
            Self::Msi => command::DISABLE_MSI,
            Self::Msix => command::DISABLE_MSIX,
        }
    }
}

impl Host for Front<'_> {
    fn functions(&self) -> &[Bdf] {
        Front::functions(self)
    }

    fn turn_on(&self, function: &Resources, how: Delivery) -> Result<Pirq, Reason> {
        let (bdf, lacks) = (function.bdf, function.lacks(how));
        if !function.offers(how) {
            return Err(lacks.into());
        }
        match how {
            Delivery::Intx => Ok(function.line().ok_or(lacks)?),
            Delivery::Msi => Ok(self.enable_msi(bdf)?),
            Delivery::Msix => Ok(*self.enable_msix(bdf, &[0])?.first().ok_or(lacks)?),
        }
    }

    fn turn_off(&self, bdf: Bdf, how: Delivery) -> Result<(), Reason> {
        Ok(match how {
            Delivery::Intx => Ok(()),
            Delivery::Msi => self.disable_msi(bdf),
            Delivery::Msix => self.disable_msix(bdf),
        }?)
    }
}

impl Front<'_> {
    /// Turns MSI on with one vector, and says on which PIRQ it arrives.
    pub fn enable_msi(&self, bdf: Bdf) -> Result<Pirq, FrontError> {
        let answer = self.enable(bdf, Messages::Msi, &[])?;
        let pirq = pirq(bdf, answer.value.cast_signed());
        pirq.inspect_err(|_| self.give_up(bdf, Messages::Msi))
    }

    /// Turns MSI-X on for these table entries, and says on which PIRQs they arrive, in that order.
    pub fn enable_msix(&self, bdf: Bdf, entries: &[u16]) -> Result<Vec<Pirq>, FrontError> {
        if entries.is_empty() || entries.len() > op::MSIX_MAX {
            let asked = entries.len();
            return Err(FrontError::VectorCount { bdf, asked });
        }
        let answer = self.enable(bdf, Messages::Msix, entries)?;
        if answer.value != 0 {
            self.forget(bdf, Messages::Msix);
            return Err(FrontError::MsixRefused {
                bdf,
                asked: entries.len(),
                result: answer.value.cast_signed(),
            });
        }
        let vectors = answer.vectors.iter();
        let pirqs: Result<_, _> = vectors.map(|&v| pirq(bdf, v.into())).collect();
        pirqs.inspect_err(|_| self.give_up(bdf, Messages::Msix))
    }

    /// Turns MSI off. Close the event channel first.
    pub fn disable_msi(&self, bdf: Bdf) -> Result<(), ConfigError> {
        self.disable(bdf, Messages::Msi)
    }

    /// Turns MSI-X off. Close the event channels first.
    pub fn disable_msix(&self, bdf: Bdf) -> Result<(), ConfigError> {
        self.disable(bdf, Messages::Msix)
    }

    /// Remembered before it is asked for: without an answer it may be on or not, and counts as on.
    fn enable(&self, bdf: Bdf, how: Messages, entries: &[u16]) -> Result<Answer, ConfigError> {
        self.irqs.borrow_mut().push((bdf, how));
        let answer = self.exchange(&request(how.on(), bdf, entries));
        if let Err(ConfigError::Refused { .. } | ConfigError::NoDevice(_)) = answer {
            self.forget(bdf, how);
        }
        answer
    }

    fn disable(&self, bdf: Bdf, how: Messages) -> Result<(), ConfigError> {
        self.exchange(&request(how.off(), bdf, &[]))?;
        self.forget(bdf, how);
        Ok(())
    }

    /// Takes one note of it away: a refused second attempt must not take the first one's.
    fn forget(&self, bdf: Bdf, how: Messages) {
        let mut irqs = self.irqs.borrow_mut();
        if let Some(at) = irqs.iter().position(|&on| on == (bdf, how)) {
            irqs.remove(at);
        }
    }

    fn give_up(&self, bdf: Bdf, how: Messages) {
        if let Err(error) = self.disable(bdf, how) {
            log::warn!("pcifront: {how:?} of {bdf} stays on: {error}");
        }
    }

    /// Turns everything off that is on; returns the functions where that failed.
    pub(super) fn turn_interrupts_off(&self) -> Vec<Bdf> {
        let on = self.irqs.borrow().clone();
        for (bdf, how) in on {
            self.give_up(bdf, how);
        }
        self.irqs.take().into_iter().map(|(bdf, _)| bdf).collect()
    }
}

fn request(command: u32, bdf: Bdf, entries: &[u16]) -> Request<'_> {
    Request {
        command,
        bdf,
        offset: 0,
        bytes: 0,
        value: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        entries,
    }
}

/// A PIRQ as the backend wrote it; zero and below mean that it has none.
fn pirq(bdf: Bdf, value: i32) -> Result<Pirq, FrontError> {
    match u32::try_from(value) {
        Ok(number @ 1..) => Ok(Pirq(number)),
        _ => Err(FrontError::BadPirq { bdf, value }),
    }
}
