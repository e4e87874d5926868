//! xenbus: how a frontend and its backend agree, by a number each writes into its xenstore directory.
//!
//! Waiting for the other side's number is by watch, with a look at the node now and then in case an
//! event got lost, and always with a deadline. Source of truth: `public/io/xenbus.h`.

use crate::{
    arch::{
        time::{Clock, TimedOut},
        wait::Deadline,
    },
    xen::{
        errno::XenError,
        events::DomainId,
        store::{Store, StoreError, TxId},
    },
};
use alloc::{format, string::String};
use core::{fmt, time::Duration};

/// How long a lost watch event can delay a wait.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where one end of a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum XenbusState {
    /// No such node: the other side is gone, or never was.
    Unknown = 0,
    /// Created by the toolstack.
    Initialising = 1,
    /// Waits for the other side to publish its details.
    InitWait = 2,
    /// Has published its details.
    Initialised = 3,
    /// In service.
    Connected = 4,
    /// About to leave.
    Closing = 5,
    /// Gone.
    Closed = 6,
    /// Devices are being added or taken away.
    Reconfiguring = 7,
    /// Devices have been added or taken away.
    Reconfigured = 8,
}

impl XenbusState {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// From the node's text; `None` if it is no state.
    pub fn parse(text: &str) -> Option<Self> {
        let number: u8 = text.parse().ok()?;
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number both sides write.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.number())
    }
}

/// Some of the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSet(u16);

impl StateSet {
    /// Exactly these.
    pub const fn of(states: &[XenbusState]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < states.len() {
            bits |= 1 << states[i].number();
            i += 1;
        }
        Self(bits)
    }

    /// Whether `state` is one of them.
    pub const fn contains(self, state: XenbusState) -> bool {
        self.0 & (1 << state.number()) != 0
    }
}

/// Why a state was not reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XenbusError {
    /// xenstore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The other side stayed where it was.
    #[error("{dir} stays in state {last}: {timed_out}")]
    Stuck {
        /// The other side's directory.
        dir: String,
        /// Its state when we gave up.
        last: XenbusState,
        /// How long we waited, and for what.
        timed_out: TimedOut,
    },
}

impl XenbusError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Stuck { .. } => "xenbus-stuck",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Store(error) => error.remedy(),
            Self::Stuck { .. } => {
                "check that the backend's driver is loaded in its domain, and its kernel log"
            }
        }
    }
}

/// Reads the state in `dir`; [`XenbusState::Unknown`] when there is none.
///
/// Where the other side's directory was removed, xenstored looks at the permissions of what is left above
/// it, which are not for us: "no access" is how a vanished backend reads.
pub fn read_state(store: &dyn Store, dir: &str) -> Result<XenbusState, StoreError> {
    let path = format!("{dir}/state");
    let value = match store.read(TxId::NONE, &path) {
        Ok(value) => value,
        Err(StoreError::Refused { error: XenError::NoEntry | XenError::AccessDenied, .. }) => {
            return Ok(XenbusState::Unknown);
        }
        Err(error) => return Err(error),
    };
    XenbusState::parse(&value).ok_or(StoreError::BadValue {
        path,
        value,
        expected: "a xenbus state, 0 to 8",
    })
}

/// Writes the state into `dir`, our own.
pub fn write_state(
    store: &dyn Store,
    tx: TxId,
    dir: &str,
    state: XenbusState,
) -> Result<(), StoreError> {
    store.write(tx, &format!("{dir}/state"), &format!("{}", state.number()))
}

/// A wait for the other side.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// The other side's directory.
    pub dir: &'a str,
    /// Any of these ends the wait; put those in, too, that make further waiting pointless.
    pub until: StateSet,
    /// Words that fit after "waited for".
    pub what: &'static str,
    /// How long at most.
    pub timeout: Duration,
}

impl Wait<'_> {
    /// Waits, and says which of the states it was.
    pub fn run(self, store: &dyn Store, clock: &dyn Clock) -> Result<XenbusState, XenbusError> {
        let path = format!("{}/state", self.dir);
        let token = "xenbus-wait";
        store.watch(&path, token)?;
        let result = self.watched(store, clock, token);
        // An answer is worth more than the watch, which ends with the domain at the latest.
        if let Err(error) = store.unwatch(&path, token) {
            log::warn!("xenbus: {error}");
        }
        result
    }

    fn watched(
        self,
        store: &dyn Store,
        clock: &dyn Clock,
        token: &str,
    ) -> Result<XenbusState, XenbusError> {
        let deadline = Deadline::new(clock, self.timeout);
        let mut last = XenbusState::Unknown;
        let reached = deadline.turns(|until| -> Result<_, StoreError> {
            last = read_state(store, self.dir)?;
            if self.until.contains(last) {
                return Ok(Some(last));
            }
            store.wait_event(token, until.min(clock.now().after(LOOK_AGAIN)))?;
            Ok(None)
        });
        reached?.ok_or_else(|| XenbusError::Stuck {
            dir: self.dir.into(),
            last,
            timed_out: deadline.timed_out(self.what),
        })
    }
}

/// A device the toolstack gave this domain: where its two ends keep their nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Our own directory, relative to the domain's home: `device/<kind>/<id>`.
    pub dir: String,
    /// The backend's directory, absolute.
    pub backend: String,
    /// The domain the backend is in.
    pub backend_id: DomainId,
}

impl Device {
    /// The first device of a kind (`pci`, `vif`, …); `None` when the domain was created without any.
    pub fn first(store: &dyn Store, kind: &str) -> Result<Option<Self>, StoreError> {
        let dir = format!("device/{kind}");
        let ids = store.directory_optional(TxId::NONE, &dir)?;
        ids.first().map(|id| Self::at(store, format!("{dir}/{id}"))).transpose()
    }

    /// The device in `dir`.
    fn at(store: &dyn Store, dir: String) -> Result<Self, StoreError> {
        let backend = store.read(TxId::NONE, &format!("{dir}/backend"))?;
        let path = format!("{dir}/backend-id");
        let id: u16 = store.read_as(TxId::NONE, &path, "a domain's number")?;
        if id >= DomainId::SELF.0 {
            return Err(StoreError::BadValue {
                path,
                value: format!("{id}"),
                expected: "a domain's number",
            });
        }
        Ok(Self { dir, backend, backend_id: DomainId(id) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::time::Instant;
    use crate::xen::{
        fake::{FakeEvents, Peer, events::ROUND},
        store::fake::{FakeStore, Tree},
    };
    use alloc::rc::Rc;
    use core::cell::Cell;

    const BACKEND: &str = "/local/domain/0/backend/pci/1/0";

    /// Goes through these states, one every ten steps.
    #[derive(Debug)]
    struct Backend {
        tree: Rc<Tree>,
        states: &'static [&'static str],
        steps: Cell<usize>,
    }

    impl Peer for Backend {
        fn step(&self) {
            let step = self.steps.get() + 1;
            self.steps.set(step);
            let due = step.is_multiple_of(10).then(|| self.states.get(step / 10 - 1));
            if let Some(Some(state)) = due {
                self.tree.set(&format!("{BACKEND}/state"), state);
            }
        }
    }

    fn wait(
        states: &'static [&'static str],
        lossy: bool,
    ) -> (Result<XenbusState, XenbusError>, Instant) {
        let events = FakeEvents::new();
        let tree = Tree::new(DomainId(1));
        tree.set(&format!("{BACKEND}/state"), "1");
        events.add_peer(Rc::new(Backend { tree: Rc::clone(&tree), states, steps: Cell::new(0) }));
        let clock = events.clock();
        let store = FakeStore::new(Rc::clone(&tree), events);
        if lossy {
            tree.lose_events();
        }
        let wait = Wait {
            dir: BACKEND,
            until: StateSet::of(&[XenbusState::Connected, XenbusState::Closed]),
            what: "the backend to connect",
            timeout: Duration::from_secs(10),
        };
        let result = wait.run(&store, &*clock);
        assert_eq!(tree.taken(), 0, "the watch is given back");
        (result, clock.now())
    }

    #[test]
    fn wait_ends_with_the_event_that_brings_the_state() {
        let (state, when) = wait(&["2", "3", "4"], false);
        assert_eq!(state, Ok(XenbusState::Connected));
        assert!(when.since(Instant(0)) < 40 * ROUND);
    }

    #[test]
    fn wait_survives_lost_events() {
        let (state, when) = wait(&["2", "3", "4"], true);
        assert_eq!(state, Ok(XenbusState::Connected));
        assert!(when.since(Instant(0)) <= LOOK_AGAIN.max(40 * ROUND));
    }

    #[test]
    fn wait_has_an_end_and_names_the_last_state() {
        let (state, when) = wait(&["2"], false);
        assert_eq!(when.since(Instant(0)), Duration::from_secs(10));
        assert_eq!(
            format!("{}", state.unwrap_err()),
            "/local/domain/0/backend/pci/1/0 stays in state InitWait (2): \
             waited 10000 ms for the backend to connect"
        );
    }

    #[test]
    fn states_that_are_none_are_refused() {
        let (state, _) = wait(&["9"], false);
        assert_eq!(state.unwrap_err().code(), "store-bad-value");
        let (state, _) = wait(&["four"], false);
        assert_eq!(state.unwrap_err().code(), "store-bad-value");
        for state in XenbusState::ALL {
            let text = format!("{}", state.number());
            assert_eq!(XenbusState::parse(&text), Some(state));
        }
    }

    #[test]
    fn devices_are_found_and_backend_ids_checked() {
        let tree = Tree::new(DomainId(1));
        let store = FakeStore::new(Rc::clone(&tree), FakeEvents::new());
        assert_eq!(Device::first(&store, "pci"), Ok(None));
        tree.set("/local/domain/1/device/pci/0/backend", BACKEND);
        tree.set("/local/domain/1/device/pci/0/backend-id", "0");
        let found = Device::first(&store, "pci").unwrap().unwrap();
        assert_eq!((found.dir.as_str(), found.backend_id), ("device/pci/0", DomainId::DOM0));
        tree.set("/local/domain/1/device/pci/0/backend-id", "32752");
        let refused = Device::first(&store, "pci").unwrap_err();
        assert_eq!(refused.code(), "store-bad-value");
    }
}
