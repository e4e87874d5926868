//! When a function may do DMA: not before it was seen to stop, and not after its driver let go of it.
//!
//! ```text
//! Decoding::on          bus master off, memory decoding on     -> the driver resets the device: DeviceStopped
//! Decoding::allow_dma   bus master on                          -> the driver gives the device memory
//! dropped before leave_on: both off again            stop_dma: both off, and looked at: DeviceStopped
//! ```
//! (PCI Local Bus Specification 3.0, section 6.2.2: with the bit clear a device generates no accesses.)

use super::{Bdf, Command, ConfigAccess, ConfigError, Function};
use crate::dma::DeviceStopped;
use core::mem;

/// A function that answers at its memory BARs, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it turns the function off"]
pub struct Decoding<'a>(Function<'a>);

impl<'a> Decoding<'a> {
    /// Lets a function answer at its BARs, but do no DMA: it may still be at what an earlier owner told it.
    pub fn on(function: Function<'a>) -> Result<Self, ConfigError> {
        let decoding = Self(function);
        function.disable(Command::MASTER)?;
        function.enable(Command::MEMORY)?;
        Ok(decoding)
    }

    /// Lets a device that was seen to stop do DMA.
    pub fn allow_dma(&self, _: &DeviceStopped) -> Result<(), ConfigError> {
        self.0.enable(Command::MASTER).map(drop)
    }

    /// Leaves the function as it is; [`stop_dma`] turns it off.
    pub fn leave_on(self) {
        mem::forget(self);
    }
}

impl Drop for Decoding<'_> {
    fn drop(&mut self) {
        // Something else went wrong before, and that is what gets told.
        let _ = self.0.disable(Command::MASTER | Command::MEMORY);
    }
}

/// Why a function may do DMA and must not, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasteringError {
    /// Config space did not answer.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The function is not there any more: nobody can look.
    #[error("{0} went away")]
    Gone(Bdf),
    /// The bit is clear.
    #[error("{bdf} may do no DMA: its command register is {:#06x}", .command.bits())]
    LeftOff {
        /// The function.
        bdf: Bdf,
        /// What its command register reads.
        command: Command,
    },
    /// The bit is set.
    #[error("{bdf} may still do DMA: its command register is {:#06x}", .command.bits())]
    LeftOn {
        /// The function.
        bdf: Bdf,
        /// What its command register reads.
        command: Command,
    },
}

impl MasteringError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Gone(_) => "pci-gone",
            Self::LeftOff { .. } => "pci-bus-master",
            Self::LeftOn { .. } => "pci-bus-master-left",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Config(error) => error.remedy(),
            Self::Gone(_) => "check slot and host: the device was removed or lost power",
            Self::LeftOff { .. } => {
                "see dom0's kernel log: the backend dropped the write, or somebody turned the device off"
            }
            Self::LeftOn { .. } => {
                "the device may write to memory that is no longer its own: reset it before it is assigned again \
                 (`xl pci-assignable-remove`, or power-cycle the host)"
            }
        }
    }
}

protocol::coded!(MasteringError);

/// Turns a function's bus mastering and decoding off, and looks whether it is.
pub fn stop_dma(access: &dyn ConfigAccess, bdf: Bdf) -> Result<DeviceStopped, MasteringError> {
    let function = Function::probe(access, bdf)?.ok_or(MasteringError::Gone(bdf))?;
    function.disable(Command::MASTER | Command::MEMORY)?;
    dma_is_off(access, bdf)
}

/// Looks whether a function's bus mastering is off: then it does no DMA, whatever its driver left it doing.
pub fn dma_is_off(access: &dyn ConfigAccess, bdf: Bdf) -> Result<DeviceStopped, MasteringError> {
    match command(access, bdf)? {
        command if command.contains(Command::MASTER) => {
            Err(MasteringError::LeftOn { bdf, command })
        }
        _ => Ok(DeviceStopped::seen()),
    }
}

/// Looks whether a function's bus mastering is on: without that nothing comes of what its driver has it do.
pub fn dma_is_on(access: &dyn ConfigAccess, bdf: Bdf) -> Result<(), MasteringError> {
    match command(access, bdf)? {
        command if command.contains(Command::MASTER) => Ok(()),
        command => Err(MasteringError::LeftOff { bdf, command }),
    }
}

fn command(access: &dyn ConfigAccess, bdf: Bdf) -> Result<Command, MasteringError> {
    let function = Function::probe(access, bdf)?.ok_or(MasteringError::Gone(bdf))?;
    Ok(function.command()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{
        Width,
        fake::{FakeBus, FakeDevice},
    };

    const BOTH: Command = Command::MEMORY.union(Command::MASTER);

    fn bus() -> (Bdf, FakeBus) {
        let bdf = "00:03.0".parse().unwrap();
        // As an earlier owner may leave it.
        let device = FakeDevice::new(1, 2, 0).bytes(4, &BOTH.bits().to_le_bytes());
        (bdf, FakeBus::hardware().with(bdf, device))
    }

    fn command(bus: &FakeBus, bdf: Bdf) -> Command {
        super::command(bus, bdf).unwrap()
    }

    #[test]
    fn dma_is_off_until_the_device_was_seen_to_stop_and_after_every_early_end() {
        let (bdf, bus) = bus();
        let decoding = Decoding::on(Function::probe(&bus, bdf).unwrap().unwrap()).unwrap();
        assert_eq!(command(&bus, bdf), Command::MEMORY);
        decoding.allow_dma(&DeviceStopped::seen()).unwrap();
        assert_eq!(command(&bus, bdf), BOTH);
        dma_is_on(&bus, bdf).unwrap();
        drop(decoding);
        let off = dma_is_on(&bus, bdf).unwrap_err();
        assert_eq!(off, MasteringError::LeftOff { bdf, command: Command::empty() });
        assert_eq!(off.code(), "pci-bus-master");
        assert_eq!(command(&bus, bdf), Command::empty());
    }

    #[test]
    fn what_is_left_on_is_seen_and_stopping_turns_it_off() {
        let (bdf, bus) = bus();
        let decoding = Decoding::on(Function::probe(&bus, bdf).unwrap().unwrap()).unwrap();
        decoding.allow_dma(&DeviceStopped::seen()).unwrap();
        decoding.leave_on();
        let left = dma_is_off(&bus, bdf).unwrap_err();
        assert_eq!(left, MasteringError::LeftOn { bdf, command: BOTH });
        assert_eq!(left.code(), "pci-bus-master-left");
        stop_dma(&bus, bdf).unwrap();
        assert_eq!(command(&bus, bdf), Command::empty());
        bus.remove(bdf);
        assert_eq!(stop_dma(&bus, bdf).unwrap_err().code(), "pci-gone");
        assert_eq!(dma_is_on(&bus, bdf).unwrap_err().code(), "pci-gone");
    }

    /// A function whose command register can't be changed, or reads as all ones.
    #[derive(Debug)]
    struct Stubborn(u32);

    impl ConfigAccess for Stubborn {
        fn read(&self, _: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
            Ok(if offset == 4 { self.0 & width.mask() } else { 1 })
        }

        fn write(&self, _: Bdf, _: u16, _: Width, _: u32) -> Result<(), ConfigError> {
            Ok(())
        }

        fn bars_are_virtual(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_write_that_takes_no_effect_is_no_proof() {
        for value in [BOTH.bits().into(), u32::MAX] {
            let error = stop_dma(&Stubborn(value), "00:03.0".parse().unwrap()).unwrap_err();
            assert_eq!(error.code(), "pci-bus-master-left");
        }
    }
}
