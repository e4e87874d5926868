//! The ring against a model of the device, and against headers no device writes.

use super::*;
use proptest::prelude::*;

fn header(status: u16, length: usize) -> [u8; HEADER] {
    let length = u16::try_from(length).unwrap();
    let ([a, b], [c, d]) = (status.to_le_bytes(), length.to_le_bytes());
    [a, b, c, d]
}

fn position(at: usize) -> u16 {
    u16::try_from(at % RING).unwrap()
}

fn at(read: usize, available: usize) -> RxRing {
    RxRing { read, written: (read + available) % RING, unreported: 0 }
}

#[test]
fn the_read_position_is_reported_16_behind_and_wraps_like_the_register() {
    let mut ring = RxRing::EMPTY;
    ring.set_written(position(68)).unwrap();
    assert_eq!(ring.next(header(1, 64)), Ok(Next::Frame { offset: 4, len: 60 }));
    ring.advance(60);
    assert!(ring.is_empty());
    assert_eq!(ring.report(), Some(68 - 16));
    assert_eq!(ring.report(), None, "nothing new to report");
    let mut ring = at(RING - 68, 68);
    ring.advance(60);
    assert_eq!((ring.read, ring.report()), (0, Some(0xfff0)));
}

#[test]
fn a_frame_at_the_ring_s_end_runs_on_behind_it() {
    let ring = at(RING - 4, 4 + 1518);
    let last = Next::Frame { offset: RING, len: FRAME_MAX };
    assert_eq!(ring.next(header(1, 1518)), Ok(last));
    const { assert!(RING + FRAME_MAX + CRC <= BUFFER) }
}

#[test]
fn every_length_no_frame_has_is_refused() {
    let ring = at(0, 2048);
    for length in (0..LENGTHS.0).chain(LENGTHS.1 + 1..0xfff0).chain(0xfff1..=0xffff) {
        let refused = matches!(ring.next(header(1, length)), Err(RingError::BadLength { .. }));
        assert!(refused, "{length}");
    }
    for length in [LENGTHS.0, LENGTHS.1] {
        let frame = Next::Frame { offset: HEADER, len: length - CRC };
        assert_eq!(ring.next(header(1, length)), Ok(frame));
    }
}

#[test]
fn a_frame_being_written_is_not_read_yet() {
    let whole = at(0, 2048);
    assert!(matches!(whole.next(header(0, 0xfff0)), Ok(Next::Unfinished(_))));
    for available in 1..68 {
        let part = at(RING - 8, available);
        assert!(matches!(part.next(header(1, 64)), Ok(Next::Unfinished(_))), "{available}");
    }
}

#[test]
fn a_position_outside_the_buffer_is_refused() {
    let mut ring = RxRing::EMPTY;
    for at in 0..=u16::MAX {
        let inside = usize::from(at) < BUFFER;
        assert_eq!(ring.set_written(at).is_ok(), inside, "{at:#x}");
    }
}

#[test]
fn only_a_good_status_passes() {
    let ring = at(0, 2048);
    for status in [0, 1 | 1 << 1, 1 | 1 << 2, 1 | 1 << 3, 1 | 1 << 4, 1 | 1 << 5, 0x8000_u16] {
        let refused = Err(RingError::BadStatus { status: status.into(), offset: 0 });
        assert_eq!(ring.next(header(status, 64)), refused, "{status:#x}");
    }
    assert!(ring.next(header(1 | 1 << 15, 64)).is_ok(), "broadcast");
}

#[test]
fn a_slot_s_status_is_pending_until_it_says_otherwise() {
    assert_eq!(outcome(0), Outcome::Pending);
    assert_eq!(outcome(TxStatus::OWN.bits()), Outcome::Pending);
    assert_eq!(outcome(TxStatus::TOK.bits()), Outcome::Pending, "sent, but not yet read");
    assert_eq!(outcome((TxStatus::OWN | TxStatus::TOK).bits() | 60), Outcome::Sent);
    let again = TxStatus::OWN | TxStatus::TOK | TxStatus::TABT;
    assert_eq!(outcome(again.bits()), Outcome::Sent, "aborted, then sent");
    assert_eq!(outcome(u32::MAX), Outcome::Gone);
    assert_eq!(outcome(TxStatus::TABT.bits()), Outcome::Failed(TxFailure::Aborted));
    assert_eq!(outcome(TxStatus::OWC.bits()), Outcome::Failed(TxFailure::LateCollision));
    assert_eq!(outcome(TxStatus::TUN.bits()), Outcome::Failed(TxFailure::Underrun));
}

proptest! {
    /// Whatever the header says, what is returned lies inside the buffer and behind the header.
    #[test]
    fn no_header_leads_outside(read in 0..RING / 4, available in 1..RING, header: [u8; 4]) {
        let ring = at(read * 4, available);
        if let Ok(Next::Frame { offset, len }) = ring.next(header) {
            prop_assert!(offset + len + CRC <= BUFFER);
            prop_assert!(len <= FRAME_MAX + TAG && HEADER + len + CRC <= available);
        }
    }

    /// Read and write position meet after any frames, wherever they started.
    #[test]
    fn positions_agree_with_the_device(lens in prop::collection::vec(60_usize..=1514, 1..200)) {
        let (mut ring, mut device, mut capr) = (RxRing::EMPTY, 0, None);
        for len in lens {
            device = (device + 4 + len + 4).next_multiple_of(4) % RING;
            ring.set_written(position(device)).unwrap();
            let next = ring.next(header(1, len + 4)).unwrap();
            prop_assert_eq!(next, Next::Frame { offset: ring.header_at() + 4, len });
            ring.advance(len);
            capr = ring.report().or(capr);
        }
        prop_assert!(ring.is_empty());
        prop_assert_eq!(capr, Some(position(device).wrapping_sub(16)));
    }
}
