//! Layout of the xenstore page and of a message header (`public/io/xs_wire.h`).

/// Bytes in each of the two rings.
pub const RING_SIZE: u32 = 1024;
/// Requests, guest to daemon.
pub const REQ: usize = 0;
/// Replies and watch events, daemon to guest.
pub const RSP: usize = REQ + RING_SIZE as usize;
/// How far the daemon has read requests.
pub const REQ_CONS: usize = RSP + RING_SIZE as usize;
/// How far the guest has written requests.
pub const REQ_PROD: usize = REQ_CONS + 4;
/// How far the guest has read replies.
pub const RSP_CONS: usize = REQ_PROD + 4;
/// How far the daemon has written replies.
pub const RSP_PROD: usize = RSP_CONS + 4;

/// Bytes in a message header: type, request id, transaction id, payload length; `u32` each.
pub const HEADER_LEN: usize = 16;
/// Most bytes a payload may have.
pub const PAYLOAD_MAX: usize = 4096;
/// Most bytes in a path that starts with `/`.
pub const ABSOLUTE_PATH_MAX: usize = 3072;
/// Most bytes in a path relative to the domain's home.
pub const RELATIVE_PATH_MAX: usize = 2048;

const _: () = assert!(REQ_CONS == 2048 && RSP_PROD == 2060);
