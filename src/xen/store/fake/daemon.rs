//! xenstored at the other end of the rings, good and bad. It looks at them only when it was notified.

use super::{
    super::{
        TxEnd, TxId,
        wire::{Assembler, Header, Message, MessageType, text, word_from_error},
    },
    Tree,
};
use crate::{
    arch::volatile::Window,
    xen::{
        abi::xs_wire::{REQ, REQ_CONS, REQ_PROD, RING_SIZE, RSP, RSP_CONS, RSP_PROD},
        errno::XenError,
        events::Port,
        fake::{FakeEvents, Peer},
    },
};
use alloc::{collections::VecDeque, rc::Rc, string::String, vec::Vec};
use core::cell::{Cell, RefCell};

/// How the daemon behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonMode {
    /// As documented.
    Good,
    /// Moves one byte in each direction per step.
    Trickle,
    /// Reads nothing and says nothing.
    Silent,
    /// Reads requests, answers none.
    Mute,
    /// Sends a reply to a request nobody made before each real one.
    StaleFirst,
    /// Answers with the type of another operation.
    WrongType,
    /// Answers as soon as the header is there, before the request is complete.
    Hasty,
    /// Sends these bytes in place of replies.
    Garbage(Vec<u8>),
    /// Claims more reply bytes than the ring has.
    BadIndex,
}

/// The daemon: a [`Peer`] that serves a [`Tree`] over the page.
#[derive(Debug)]
pub struct FakeDaemon {
    page: Window<'static>,
    port: Port,
    events: Rc<FakeEvents>,
    tree: Rc<Tree>,
    mode: RefCell<DaemonMode>,
    inbox: RefCell<Assembler>,
    out: RefCell<VecDeque<u8>>,
    /// Whether there may be requests: set by an event, cleared by an empty ring.
    awake: Cell<bool>,
    /// Whether the reply ring was full: nothing more is written before an event.
    blocked: Cell<bool>,
}

impl FakeDaemon {
    /// Serves `tree` over `page`, waking the guest through `port`.
    pub fn new(
        page: Window<'static>,
        port: Port,
        events: Rc<FakeEvents>,
        tree: Rc<Tree>,
    ) -> Rc<Self> {
        Rc::new(Self {
            page,
            port,
            events,
            tree,
            mode: RefCell::new(DaemonMode::Good),
            inbox: RefCell::default(),
            out: RefCell::default(),
            awake: Cell::default(),
            blocked: Cell::default(),
        })
    }

    /// Changes the behaviour from the next step on.
    pub fn behave(&self, mode: DaemonMode) {
        *self.mode.borrow_mut() = mode;
    }

    fn receive(&self, limit: usize) {
        let mut cons = self.page.read_u32(REQ_CONS);
        let mut inbox = self.inbox.borrow_mut();
        for _ in 0..limit {
            if cons == self.page.read_u32(REQ_PROD) {
                self.awake.set(false);
                break;
            }
            let byte = self.page.read_u8(REQ + (cons % RING_SIZE) as usize);
            cons = cons.wrapping_add(1);
            if let Some(request) = inbox.push(&[byte]).expect("the guest sent garbage") {
                self.serve(&request);
            }
        }
        if cons != self.page.read_u32(REQ_CONS) {
            self.page.write_u32(REQ_CONS, cons);
            self.events.raise(self.port);
        }
    }

    fn serve(&self, request: &Message) {
        let sent = request.header;
        let (kind, payload) = match self.answer(request) {
            Ok(payload) => (sent.kind, payload),
            Err(error) => (MessageType::ERROR, z(word_from_error(error))),
        };
        match &*self.mode.borrow() {
            DaemonMode::Mute => {}
            DaemonMode::Garbage(bytes) => self.out.borrow_mut().extend(bytes),
            DaemonMode::WrongType => self.queue(MessageType::RM, sent.request, &payload),
            DaemonMode::StaleFirst => {
                self.queue(kind, sent.request.wrapping_sub(1), b"stale\0");
                self.queue(kind, sent.request, &payload);
            }
            _ => self.queue(kind, sent.request, &payload),
        }
        self.queue_events();
    }

    fn answer(&self, request: &Message) -> Result<Vec<u8>, XenError> {
        let tx = TxId(request.header.transaction);
        let text = core::str::from_utf8(&request.payload).map_err(|_| XenError::Invalid)?;
        let (path, rest) = text.split_once('\0').ok_or(XenError::Invalid)?;
        let tree = &self.tree;
        match request.header.kind {
            MessageType::READ => tree.read(tx, path).map(String::into_bytes),
            MessageType::WRITE => tree.write(tx, path, rest).map(|()| z("OK")),
            MessageType::MKDIR => tree.mkdir(tx, path).map(|()| z("OK")),
            MessageType::RM => tree.remove(tx, path).map(|()| z("OK")),
            MessageType::DIRECTORY => {
                let names = tree.directory(tx, path)?;
                Ok(names.iter().flat_map(|name| z(name)).collect())
            }
            MessageType::WATCH => tree.watch(path, unz(rest)?).map(|()| z("OK")),
            MessageType::UNWATCH => tree.unwatch(path, unz(rest)?).map(|()| z("OK")),
            MessageType::TRANSACTION_START => {
                let tx = tree.transaction_start();
                Ok(z(&alloc::format!("{}", tx.0)))
            }
            MessageType::TRANSACTION_END => {
                let commit = path == "T";
                let end = if commit { TxEnd::Commit } else { TxEnd::Abort };
                tree.transaction_end(tx, end).map(|()| z("OK"))
            }
            _ => Err(XenError::NotImplemented),
        }
    }

    fn queue_events(&self) {
        while let Some(event) = self.tree.next_event() {
            let payload = [z(&event.path), z(&event.token)].concat();
            self.queue(MessageType::WATCH_EVENT, 0, &payload);
        }
    }

    fn queue(&self, kind: MessageType, request: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).expect("a reply of gigabytes");
        let header = Header { kind, request, transaction: 0, len };
        let mut out = self.out.borrow_mut();
        out.extend(header.encode());
        out.extend(payload);
    }

    fn send(&self, limit: usize) {
        let mut out = self.out.borrow_mut();
        let mut prod = self.page.read_u32(RSP_PROD);
        for _ in 0..limit {
            let used = prod.wrapping_sub(self.page.read_u32(RSP_CONS));
            if used >= RING_SIZE {
                self.blocked.set(true);
                break;
            }
            let Some(byte) = out.pop_front() else { break };
            self.page.write_u8(RSP + (prod % RING_SIZE) as usize, byte);
            prod = prod.wrapping_add(1);
        }
        if prod != self.page.read_u32(RSP_PROD) {
            self.page.write_u32(RSP_PROD, prod);
            self.events.raise(self.port);
        }
    }

    /// Answers a request of which only the header can be there yet.
    fn answer_early(&self) {
        let mut bytes = [0; 16];
        self.page.read(REQ, &mut bytes);
        if let Ok(header) = Header::decode(&bytes) {
            self.queue(header.kind, header.request, b"OK\0");
        }
    }
}

impl Peer for FakeDaemon {
    fn step(&self) {
        let mode = self.mode.borrow().clone();
        if self.events.was_notified(self.port) {
            self.awake.set(true);
            self.blocked.set(false);
        }
        // What happened before a request is told before its reply.
        self.queue_events();
        match mode {
            DaemonMode::Silent => return,
            DaemonMode::BadIndex => {
                let cons = self.page.read_u32(RSP_CONS);
                self.page.write_u32(RSP_PROD, cons.wrapping_add(5000));
                self.events.raise(self.port);
                return;
            }
            DaemonMode::Hasty => self.answer_early(),
            DaemonMode::Trickle if self.awake.get() => self.receive(1),
            _ if self.awake.get() => self.receive(usize::MAX),
            _ => {}
        }
        let limit = if mode == DaemonMode::Trickle { 1 } else { usize::MAX };
        if !self.blocked.get() {
            self.send(limit);
        }
    }
}

fn z(word: &str) -> Vec<u8> {
    let mut bytes = Vec::from(word);
    bytes.push(0);
    bytes
}

fn unz(payload: &str) -> Result<&str, XenError> {
    text(payload.as_bytes()).ok_or(XenError::Invalid)
}
