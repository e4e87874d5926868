//! The xenstore client against a daemon that writes anything into its ring at any moment.
//!
//! Asserts: every call ends, none later than its deadline by more than a step of the clock; after a failure that
//! leaves the stream in an unknown state nothing is sent any more, and that costs no time.

use crate::Input;
use pvbounce::{
    arch::{
        time::{Clock, Instant},
        volatile::{Window, host::shared_page},
    },
    xen::{
        abi::xs_wire::{REQ, REQ_CONS, REQ_PROD, RING_SIZE, RSP, RSP_CONS, RSP_PROD},
        events::{DomainId, Port},
        fake::{FakeEvents, Peer},
        store::{Store, StoreError, TxEnd, TxId, XenStore},
    },
};
use std::{
    rc::{Rc, Weak},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_millis(20);
/// What a wait may be late: a step of the fake clock.
const STEP: Duration = Duration::from_millis(1);
const MOMENT: Duration = Duration::from_micros(100);
const HEADER: usize = 16;

thread_local! {
    // Pages of the fakes are never freed: one for all inputs.
    static PAGE: Window<'static> = shared_page();
}

#[derive(Debug)]
struct Daemon {
    page: Window<'static>,
    port: Port,
    events: Weak<FakeEvents>,
    input: Input,
}

impl Daemon {
    fn answer(&self, bytes: &[u8]) {
        let mut prod = self.page.read_u32(RSP_PROD);
        for &byte in bytes.iter().take(RING_SIZE as usize) {
            self.page.write_u8(RSP + (prod % RING_SIZE) as usize, byte);
            prod = prod.wrapping_add(1);
        }
        self.page.write_u32(RSP_PROD, prod);
    }

    /// A message with the kind and number of the request that came last, so that it is taken for its reply.
    fn plausible(&self, kind: Option<u32>) {
        let start = self.page.read_u32(REQ_CONS);
        let mut header: [u8; HEADER] = std::array::from_fn(|i| {
            let at = start.wrapping_add(u32::try_from(i).unwrap_or(0)) % RING_SIZE;
            self.page.read_u8(REQ + at as usize)
        });
        let payload = self.input.bytes(60);
        if let Some(kind) = kind {
            header[..4].copy_from_slice(&kind.to_le_bytes());
        }
        let len = if self.input.once_in(16) { self.input.u16().into() } else { payload.len() };
        header[12..].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
        self.answer(&[&header[..], &payload].concat());
    }
}

impl Peer for Daemon {
    fn step(&self) {
        match self.input.below(12) {
            0 => return,
            1 => self.page.write_u32(RSP_PROD, self.input.u32()),
            2 => self.page.write_u32(REQ_CONS, self.input.u32()),
            3 => self.page.write_u32(RSP_CONS, self.input.u32()),
            4 => self.page.write_u32(REQ_PROD, self.input.u32()),
            5 => self.answer(&self.input.bytes(1024)),
            6 => self.plausible(Some(self.input.below(20).try_into().unwrap_or(0))),
            7 => self.plausible(Some(15)),
            8 => self.page.write_u32(REQ_CONS, self.page.read_u32(REQ_PROD)),
            _ => {
                self.plausible(None);
                self.page.write_u32(REQ_CONS, self.page.read_u32(REQ_PROD));
            }
        }
        if let Some(events) = self.events.upgrade() {
            // Whatever it does takes time, so that doing it for ever is seen.
            events.clock().advance(MOMENT);
            events.raise(self.port);
        }
    }
}

fn call(store: &dyn Store, input: &Input, now: Instant) -> Result<(), StoreError> {
    let tx = TxId(u32::from(input.once_in(4)));
    let path = input.one_of(&["data/a", "/local/domain/0", "name", "", "no path", "a//b"]);
    match input.below(11) {
        0 => store.read(tx, path).map(drop),
        1 => store.write(tx, path, &input.text(1200)),
        2 => store.mkdir(tx, path),
        3 => store.remove(tx, path),
        4 => store.directory(tx, path).map(drop),
        5 => store.transaction_start().map(drop),
        6 => store.transaction_end(tx, input.one_of(&[TxEnd::Commit, TxEnd::Abort])),
        7 => store.watch(path, "w"),
        8 => store.unwatch(path, "w"),
        9 => store.wait_event("w", now.after(TIMEOUT)).map(drop),
        _ => store.read_optional(tx, path).map(drop),
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let page = PAGE.with(|page| *page);
    page.zero();
    let events = FakeEvents::new();
    let port = events.born_with(DomainId::DOM0);
    let weak = Rc::downgrade(&events);
    events.add_peer(Rc::new(Daemon { page, port, events: weak, input: input.clone() }));
    let clock = events.clock();
    let store = XenStore::new(&*events, &*clock, page, port, TIMEOUT);
    let mut dead = false;
    for _ in 0..32 {
        if input.is_over() {
            break;
        }
        let (start, sent) = (clock.now(), page.read_u32(REQ_PROD));
        let result = call(&store, &input, start);
        let took = clock.now().since(start);
        assert!(took <= TIMEOUT + STEP, "a call took {took:?}: {result:?}");
        if dead {
            assert!(result.is_err() && took.is_zero(), "a dead connection: {result:?}");
            assert_eq!(page.read_u32(REQ_PROD), sent, "a dead connection sends");
        }
        dead |= matches!(
            result,
            Err(StoreError::Unusable | StoreError::NoAnswer { .. } | StoreError::Ring(_))
        );
    }
}
