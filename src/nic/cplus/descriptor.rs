//! C+ descriptors (RTL8139C(L)+ datasheet, section 6; RTL8169 datasheet, section 9.1): what is written into one, and
//! what is read.
//!
//! ```text
//!           63             32 31  30  29 28 27               14 13          0
//! receive   |  VLAN tag      |OWN|EOR|     |                   |  buffer size |   first word; the second is the address
//!           |                |   |   |FS|LS|  status, errors   |    length    |   as the device writes it
//! transmit  |  VLAN tag      |OWN|EOR|FS|LS|  offloads         |    length    |   (16 bits)
//! ```

use super::{
    super::{
        error::TxFailure,
        rings::chip::{BUFFER, Descriptor, Progress, Received},
    },
    Model,
    regs::{Command, RX_LENGTH_8139, RX_LENGTH_8168, RxStatus8139, RxStatus8168, TxStatus},
};
use crate::addr::{BusAddr, to_usize};

/// Bytes of the checksum behind a received frame.
const CRC: usize = 4;

/// For a receive buffer.
pub(super) const fn to_receive(bus: BusAddr) -> Descriptor {
    [Command::OWN.bits() as u64 | BUFFER as u64, bus.0]
}

/// What became of a receive buffer.
#[expect(clippy::cast_possible_truncation, reason = "the half that has the status")]
pub(super) fn received(model: Model, word: u64) -> Option<Received> {
    let status = word as u32;
    let (length, errors) = match model {
        Model::Rtl8139 => (RX_LENGTH_8139, RxStatus8139::all().bits()),
        Model::Rtl8168 | Model::Rtl8125 => (RX_LENGTH_8168, RxStatus8168::all().bits()),
    };
    let length = to_usize(u64::from(status & length)).saturating_sub(CRC);
    let flags = Command::from_bits_retain(status);
    let good = flags.contains(Command::FS | Command::LS) && status & errors == 0;
    (!flags.contains(Command::OWN)).then_some(Received { length, status, good })
}

/// For a whole frame in one piece.
pub(super) const fn to_send(bus: BusAddr, len: u16) -> Descriptor {
    let command = Command::OWN.union(Command::FS).union(Command::LS);
    [command.bits() as u64 | len as u64, bus.0]
}

/// What became of a frame.
#[expect(clippy::cast_possible_truncation, reason = "the half that has the status")]
pub(super) const fn progress(word: u64) -> Progress {
    let status = word as u32;
    let flags = TxStatus::from_bits_retain(status);
    if Command::from_bits_retain(status).contains(Command::OWN) {
        return Progress::Pending;
    }
    if !flags.contains(TxStatus::TES) {
        return Progress::Sent;
    }
    let failure = if flags.contains(TxStatus::OWC) {
        TxFailure::LateCollision
    } else if flags.contains(TxStatus::UNF) {
        TxFailure::Underrun
    } else {
        TxFailure::Aborted
    };
    Progress::Failed { failure, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [Model; 3] = [Model::Rtl8139, Model::Rtl8168, Model::Rtl8125];
    const WHOLE: u64 = 0b11 << 28;

    #[test]
    fn a_frame_counts_once_the_device_lets_go_of_its_descriptor() {
        for model in MODELS {
            assert_eq!(received(model, 1 << 31 | WHOLE | 64), None);
            let status = 0x3000_0000 | 64;
            let good = Received { length: 60, status, good: true };
            assert_eq!(received(model, WHOLE | 64), Some(good));
            let tagged = received(model, 0x1_8100 << 32 | 1 << 30 | WHOLE | 64);
            assert!(tagged.is_some_and(|frame| frame.good && frame.length == 60), "{tagged:?}");
            assert_eq!(
                received(model, 0).map(|frame| (frame.length, frame.good)),
                Some((0, false))
            );
        }
    }

    #[test]
    fn a_part_of_a_frame_and_one_with_an_error_are_not_good() {
        let good = |model, bits: u64| received(model, WHOLE | 64 | bits).unwrap().good;
        for model in MODELS {
            for part in [1 << 28, 1 << 29] {
                assert!(!received(model, part | 64).unwrap().good, "goes on, or began before");
            }
        }
        // Errors of the one are the kind of address, or the length, of the other.
        let bits = |of: fn(u32) -> bool| {
            (13..28).filter(|bit| of(*bit)).fold(0, |all, bit| all | 1_u64 << bit)
        };
        assert!(good(Model::Rtl8139, bits(|bit| !matches!(bit, 18..=21 | 27))));
        assert!(good(Model::Rtl8168, bits(|bit| !matches!(bit, 19..=22) && bit != 13)));
        for bit in [18, 19, 20, 21, 27] {
            assert!(!good(Model::Rtl8139, 1 << bit), "{bit}");
        }
        for bit in [19, 20, 21, 22] {
            assert!(!good(Model::Rtl8168, 1 << bit) && !good(Model::Rtl8125, 1 << bit), "{bit}");
        }
        let long = |model| received(model, WHOLE | 0x3fff).unwrap().length;
        assert_eq!((long(Model::Rtl8139), long(Model::Rtl8168)), (0x1fff - 4, 0x3fff - 4));
    }

    #[test]
    fn a_frame_to_send_is_pending_while_the_device_owns_its_descriptor() {
        let [word, address] = to_send(BusAddr(0x1_2345_6789), 1514);
        assert_eq!((address, word), (0x1_2345_6789, 0xb000_0000 | 1514));
        assert_eq!(progress(word), Progress::Pending);
        let done = word & !(1 << 31);
        assert_eq!(progress(done), Progress::Sent);
        assert_eq!(progress(done | 1 << 25), Progress::Sent, "no error in sum");
        for (bits, failure) in [
            (1 << 22, TxFailure::LateCollision),
            (1 << 25, TxFailure::Underrun),
            (1 << 20, TxFailure::Aborted),
            (1 << 21, TxFailure::Aborted),
        ] {
            let status = 0x3000_0000 | 1514 | 1 << 23 | bits;
            let failed = Progress::Failed { failure, status };
            assert_eq!(progress(done | 1 << 23 | u64::from(bits)), failed);
        }
    }

    #[test]
    fn a_receive_buffer_is_the_device_s_with_its_size() {
        assert_eq!(to_receive(BusAddr(0x1_0000_0800)), [0x8000_0800, 0x1_0000_0800]);
    }
}
