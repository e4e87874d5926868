//! The way to the devices: pcifront, opened, handed back to the toolstack and closed; or the board's own bus.

use super::blame::of_memory;
use crate::{
    mm::{memory::Memory, pages},
    pci::{
        Bdf, Function, Host, Status,
        board::Board,
        front::{Front, FrontError, Services, Timeouts},
    },
    report::{Outcome, Reason},
    xen::{
        store::{Store, TxId},
        xenbus::XenbusError,
    },
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, time::Duration};

/// Where the guest says that its device may be taken back, relative to the domain.
const DETACH_PATH: &str = "data/pvbounce/detach";

/// The way to the devices.
#[derive(Debug)]
pub enum Connection {
    /// To those that were passed through: the frontend.
    Front(Box<Front<'static>>),
    /// To all that the machine has.
    Board(Box<Board<'static>>),
}

impl Connection {
    /// Connects to the PCI backend. The outcome says why not: SKIP where the domain has no device.
    pub fn open(
        services: Services<'static>,
        memory: &'static Memory<'static>,
        kept: &mut Vec<String>,
    ) -> Result<Self, Outcome> {
        let page = pages::shared_page(memory).map_err(of_memory)?;
        let front = Front::connect(services, Timeouts::default(), page);
        front.map(|front| Self::Front(Box::new(front))).map_err(|failed| {
            kept.extend(failed.report.kept());
            refusal(&failed.error, &failed)
        })
    }

    /// Who carries out what the guest may not do to its devices itself.
    pub fn host(&self) -> &dyn Host {
        match self {
            Self::Front(front) => &**front,
            Self::Board(board) => &**board,
        }
    }

    /// The frontend, if it is one.
    pub fn front(&self) -> Option<&Front<'static>> {
        match self {
            Self::Front(front) => Some(front),
            Self::Board(_) => None,
        }
    }

    /// The board, if it is one.
    pub fn board(&self) -> Option<&Board<'static>> {
        match self {
            Self::Front(_) => None,
            Self::Board(board) => Some(board),
        }
    }

    /// Answers what the backend reports; an error if there ever was something.
    pub fn check_reports(&self) -> Result<(), FrontError> {
        self.front().map_or(Ok(()), Front::check_reports)
    }

    /// Asks the toolstack to take the device back while the guest still answers, and lets it. A domain that
    /// ends with its device costs xl ten seconds of waiting for an answer.
    pub fn hand_back(&mut self, store: &dyn Store, limit: Duration) -> Result<(), Reason> {
        let Self::Front(front) = self else { return Ok(()) };
        if !front.has_functions() {
            let detail = "no function answers any more, so there is none to hand back";
            let remedy = "see dom0's kernel log: was the device unbound from pciback, or pulled?";
            return Err(Reason::new("pci-gone", detail).remedy(remedy));
        }
        store.write(TxId::NONE, DETACH_PATH, "ready")?;
        front.hand_back(limit).map_err(|e| match e {
            FrontError::Xenbus(XenbusError::Stuck { .. }) => {
                let remedy =
                    "run `xl pci-detach` for each device while the guest waits, or leave detach= out";
                Reason::new(e.code(), e.to_string()).remedy(remedy)
            }
            e => e.into(),
        })
    }

    /// Closes the frontend; says what did not go to plan.
    pub fn close(self, kept: &mut Vec<String>) -> Result<(), Reason> {
        let reported = self.check_reports();
        let report = match self {
            Self::Front(front) => front.close(),
            Self::Board(board) => {
                // Why it could not be turned off was told when that was tried.
                kept.extend(board.kept());
                return Ok(());
            }
        };
        kept.extend(report.kept());
        match &report.problem {
            None if report.leaks_nothing() => Ok(reported?),
            Some(problem) => {
                let detail = format!("{problem}{report}");
                Err(Reason::new(problem.code(), detail).remedy(problem.remedy()))
            }
            None => Err(Reason::new("front-leak", format!("left behind{report}"))),
        }
    }
}

/// Why there is no connection: SKIP where the domain has no device.
pub(super) fn refusal(error: &FrontError, detail: &dyn fmt::Display) -> Outcome {
    let reason = Reason::new(error.code(), detail.to_string()).remedy(error.remedy());
    match error {
        FrontError::NoDevice => Outcome::Skip(reason),
        _ => Outcome::Failure(reason),
    }
}

/// What config space says of a function after something went wrong: what it may do, which of its accesses failed,
/// and how many errors the backend reported.
pub fn bus_state(connection: &Connection, bdf: Bdf) -> String {
    let registers = |function: Function<'_>| Ok((function.command()?, function.status()?));
    let read =
        Function::probe(connection.host(), bdf).and_then(|found| found.map(registers).transpose());
    let (command, status) = match read {
        Ok(Some(registers)) => registers,
        Ok(None) => return format!("{bdf} does not answer config accesses"),
        Err(error) => return format!("{bdf}: {error}"),
    };
    let errors: Vec<_> = (status & Status::ERRORS).iter_names().map(|(name, _)| name).collect();
    format!(
        "PCI command {:#06x}, status {:#06x} [{}], {} AER reports",
        command.bits(),
        status.bits(),
        errors.join(" "),
        connection.front().map_or(0, |front| front.aer_reports().0)
    )
}
