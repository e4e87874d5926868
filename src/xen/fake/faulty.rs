//! The same services, with a call failing, alone or with all that follow: for sweeps over the first, the second,
//! the n-th call.
//!
//! Giving back (close, revoke, unwatch) fails as well: what is then left has to be in somebody's report.

use crate::{
    arch::time::Instant,
    xen::{
        errno::XenError,
        events::{DomainId, EventChannels, Pirq, Port, Sharing},
        grants::{GrantError, GrantRef, Grantable, Grants},
        store::{Store, StoreError, TxEnd, TxId, WatchEvent, wire::MessageType},
    },
};
use alloc::{string::String, vec::Vec};
use core::cell::Cell;

/// Which call fails: counted over all wrappers that share the plan.
#[derive(Debug)]
pub struct FaultPlan {
    left: Cell<u32>,
    fired: Cell<bool>,
    goes_on: bool,
}

impl FaultPlan {
    /// Fails the call after `calls` good ones.
    pub fn after(calls: u32) -> Self {
        Self { left: Cell::new(calls), fired: Cell::new(false), goes_on: false }
    }

    /// Fails every call after `calls` good ones.
    pub fn for_good_after(calls: u32) -> Self {
        Self { goes_on: true, ..Self::after(calls) }
    }

    /// Whether the call has failed; if not, the sweep is over.
    pub fn fired(&self) -> bool {
        self.fired.get()
    }

    fn hit(&self) -> bool {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                false
            }
            None => !self.fired.replace(true) || self.goes_on,
        }
    }

    fn fail<E>(&self, error: E) -> Result<(), E> {
        if self.hit() { Err(error) } else { Ok(()) }
    }
}

/// `inner` with the plan's failure in it.
#[derive(Clone, Copy, Debug)]
pub struct Faulty<'a, T: ?Sized> {
    /// What does the work.
    pub inner: &'a T,
    /// When it fails.
    pub plan: &'a FaultPlan,
}

impl EventChannels for Faulty<'_, dyn EventChannels + '_> {
    fn alloc_unbound(&self, remote: DomainId) -> Result<Port, XenError> {
        self.plan.fail(XenError::NoSpace)?;
        self.inner.alloc_unbound(remote)
    }

    fn bind_pirq(&self, pirq: Pirq, sharing: Sharing) -> Result<Port, XenError> {
        self.plan.fail(XenError::Invalid)?;
        self.inner.bind_pirq(pirq, sharing)
    }

    fn eoi(&self, pirq: Pirq) -> Result<(), XenError> {
        self.plan.fail(XenError::Invalid)?;
        self.inner.eoi(pirq)
    }

    fn close(&self, port: Port) -> Result<(), XenError> {
        self.plan.fail(XenError::Invalid)?;
        self.inner.close(port)
    }

    fn notify(&self, port: Port) -> Result<(), XenError> {
        self.plan.fail(XenError::Invalid)?;
        self.inner.notify(port)
    }

    fn take(&self, port: Port) -> bool {
        self.inner.take(port)
    }

    fn poll(&self, ports: &[Port], deadline: Instant) -> Result<(), XenError> {
        self.plan.fail(XenError::Interrupted)?;
        self.inner.poll(ports, deadline)
    }
}

impl Grants for Faulty<'_, dyn Grants + '_> {
    fn grant(&self, to: DomainId, frame: Grantable) -> Result<GrantRef, GrantError> {
        self.plan.fail(GrantError::TableFull(0))?;
        self.inner.grant(to, frame)
    }

    fn revoke(&self, gref: GrantRef) -> Result<(), GrantError> {
        self.plan.fail(GrantError::StillMapped(gref))?;
        self.inner.revoke(gref)
    }
}

impl Faulty<'_, dyn Store + '_> {
    fn refuse(&self, op: MessageType, path: &str) -> Result<(), StoreError> {
        self.plan.fail(StoreError::Refused { op, path: path.into(), error: XenError::NoMemory })
    }
}

impl Store for Faulty<'_, dyn Store + '_> {
    fn read(&self, tx: TxId, path: &str) -> Result<String, StoreError> {
        self.refuse(MessageType::READ, path)?;
        self.inner.read(tx, path)
    }

    fn write(&self, tx: TxId, path: &str, value: &str) -> Result<(), StoreError> {
        self.refuse(MessageType::WRITE, path)?;
        self.inner.write(tx, path, value)
    }

    fn mkdir(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        self.refuse(MessageType::MKDIR, path)?;
        self.inner.mkdir(tx, path)
    }

    fn remove(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        self.refuse(MessageType::RM, path)?;
        self.inner.remove(tx, path)
    }

    fn directory(&self, tx: TxId, path: &str) -> Result<Vec<String>, StoreError> {
        self.refuse(MessageType::DIRECTORY, path)?;
        self.inner.directory(tx, path)
    }

    fn transaction_start(&self) -> Result<TxId, StoreError> {
        self.refuse(MessageType::TRANSACTION_START, "")?;
        self.inner.transaction_start()
    }

    fn transaction_end(&self, tx: TxId, end: TxEnd) -> Result<(), StoreError> {
        if end == TxEnd::Commit && self.plan.hit() {
            // As xenstored does: a refused commit has ended the transaction.
            self.inner.transaction_end(tx, TxEnd::Abort)?;
            return Err(StoreError::Refused {
                op: MessageType::TRANSACTION_END,
                path: String::new(),
                error: XenError::NoMemory,
            });
        }
        self.inner.transaction_end(tx, end)
    }

    fn watch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        self.refuse(MessageType::WATCH, path)?;
        self.inner.watch(path, token)
    }

    fn unwatch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        self.refuse(MessageType::UNWATCH, path)?;
        self.inner.unwatch(path, token)
    }

    fn wait_event(&self, token: &str, deadline: Instant) -> Result<Option<WatchEvent>, StoreError> {
        self.plan.fail(StoreError::Unusable)?;
        self.inner.wait_event(token, deadline)
    }
}
