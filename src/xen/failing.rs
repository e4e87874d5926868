//! Operations on Xen and xenstore that fail on purpose, one call site at a time: `selftest=fail:K`.
//!
//! A *call site* is an operation, the stage or suite that runs, and the nearest functions on the way to it: the innermost
//! three return addresses on the stack, or four for a request to xenstored, which lead to the caller of the service. Sites are
//! numbered from 1 as they are reached; the K-th fails, once, when it is reached first, with an error that Xen or
//! xenstored gives in earnest, and without being carried out, or only in part where Xen may stop halfway
//! ([`Operation`]). The console's operations are one site each a suite, whatever prints.
//!
//! In a run that nothing is to fail in, all of this is a flag that is looked at before each hypercall.

use crate::xen::errno::XenError;
use core::sync::atomic::{AtomicBool, Ordering};

macro_rules! operations {
    ($($name:ident, $word:literal, $error:ident, $kind:ident, $what:literal;)*) => {
        /// What can fail, with the error that it fails with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $(#[doc = $what] $name,)*
        }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// Its name in reports.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it fails with.
            pub const fn error(self) -> XenError {
                match self { $(Self::$name => XenError::$error,)* }
            }

            const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

operations! {
    MapPage, "update-va-mapping", Invalid, Calls, "`update_va_mapping`, before there is a memory manager.";
    SetTraps, "set-trap-table", BadAddress, Calls, "`set_trap_table`.";
    SetCallbacks, "set-callbacks", Invalid, Calls, "`set_callbacks`.";
    Remap, "remap", NotImplemented, Calls, "A multicall of `update_va_mapping`, of which the middle one is refused.";
    MmuUpdate, "mmu-update", Invalid, Calls, "`mmu_update`, carried out as far as its middle.";
    ClearPage, "clear-page", Invalid, Calls, "`MMUEXT_CLEAR_PAGE`.";
    Exchange, "exchange", NoMemory, Calls, "`XENMEM_exchange`.";
    ExchangeDone, "exchange-done", BadAddress, Calls, "`XENMEM_exchange`, carried out and then said to have failed.";
    MemoryMap, "memory-map", BadAddress, Calls, "`XENMEM_memory_map`.";
    Reservation, "current-reservation", NotPermitted, Calls, "`XENMEM_current_reservation`.";
    Version, "xen-version", NotPermitted, Calls, "`xen_version`, each of its commands.";
    ConsoleWrite, "console-io", NotPermitted, Prints, "`CONSOLEIO_write`.";
    ConsoleSend, "console-send", Invalid, Prints, "`EVTCHNOP_send` to xenconsoled.";
    ConsolePoll, "console-poll", Invalid, Prints, "`SCHEDOP_poll` for xenconsoled.";
    Shutdown, "shutdown", BadAddress, Ends, "`SCHEDOP_shutdown`.";
    Poll, "poll", Invalid, Calls, "`SCHEDOP_poll`.";
    AllocUnbound, "alloc-unbound", NoSpace, Calls, "`EVTCHNOP_alloc_unbound`.";
    BindPirq, "bind-pirq", Busy, Calls, "`EVTCHNOP_bind_pirq`.";
    BindIpi, "bind-ipi", NoSpace, Calls, "`EVTCHNOP_bind_ipi`.";
    ClosePort, "close-port", Invalid, Calls, "`EVTCHNOP_close`.";
    Send, "send", Invalid, Calls, "`EVTCHNOP_send`.";
    Unmask, "unmask", Invalid, Calls, "`EVTCHNOP_unmask`.";
    Eoi, "eoi", Invalid, Calls, "`PHYSDEVOP_eoi`.";
    SetIopl, "set-iopl", Invalid, Calls, "`PHYSDEVOP_set_iopl`.";
    AddDevice, "pci-device-add", NotPermitted, Calls, "`PHYSDEVOP_pci_device_add`.";
    ReserveConfig, "pci-mmcfg-reserved", NoDevice, Calls, "`PHYSDEVOP_pci_mmcfg_reserved`.";
    FirmwareInfo, "firmware-info", NotPermitted, Calls, "`XENPF_firmware_info`.";
    MapPirq, "map-pirq", NoSpace, Calls, "`PHYSDEVOP_map_pirq`.";
    UnmapPirq, "unmap-pirq", Invalid, Calls, "`PHYSDEVOP_unmap_pirq`.";
    SetupGrants, "setup-grant-table", Invalid, Calls, "`GNTTABOP_setup_table`.";
    Grant, "grant", NoSpace, Calls, "A page granted: the table is full.";
    Revoke, "revoke", Busy, Calls, "A grant taken back: the other domain has the page mapped.";
    StoreRead, "store-read", NoMemory, Asks, "`XS_READ`.";
    StoreDirectory, "store-directory", NoMemory, Asks, "`XS_DIRECTORY`.";
    StoreWrite, "store-write", NoSpace, Asks, "`XS_WRITE`, `XS_MKDIR`: over the quota.";
    StoreRemove, "store-remove", NoMemory, Asks, "`XS_RM`.";
    StoreBegin, "store-transaction", Busy, Asks, "`XS_TRANSACTION_START`.";
    StoreEnd, "store-commit", TryAgain, Asks, "`XS_TRANSACTION_END`.";
    StoreWatch, "store-watch", TooBig, Asks, "`XS_WATCH`: over the quota.";
    StoreUnwatch, "store-unwatch", NoEntry, Asks, "`XS_UNWATCH`.";
}

/// Who an operation is asked of, which says how far back the way to it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Xen.
    Calls,
    /// xenstored, by way of its service.
    Asks,
    /// Xen or xenconsoled: what is printed.
    Prints,
    /// Xen: the domain's end.
    Ends,
}

impl Operation {
    /// How many return addresses tell its call sites apart.
    const fn depth(self) -> usize {
        match self.kind() {
            Kind::Calls => 3,
            Kind::Asks => 4,
            Kind::Prints | Kind::Ends => 0,
        }
    }
}

/// Sites that are told apart: some three times what a whole run has.
pub const MOST: usize = 512;

/// Return addresses of a way.
pub const DEEPEST: usize = 24;

/// The site that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its number.
    pub site: u32,
    /// What was to be done.
    pub operation: Operation,
    /// The stage or suite.
    pub place: &'static str,
    /// Return addresses, innermost first, then zeros.
    pub way: [u64; DEEPEST],
}

/// The sites reached.
struct Sites {
    wanted: u32,
    place: &'static str,
    seen: [u32; MOST],
    count: usize,
    failed: Option<Failed>,
    told: bool,
    foreseen: Option<Operation>,
}

impl Sites {
    const fn new() -> Self {
        Self {
            wanted: 0,
            place: "start",
            seen: [0; MOST],
            count: 0,
            failed: None,
            told: false,
            foreseen: None,
        }
    }

    /// Whether the operation is to fail here.
    fn strikes(&mut self, operation: Operation, way: [u64; DEEPEST]) -> bool {
        if self.foreseen == Some(operation) {
            self.foreseen = None;
            return true;
        }
        let id = self.id(operation, &way);
        if self.seen[..self.count].contains(&id) || self.count == MOST {
            return false;
        }
        self.seen[self.count] = id;
        self.count += 1;
        let site = u32::try_from(self.count).unwrap_or(u32::MAX);
        if site == self.wanted {
            self.failed = Some(Failed { site, operation, place: self.place, way });
        }
        site == self.wanted
    }

    /// Fowler, Noll and Vo's FNV-1a of all that makes a site, folded to 32 bits.
    fn id(&self, operation: Operation, way: &[u64; DEEPEST]) -> u32 {
        let way = &way[..operation.depth()];
        let place = self.place.bytes().map(u64::from);
        let words = [operation as u64].into_iter().chain(place).chain(way.iter().copied());
        let hash = words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            word.to_le_bytes()
                .iter()
                .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
        });
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
    }
}

static ARMED: AtomicBool = AtomicBool::new(false);
static SITES: spin::Mutex<Sites> = spin::Mutex::new(Sites::new());

/// From here on call sites are counted, and the one of this number fails.
pub fn arm(site: u32) {
    SITES.lock().wanted = site;
    ARMED.store(true, Ordering::Relaxed);
}

/// What runs from here on is this stage or suite.
pub fn enter(place: &'static str) {
    SITES.lock().place = place;
}

/// Whether the operation is to fail, for what then does its part of it.
#[inline]
pub fn strikes(operation: Operation) -> bool {
    ARMED.load(Ordering::Relaxed) && reach(operation)
}

/// Reaches an operation's site before it is carried out: for what comes when there is nobody left to tell.
pub fn foresee(operation: Operation) {
    if strikes(operation) {
        SITES.lock().foreseen = Some(operation);
    }
}

/// Its error, if the operation is to fail.
#[inline]
pub fn check(operation: Operation) -> Result<(), XenError> {
    if strikes(operation) { Err(operation.error()) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn reach(operation: Operation) -> bool {
    // A panic may come while the lock is held, and prints.
    SITES.try_lock().is_some_and(|mut sites| sites.strikes(operation, way()))
}

#[cfg(target_os = "none")]
fn way() -> [u64; DEEPEST] {
    let mut way = [0; DEEPEST];
    way.iter_mut().zip(crate::arch::image::backtrace()).for_each(|(to, from)| *to = from);
    way
}

/// On a host nothing is armed.
#[cfg(not(target_os = "none"))]
const fn way() -> [u64; DEEPEST] {
    [0; DEEPEST]
}

/// What failed, unless this was asked before.
pub fn news() -> Option<Failed> {
    let mut sites = SITES.try_lock()?;
    let news = sites.failed.filter(|_| !sites.told);
    sites.told = sites.failed.is_some();
    news
}

/// How many sites were reached; `None` in a run that counts none.
pub fn reached() -> Option<usize> {
    ARMED.load(Ordering::Relaxed).then(|| SITES.lock().count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ktap::MAY_KEEP;

    fn way(address: u64) -> [u64; DEEPEST] {
        let mut way = [0; DEEPEST];
        way[0] = address;
        way
    }

    #[test]
    fn the_site_of_the_number_fails_when_it_is_reached_first_and_then_no_more() {
        let mut sites = Sites { wanted: 2, ..Sites::new() };
        assert!(!sites.strikes(Operation::Send, way(1)));
        assert!(!sites.strikes(Operation::Send, way(1)), "the same site");
        assert!(sites.strikes(Operation::Send, way(2)));
        assert!(!sites.strikes(Operation::Send, way(2)), "once");
        assert!(!sites.strikes(Operation::Send, way(3)));
        assert_eq!(sites.count, 3);
        let failed = sites.failed.unwrap();
        assert_eq!((failed.site, failed.operation, failed.way), (2, Operation::Send, way(2)));
    }

    #[test]
    fn operation_place_and_way_make_a_site_and_for_what_prints_the_way_does_not() {
        let mut sites = Sites::new();
        for (count, operation, place, address) in [
            (1, Operation::Send, "boot", 1),
            (2, Operation::Poll, "boot", 1),
            (3, Operation::Poll, "boot", 2),
            (4, Operation::Poll, "irq", 2),
            (5, Operation::ConsoleSend, "irq", 2),
            (5, Operation::ConsoleSend, "irq", 3),
            (6, Operation::ConsoleSend, "dma", 3),
        ] {
            sites.place = place;
            assert!(!sites.strikes(operation, way(address)));
            assert_eq!(sites.count, count, "{operation:?} {place} {address}");
        }
    }

    #[test]
    fn what_is_foreseen_fails_later_and_once() {
        let mut sites = Sites { wanted: 1, ..Sites::new() };
        assert!(sites.strikes(Operation::Shutdown, way(1)));
        sites.foreseen = Some(Operation::Shutdown);
        assert!(!sites.strikes(Operation::ConsolePoll, way(1)));
        assert!(sites.strikes(Operation::Shutdown, way(2)));
        assert!(!sites.strikes(Operation::Shutdown, way(2)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "counts to the list's end, without memory to look at")]
    fn what_is_beyond_the_list_is_not_counted_twice_nor_struck() {
        let mut sites = Sites { wanted: u32::try_from(MOST).unwrap() + 1, ..Sites::new() };
        for address in 0..2 * MOST as u64 {
            assert!(!sites.strikes(Operation::Send, way(address)));
        }
        assert_eq!((sites.count, sites.failed), (MOST, None));
    }

    #[test]
    fn what_may_keep_something_is_an_operation() {
        let is_one = |word: &&str| Operation::ALL.iter().any(|known| known.word() == *word);
        assert!(MAY_KEEP.iter().all(is_one), "{MAY_KEEP:?}");
    }

    #[test]
    fn nothing_fails_and_nothing_is_counted_unless_it_was_asked_for() {
        assert!(Operation::ALL.into_iter().all(|operation| check(operation).is_ok()));
        assert_eq!((reached(), news()), (None, None));
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_an_error_that_xen_knows() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            let word = operation.word();
            assert!(Operation::ALL[place + 1..].iter().all(|other| other.word() != word), "{word}");
            assert!(!matches!(operation.error(), XenError::Unknown(_)), "{word}");
        }
    }
}
