//! The two byte rings of the xenstore page, guest side.
//!
//! The page is shared with the daemon, so its indices are checked each time they are read: a distance
//! above the ring's size is an error, never an offset. Our own two indices are read once, when the ring
//! is taken over, and from then on kept where nobody else writes.
//! Source of truth: `struct xenstore_domain_interface` in `public/io/xs_wire.h`.

use crate::{
    arch::volatile::{Window, full_barrier, read_barrier, write_barrier},
    xen::abi::xs_wire::{REQ, REQ_CONS, REQ_PROD, RING_SIZE, RSP, RSP_CONS, RSP_PROD},
};

/// The daemon's index can't be: more bytes in flight than the ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the xenstore {ring} ring claims {claimed} bytes in flight, it has {RING_SIZE}")]
pub struct RingError {
    /// Which: `request` or `reply`.
    pub ring: &'static str,
    /// Distance between the indices, in bytes.
    pub claimed: u32,
}

/// The guest's end of both rings.
#[derive(Debug)]
pub struct Ring<'m> {
    page: Window<'m>,
    req_prod: u32,
    rsp_cons: u32,
}

impl<'m> Ring<'m> {
    /// Takes over the page where the last user left it.
    pub fn new(page: Window<'m>) -> Self {
        Self { page, req_prod: page.read_u32(REQ_PROD), rsp_cons: page.read_u32(RSP_CONS) }
    }

    /// Writes as much of `bytes` as there is room for; says how much that was.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, RingError> {
        let used = distance("request", self.req_prod, self.page.read_u32(REQ_CONS))?;
        // The daemon's reads of what we overwrite now must be over before we write.
        full_barrier();
        let count = bytes.len().min((RING_SIZE - used) as usize);
        for &byte in &bytes[..count] {
            self.page.write_u8(REQ + slot(self.req_prod), byte);
            self.req_prod = self.req_prod.wrapping_add(1);
        }
        write_barrier();
        self.page.write_u32(REQ_PROD, self.req_prod);
        Ok(count)
    }

    /// Reads as many bytes as there are, at most `into.len()`; says how many.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<usize, RingError> {
        let ready = distance("reply", self.page.read_u32(RSP_PROD), self.rsp_cons)?;
        read_barrier();
        let count = into.len().min(ready as usize);
        for byte in &mut into[..count] {
            *byte = self.page.read_u8(RSP + slot(self.rsp_cons));
            self.rsp_cons = self.rsp_cons.wrapping_add(1);
        }
        // Our reads must be over before the daemon sees the room.
        full_barrier();
        self.page.write_u32(RSP_CONS, self.rsp_cons);
        Ok(count)
    }
}

fn distance(ring: &'static str, producer: u32, consumer: u32) -> Result<u32, RingError> {
    match producer.wrapping_sub(consumer) {
        used @ 0..=RING_SIZE => Ok(used),
        claimed => Err(RingError { ring, claimed }),
    }
}

fn slot(index: u32) -> usize {
    (index % RING_SIZE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::volatile::host::shared_page;
    use proptest::prelude::*;

    #[test]
    fn sends_what_fits_and_wraps() {
        let page = shared_page();
        page.write_u32(REQ_PROD, u32::MAX - 9);
        page.write_u32(REQ_CONS, u32::MAX - 9);
        let mut ring = Ring::new(page);
        assert_eq!(ring.send(&[7; 2000]), Ok(1024));
        assert_eq!(ring.send(&[7]), Ok(0));
        page.write_u32(REQ_CONS, u32::MAX);
        assert_eq!(ring.send(&[8; 20]), Ok(9));
        assert_eq!(page.read_u8(REQ + slot(u32::MAX - 9)), 8);
    }

    #[test]
    fn hostile_indices_are_named() {
        let page = shared_page();
        let mut ring = Ring::new(page);
        page.write_u32(RSP_PROD, 1025);
        let refused = ring.receive(&mut [0; 4]).unwrap_err();
        assert_eq!(refused.claimed, 1025);
        page.write_u32(REQ_CONS, 1);
        assert_eq!(ring.send(&[0]).unwrap_err().ring, "request");
    }

    #[test]
    fn own_indices_in_the_page_are_not_believed_twice() {
        let page = shared_page();
        let mut ring = Ring::new(page);
        page.write_u32(RSP_PROD, 4);
        page.write_u32(RSP_CONS, 3);
        assert_eq!(ring.receive(&mut [0; 8]), Ok(4));
    }

    proptest! {
        #[test]
        fn any_indices_are_survived(indices in any::<[u32; 4]>(), len in 0_usize..1500) {
            let page = shared_page();
            let mut ring = Ring::new(page);
            for (place, index) in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD].into_iter().zip(indices) {
                page.write_u32(place, index);
            }
            let mut bytes = [0; 1500];
            let _ = ring.receive(&mut bytes[..len]);
            let _ = ring.send(&bytes[..len]);
        }
    }
}
