//! Advanced descriptors (82576 7.1.5 and 7.2.2): what is written into one, and what is read.
//!
//! ```text
//!                  63       48 47    46 45      32 31    24 23  20 19      16 15         0
//! to receive       |  address of the header, none                                       |   second word; the first
//! received         |   VLAN   |      length       |  errors      |       status         |   is the buffer's address
//! to send, sent    |       PAYLEN     | POPTS, STA |  DCMD | DTYP |   0      |  DTALEN   |   while it is to receive
//! ```

use super::{
    super::rings::chip::{Descriptor, Progress, Received},
    regs::{RxStatus, TxCommand},
};
use crate::addr::BusAddr;

/// Where the length of the whole frame is in a second word.
const PAYLEN: u32 = 46;

/// For a receive buffer.
pub(super) const fn to_receive(bus: BusAddr) -> Descriptor {
    [bus.0, 0]
}

/// What became of a receive buffer.
pub(super) fn received(word: u64) -> Option<Received> {
    let [s0, s1, s2, s3, l0, l1, ..] = word.to_le_bytes();
    let status = u32::from_le_bytes([s0, s1, s2, s3]);
    let flags = RxStatus::from_bits_retain(status);
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let good = flags.contains(RxStatus::EOP) && !flags.contains(RxStatus::RXE);
    flags.contains(RxStatus::DD).then_some(Received { length, status, good })
}

/// For a whole frame in one piece.
pub(super) fn to_send(bus: BusAddr, len: u16) -> Descriptor {
    let command =
        TxCommand::DATA | TxCommand::EOP | TxCommand::IFCS | TxCommand::RS | TxCommand::DEXT;
    let len = u64::from(len);
    [bus.0, len | command.bits() | len << PAYLEN]
}

/// What became of a frame: with full duplex none is given up.
pub(super) const fn progress(word: u64) -> Progress {
    let done = TxCommand::from_bits_retain(word).contains(TxCommand::DD);
    if done { Progress::Sent } else { Progress::Pending }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_its_descriptor_is_done() {
        let length = 60_u64 << 32;
        assert_eq!(received(length), None);
        assert_eq!(received(length | 2), None, "the end of a frame, but not done");
        let good = Received { length: 60, status: 3, good: true };
        assert_eq!(received(length | 3), Some(good));
        assert_eq!(received(length | 3 | 0xabcd << 48), Some(good), "a tag");
        // Errors of checksums are those of offloads.
        assert!(received(length | 0x6000_0003).is_some_and(|frame| frame.good));
    }

    #[test]
    fn a_part_of_a_frame_and_one_with_an_error_are_not_good() {
        assert!(received(60 << 32 | 1).is_some_and(|frame| !frame.good), "goes on");
        let frame = received(60 << 32 | 0x8000_0003).unwrap();
        assert_eq!((frame.good, frame.status), (false, 0x8000_0003));
    }

    #[test]
    fn a_frame_to_send_is_pending_until_its_descriptor_is_done() {
        for len in [60, 1514] {
            let [address, word] = to_send(BusAddr(0x1_2345_6789), len);
            assert_eq!(address, 0x1_2345_6789);
            assert_eq!(word & 0xffff_ffff, u64::from(len) | 0x2b30_0000);
            assert_eq!(word >> 32, u64::from(len) << 14);
            assert_eq!(progress(word), Progress::Pending);
            assert_eq!(progress(word | 1 << 32), Progress::Sent);
        }
    }
}
