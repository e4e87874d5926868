//! The xenstore connection of a guest: one request at a time, each with a deadline.
//!
//! Replies are matched by request id; a reply to something nobody waits for any more is skipped. Watch
//! events can come between a request and its reply and wait in a queue. After a failure that leaves the
//! stream in an unknown state (time-out, garbage, dead event channel) the connection refuses to be used.

use super::{
    Store, StoreError, TxEnd, TxId, WatchEvent,
    ring::Ring,
    wire::{
        Assembler, Header, Message, MessageType, WireError, check_path, error_from_word, strings,
        text,
    },
};
use crate::{
    arch::{
        time::{Clock, Instant},
        volatile::Window,
        wait::Deadline,
    },
    xen::{
        abi::xs_wire::PAYLOAD_MAX,
        errno::XenError,
        events::{EventChannels, Port},
        failing::{self, Operation},
    },
};
use alloc::{collections::VecDeque, string::String, vec::Vec};
use core::{cell::RefCell, fmt, time::Duration};

/// Watch events kept for later; beyond it the oldest go, which waiters survive by looking again.
const QUEUE_MAX: usize = 64;

/// The real [`Store`]: the connection every domain is born with.
pub struct XenStore<'a> {
    events: &'a dyn EventChannels,
    clock: &'a dyn Clock,
    port: Port,
    timeout: Duration,
    link: RefCell<Link<'a>>,
}

struct Link<'a> {
    ring: Ring<'a>,
    inbox: Assembler,
    last_request: u32,
    queue: VecDeque<WatchEvent>,
    usable: bool,
}

/// What a request is about, for its errors.
struct Request<'r> {
    op: MessageType,
    tx: TxId,
    path: &'r str,
}

fn refused(request: &Request<'_>, error: XenError) -> StoreError {
    StoreError::Refused { op: request.op, path: request.path.into(), error }
}

/// As what a request can be made to fail.
const fn on_purpose(op: MessageType) -> Operation {
    match op {
        MessageType::DIRECTORY => Operation::StoreDirectory,
        MessageType::WRITE | MessageType::MKDIR => Operation::StoreWrite,
        MessageType::RM => Operation::StoreRemove,
        MessageType::TRANSACTION_START => Operation::StoreBegin,
        MessageType::TRANSACTION_END => Operation::StoreEnd,
        MessageType::WATCH => Operation::StoreWatch,
        MessageType::UNWATCH => Operation::StoreUnwatch,
        _ => Operation::StoreRead,
    }
}

impl<'a> XenStore<'a> {
    /// Takes over the connection `start_info` names: its page, mapped, and its port.
    pub fn new(
        events: &'a dyn EventChannels,
        clock: &'a dyn Clock,
        page: Window<'a>,
        port: Port,
        timeout: Duration,
    ) -> Self {
        let link = Link {
            ring: Ring::new(page),
            inbox: Assembler::default(),
            last_request: 0,
            queue: VecDeque::new(),
            usable: true,
        };
        Self { events, clock, port, timeout, link: RefCell::new(link) }
    }

    /// Sends `parts` as one payload and returns the reply's.
    fn request(&self, request: &Request<'_>, parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
        failing::check(on_purpose(request.op)).map_err(|error| refused(request, error))?;
        let payload = parts.concat();
        let len = match u32::try_from(payload.len()) {
            Ok(len) if payload.len() <= PAYLOAD_MAX => len,
            _ => {
                return Err(StoreError::TooLong {
                    op: request.op,
                    path: request.path.into(),
                    len: payload.len(),
                });
            }
        };
        let mut link = self.link.borrow_mut();
        if !link.usable {
            return Err(StoreError::Unusable);
        }
        link.last_request = link.last_request.wrapping_add(1);
        let header =
            Header { kind: request.op, request: link.last_request, transaction: request.tx.0, len };
        let answer = self.exchange(&mut link, request, header, &payload);
        let reply = answer.inspect_err(|_| link.usable = false)?;
        match reply.header.kind {
            MessageType::ERROR => Err(refused(request, error_from_word(&reply.payload))),
            _ => Ok(reply.payload),
        }
    }

    /// Sends the message and receives until its reply is there. Every error here is fatal.
    fn exchange(
        &self,
        link: &mut Link<'_>,
        request: &Request<'_>,
        header: Header,
        payload: &[u8],
    ) -> Result<Message, StoreError> {
        let bytes = [&header.encode(), payload].concat();
        let mut rest = bytes.as_slice();
        let deadline = Deadline::new(self.clock, self.timeout);
        let reply = deadline.turns(|until| -> Result<_, StoreError> {
            // Taken before looking, so that whatever comes after the look ends the poll below.
            self.events.take(self.port);
            let sent = link.ring.send(rest)?;
            rest = &rest[sent..];
            if sent > 0 {
                self.notify()?;
            }
            let Some(message) = self.receive(link)? else {
                self.poll(until)?;
                return Ok(None);
            };
            let reply = link.sort(message, header)?;
            // What was not sent yet would be in the way of the next request.
            if reply.is_some() && !rest.is_empty() {
                return Err(WireError::EarlyReply(request.op).into());
            }
            Ok(reply)
        });
        reply?.ok_or_else(|| StoreError::NoAnswer {
            op: request.op,
            path: request.path.into(),
            timed_out: deadline.timed_out("xenstored to answer"),
        })
    }

    /// The next complete message, `None` when the ring has no more for now.
    fn receive(&self, link: &mut Link<'_>) -> Result<Option<Message>, StoreError> {
        let mut chunk = [0; 256];
        let mut consumed = false;
        let mut message = None;
        while message.is_none() {
            let want = link.inbox.missing()?.min(chunk.len());
            let got = link.ring.receive(&mut chunk[..want])?;
            if got == 0 {
                break;
            }
            consumed = true;
            message = link.inbox.push(&chunk[..got])?;
        }
        if consumed {
            // The daemon may have been waiting for the room; once a message is enough.
            self.notify()?;
        }
        Ok(message)
    }

    fn notify(&self) -> Result<(), StoreError> {
        self.events.notify(self.port).map_err(StoreError::Events)
    }

    fn poll(&self, deadline: Instant) -> Result<(), StoreError> {
        let polled = self.events.poll(&[self.port], deadline);
        polled.map_err(StoreError::Events)
    }

    /// A request about a node: the path is checked, sent with its zero byte, then `rest`.
    fn on_path(
        &self,
        op: MessageType,
        tx: TxId,
        path: &str,
        rest: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        check_path(path).map_err(|fault| StoreError::BadPath { path: path.into(), fault })?;
        let parts = [&[path.as_bytes(), b"\0"], rest].concat();
        self.request(&Request { op, tx, path }, &parts)
    }

    /// One turn of waiting for an event: the event, or one message fewer in the ring, or a sleep.
    fn event_turn(
        &self,
        link: &mut Link<'_>,
        token: &str,
        until: Instant,
    ) -> Result<Option<WatchEvent>, StoreError> {
        self.events.take(self.port);
        if let Some(at) = link.queue.iter().position(|e| e.token == token) {
            return Ok(link.queue.remove(at));
        }
        match self.receive(link)? {
            // With no request out every reply is a stale one; only events matter.
            Some(message) if message.header.kind == MessageType::WATCH_EVENT => {
                link.keep(WatchEvent::decode(&message.payload)?);
            }
            Some(_) => {}
            None => self.poll(until)?,
        }
        Ok(None)
    }
}

impl Link<'_> {
    /// Returns the reply to `sent`, queues an event, drops anything else.
    fn sort(&mut self, message: Message, sent: Header) -> Result<Option<Message>, StoreError> {
        let got = message.header.kind;
        if got == MessageType::WATCH_EVENT {
            self.keep(WatchEvent::decode(&message.payload)?);
            return Ok(None);
        }
        if message.header.request != sent.request {
            return Ok(None);
        }
        if got != sent.kind && got != MessageType::ERROR {
            let asked = sent.kind;
            return Err(WireError::WrongReply { asked, got }.into());
        }
        Ok(Some(message))
    }

    fn keep(&mut self, event: WatchEvent) {
        if self.queue.len() == QUEUE_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back(event);
    }
}

impl Store for XenStore<'_> {
    fn read(&self, tx: TxId, path: &str) -> Result<String, StoreError> {
        let payload = self.on_path(MessageType::READ, tx, path, &[])?;
        match text(&payload) {
            Some(value) => Ok(value.into()),
            None => Err(StoreError::BadValue {
                path: path.into(),
                value: String::from_utf8_lossy(&payload).into_owned(),
                expected: "text",
            }),
        }
    }

    fn write(&self, tx: TxId, path: &str, value: &str) -> Result<(), StoreError> {
        self.on_path(MessageType::WRITE, tx, path, &[value.as_bytes()]).map(drop)
    }

    fn mkdir(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        self.on_path(MessageType::MKDIR, tx, path, &[]).map(drop)
    }

    fn remove(&self, tx: TxId, path: &str) -> Result<(), StoreError> {
        self.on_path(MessageType::RM, tx, path, &[]).map(drop)
    }

    fn directory(&self, tx: TxId, path: &str) -> Result<Vec<String>, StoreError> {
        let payload = self.on_path(MessageType::DIRECTORY, tx, path, &[])?;
        strings(&payload).ok_or(WireError::BadPayload(MessageType::DIRECTORY).into())
    }

    fn transaction_start(&self) -> Result<TxId, StoreError> {
        let op = MessageType::TRANSACTION_START;
        let request = Request { op, tx: TxId::NONE, path: "" };
        let payload = self.request(&request, &[b"\0"])?;
        let number = text(&payload).and_then(|t| t.parse().ok());
        number.map(TxId).ok_or(WireError::BadPayload(op).into())
    }

    fn transaction_end(&self, tx: TxId, end: TxEnd) -> Result<(), StoreError> {
        let word: &[u8] = match end {
            TxEnd::Commit => b"T\0",
            TxEnd::Abort => b"F\0",
        };
        let request = Request { op: MessageType::TRANSACTION_END, tx, path: "" };
        self.request(&request, &[word]).map(drop)
    }

    fn watch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        let rest = [token.as_bytes(), b"\0"];
        self.on_path(MessageType::WATCH, TxId::NONE, path, &rest).map(drop)
    }

    fn unwatch(&self, path: &str, token: &str) -> Result<(), StoreError> {
        let rest = [token.as_bytes(), b"\0"];
        let done = self.on_path(MessageType::UNWATCH, TxId::NONE, path, &rest);
        let mut link = self.link.borrow_mut();
        link.queue.retain(|event| event.token != token);
        done.map(drop)
    }

    fn wait_event(&self, token: &str, deadline: Instant) -> Result<Option<WatchEvent>, StoreError> {
        let link = &mut *self.link.borrow_mut();
        if !link.usable {
            return Err(StoreError::Unusable);
        }
        let event =
            Deadline::at(self.clock, deadline).turns(|until| self.event_turn(link, token, until));
        event.inspect_err(|_| link.usable = false)
    }
}

impl fmt::Debug for XenStore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XenStore").field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_fails_on_purpose_as_what_it_is() {
        for (op, operation) in [
            (MessageType::DIRECTORY, Operation::StoreDirectory),
            (MessageType::READ, Operation::StoreRead),
            (MessageType::WRITE, Operation::StoreWrite),
            (MessageType::MKDIR, Operation::StoreWrite),
            (MessageType::RM, Operation::StoreRemove),
            (MessageType::TRANSACTION_START, Operation::StoreBegin),
            (MessageType::TRANSACTION_END, Operation::StoreEnd),
            (MessageType::WATCH, Operation::StoreWatch),
            (MessageType::UNWATCH, Operation::StoreUnwatch),
        ] {
            assert_eq!(on_purpose(op), operation);
        }
    }
}
