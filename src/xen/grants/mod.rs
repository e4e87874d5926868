//! Grants: pages of ours that another domain may map (`public/grant_table.h`, version 1).

mod page;

pub use page::{GrantedPage, SharedPage};

use crate::{
    addr::{Mfn, PAGE_SIZE},
    arch::volatile::{Window, write_barrier},
    xen::{
        events::DomainId,
        failing::{self, Operation},
    },
};
use core::{cell::Cell, fmt};

/// The number under which another domain maps one of our pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantRef(pub u32);

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gref {}", self.0)
    }
}

/// Why a page could not be granted or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Every entry of the table is in use.
    #[error("all {0} grant entries are in use")]
    TableFull(u32),
    /// Version 1 entries hold 32 bits of frame number, which is 16 TiB.
    #[error("{0} is beyond what a grant entry can name (16 TiB)")]
    FrameTooHigh(Mfn),
    /// The other domain still has the page mapped: it must not be used for anything else.
    #[error("{0} is still mapped by the other domain")]
    StillMapped(GrantRef),
}

/// A frame that may be granted: no Rust reference reaches it, and it is in no other use until the grant is
/// revoked. Only a [`SharedPage`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grantable(Mfn);

impl Grantable {
    /// The frame.
    pub const fn mfn(self) -> Mfn {
        self.0
    }
}

/// Grant table operations, for [`SharedPage::grant`].
pub trait Grants {
    /// Lets `to` map `frame` read and write.
    fn grant(&self, to: DomainId, frame: Grantable) -> Result<GrantRef, GrantError>;

    /// Takes the permission back. On [`GrantError::StillMapped`] the entry and the page stay given away.
    fn revoke(&self, gref: GrantRef) -> Result<(), GrantError>;
}

/// `GTF_permit_access`.
const PERMIT: u16 = 1;
/// `GTF_reading | GTF_writing`: Xen sets these while the other domain has the page mapped.
const IN_USE: u16 = 1 << 3 | 1 << 4;
/// Entries Xen keeps for the console, xenstore and the like (`GNTTAB_NR_RESERVED_ENTRIES`).
const RESERVED: u32 = 8;
const ENTRY: usize = 8;
const ENTRIES: u32 = 512;
const _: () = assert!(ENTRIES as usize * ENTRY == PAGE_SIZE);

/// The first page of the domain's grant table: 512 entries of `{flags: u16, domid: u16, frame: u32}`.
#[derive(Debug)]
pub struct GrantTable {
    page: Window<'static>,
    taken: Cell<u32>,
}

impl GrantTable {
    /// The table in `page`, as `GNTTABOP_setup_table` gave it; mapped for good.
    pub const fn new(page: Window<'static>) -> Self {
        Self { page, taken: Cell::new(0) }
    }

    /// Entries that were granted and not revoked.
    pub const fn taken(&self) -> u32 {
        self.taken.get()
    }

    const fn flags_at(gref: GrantRef) -> usize {
        gref.0 as usize * ENTRY
    }
}

impl Grants for GrantTable {
    fn grant(&self, to: DomainId, frame: Grantable) -> Result<GrantRef, GrantError> {
        let frame = frame.mfn();
        let frame = u32::try_from(frame.0).map_err(|_| GrantError::FrameTooHigh(frame))?;
        let full = GrantError::TableFull(ENTRIES - RESERVED);
        failing::check(Operation::Grant).map_err(|_| full)?;
        let gref = (RESERVED..ENTRIES)
            .map(GrantRef)
            .find(|&gref| self.page.read_u16(Self::flags_at(gref)) == 0)
            .ok_or(full)?;
        let flags_at = Self::flags_at(gref);
        self.page.write_u16(flags_at + 2, to.0);
        self.page.write_u32(flags_at + 4, frame);
        // The flags make the entry valid, so they come last.
        write_barrier();
        self.page.write_u16(flags_at, PERMIT);
        self.taken.set(self.taken.get() + 1);
        Ok(gref)
    }

    fn revoke(&self, gref: GrantRef) -> Result<(), GrantError> {
        failing::check(Operation::Revoke).map_err(|_| GrantError::StillMapped(gref))?;
        let flags_at = Self::flags_at(gref);
        let flags = self.page.read_u16(flags_at);
        // Xen may set a use bit between our look and our clearing: the exchange fails then.
        if flags & IN_USE != 0 || !self.page.compare_exchange_u16(flags_at, flags, 0) {
            return Err(GrantError::StillMapped(gref));
        }
        self.taken.set(self.taken.get().saturating_sub(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::volatile::host::shared_page;

    #[test]
    fn an_entry_names_the_domain_and_the_frame_and_comes_back() {
        let page = shared_page();
        let table = GrantTable::new(page);
        let gref = table.grant(DomainId(7), Grantable(Mfn(0x1234))).unwrap();
        assert_eq!(gref, GrantRef(8));
        assert_eq!(page.read_u64(64), 0x1234_0007_0001);
        assert_eq!(table.grant(DomainId(7), Grantable(Mfn(1))).unwrap(), GrantRef(9));
        table.revoke(gref).unwrap();
        assert_eq!(table.taken(), 1);
        assert_eq!(table.grant(DomainId(0), Grantable(Mfn(1))).unwrap(), gref);
    }

    #[test]
    fn a_page_the_other_side_has_mapped_stays_granted() {
        let page = shared_page();
        let table = GrantTable::new(page);
        let gref = table.grant(DomainId(0), Grantable(Mfn(5))).unwrap();
        page.write_u16(64, PERMIT | 1 << 3);
        assert_eq!(table.revoke(gref), Err(GrantError::StillMapped(gref)));
        assert_eq!(table.taken(), 1);
    }

    #[test]
    fn a_full_table_and_an_unreachable_frame_are_told_apart() {
        let table = GrantTable::new(shared_page());
        for _ in RESERVED..ENTRIES {
            table.grant(DomainId(0), Grantable(Mfn(5))).unwrap();
        }
        assert_eq!(table.grant(DomainId(0), Grantable(Mfn(5))), Err(GrantError::TableFull(504)));
        let high = Mfn(1 << 32);
        assert_eq!(table.grant(DomainId(0), Grantable(high)), Err(GrantError::FrameTooHigh(high)));
    }
}
