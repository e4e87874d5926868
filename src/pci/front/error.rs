//! What can go wrong between pcifront and pciback, and what closing leaves behind.

use super::link::AerReport;
use crate::{
    arch::time::TimedOut,
    pci::{Bdf, ConfigError},
    xen::{
        errno::XenError,
        events::{EventChannels, Port},
        grants::{GrantError, GrantRef},
        store::StoreError,
        xenbus::{XenbusError, XenbusState},
    },
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::fmt;

/// Why the frontend is not, or no longer, in service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontError {
    /// The domain was created without `pci=`: nothing is wrong, there is just nothing to test.
    #[error("no PCI device was passed through to this domain")]
    NoDevice,
    /// The frontend has been closed before; pciback connects once in a domain's life.
    #[error("the PCI frontend starts in state {state}, expected Initialising (1)")]
    AlreadyUsed {
        /// Our own state, as found.
        state: XenbusState,
    },
    /// The backend went away instead of coming into service.
    #[error("the PCI backend went to state {state} instead of connecting")]
    BackendLeft {
        /// Where it went.
        state: XenbusState,
    },
    /// Each answer came in time, but all of them together took too long.
    #[error("{looks} of {of} looks for functions done: {timed_out}")]
    ScanTimedOut {
        /// Nodes read, or addresses looked at.
        looks: usize,
        /// How many there are.
        of: usize,
        /// How long it had.
        timed_out: TimedOut,
    },
    /// The device reported errors through its root port; the run went on.
    #[error("{count} error reports; the last: {last}")]
    ErrorReports {
        /// How many.
        count: u32,
        /// The last of them.
        last: AerReport,
    },
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Waiting for the backend failed.
    #[error(transparent)]
    Xenbus(#[from] XenbusError),
    /// The shared page could not be granted.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The event channel could not be opened.
    #[error("no event channel to the PCI backend: {0}")]
    Events(XenError),
    /// Config space did not answer, or an interrupt request was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The backend called it a success, but the number can't be a PIRQ.
    #[error("{bdf}: the backend gave {value} as PIRQ")]
    BadPirq {
        /// The function.
        bdf: Bdf,
        /// The number.
        value: i32,
    },
    /// The backend reported no error, but the kernel under it refused MSI-X.
    #[error("{bdf}: dom0 refused {asked} MSI-X vectors with {result}")]
    MsixRefused {
        /// The function.
        bdf: Bdf,
        /// How many were asked for.
        asked: usize,
        /// Negative: its error number; positive: how many it could have given.
        result: i32,
    },
    /// The protocol has no room for so many vectors, or none were asked for.
    #[error("{bdf}: {asked} MSI-X vectors asked for, 1 to 128 are possible")]
    VectorCount {
        /// The function.
        bdf: Bdf,
        /// How many.
        asked: usize,
    },
}

impl FrontError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoDevice => "front-no-device",
            Self::AlreadyUsed { .. } => "front-already-used",
            Self::BackendLeft { .. } => "front-backend-left",
            Self::ScanTimedOut { .. } => "front-scan-timeout",
            Self::ErrorReports { .. } => "pci-error-report",
            Self::Store(error) => error.code(),
            Self::Xenbus(error) => error.code(),
            Self::Grant(_) => "front-grant",
            Self::Events(_) => "front-event-channel",
            Self::Config(error) => error.code(),
            Self::BadPirq { .. } => "front-bad-pirq",
            Self::MsixRefused { .. } => "front-msix-refused",
            Self::VectorCount { .. } => "front-vector-count",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NoDevice => "add `pci = [ \"BDF\" ]` to the domain's config to test a device",
            Self::AlreadyUsed { .. } => "destroy the domain and create it again",
            Self::BackendLeft { .. } => {
                "see dom0's kernel log and `xl pci-list`: the device was taken back or reset failed"
            }
            Self::ScanTimedOut { .. } => {
                "see dom0's load and kernel log: xen-pciback answers, but slowly"
            }
            Self::ErrorReports { .. } => {
                "see dom0's kernel log for the AER status registers: which access failed, and at which address"
            }
            Self::Store(error) => error.remedy(),
            Self::Xenbus(error) => error.remedy(),
            Self::Grant(_) | Self::Events(_) => {
                "a limit of this domain was hit: see max_grant_frames and max_event_channels"
            }
            Self::Config(error) => error.remedy(),
            Self::BadPirq { .. } | Self::MsixRefused { .. } => {
                "see Xen's log; extra_guest_irqs= on Xen's command line gives domains more PIRQs"
            }
            Self::VectorCount { .. } => "ask for 1 to 128 vectors",
        }
    }
}

protocol::coded!(FrontError);

/// What was given back, and what could not be.
#[derive(Debug, Default)]
#[must_use = "it says what was leaked"]
pub struct CloseReport {
    /// A grant the backend still uses: its page is lost.
    pub still_granted: Option<GrantRef>,
    /// A port Xen would not close.
    pub port_left: Option<Port>,
    /// Functions whose MSI or MSI-X could not be turned off: dom0 does it when the domain ends.
    pub irqs_left: Vec<Bdf>,
    /// The first thing that did not go to plan.
    pub problem: Option<Box<FrontError>>,
}

/// What could not be given back; nothing when all was.
impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gref) = self.still_granted {
            write!(f, "; the backend keeps our page mapped ({gref})")?;
        }
        if let Some(port) = self.port_left {
            write!(f, "; {port} stays open")?;
        }
        self.irqs_left.iter().try_for_each(|bdf| write!(f, "; MSI of {bdf} stays on"))
    }
}

impl CloseReport {
    /// What was left behind, by whose it is.
    pub fn kept(&self) -> Vec<String> {
        let page = self.still_granted.map(|gref| format!("pcifront's page ({gref})"));
        let port = self.port_left.map(|port| format!("pcifront's {port}"));
        let irqs = self.irqs_left.iter().map(|bdf| format!("MSI of {bdf}"));
        page.into_iter().chain(port).chain(irqs).collect()
    }

    /// Whether everything taken was given back.
    pub const fn leaks_nothing(&self) -> bool {
        self.still_granted.is_none() && self.port_left.is_none() && self.irqs_left.is_empty()
    }

    pub(super) fn close_port(&mut self, events: &dyn EventChannels, port: Port) {
        if let Err(error) = events.close(port) {
            self.port_left = Some(port);
            self.note(FrontError::Events(error));
        }
    }

    pub(super) fn note(&mut self, problem: impl Into<FrontError>) {
        self.problem.get_or_insert_with(|| Box::new(problem.into()));
    }
}

/// The frontend did not come into service; whatever it had taken by then has been given back.
#[derive(Debug, thiserror::Error)]
#[error("{error}{report}")]
pub struct ConnectFailed {
    /// Why.
    pub error: Box<FrontError>,
    /// What was given back.
    pub report: Box<CloseReport>,
}

impl From<FrontError> for ConnectFailed {
    /// Failed before anything was taken.
    fn from(error: FrontError) -> Self {
        Self { error: Box::new(error), report: Box::default() }
    }
}
