//! A page of ours that another domain may map, and its two states: ours alone, or granted.
//!
//! ```text
//! SharedPage --grant--> GrantedPage --revoke--> SharedPage --drop--> free
//!                       dropped: the page stays taken for good, for the other domain may write it still
//! ```
#![expect(unsafe_code, reason = "lends windows on a page it owns")]

use super::{GrantError, GrantRef, Grantable, Grants};
use crate::{
    addr::{Mfn, PAGE_SIZE},
    arch::volatile::Window,
    xen::events::DomainId,
};
use alloc::boxed::Box;
use core::{fmt, mem::ManuallyDrop, ptr::NonNull};

/// A page to share, reached through its [`Window`] only. Dropping it gives it back to where it came from.
///
/// The window does not outlive the page:
///
/// ```compile_fail,E0505
/// # use pvbounce::xen::grants::SharedPage;
/// fn write_after_giving_back(page: SharedPage<'_>) {
///     let window = page.window();
///     drop(page);
///     window.write_u8(0, 1);
/// }
/// ```
#[derive(Debug)]
pub struct SharedPage<'m> {
    base: NonNull<u8>,
    mfn: Mfn,
    /// Frees the page when dropped.
    _owner: Box<dyn fmt::Debug + 'm>,
}

impl<'m> SharedPage<'m> {
    /// The page mapped at `base`, behind which is the machine frame `mfn`.
    ///
    /// # Safety
    /// Until `owner` is dropped the whole page stays mapped readable and writable with that frame behind it, and
    /// no Rust reference to it is used.
    pub unsafe fn new(owner: Box<dyn fmt::Debug + 'm>, base: NonNull<u8>, mfn: Mfn) -> Self {
        Self { base, mfn, _owner: owner }
    }

    /// A page of a host test; `owner` sees it go back.
    #[cfg(not(target_os = "none"))]
    pub fn host(owner: Box<dyn fmt::Debug + 'm>, page: Window<'static>, mfn: Mfn) -> Self {
        assert_eq!(page.len(), PAGE_SIZE);
        let base = NonNull::new(page.as_ptr()).expect("a window has an address");
        // SAFETY: whoever made the window vouched for its bytes for good.
        unsafe { Self::new(owner, base, mfn) }
    }

    /// The page's machine frame.
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// The way to read and write it.
    pub const fn window(&self) -> Window<'_> {
        // SAFETY: whoever made `self` vouched for the page as long as the owner lives, whom the borrow keeps.
        unsafe { Window::new(self.base, PAGE_SIZE) }
    }

    /// Lets `to` map the page; on failure it is as it was.
    pub fn grant(
        self,
        grants: &'m dyn Grants,
        to: DomainId,
    ) -> Result<GrantedPage<'m>, (Self, GrantError)> {
        match grants.grant(to, Grantable(self.mfn)) {
            Ok(gref) => Ok(GrantedPage { page: ManuallyDrop::new(self), gref, grants }),
            Err(error) => Err((self, error)),
        }
    }
}

/// A page that another domain may have mapped. Dropping it without [`GrantedPage::revoke`] keeps the page for
/// good; the grant then stays in the count of those taken.
#[must_use = "the page is lost unless the grant is revoked"]
pub struct GrantedPage<'m> {
    page: ManuallyDrop<SharedPage<'m>>,
    gref: GrantRef,
    grants: &'m dyn Grants,
}

impl<'m> GrantedPage<'m> {
    /// The number under which the other domain maps it.
    pub const fn gref(&self) -> GrantRef {
        self.gref
    }

    /// The way to read and write it.
    pub fn window(&self) -> Window<'_> {
        self.page.window()
    }

    /// Takes the permission back; fails, and changes nothing, while the other domain has the page mapped.
    pub fn revoke(self) -> Result<SharedPage<'m>, (Self, GrantError)> {
        match self.grants.revoke(self.gref) {
            Ok(()) => Ok(ManuallyDrop::into_inner(self.page)),
            Err(error) => Err((self, error)),
        }
    }
}

impl fmt::Debug for GrantedPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedPage").field("gref", &self.gref).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::GrantTable, *};
    use crate::arch::volatile::host::shared_page;
    use alloc::rc::Rc;

    /// A page whose owner is `owner`.
    fn page(owner: &Rc<()>) -> SharedPage<'static> {
        SharedPage::host(Box::new(Rc::clone(owner)), shared_page(), Mfn(5))
    }

    #[test]
    fn a_page_goes_back_to_its_owner_only_when_nobody_has_it_mapped() {
        let entries = shared_page();
        let table = GrantTable::new(entries);
        let owner = Rc::new(());
        let granted = page(&owner).grant(&table, DomainId(0)).unwrap();
        let flags_at = granted.gref().0 as usize * 8;
        entries.write_u16(flags_at, entries.read_u16(flags_at) | 1 << 4);
        let (granted, error) = granted.revoke().unwrap_err();
        assert_eq!(error, GrantError::StillMapped(granted.gref()));
        entries.write_u16(flags_at, 1);
        drop(granted.revoke().unwrap());
        assert_eq!((Rc::strong_count(&owner), table.taken()), (1, 0));
    }

    #[test]
    fn a_granted_page_that_is_dropped_is_never_free_again() {
        let table = GrantTable::new(shared_page());
        let owner = Rc::new(());
        drop(page(&owner).grant(&table, DomainId(0)).unwrap());
        assert_eq!((Rc::strong_count(&owner), table.taken()), (2, 1));
    }
}
