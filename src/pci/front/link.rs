//! The page shared with pciback: one request at a time, and the device's error reports.
//!
//! ```text
//! guest                                   pciback
//! fill in the request, barrier,
//! set REQUEST, notify          ------->   copies the request out, carries it out,
//! wait, with a deadline                   writes the answer, barrier,
//! read the answer, once        <-------   clears REQUEST, notifies
//! ```
//!
//! Both sides change the flags word, each only its own bits, so it is changed with atomic operations.
//! After a time-out the page is never written again: a late answer would land in the next request.
//! Source of truth: `public/io/pciif.h`.

use crate::{
    arch::{
        time::Clock,
        volatile::{Window, read_barrier, write_barrier},
        wait::Deadline,
    },
    pci::{Bdf, ConfigError, access::Refusal},
    xen::{
        abi::pciif::{aer_answer, aer_op, command, error, flags, op, page},
        errno::XenError,
        events::{EventChannels, Port},
        grants::{GrantRef, GrantedPage},
    },
};
use alloc::vec::Vec;
use core::{cell::Cell, fmt, time::Duration};

/// What to put into the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    pub(super) command: u32,
    pub(super) bdf: Bdf,
    pub(super) offset: u16,
    pub(super) bytes: u8,
    pub(super) value: u32,
    /// MSI-X table entries.
    pub(super) entries: &'r [u16],
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) value: u32,
    /// As many vectors as the request had entries.
    pub(super) vectors: Vec<u16>,
}

/// The page and the port, for as long as the backend has both.
pub(super) struct Link<'a> {
    events: &'a dyn EventChannels,
    clock: &'a dyn Clock,
    page: GrantedPage<'a>,
    port: Port,
    timeout: Duration,
    usable: Cell<bool>,
    reports: Cell<u32>,
    last_report: Cell<Option<AerReport>>,
}

/// An error the device reported through its root port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AerReport {
    /// What pciback asked; one of [`crate::xen::abi::pciif::command`].
    pub command: u32,
    /// Segment, bus and devfn as pciback wrote them, unchecked.
    pub device: [u32; 3],
}

/// Zeroes the page and says in it that error reports are answered.
pub(super) fn clear(page: Window<'_>) {
    page.zero();
    page.write_u32(page::FLAGS, flags::HANDLES_AER);
}

impl fmt::Display for AerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [segment, bus, devfn] = self.device;
        write!(
            f,
            "command {} for segment {segment:#x}, bus {bus:#x}, devfn {devfn:#x}",
            self.command
        )
    }
}

impl<'a> Link<'a> {
    /// The backend may have `page`, which was [`clear`]ed, and the other end of `port`.
    pub(super) const fn new(
        events: &'a dyn EventChannels,
        clock: &'a dyn Clock,
        page: GrantedPage<'a>,
        port: Port,
        timeout: Duration,
    ) -> Self {
        Self {
            events,
            clock,
            page,
            port,
            timeout,
            usable: Cell::new(true),
            reports: Cell::new(0),
            last_report: Cell::new(None),
        }
    }

    pub(super) const fn port(&self) -> Port {
        self.port
    }

    pub(super) const fn gref(&self) -> GrantRef {
        self.page.gref()
    }

    /// The page, once nobody speaks over it any more.
    pub(super) fn into_page(self) -> GrantedPage<'a> {
        self.page
    }

    fn page(&self) -> Window<'_> {
        self.page.window()
    }

    pub(super) fn is_usable(&self) -> bool {
        self.usable.get()
    }

    /// How many error reports came, and the last.
    pub(super) fn aer_reports(&self) -> (u32, Option<AerReport>) {
        (self.reports.get(), self.last_report.get())
    }

    /// Sends the request and waits for its answer.
    pub(super) fn exchange(&self, request: &Request<'_>) -> Result<Answer, ConfigError> {
        if !self.usable.replace(false) {
            return Err(ConfigError::Unusable);
        }
        self.put(request);
        self.notify()?;
        self.wait(request)?;
        let answer = self.answer(request);
        // Only now is it known that nobody else will write the request any more.
        self.usable.set(true);
        self.answer_report()?;
        answer
    }

    /// Answers an error report if there is one; to be called when the port had an event.
    pub(super) fn answer_report(&self) -> Result<(), ConfigError> {
        if self.page().read_u32(page::FLAGS) & flags::AER == 0 {
            return Ok(());
        }
        read_barrier();
        let field = |offset| self.page().read_u32(page::AER_OP + offset);
        let report = AerReport {
            command: field(aer_op::CMD),
            device: [aer_op::DOMAIN, aer_op::BUS, aer_op::DEVFN].map(field),
        };
        // The run goes on, so that it can end in a verdict; whoever reads the count decides what it means.
        let result = match report.command {
            command::AER_DETECTED => aer_answer::CAN_RECOVER,
            command::AER_MMIO | command::AER_SLOT_RESET | command::AER_RESUME => {
                aer_answer::RECOVERED
            }
            _ => aer_answer::NONE,
        };
        self.reports.set(self.reports.get().saturating_add(1));
        self.last_report.set(Some(report));
        self.page().write_u32(page::AER_OP + aer_op::ERR, result.cast_unsigned());
        write_barrier();
        self.page().clear_bits_u32(page::FLAGS, flags::AER);
        self.notify()
    }

    fn put(&self, request: &Request<'_>) {
        let field = |offset, value| self.page().write_u32(page::OP + offset, value);
        field(op::CMD, request.command);
        field(op::ERR, 0);
        field(op::DOMAIN, request.bdf.bus().segment.into());
        field(op::BUS, request.bdf.bus().number.into());
        field(op::DEVFN, request.bdf.devfn().into());
        field(op::OFFSET, request.offset.into());
        field(op::LEN, request.bytes.into());
        field(op::VALUE, request.value);
        field(op::INFO, 0);
        for (place, &entry) in (0..op::MSIX_MAX).zip(request.entries) {
            let at = page::OP + op::MSIX + place * op::MSIX_ENTRY;
            self.page().write_u16(at, 0);
            self.page().write_u16(at + 2, entry);
        }
        write_barrier();
        self.page().set_bits_u32(page::FLAGS, flags::REQUEST);
    }

    fn wait(&self, request: &Request<'_>) -> Result<(), ConfigError> {
        let deadline = Deadline::new(self.clock, self.timeout);
        let answered = deadline.turns(|until| -> Result<_, ConfigError> {
            // Taken before looking, so that whatever comes after the look ends the poll below.
            self.events.take(self.port);
            // The backend may wait for this answer before it gives ours.
            self.answer_report()?;
            if self.page().read_u32(page::FLAGS) & flags::REQUEST == 0 {
                read_barrier();
                return Ok(Some(()));
            }
            let polled = self.events.poll(&[self.port], until);
            polled.map_err(ConfigError::Events)?;
            Ok(None)
        });
        answered?.ok_or_else(|| ConfigError::NoAnswer {
            bdf: request.bdf,
            offset: request.offset,
            timed_out: deadline.timed_out("pciback to answer"),
        })
    }

    fn answer(&self, request: &Request<'_>) -> Result<Answer, ConfigError> {
        let field = |offset| self.page().read_u32(page::OP + offset);
        let refusal = match field(op::ERR).cast_signed() {
            0 => {
                let entries = (0..op::MSIX_MAX).zip(request.entries);
                let at = |place| page::OP + op::MSIX + place * op::MSIX_ENTRY;
                return Ok(Answer {
                    value: field(op::VALUE),
                    vectors: entries.map(|(n, _)| self.page().read_u16(at(n))).collect(),
                });
            }
            error::NO_DEVICE => return Err(ConfigError::NoDevice(request.bdf)),
            error::BAD_OFFSET => Refusal::BadOffset,
            error::ACCESS_DENIED => Refusal::AccessDenied,
            error::NOT_IMPLEMENTED => Refusal::NotImplemented,
            error::FAILED => Refusal::Failed,
            other => Refusal::Unknown(other),
        };
        Err(ConfigError::Refused { bdf: request.bdf, offset: request.offset, refusal })
    }

    fn notify(&self) -> Result<(), ConfigError> {
        let failed = |error: XenError| {
            self.usable.set(false);
            ConfigError::Events(error)
        };
        self.events.notify(self.port).map_err(failed)
    }
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("port", &self.port)
            .field("usable", &self.usable)
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}
