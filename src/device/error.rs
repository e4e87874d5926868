//! Why a device could not be started, reset or stopped, each with a stable `code` for reports and a `remedy`.

use crate::{
    arch::time::TimedOut,
    dma::{CoherentError, FinishError, MapError},
    mm::memory::MemoryError,
    pci::NoBar,
};

const RESET_REMEDY: &str = "the device does not react to its registers: check that the BAR is the \
     one the device decodes and that memory decoding is on; reset the slot or the host";

/// Why a device was not seen to stop, or does not run again. What memory it was given stays lent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// It did not come out of its reset.
    #[error(transparent)]
    Stuck(#[from] TimedOut),
    /// It does not answer: every register reads as all ones.
    #[error("the device does not answer any more")]
    Gone,
    /// It stopped, and does not agree to what it is then told.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What a device was told and does not agree to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Features that it offers.
    #[error("the device offers features {0:#x} and does not agree to them")]
    Features(u64),
    /// A vector of its table of messages.
    #[error("vector {vector} of the device's {what} reads as {found:#x}")]
    Vector {
        /// What it is to be sent for.
        what: &'static str,
        /// The vector.
        vector: u16,
        /// How it reads after it was written.
        found: u16,
    },
}

impl Refused {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Features(_) => "device-features",
            Self::Vector { .. } => "irq-vector-refused",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Features(_) => {
                "what emulates the device, as QEMU, may say why; else use another device of its kind"
            }
            Self::Vector { .. } => "nothing: the device interrupts in another way, or is polled",
        }
    }
}

protocol::coded!(Refused);

impl ResetError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stuck(_) => "device-reset-timeout",
            Self::Gone => "device-gone",
            Self::Refused(refused) => refused.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Stuck(_) => RESET_REMEDY,
            Self::Gone => {
                "nothing answers at the BAR: the device was removed or lost power, or its memory decoding is off; \
                 check slot and host"
            }
            Self::Refused(refused) => refused.remedy(),
        }
    }
}

protocol::coded!(ResetError);

/// The device was quiesced and has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device was stopped")]
pub struct Ended;

impl Ended {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        "device-stopped"
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        "start the driver anew"
    }
}

/// Why a device could not be started, or started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The BAR is smaller than the register file.
    #[error("a BAR of {len} bytes; the registers take {needed}")]
    BarTooSmall {
        /// Bytes mapped.
        len: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// It lacks the memory range its registers are in.
    #[error(transparent)]
    NoBar(#[from] NoBar),
    /// Its registers could not be mapped.
    #[error("its registers: {0}")]
    Registers(#[from] MemoryError),
    /// It says of itself what no device of its kind does: most likely nothing answers at the BAR.
    #[error("its {what} reads as {value:#x}")]
    Unfit {
        /// What was read.
        what: &'static str,
        /// How it read.
        value: u64,
    },
    /// The firmware has the device, and did not let go of it in time.
    #[error("the firmware keeps the device: {0}")]
    Firmware(TimedOut),
    /// It was not seen to stop.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// Memory for it could not be mapped.
    #[error("memory for the device: {0}")]
    Map(#[from] MapError),
    /// Memory to share with it was not to be had.
    #[error("memory to share with the device: {0}")]
    Shared(#[from] CoherentError),
    /// It wrote other bytes than it was told to.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// It ended a command with an error.
    #[error("{name} ended with status {status:#x}")]
    Command {
        /// The command.
        name: &'static str,
        /// As its specification numbers them.
        status: u16,
    },
    /// It has nothing that the driver could work with.
    #[error("it has no {0}")]
    Lacks(&'static str),
    /// It is a controller of which nothing hangs.
    #[error("it has no {0}")]
    Empty(&'static str),
    /// The mapping lies where the device's registers can't point.
    #[error("memory for the device at {0:#x}, beyond what its registers hold")]
    BeyondRegisters(u64),
    /// The device was quiesced and has no memory.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl StartError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BarTooSmall { .. } => "device-bar-too-small",
            Self::NoBar(_) => "pci-no-bar",
            Self::Registers(_) => "pci-bar-map",
            Self::Unfit { .. } => "device-unfit",
            Self::Firmware(_) => "device-firmware",
            Self::Reset(error) => error.code(),
            Self::Map(error) => error.code(),
            Self::Shared(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::Command { .. } => "device-command",
            Self::Lacks(_) => "device-lacks",
            Self::Empty(_) => "device-empty",
            Self::BeyondRegisters(_) => "device-beyond-registers",
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::BarTooSmall { .. } => {
                "map the whole memory BAR: another BAR of the device was used"
            }
            Self::NoBar(_) => "see `lspci -v` in dom0: firmware gave the device no memory range",
            Self::Registers(_) => "see Xen's log: the domain may lack iomem rights",
            Self::Unfit { .. } => RESET_REMEDY,
            Self::Firmware(_) => {
                "turn off what the firmware does with the device, such as legacy USB support, in its setup"
            }
            Self::Reset(error) => error.remedy(),
            Self::Map(error) => error.remedy(),
            Self::Shared(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
            Self::Command { .. } => "look the status up in the device's specification",
            Self::Lacks(_) => "use another device of its kind",
            Self::Empty(_) => "connect one, or use another device",
            Self::BeyondRegisters(_) => "give the device a narrower mask: dma_bits=32",
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(StartError);

/// What was wrong when a device was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuiesceError {
    /// It was not seen to stop. Its memory was not taken back, since it may still write there.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// It wrote where it should not have. Its memory was taken back.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// It did not say in time that it may lose power. It was stopped, and its memory taken back.
    #[error(transparent)]
    Late(TimedOut),
}

impl QuiesceError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Reset(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::Late(_) => "device-shutdown-timeout",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Reset(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
            Self::Late(_) => {
                "see the disk's health in dom0 (`nvme smart-log`); nothing was written to it"
            }
        }
    }
}

protocol::coded!(QuiesceError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::{BusAddr, Mfn},
        dma::Why,
    };
    use alloc::string::ToString;
    use core::time::Duration;

    const LATE: TimedOut = TimedOut { what: "the device", after: Duration::from_millis(7) };
    const STUCK: ResetError = ResetError::Stuck(LATE);
    const NO_POOL: MapError = MapError::NoPool(Why::Forced);
    const OVERRUN: FinishError =
        FinishError::Overrun { offset: -1, found: 7, len: 60, bus: BusAddr(0x1000) };

    /// What a report shows of an error: its code, a value that its text carries, and a part of its remedy.
    fn shows(error: &dyn ToString, code: &str, remedy: &str, expected: [&str; 3]) {
        let text = error.to_string();
        assert_eq!(code, expected[0], "{text}");
        assert!(text.contains(expected[1]), "{text}");
        assert!(remedy.contains(expected[2]), "{code}: {remedy}");
    }

    #[test]
    fn an_error_of_a_start_says_what_was_found_and_what_to_change() {
        let small = StartError::BarTooSmall { len: 0x80, needed: 0x100 };
        for (error, expected) in [
            (small, ["device-bar-too-small", "128 bytes", "whole memory BAR"]),
            (
                StartError::Unfit { what: "address", value: 0x101 },
                ["device-unfit", "0x101", "memory decoding"],
            ),
            (
                StartError::NoBar(NoBar { index: 5, is_memory: true }),
                ["pci-no-bar", "BAR 5", "lspci"],
            ),
            (StartError::Registers(MemoryError::OwnRam(Mfn(7))), ["pci-bar-map", "0x7", "iomem"]),
            (StartError::Firmware(LATE), ["device-firmware", "7 ms", "legacy USB"]),
            (StartError::Reset(STUCK), ["device-reset-timeout", "7 ms", "memory decoding"]),
            (StartError::Reset(ResetError::Gone), ["device-gone", "not answer", "slot and host"]),
            (
                StartError::Reset(Refused::Features(0x21).into()),
                ["device-features", "0x21", "another device"],
            ),
            (
                StartError::Reset(
                    Refused::Vector { what: "queue", vector: 0, found: 0xffff }.into(),
                ),
                ["irq-vector-refused", "vector 0 of the device's queue reads as 0xffff", "polled"],
            ),
            (StartError::Map(NO_POOL), ["dma-no-pool", "memory for", NO_POOL.remedy()]),
            (StartError::Shared(CoherentError::Empty), ["dma-empty", "memory to share", ""]),
            (
                StartError::BeyondRegisters(1 << 32),
                ["device-beyond-registers", "0x1", "dma_bits=32"],
            ),
            (StartError::Shared(CoherentError::Empty), ["dma-empty", "share", "at least"]),
            (StartError::Finish(OVERRUN), ["dma-overrun", "", OVERRUN.remedy()]),
            (
                StartError::Command { name: "Identify", status: 0x2 },
                ["device-command", "Identify ended with status 0x2", "specification"],
            ),
            (StartError::Lacks("blocks"), ["device-lacks", "no blocks", "another device"]),
            (StartError::Empty("disk"), ["device-empty", "no disk", "connect one"]),
            (StartError::Stopped(Ended), ["device-stopped", "stopped", "anew"]),
        ] {
            shows(&error, error.code(), error.remedy(), expected);
        }
    }

    #[test]
    fn an_error_of_stopping_says_whether_the_memory_is_back() {
        let stuck = QuiesceError::Reset(STUCK);
        shows(
            &stuck,
            stuck.code(),
            stuck.remedy(),
            ["device-reset-timeout", "7 ms", "reset the slot"],
        );
        let wrote = QuiesceError::Finish(OVERRUN);
        shows(&wrote, wrote.code(), wrote.remedy(), ["dma-overrun", "", OVERRUN.remedy()]);
        let late = QuiesceError::Late(LATE);
        shows(&late, late.code(), late.remedy(), ["device-shutdown-timeout", "7 ms", "health"]);
    }
}
