//! Grants: pages of ours that another domain may map (`public/grant_table.h`, version 1).

use crate::{addr::Mfn, xen::events::DomainId};
use core::fmt;

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
    /// The other domain still has the page mapped: it must not be used for anything else.
    #[error("{0} is still mapped by the other domain")]
    StillMapped(GrantRef),
}

/// Grant table operations.
pub trait Grants {
    /// Lets `to` map `frame` read and write.
    fn grant(&self, to: DomainId, frame: Mfn) -> Result<GrantRef, GrantError>;

    /// Takes the permission back. On [`GrantError::StillMapped`] the entry and the page stay given away.
    fn revoke(&self, gref: GrantRef) -> Result<(), GrantError>;
}
