//! What a device is told to read: bytes that were mapped for it, or a page that it is to be tried on.
//!
//! ```text
//! OwnedSlice            a buffer: used where it lies, or bounced, as any other; devices write to such, too
//! Probe                 a page of the guest's own that a device is to read where it lies, if it can
//! Source                one of the two; a mapping that a device writes to takes no such thing
//! ```
//! A probe is made of memory that its owner gives up for it. There is no way from an address to a probe, none from a probe
//! to memory that can be written, and no mapping of one that a device writes to:
//!
//! ```compile_fail,E0277
//! # use pvbounce::dma::{Device, FromDevice, Source};
//! fn a_device_writes_to_what_it_is_tried_on(device: &Device<'_>, source: Source) {
//!     let _ = device.map::<FromDevice, _>(source); // `Source` is no buffer for FromDevice
//! }
//! ```

use super::{
    buffer::{Buffer, Bytes},
    direction::ToDevice,
    owned::OwnedSlice,
};
#[cfg(not(target_os = "none"))]
use crate::dma::fake::FakePages;
use crate::mm::pages::{LowPages, TablePage};
use alloc::vec::Vec;
use core::ops::{Deref, Range};

/// What kind of page it is.
#[derive(Debug)]
enum Page {
    Table(TablePage<'static>),
    Plain(LowPages<'static>),
    #[cfg(not(target_os = "none"))]
    Played(FakePages),
}

/// A range of bytes in a page of the guest's own, for a device to read where they lie or not at all: they are never
/// bounced, whatever the policy.
#[derive(Debug)]
pub struct Probe {
    page: Page,
    range: Range<usize>,
}

impl Probe {
    /// The same page with other bytes of it chosen.
    ///
    /// # Panics
    /// If the range does not lie inside the page.
    #[must_use]
    pub fn select(self, range: Range<usize>) -> Self {
        let len = self.page.bytes().len();
        assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} bytes");
        Self { range, ..self }
    }

    const fn whole(page: Page, len: usize) -> Self {
        Self { page, range: 0..len }
    }
}

impl Page {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Table(page) => page,
            Self::Plain(page) => page,
            #[cfg(not(target_os = "none"))]
            Self::Played(page) => page,
        }
    }
}

impl From<TablePage<'static>> for Probe {
    fn from(page: TablePage<'static>) -> Self {
        let len = page.len();
        Self::whole(Page::Table(page), len)
    }
}

impl From<LowPages<'static>> for Probe {
    fn from(page: LowPages<'static>) -> Self {
        let len = page.len();
        Self::whole(Page::Plain(page), len)
    }
}

#[cfg(not(target_os = "none"))]
impl From<FakePages> for Probe {
    fn from(page: FakePages) -> Self {
        let len = page.len();
        Self::whole(Page::Played(page), len)
    }
}

/// What a device is told to read.
#[derive(Debug)]
pub enum Source {
    /// Bytes, mapped as any other.
    Bytes(OwnedSlice),
    /// A page that the device is tried on.
    Probe(Probe),
}

impl Source {
    /// The bytes; `None` of a page that the device was tried on.
    pub fn into_slice(self) -> Option<OwnedSlice> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Probe(_) => None,
        }
    }

    /// The whole memory if it is a vector.
    pub fn into_vec(self) -> Option<Vec<u8>> {
        self.into_slice().and_then(OwnedSlice::into_vec)
    }
}

impl From<OwnedSlice> for Source {
    fn from(bytes: OwnedSlice) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Probe> for Source {
    fn from(probe: Probe) -> Self {
        Self::Probe(probe)
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Probe(Probe { page, range }) => &page.bytes()[range.clone()],
        }
    }
}

impl Bytes for Source {
    // As an owned slice; and a page that a device is tried on is owned, too.
    const DIRECT: bool = true;

    fn bytes(&self) -> &[u8] {
        self
    }

    fn stays(&self) -> bool {
        matches!(self, Self::Probe(_))
    }
}

impl Buffer<ToDevice> for Source {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::{DmaMask, Mfn, Pfn},
        device::{Via, evidence::Ranges},
        dma::{
            Device, Limits, MapError, Plan, Policy, Pool, Table, Why,
            fake::{FakeMachine, Frames},
        },
    };
    use alloc::boxed::Box;

    fn with_device(policy: Policy, test: impl FnOnce(&FakeMachine, Device<'_>)) {
        let machine = FakeMachine::new(Frames::default());
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        test(&machine, Device::new(&pool, &machine, Limits::new(DmaMask::BITS_32), policy));
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    }

    fn probe(machine: &FakeMachine, mfn: u64) -> Probe {
        Probe::from(machine.pages(&[(Pfn(7), Mfn(mfn))])).select(8..72)
    }

    #[test]
    fn a_probe_is_read_where_it_lies_whatever_the_policy_and_is_evidence_of_its_own_kind() {
        for policy in [Policy::Auto, Policy::Force, Policy::Direct] {
            with_device(policy, |machine, device| {
                let source = Source::from(probe(machine, 0x7_0000));
                let mapping = device.map::<ToDevice, _>(source).unwrap();
                assert_eq!((mapping.bus().0, mapping.len()), (0x7000_0008, 64));
                assert!(!mapping.bounced());
                let mut ranges = Ranges::default();
                ranges.add(&mapping);
                assert_eq!(ranges.all()[0].via, Via::Probe);
                assert!(mapping.finish(0).unwrap().into_slice().is_none());
            });
        }
    }

    #[test]
    fn what_is_out_of_reach_is_refused_and_not_bounced() {
        for policy in [Policy::Auto, Policy::Force] {
            with_device(policy, |machine, device| {
                let source = Source::from(probe(machine, 0x20_0000));
                let error = device.map::<ToDevice, _>(source).unwrap_err();
                assert!(matches!(error, MapError::DirectOnly(Why::OutOfMask { .. })), "{error:?}");
            });
        }
        with_device(Policy::Refuse, |machine, device| {
            let source = Source::from(probe(machine, 0x7_0000));
            assert!(matches!(device.map::<ToDevice, _>(source), Err(MapError::Refused)));
        });
    }

    #[test]
    fn bytes_are_mapped_as_ever_and_come_back_as_what_they_were() {
        with_device(Policy::Auto, |_, device| {
            let mapping = device.map::<ToDevice, _>(Source::from(alloc::vec![3; 60])).unwrap();
            assert!(mapping.bounced());
            assert_eq!(mapping.finish(0).unwrap().into_vec(), Some(alloc::vec![3; 60]));
        });
    }
}
