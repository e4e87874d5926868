//! The connection to the PCI backend: opened, handed back to the toolstack, closed.

use super::blame::of_memory;
use crate::{
    mm::{memory::Memory, pages},
    pci::front::{Front, FrontError, Services, Timeouts},
    pci::{Bdf, Function, Status},
    report::{Outcome, Reason},
    xen::{
        store::{Store, TxId},
        xenbus::XenbusError,
    },
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, time::Duration};

/// Where the guest says that its device may be taken back, relative to the domain.
const DETACH_PATH: &str = "data/pvbounce/detach";

/// The connection to the backend.
#[derive(Debug)]
pub struct Connection {
    /// The frontend.
    pub front: Front<'static>,
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
        front.map(|front| Self { front }).map_err(|failed| {
            kept.extend(failed.report.kept());
            refusal(&failed.error, &failed)
        })
    }

    /// Asks the toolstack to take the device back while the guest still answers, and lets it. A domain that
    /// ends with its device costs xl ten seconds of waiting for an answer.
    pub fn hand_back(&mut self, store: &dyn Store, limit: Duration) -> Result<(), Reason> {
        if !self.front.has_functions() {
            let detail = "no function answers any more, so there is none to hand back";
            let remedy = "see dom0's kernel log: was the device unbound from pciback, or pulled?";
            return Err(Reason::new("pci-gone", detail).remedy(remedy));
        }
        store.write(TxId::NONE, DETACH_PATH, "ready")?;
        self.front.hand_back(limit).map_err(|e| match e {
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
        let reported = self.front.check_reports();
        let report = self.front.close();
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
pub fn bus_state(front: &Front<'_>, bdf: Bdf) -> String {
    let registers = |function: Function<'_>| Ok((function.command()?, function.status()?));
    let read = Function::probe(front, bdf).and_then(|found| found.map(registers).transpose());
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
        front.aer_reports().0
    )
}
