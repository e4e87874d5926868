//! Descriptors of software style 3 (Am79C970A datasheet, "Descriptor Rings"): what is written into one, and what is read.
//!
//! ```text
//!           63            60    57  56         44       32 31                12     0
//! receive   |OWN|ERR| ... |STP|ENP|...|1111|-size|        ...            | count |   first word
//! transmit  |OWN|ERR| ... |STP|ENP|...|1111|-len |     errors                    |
//! ```
//! The low half of the second word is the address. Lengths are negative numbers of 12 bits.

use super::{
    super::{
        error::TxFailure,
        rings::chip::{BUFFER, Descriptor as Words, Progress, Received},
    },
    regs::{Descriptor, TxErrors},
};
use crate::addr::{BusAddr, to_usize};

/// Where the second half of the first word is.
const STATUS: u32 = 32;
/// Bytes of the checksum behind a received frame.
const CRC: usize = 4;
/// Bits of a length.
const LENGTH: u64 = 0xfff;

const fn words(bus: BusAddr, bits: Descriptor, len: u64) -> Words {
    let status = bits.union(Descriptor::OWN).union(Descriptor::ONES).bits() as u64;
    [(status | len.wrapping_neg() & LENGTH) << STATUS, bus.0]
}

/// For a receive buffer.
pub(super) const fn to_receive(bus: BusAddr) -> Words {
    words(bus, Descriptor::empty(), BUFFER as u64)
}

const fn status(word: u64) -> Descriptor {
    Descriptor::from_bits_retain((word >> STATUS) as u32)
}

/// What became of a receive buffer.
///
/// QEMU lets go of a descriptor with the frame's first byte in its buffer, and writes it again with the last (pcnet_receive in
/// hw/net/pcnet.c); any frame fits into one buffer, so there is nothing else to be told by a start without an end.
pub(super) fn received(word: u64) -> Option<Received> {
    let flags = status(word);
    let ended = flags.intersects(Descriptor::ENP | Descriptor::ERR);
    if flags.contains(Descriptor::OWN) || flags.contains(Descriptor::STP) && !ended {
        return None;
    }
    let length = to_usize(word & LENGTH).saturating_sub(CRC);
    let whole = flags.contains(Descriptor::STP | Descriptor::ENP);
    let good = whole && !flags.contains(Descriptor::ERR);
    Some(Received { length, status: flags.bits(), good })
}

/// For a whole frame in one piece.
pub(super) const fn to_send(bus: BusAddr, len: u16) -> Words {
    words(bus, Descriptor::STP.union(Descriptor::ENP), len as u64)
}

/// What became of a frame.
#[expect(clippy::cast_possible_truncation, reason = "the half that has errors")]
pub(super) const fn progress(word: u64) -> Progress {
    let (flags, errors) = (status(word), TxErrors::from_bits_retain(word as u32));
    if flags.contains(Descriptor::OWN) {
        return Progress::Pending;
    }
    if !flags.contains(Descriptor::ERR) {
        return Progress::Sent;
    }
    let failure = if errors.contains(TxErrors::LCOL) {
        TxFailure::LateCollision
    } else if errors.contains(TxErrors::UFLO) {
        TxFailure::Underrun
    } else {
        TxFailure::Aborted
    };
    Progress::Failed { failure, status: errors.bits() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: u64 = 3 << 56;

    #[test]
    fn a_frame_counts_once_the_device_lets_go_of_its_descriptor() {
        assert_eq!(received(1 << 63 | WHOLE | 64), None);
        let good = Received { length: 60, status: 3 << 24, good: true };
        assert_eq!(received(WHOLE | 64), Some(good));
        assert_eq!(received(WHOLE | 0xffff_1000 | 64).map(|frame| frame.length), Some(60));
        assert_eq!(received(0).map(|frame| (frame.length, frame.good)), Some((0, false)));
        assert_eq!(received(1 << 57 | 0xf000), None, "its start is there, and not its end");
        for bad in [1 << 56, 1 << 62 | 1 << 57, 1 << 62 | WHOLE] {
            assert!(!received(bad | 64).unwrap().good, "{bad:#x}");
        }
    }

    #[test]
    fn a_frame_to_send_is_pending_while_the_device_owns_its_descriptor() {
        let [word, address] = to_send(BusAddr(0x1234_5678), 60);
        assert_eq!((address, word), (0x1234_5678, 0x8300_ffc4 << 32));
        assert_eq!(progress(word), Progress::Pending);
        let done = word & !(1 << 63);
        assert_eq!(progress(done), Progress::Sent);
        assert_eq!(progress(done | 1 << 28), Progress::Sent, "no error in sum");
        for (status, failure) in [
            (1 << 28, TxFailure::LateCollision),
            (1 << 30, TxFailure::Underrun),
            (1 << 26, TxFailure::Aborted),
            (1 << 27, TxFailure::Aborted),
        ] {
            let failed = Progress::Failed { failure, status };
            assert_eq!(progress(done | 1 << 62 | u64::from(status)), failed);
        }
    }

    #[test]
    fn a_receive_buffer_is_the_device_s_with_its_size() {
        assert_eq!(to_receive(BusAddr(0x800)), [0x8000_f800 << 32, 0x800]);
    }
}
