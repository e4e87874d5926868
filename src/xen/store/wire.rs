//! The xenstore wire format: headers, messages and error words; pure, and total on any bytes.
//!
//! Source of truth: `public/io/xs_wire.h` and Xen's `docs/misc/xenstore.txt`. A message is a 16-byte
//! header and up to 4096 bytes, mostly strings that end in a zero byte. [`Assembler`] turns a stream of
//! bytes, cut anywhere, back into messages.

use crate::xen::{
    abi::xs_wire::{ABSOLUTE_PATH_MAX, HEADER_LEN, PAYLOAD_MAX, RELATIVE_PATH_MAX},
    errno::XenError,
};
use alloc::{string::String, vec::Vec};
use core::fmt;

/// What a message is: a number, because the other side may send any.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(pub u32);

macro_rules! message_types {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl MessageType {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Self = Self($number);)*

            /// The operation's name, as in Xen's documentation.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => $text,)*
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

message_types! {
    DIRECTORY = 1, "DIRECTORY";
    READ = 2, "READ";
    WATCH = 4, "WATCH";
    UNWATCH = 5, "UNWATCH";
    TRANSACTION_START = 6, "TRANSACTION_START";
    TRANSACTION_END = 7, "TRANSACTION_END";
    WRITE = 11, "WRITE";
    MKDIR = 12, "MKDIR";
    RM = 13, "RM";
    WATCH_EVENT = 15, "WATCH_EVENT";
    ERROR = 16, "ERROR";
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes from the other side that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The header announces more than any message may have.
    #[error("a message announces {0} bytes, more than the {PAYLOAD_MAX} xenstore allows")]
    PayloadTooLong(u32),
    /// A reply whose payload isn't what its type promises.
    #[error("the payload of a {0} message makes no sense")]
    BadPayload(MessageType),
    /// A reply before the request was sent to its end.
    #[error("a {0} request was answered before it was complete")]
    EarlyReply(MessageType),
    /// A reply of another type than the request.
    #[error("a {asked} request was answered by a {got} message")]
    WrongReply {
        /// The request's type.
        asked: MessageType,
        /// The reply's type.
        got: MessageType,
    },
}

/// Why a string is not a xenstore path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// Longer than the daemon accepts.
    #[error("it has {0} bytes, too many")]
    TooLong(usize),
    /// Two slashes in a row, or one at the end.
    #[error("it has an empty component")]
    EmptyComponent,
    /// Something other than letters, digits and `-/_@`.
    #[error("byte {0:#04x} is not allowed")]
    BadByte(u8),
}

/// Checks a path by the daemon's rules, so that a wrong one is named here and not as a bare `EINVAL`.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    let limit = if path.starts_with('/') { ABSOLUTE_PATH_MAX } else { RELATIVE_PATH_MAX };
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-/_@".contains(b);
    match path {
        "" => Err(PathFault::Empty),
        "/" => Ok(()),
        _ if path.len() >= limit => Err(PathFault::TooLong(path.len())),
        _ if path.ends_with('/') || path.contains("//") => Err(PathFault::EmptyComponent),
        _ => match path.bytes().find(|b| !allowed(b)) {
            Some(byte) => Err(PathFault::BadByte(byte)),
            None => Ok(()),
        },
    }
}

/// The 16 bytes in front of every message; little endian on the wire, as on every x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: MessageType,
    /// Chosen by who asks, repeated in the reply; 0 in watch events.
    pub request: u32,
    /// Transaction, 0 for none.
    pub transaction: u32,
    /// Payload bytes that follow.
    pub len: u32,
}

impl Header {
    /// As bytes.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let words = [self.kind.0, self.request, self.transaction, self.len];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From bytes; refuses only a length no message may have.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let mut words = [0; HEADER_LEN / 4];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*place);
        }
        let [kind, request, transaction, len] = words;
        if len as usize > PAYLOAD_MAX {
            return Err(WireError::PayloadTooLong(len));
        }
        Ok(Self { kind: MessageType(kind), request, transaction, len })
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its header; `len` equals `payload.len()`.
    pub header: Header,
    /// What followed, at most 4096 bytes.
    pub payload: Vec<u8>,
}

/// Puts messages together from a stream of bytes cut anywhere.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// How many more bytes complete the header or, once that is there, the message.
    pub fn missing(&self) -> Result<usize, WireError> {
        match self.header()? {
            None => Ok(HEADER_LEN - self.bytes.len()),
            Some(header) => Ok(HEADER_LEN + header.len as usize - self.bytes.len()),
        }
    }

    /// Takes up to [`Assembler::missing`] bytes; gives the message when they complete one.
    ///
    /// Panics when given more than that: the caller would lose the next message's beginning.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Message>, WireError> {
        assert!(bytes.len() <= self.missing()?, "more than was missing");
        self.bytes.extend_from_slice(bytes);
        match self.header()? {
            Some(header) if self.bytes.len() == HEADER_LEN + header.len as usize => {
                let payload = self.bytes.split_off(HEADER_LEN);
                self.bytes.clear();
                Ok(Some(Message { header, payload }))
            }
            _ => Ok(None),
        }
    }

    fn header(&self) -> Result<Option<Header>, WireError> {
        match self.bytes.first_chunk() {
            Some(bytes) => Header::decode(bytes).map(Some),
            None => Ok(None),
        }
    }
}

/// A change the daemon told us of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The node that changed, relative if the watch was.
    pub path: String,
    /// The word given when the watch was set.
    pub token: String,
}

impl WatchEvent {
    /// From the payload of a watch event: two strings.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let bad = WireError::BadPayload(MessageType::WATCH_EVENT);
        match strings(payload).ok_or(bad)?.as_slice() {
            [path, token] => Ok(Self { path: path.clone(), token: token.clone() }),
            _ => Err(bad),
        }
    }
}

/// Splits a payload of strings that each end in a zero byte; `None` if it isn't one.
pub fn strings(payload: &[u8]) -> Option<Vec<String>> {
    if payload.is_empty() {
        return Some(Vec::new());
    }
    let text = core::str::from_utf8(payload).ok()?.strip_suffix('\0')?;
    Some(text.split('\0').map(String::from).collect())
}

/// One string, with or without the zero byte some daemons leave out; `None` if it is not text.
pub fn text(payload: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(payload).ok()?;
    let text = text.strip_suffix('\0').unwrap_or(text);
    (!text.contains('\0')).then_some(text)
}

const ERROR_WORDS: [(&str, i64); 19] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("E2BIG", 7),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("ENODEV", 19),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENOSPC", 28),
    // oxenstored's word for the same: the domain has used up its share of nodes, watches or bytes.
    ("EQUOTA", 28),
    ("EROFS", 30),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("EISCONN", 106),
    ("EOPNOTSUPP", 95),
];

/// The error behind the word in an error message; words nobody documented become `Unknown(0)`.
pub fn error_from_word(payload: &[u8]) -> XenError {
    let word = text(payload).unwrap_or_default();
    let known = ERROR_WORDS.iter().find(|(name, _)| *name == word);
    XenError::from_raw(known.map_or(0, |(_, number)| -number))
}

/// The word for an error: what a daemon sends. `EINVAL` for errors that have none.
pub fn word_from_error(error: XenError) -> &'static str {
    let number = -error.raw();
    let known = ERROR_WORDS.iter().find(|(_, n)| *n == number);
    known.map_or("EINVAL", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_is_sixteen_little_endian_bytes() {
        let header =
            Header { kind: MessageType::WRITE, request: 0x0102_0304, transaction: 7, len: 5 };
        let bytes = header.encode();
        assert_eq!(bytes[..8], [11, 0, 0, 0, 4, 3, 2, 1]);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn announced_length_above_the_limit_is_refused() {
        let header = Header { kind: MessageType::READ, request: 1, transaction: 0, len: 4097 };
        let mut inbox = Assembler::default();
        let refused = inbox.push(&header.encode()).unwrap_err();
        assert_eq!(refused, WireError::PayloadTooLong(4097));
        let longest = Header { len: 4096, ..header };
        assert_eq!(Header::decode(&longest.encode()), Ok(longest));
    }

    #[test]
    fn error_words_go_both_ways() {
        assert_eq!(error_from_word(b"ENOENT\0"), XenError::NoEntry);
        assert_eq!(error_from_word(b"EAGAIN"), XenError::TryAgain);
        assert_eq!(error_from_word(b"\xff"), XenError::Unknown(0));
        assert_eq!(word_from_error(XenError::Exists), "EEXIST");
    }

    #[test]
    fn path_rules_are_the_daemons() {
        assert_eq!(check_path("device/pci/0"), Ok(()));
        assert_eq!(check_path("/local/domain/0/backend/pci/1/0/dev-0"), Ok(()));
        assert_eq!(check_path("@releaseDomain"), Ok(()));
        assert_eq!(check_path(""), Err(PathFault::Empty));
        assert_eq!(check_path("a/"), Err(PathFault::EmptyComponent));
        assert_eq!(check_path("a//b"), Err(PathFault::EmptyComponent));
        assert_eq!(check_path("a b"), Err(PathFault::BadByte(b' ')));
        let long = "a".repeat(2048);
        assert_eq!(check_path(&long), Err(PathFault::TooLong(2048)));
    }

    #[test]
    fn watch_event_needs_exactly_two_strings() {
        let event = WatchEvent::decode(b"device/pci\0tok\0").unwrap();
        assert_eq!((&*event.path, &*event.token), ("device/pci", "tok"));
        assert!(WatchEvent::decode(b"device/pci\0tok").is_err());
        assert!(WatchEvent::decode(b"device/pci\0").is_err());
        assert!(WatchEvent::decode(b"").is_err());
    }

    /// Bytes of the longest stream.
    const LONGEST: usize = if cfg!(miri) { 300 } else { 9000 };

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            stream in proptest::collection::vec(any::<u8>(), 0..LONGEST),
        ) {
            let mut inbox = Assembler::default();
            let mut rest = stream.as_slice();
            while let (false, Ok(missing)) = (rest.is_empty(), inbox.missing()) {
                let (now, later) = rest.split_at(missing.min(rest.len()));
                rest = later;
                if let Ok(Some(message)) = inbox.push(now) {
                    let _ = WatchEvent::decode(&message.payload);
                    let _ = strings(&message.payload);
                    let _ = error_from_word(&message.payload);
                }
            }
        }

        #[test]
        fn messages_survive_being_cut_anywhere(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            request in any::<u32>(),
            cut in 1_usize..40,
        ) {
            let len = u32::try_from(payload.len()).unwrap();
            let header = Header { kind: MessageType::READ, request, transaction: 0, len };
            let mut stream = header.encode().to_vec();
            stream.extend_from_slice(&payload);
            let mut inbox = Assembler::default();
            let mut rest = stream.as_slice();
            let mut done = None;
            while done.is_none() {
                let take = cut.min(inbox.missing().unwrap());
                let (now, later) = rest.split_at(take);
                rest = later;
                done = inbox.push(now).unwrap();
            }
            prop_assert_eq!(done, Some(Message { header, payload }));
            prop_assert!(rest.is_empty());
        }
    }
}
