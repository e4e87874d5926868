//! Legacy descriptors (SDM 3.2.3 and 3.3.3, 82574 7.1.4 and 7.2.10.1): what is written into one, and what is read.
//!
//! ```text
//!           63        48 47     40 39     32 31        16 15         0
//! receive   |  special  |  errors | status  |  checksum  |   length   |      second word; the first is the address
//! transmit  |  special  |   CSS   | status  | CMD  | CSO |   length   |
//! ```

use super::{
    super::{
        error::TxFailure,
        rings::chip::{Descriptor, Progress, Received},
    },
    regs::{RxStatus, TxCommand, TxStatus},
};
use crate::addr::BusAddr;

/// Where status and errors are in a second word.
const STATUS: u32 = 32;
/// Where the command is in a second word.
const COMMAND: u32 = 24;

/// For a receive buffer.
pub(super) const fn to_receive(bus: BusAddr) -> Descriptor {
    [bus.0, 0]
}

/// What became of a receive buffer.
pub(super) fn received(word: u64) -> Option<Received> {
    let [l0, l1, _, _, status, errors, ..] = word.to_le_bytes();
    let status = u32::from(u16::from_le_bytes([status, errors]));
    let flags = RxStatus::from_bits_retain(status);
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let good = flags.contains(RxStatus::EOP) && !flags.intersects(RxStatus::ERRORS);
    flags.contains(RxStatus::DD).then_some(Received { length, status, good })
}

/// For a whole frame in one piece.
pub(super) fn to_send(bus: BusAddr, len: u16) -> Descriptor {
    let command = TxCommand::EOP | TxCommand::IFCS | TxCommand::RS;
    [bus.0, u64::from(len) | command.bits() << COMMAND]
}

/// What became of a frame.
pub(super) const fn progress(word: u64) -> Progress {
    let bits = (word >> STATUS) as u32;
    let status = TxStatus::from_bits_retain(word >> STATUS);
    if !status.contains(TxStatus::DD) {
        Progress::Pending
    } else if status.contains(TxStatus::LC) {
        Progress::Failed { failure: TxFailure::LateCollision, status: bits }
    } else if status.contains(TxStatus::EC) {
        Progress::Failed { failure: TxFailure::Aborted, status: bits }
    } else {
        Progress::Sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_its_descriptor_is_done() {
        assert_eq!(received(60), None);
        assert_eq!(received(60 | 2 << 32), None, "the end of a frame, but not done");
        let good = Received { length: 60, status: 3, good: true };
        assert_eq!(received(60 | 3 << 32), Some(good));
        assert!(
            received(0xffff | 3 << 32 | 0x6060 << 40).is_some_and(|frame| frame.good),
            "checksums"
        );
    }

    #[test]
    fn a_part_of_a_frame_and_one_with_an_error_are_not_good() {
        assert!(received(60 | 1 << 32).is_some_and(|frame| !frame.good), "goes on");
        for bit in [0, 1, 2, 4, 7] {
            let frame = received(60 | 3 << 32 | 1 << (40 + bit)).unwrap();
            assert_eq!((frame.good, frame.status), (false, 3 | 1 << (8 + bit)));
        }
    }

    #[test]
    fn a_frame_to_send_is_pending_until_its_descriptor_is_done() {
        let [address, word] = to_send(BusAddr(0x1_2345_6789), 1514);
        assert_eq!((address, word), (0x1_2345_6789, 1514 | 0x0b << 24));
        assert_eq!(progress(word), Progress::Pending);
        assert_eq!(progress(word | 6 << 32), Progress::Pending, "not done");
        assert_eq!(progress(word | 1 << 32), Progress::Sent);
        let failed = |failure, status| Progress::Failed { failure, status };
        assert_eq!(progress(word | 3 << 32), failed(TxFailure::Aborted, 3));
        assert_eq!(progress(word | 5 << 32), failed(TxFailure::LateCollision, 5));
    }
}
