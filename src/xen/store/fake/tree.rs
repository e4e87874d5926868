//! The nodes, watches and transactions of one guest's view of xenstore.

use super::super::{TxEnd, TxId, WatchEvent};
use crate::xen::{
    errno::XenError,
    events::{DomainId, Port},
    fake::FakeEvents,
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    rc::Rc,
    string::String,
    vec::Vec,
};
use core::cell::{Cell, RefCell};

type Nodes = BTreeMap<String, String>;

#[derive(Debug)]
struct Watch {
    path: String,
    relative: bool,
    token: String,
}

#[derive(Debug)]
struct Transaction {
    nodes: Nodes,
    seen: u64,
    changed: Vec<String>,
}

/// The tree. Methods named after store operations are the guest's; `set`, `get`, `delete` are dom0's.
#[derive(Debug)]
pub struct Tree {
    guest: DomainId,
    home: String,
    nodes: RefCell<Nodes>,
    changes: Cell<u64>,
    open: RefCell<BTreeMap<u32, Transaction>>,
    last_tx: Cell<u32>,
    watches: RefCell<Vec<Watch>>,
    pending: RefCell<VecDeque<WatchEvent>>,
    wake: RefCell<Option<(Rc<FakeEvents>, Port)>>,
    mute: Cell<bool>,
}

impl Tree {
    /// An empty tree as `guest` sees it.
    pub fn new(guest: DomainId) -> Rc<Self> {
        Rc::new(Self {
            guest,
            home: format!("/local/domain/{}", guest.0),
            nodes: RefCell::default(),
            changes: Cell::default(),
            open: RefCell::default(),
            last_tx: Cell::default(),
            watches: RefCell::default(),
            pending: RefCell::default(),
            wake: RefCell::default(),
            mute: Cell::default(),
        })
    }

    /// Watches and transactions the guest has open.
    pub fn taken(&self) -> usize {
        self.watches.borrow().len() + self.open.borrow().len()
    }

    /// Loses all watch events from now on, as a broken daemon would.
    pub fn lose_events(&self) {
        self.mute.set(true);
    }

    /// dom0 sets a node; the path is absolute.
    pub fn set(&self, path: &str, value: &str) {
        put(&mut self.nodes.borrow_mut(), path, value);
        self.changed(path);
    }

    /// dom0 reads a node.
    pub fn get(&self, path: &str) -> Option<String> {
        self.nodes.borrow().get(path).cloned()
    }

    /// dom0 removes a node and all below.
    pub fn delete(&self, path: &str) {
        prune(&mut self.nodes.borrow_mut(), path);
        self.changed(path);
    }

    /// The names directly below a node; dom0 sees all.
    pub fn names(&self, path: &str) -> Vec<String> {
        names_below(&self.nodes.borrow(), path)
    }

    pub(super) fn wake_on_event(&self, events: Rc<FakeEvents>, port: Port) {
        *self.wake.borrow_mut() = Some((events, port));
    }

    pub(super) fn read(&self, tx: TxId, path: &str) -> Result<String, XenError> {
        let path = self.readable(path)?;
        self.view(tx, |nodes| nodes.get(&path).cloned())?.ok_or(XenError::NoEntry)
    }

    pub(super) fn directory(&self, tx: TxId, path: &str) -> Result<Vec<String>, XenError> {
        let path = self.readable(path)?;
        let names =
            self.view(tx, |nodes| nodes.contains_key(&path).then(|| names_below(nodes, &path)))?;
        names.ok_or(XenError::NoEntry)
    }

    pub(super) fn write(&self, tx: TxId, path: &str, value: &str) -> Result<(), XenError> {
        let path = self.writable(path)?;
        self.edit(tx, &path, |nodes| put(nodes, &path, value))
    }

    pub(super) fn mkdir(&self, tx: TxId, path: &str) -> Result<(), XenError> {
        let path = self.writable(path)?;
        if self.view(tx, |nodes| nodes.contains_key(&path))? {
            return Ok(());
        }
        self.edit(tx, &path, |nodes| put(nodes, &path, ""))
    }

    pub(super) fn remove(&self, tx: TxId, path: &str) -> Result<(), XenError> {
        let path = self.writable(path)?;
        if !self.view(tx, |nodes| nodes.contains_key(&path))? {
            return Err(XenError::NoEntry);
        }
        self.edit(tx, &path, |nodes| prune(nodes, &path))
    }

    pub(super) fn transaction_start(&self) -> TxId {
        self.last_tx.set(self.last_tx.get() + 1);
        let tx = Transaction {
            nodes: self.nodes.borrow().clone(),
            seen: self.changes.get(),
            changed: Vec::new(),
        };
        self.open.borrow_mut().insert(self.last_tx.get(), tx);
        TxId(self.last_tx.get())
    }

    pub(super) fn transaction_end(&self, tx: TxId, end: TxEnd) -> Result<(), XenError> {
        let done = self.open.borrow_mut().remove(&tx.0);
        let done = done.ok_or(XenError::NoEntry)?;
        if end == TxEnd::Abort {
            return Ok(());
        }
        if done.seen != self.changes.get() {
            return Err(XenError::TryAgain);
        }
        *self.nodes.borrow_mut() = done.nodes;
        for path in &done.changed {
            self.changed(path);
        }
        Ok(())
    }

    pub(super) fn watch(&self, path: &str, token: &str) -> Result<(), XenError> {
        let relative = !path.starts_with('/');
        let absolute = self.absolute(path);
        let watch = Watch { path: absolute.clone(), relative, token: token.into() };
        let same = |w: &Watch| w.path == absolute && w.token == token;
        if self.watches.borrow().iter().any(same) {
            return Err(XenError::Exists);
        }
        self.fire(&watch, &absolute);
        self.watches.borrow_mut().push(watch);
        Ok(())
    }

    pub(super) fn unwatch(&self, path: &str, token: &str) -> Result<(), XenError> {
        let path = self.absolute(path);
        let mut watches = self.watches.borrow_mut();
        let set = |w: &Watch| w.path == path && w.token == token;
        let at = watches.iter().position(set).ok_or(XenError::NoEntry)?;
        watches.remove(at);
        Ok(())
    }

    pub(super) fn take_event(&self, token: &str) -> Option<WatchEvent> {
        let mut pending = self.pending.borrow_mut();
        let at = pending.iter().position(|e| e.token == token)?;
        pending.remove(at)
    }

    pub(super) fn next_event(&self) -> Option<WatchEvent> {
        self.pending.borrow_mut().pop_front()
    }

    pub(super) fn drop_events(&self, token: &str) {
        self.pending.borrow_mut().retain(|e| e.token != token);
    }

    fn view<T>(&self, tx: TxId, look: impl FnOnce(&Nodes) -> T) -> Result<T, XenError> {
        if tx == TxId::NONE {
            return Ok(look(&self.nodes.borrow()));
        }
        let open = self.open.borrow();
        open.get(&tx.0).map(|tx| look(&tx.nodes)).ok_or(XenError::NoEntry)
    }

    fn edit(&self, tx: TxId, path: &str, act: impl FnOnce(&mut Nodes)) -> Result<(), XenError> {
        if tx == TxId::NONE {
            act(&mut self.nodes.borrow_mut());
            self.changed(path);
            return Ok(());
        }
        let mut open = self.open.borrow_mut();
        let tx = open.get_mut(&tx.0).ok_or(XenError::NoEntry)?;
        act(&mut tx.nodes);
        tx.changed.push(path.into());
        Ok(())
    }

    fn changed(&self, path: &str) {
        self.changes.set(self.changes.get() + 1);
        for watch in &*self.watches.borrow() {
            if is_at_or_below(path, &watch.path) || is_at_or_below(&watch.path, path) {
                self.fire(watch, path);
            }
        }
    }

    fn fire(&self, watch: &Watch, path: &str) {
        if self.mute.get() {
            return;
        }
        let below = path.strip_prefix(&self.home).and_then(|rest| rest.strip_prefix('/'));
        let shown = below.filter(|_| watch.relative).unwrap_or(path);
        self.pending
            .borrow_mut()
            .push_back(WatchEvent { path: shown.into(), token: watch.token.clone() });
        if let Some((events, port)) = &*self.wake.borrow() {
            events.raise(*port);
        }
    }

    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') { path.into() } else { format!("{}/{path}", self.home) }
    }

    fn writable(&self, path: &str) -> Result<String, XenError> {
        let path = self.absolute(path);
        if is_at_or_below(&path, &self.home) { Ok(path) } else { Err(XenError::AccessDenied) }
    }

    fn readable(&self, path: &str) -> Result<String, XenError> {
        let path = self.absolute(path);
        let backend = path.strip_prefix("/local/domain/0/backend/");
        let whose = backend.and_then(|rest| rest.split('/').nth(1));
        let mine = whose.is_some_and(|id| id.parse() == Ok(self.guest.0));
        if mine || is_at_or_below(&path, &self.home) {
            Ok(path)
        } else {
            Err(XenError::AccessDenied)
        }
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn put(nodes: &mut Nodes, path: &str, value: &str) {
    // Where there is a node there are those above it.
    if let Some(node) = nodes.get_mut(path) {
        return node.replace_range(.., value);
    }
    for (at, _) in path.match_indices('/').skip(1) {
        nodes.entry(path[..at].into()).or_default();
    }
    nodes.insert(path.into(), value.into());
}

fn prune(nodes: &mut Nodes, path: &str) {
    nodes.retain(|node, _| !is_at_or_below(node, path));
}

fn names_below(nodes: &Nodes, path: &str) -> Vec<String> {
    let prefix = format!("{path}/");
    let below = nodes.keys().filter_map(|node| node.strip_prefix(&prefix));
    below.filter(|rest| !rest.contains('/')).map(String::from).collect()
}
