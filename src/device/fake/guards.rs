//! A device that writes beside what it was given, while it is at a transfer.

use crate::{
    addr::BusAddr,
    device::{Arrival, Mover, Sent},
};
use alloc::{vec, vec::Vec};

/// Begins a transfer of `len` bytes, has the device write before its memory (`spoil`), and looks at the guards meanwhile.
///
/// # Panics
/// If they do not tell.
pub fn tell_of_a_transfer_under_way(mover: &mut dyn Mover, len: usize, spoil: impl FnOnce()) {
    let mut bytes = vec![0; len];
    mover.fill(&mut bytes, 1).expect("a device that works");
    mover.send(bytes.into()).expect("a device that works");
    assert_eq!(mover.check_guards(), Ok(()));
    spoil();
    assert_eq!(mover.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "begun");
    let sent = Sent { source: None, dma: BusAddr(0), len, bounced: None };
    let looks = (0..20).find_map(|_| {
        mover.missing(&sent);
        mover.check_guards().err()
    });
    assert_eq!(looks.map(|error| error.code()), Some("dma-overrun"));
}
