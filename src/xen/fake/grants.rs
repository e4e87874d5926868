//! A grant table that knows who has what mapped.
//!
//! Stricter than Xen: revoking twice, granting a frame that is not the guest's, or freeing one that is granted
//! panics.

use crate::{
    addr::Mfn,
    arch::volatile::{Window, host::shared_page},
    xen::{
        events::DomainId,
        grants::{GrantError, GrantRef, Grantable, Grants, SharedPage},
    },
};
use alloc::{boxed::Box, collections::BTreeMap, rc::Rc};
use core::cell::{Cell, RefCell};

#[derive(Debug)]
struct Entry {
    to: DomainId,
    frame: Mfn,
    mapped: u32,
}

/// Grants that count what is given away.
#[derive(Debug)]
pub struct FakeGrants {
    size: usize,
    frames: RefCell<BTreeMap<Mfn, Window<'static>>>,
    entries: RefCell<BTreeMap<u32, Entry>>,
    last: Cell<u32>,
}

impl FakeGrants {
    /// A table of `size` entries.
    pub fn new(size: usize) -> Rc<Self> {
        Rc::new(Self {
            size,
            frames: RefCell::default(),
            entries: RefCell::default(),
            // The first numbers belong to console and xenstore.
            last: Cell::new(7),
        })
    }

    /// The guest takes `frame`, until it frees the page.
    pub fn own(self: &Rc<Self>, frame: Mfn) -> SharedPage<'static> {
        self.own_at(frame, shared_page())
    }

    /// The same with bytes of the caller's: such pages are never freed, so whoever takes many uses one again.
    pub fn own_at(self: &Rc<Self>, frame: Mfn, bytes: Window<'static>) -> SharedPage<'static> {
        self.frames.borrow_mut().insert(frame, bytes);
        SharedPage::host(Box::new(Owner { table: Rc::clone(self), frame }), bytes, frame)
    }

    /// How many frames the guest has taken and not freed.
    pub fn owned(&self) -> usize {
        self.frames.borrow().len()
    }

    /// How many grants are out.
    pub fn taken(&self) -> usize {
        self.entries.borrow().len()
    }

    /// The peer maps the page; `None` if it was not granted to `who`.
    pub fn map(&self, gref: GrantRef, who: DomainId) -> Option<Window<'static>> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&gref.0).filter(|e| e.to == who)?;
        entry.mapped += 1;
        self.frames.borrow().get(&entry.frame).copied()
    }

    /// The peer unmaps the page.
    pub fn unmap(&self, gref: GrantRef) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&gref.0).expect("unmapped a revoked grant");
        entry.mapped = entry.mapped.checked_sub(1).expect("unmapped twice");
    }
}

/// Where a frame goes when its page is dropped.
#[derive(Debug)]
struct Owner {
    table: Rc<FakeGrants>,
    frame: Mfn,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let granted = self.table.entries.borrow().values().any(|entry| entry.frame == self.frame);
        assert!(!granted, "{} is granted and was freed", self.frame);
        self.table.frames.borrow_mut().remove(&self.frame);
    }
}

impl Grants for FakeGrants {
    fn grant(&self, to: DomainId, frame: Grantable) -> Result<GrantRef, GrantError> {
        let frame = frame.mfn();
        assert!(self.frames.borrow().contains_key(&frame), "{frame} is not the guest's to grant");
        if self.entries.borrow().len() >= self.size {
            let size = u32::try_from(self.size).unwrap_or(u32::MAX);
            return Err(GrantError::TableFull(size));
        }
        self.last.set(self.last.get() + 1);
        let gref = self.last.get();
        let entry = Entry { to, frame, mapped: 0 };
        self.entries.borrow_mut().insert(gref, entry);
        Ok(GrantRef(gref))
    }

    fn revoke(&self, gref: GrantRef) -> Result<(), GrantError> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get(&gref.0).expect("revoked a grant twice");
        if entry.mapped > 0 {
            return Err(GrantError::StillMapped(gref));
        }
        entries.remove(&gref.0);
        Ok(())
    }
}
