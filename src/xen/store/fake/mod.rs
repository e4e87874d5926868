//! xenstore for host tests: a tree, two ways for the guest to reach it, and dom0's side to play.
//!
//! [`FakeStore`] is the tree behind the [`Store`] trait, for tests of what lies above. [`FakeDaemon`]
//! serves the same tree over the rings, for tests of the client. Both are stricter than xenstored: a
//! watch set twice or ended twice, a path outside what the guest may see, a transaction ended twice
//! are all refused, and watches and transactions still open are counted.

mod daemon;
mod tree;

pub use daemon::{DaemonMode, FakeDaemon};
pub use tree::Tree;

use super::{
    Store, StoreError, TxEnd, TxId, WatchEvent,
    wire::{MessageType, check_path},
};
use crate::{
    arch::time::{Clock, Instant},
    xen::{
        errno::XenError,
        events::{DomainId, EventChannels, Port},
        fake::FakeEvents,
    },
};
use alloc::{rc::Rc, string::String, vec::Vec};

/// The tree without rings.
#[derive(Debug)]
pub struct FakeStore {
    tree: Rc<Tree>,
    events: Rc<FakeEvents>,
    port: Port,
}

impl FakeStore {
    /// The guest's view of `tree`; waiting goes through `events`, so peers get their steps.
    pub fn new(tree: Rc<Tree>, events: Rc<FakeEvents>) -> Self {
        let port = events.born_with(DomainId::DOM0);
        tree.wake_on_event(Rc::clone(&events), port);
        Self { tree, events, port }
    }
}

fn named<T>(op: MessageType, path: &str, result: Result<T, XenError>) -> Result<T, StoreError> {
    check_path(path).map_err(|fault| StoreError::BadPath { path: path.into(), fault })?;
    result.map_err(|error| StoreError::Refused { op, path: path.into(), error })
}

impl Store for FakeStore {
    fn read(&self, tx: TxId, path: &str) -> Result<String, StoreError> {
        named(MessageType::READ, path, self.tree.read(tx, path))
    }

    fn write(&self, tx: TxId, path: &str, value: &str) -> Result<(), StoreError> {
        named(MessageType::WRITE, path, self.tree.write(tx, path, value))
    }

    fn mkdir(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        named(MessageType::MKDIR, path, self.tree.mkdir(tx, path))
    }

    fn remove(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        named(MessageType::RM, path, self.tree.remove(tx, path))
    }

    fn directory(&self, tx: TxId, path: &str) -> Result<Vec<String>, StoreError> {
        let names = self.tree.directory(tx, path);
        named(MessageType::DIRECTORY, path, names)
    }

    fn transaction_start(&self) -> Result<TxId, StoreError> {
        Ok(self.tree.transaction_start())
    }

    fn transaction_end(&self, tx: TxId, end: TxEnd) -> Result<(), StoreError> {
        let ended = self.tree.transaction_end(tx, end);
        named(MessageType::TRANSACTION_END, "/", ended)
    }

    fn watch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        named(MessageType::WATCH, path, self.tree.watch(path, token))
    }

    fn unwatch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        self.tree.drop_events(token);
        named(MessageType::UNWATCH, path, self.tree.unwatch(path, token))
    }

    fn wait_event(&self, token: &str, deadline: Instant) -> Result<Option<WatchEvent>, StoreError> {
        loop {
            self.events.take(self.port);
            if let Some(event) = self.tree.take_event(token) {
                return Ok(Some(event));
            }
            if self.events.clock().now() >= deadline {
                return Ok(None);
            }
            let polled = self.events.poll(&[self.port], deadline);
            polled.map_err(StoreError::Events)?;
        }
    }
}
