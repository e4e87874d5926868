//! pcifront: the way to a passed-through device's config space and interrupts, through pciback.
//!
//! ```text
//!          frontend (us)                          backend (pciback)
//!  1  Initialising                          1  2 or 3
//!     grant page, open port, publish
//!  3  Initialised              ------->     maps the page, binds the port
//!     reads roots, scans       <-------  4  Connected
//!  4  Connected                             answers requests
//!  5  Closing                  ------->  5  unmaps
//!  6  Closed                   ------->  6
//! ```
//!
//! [`Front::connect`] goes down to 4, [`Front::close`] to 6; both give back whatever they took, also
//! when the backend is slow, silent, wrong or leaves. A page the backend still has mapped is never
//! handed out again. Source of truth: `public/io/pciif.h`, `public/io/xenbus.h`.

mod arrival;
mod closing;
mod error;
mod interrupts;
mod link;
mod reconfigure;
mod scan;

pub use arrival::{await_arrival, await_removal};
pub use error::{CloseReport, ConnectFailed, FrontError};
pub use link::AerReport;
pub use reconfigure::{Change, Pending};

use super::{Bdf, ConfigAccess, ConfigError, Function, Width, access::check};
use crate::{
    arch::time::Clock,
    xen::{
        abi::pciif::{MAGIC, command},
        events::{EventChannels, Port},
        grants::{Grants, SharedPage},
        store::{Store, TxId},
        xenbus::{Device, StateSet, Wait, XenbusState, read_state, write_state},
    },
};
use alloc::{boxed::Box, format, vec::Vec};
use core::{cell::RefCell, fmt, time::Duration};
use link::{Answer, Link, Request};

/// States from which a backend does not come into service.
const LEFT: [XenbusState; 3] = [XenbusState::Closing, XenbusState::Closed, XenbusState::Unknown];

/// What the frontend needs from Xen.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// xenstore.
    pub store: &'a dyn Store,
    /// Event channels.
    pub events: &'a dyn EventChannels,
    /// The grant table.
    pub grants: &'a dyn Grants,
    /// The clock behind the deadlines.
    pub clock: &'a dyn Clock,
}

impl fmt::Debug for Services<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// How long the backend has for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To come into service, and to add or take away devices.
    pub connect: Duration,
    /// To answer one request.
    pub request: Duration,
    /// To say where its functions are, all of them, and to show each.
    pub scan: Duration,
    /// To answer each step of a goodbye.
    pub close: Duration,
    /// To unmap the page. It is a thread of dom0's kernel that does it, and that may have other devices to see to.
    pub unmap: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(2),
            scan: Duration::from_secs(30),
            close: Duration::from_secs(3),
            unmap: Duration::from_secs(15),
        }
    }
}

/// What the backend turns on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    Msi,
    Msix,
}

/// A connected frontend. Close it with [`Front::close`]; dropping it closes, too, but tells nobody how that went.
pub struct Front<'a> {
    services: Services<'a>,
    timeouts: Timeouts,
    device: Device,
    /// The page and the port that the backend has of ours.
    link: Option<Link<'a>>,
    functions: Vec<Bdf>,
    irqs: RefCell<Vec<(Bdf, Messages)>>,
}

impl fmt::Debug for Front<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl<'a> Front<'a> {
    /// Connects to the backend and scans its buses.
    ///
    /// [`FrontError::NoDevice`] when the domain has no PCI device. The page goes back when the backend does not have
    /// it any more, and is lost otherwise.
    pub fn connect(
        services: Services<'a>,
        timeouts: Timeouts,
        page: SharedPage<'a>,
    ) -> Result<Self, ConnectFailed> {
        let (device, link) = prepare(services, timeouts, page)?;
        let mut front = Self {
            services,
            timeouts,
            device,
            link: Some(link),
            functions: Vec::new(),
            irqs: RefCell::default(),
        };
        match front.handshake() {
            Ok(()) => Ok(front),
            Err(error) => {
                Err(ConnectFailed { error: Box::new(error), report: Box::new(front.shut_down()) })
            }
        }
    }

    /// The functions found, in the order of their addresses.
    pub fn functions(&self) -> &[Bdf] {
        &self.functions
    }

    /// Whether any of them still answers: not when the device was taken from the backend.
    pub fn has_functions(&self) -> bool {
        self.functions.iter().any(|&bdf| matches!(Function::probe(self, bdf), Ok(Some(_))))
    }

    /// The port on which answers and error reports come.
    pub fn port(&self) -> Option<Port> {
        self.link.as_ref().map(Link::port)
    }

    /// Answers an error report if one has come, as every request does, too; an error if there ever was one.
    ///
    /// To be called now and then: pciback waits 300 s, and takes a silent guest for a dead one.
    pub fn check_reports(&self) -> Result<(), FrontError> {
        if let Some(link) = self.link.as_ref().filter(|link| link.is_usable()) {
            link.answer_report()?;
        }
        match self.aer_reports() {
            (count, Some(last)) => Err(FrontError::ErrorReports { count, last }),
            _ => Ok(()),
        }
    }

    /// How many error reports the device has made, and the last one.
    pub fn aer_reports(&self) -> (u32, Option<AerReport>) {
        self.link.as_ref().map_or((0, None), Link::aer_reports)
    }

    fn handshake(&mut self) -> Result<(), FrontError> {
        self.publish()?;
        self.wait_for(XenbusState::Connected, "the PCI backend to connect")?;
        self.functions = self.scan()?;
        self.set_state(XenbusState::Connected)
    }

    fn publish(&self) -> Result<(), FrontError> {
        let Some(link) = &self.link else {
            return Err(ConfigError::Unusable.into());
        };
        let dir = &self.device.dir;
        let store = self.services.store;
        let write = |tx, node, value: &str| store.write(tx, &format!("{dir}/{node}"), value);
        store.transaction(|tx| {
            write(tx, "pci-op-ref", &format!("{}", link.gref().0))?;
            write(tx, "event-channel", &format!("{}", link.port().0))?;
            write(tx, "magic", MAGIC)?;
            write_state(store, tx, dir, XenbusState::Initialised)
        })?;
        Ok(())
    }

    /// Waits until the backend is in `state`; an error when it leaves instead.
    fn wait_for(&self, state: XenbusState, what: &'static str) -> Result<(), FrontError> {
        self.wait_within(state, what, self.timeouts.connect)
    }

    fn wait_within(
        &self,
        state: XenbusState,
        what: &'static str,
        timeout: Duration,
    ) -> Result<(), FrontError> {
        let wait = Wait {
            dir: &self.device.backend,
            until: StateSet::of(&[state, LEFT[0], LEFT[1], LEFT[2]]),
            what,
            timeout,
        };
        match wait.run(self.services.store, self.services.clock)? {
            reached if reached == state => Ok(()),
            state => Err(FrontError::BackendLeft { state }),
        }
    }

    fn set_state(&self, state: XenbusState) -> Result<(), FrontError> {
        write_state(self.services.store, TxId::NONE, &self.device.dir, state)?;
        Ok(())
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Answer, ConfigError> {
        let Some(link) = &self.link else {
            return Err(ConfigError::Unusable);
        };
        link.exchange(request).map_err(|error| self.explain(error))
    }

    /// Makes "no answer" more precise when the backend is known to have left.
    fn explain(&self, error: ConfigError) -> ConfigError {
        let ConfigError::NoAnswer { bdf, .. } = error else {
            return error;
        };
        match read_state(self.services.store, &self.device.backend) {
            Ok(state) if LEFT.contains(&state) => ConfigError::BackendLeft { bdf, state },
            _ => error,
        }
    }
}

impl ConfigAccess for Front<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        check(bdf, offset, width)?;
        let answer = self.exchange(&Request {
            command: command::CONF_READ,
            bdf,
            offset,
            bytes: width.bytes(),
            value: 0,
            entries: &[],
        })?;
        Ok(answer.value & width.mask())
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        check(bdf, offset, width)?;
        self.exchange(&Request {
            command: command::CONF_WRITE,
            bdf,
            offset,
            bytes: width.bytes(),
            value: value & width.mask(),
            entries: &[],
        })
        .map(drop)
    }

    fn bars_are_virtual(&self) -> bool {
        true
    }
}

/// Finds the device and takes what the backend needs: a port and a grant.
fn prepare<'a>(
    services: Services<'a>,
    timeouts: Timeouts,
    page: SharedPage<'a>,
) -> Result<(Device, Link<'a>), ConnectFailed> {
    let device = arrival::find(services.store)?;
    let Services { events, clock, .. } = services;
    let port = events.alloc_unbound(device.backend_id).map_err(FrontError::Events)?;
    link::clear(page.window());
    match page.grant(services.grants, device.backend_id) {
        Ok(page) => Ok((device, Link::new(events, clock, page, port, timeouts.request))),
        Err((_, error)) => {
            let mut failed = ConnectFailed::from(FrontError::from(error));
            failed.report.close_port(events, port);
            Err(failed)
        }
    }
}
