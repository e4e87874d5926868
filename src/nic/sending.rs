//! Frames on their way out, whatever takes them: a ring of descriptors, or a chip's transmit slots.
//!
//! ```text
//! 0        oldest                     free             N
//! |· · · · ·|#########################|· · · · · · · · ·|      # the device's, each with a frame lent to it
//! ```
//! A place is a descriptor or a slot. The device is through with them strictly in turn.

use super::{
    Counters, FRAME_MAX, FRAME_MIN, HEADER,
    error::{TransmitError, Unsent},
};
use crate::{
    addr::DmaMask,
    arch::time::Instant,
    device::{Sent, evidence::Ranges, life::Life},
    dma::{self, DeviceStopped, FinishError, Lent, Mapping, Source, ToDevice},
};
use alloc::{collections::VecDeque, vec::Vec};
use core::fmt;

/// Why a frame was not given to the device, and the frame unless its mapping kept it.
pub(super) type Refused = (TransmitError, Source);

/// How a card sends: what [`queue`], [`send_in_place`] and [`reclaim`] need of it.
pub(super) trait Sender<'m> {
    /// The frames that it has.
    fn outgoing(&mut self) -> &mut Outgoing<'m>;

    /// Whether it can be given any.
    fn life(&self) -> &Life;

    /// Gives a frame to the device, which has a free place; the device reads it from then on.
    fn give(&mut self, frame: Source) -> Result<Sent, Refused>;

    /// Ends the oldest frame if the device is through with it; an error if it never will be.
    fn finish_oldest(&mut self) -> Result<Option<Source>, TransmitError>;
}

/// See [`super::Nic::transmit`].
pub(super) fn queue(sender: &mut (dyn Sender<'_> + '_), mut frame: Vec<u8>) -> Result<(), Unsent> {
    if let Err(error) = make_room(sender, frame.len(), HEADER) {
        return Err(Unsent { frame, error });
    }
    if frame.len() < FRAME_MIN {
        frame.resize(FRAME_MIN, 0);
    }
    let given = sender.give(frame.into()).map(drop);
    given.map_err(|(error, frame)| Unsent { frame: frame.into_vec().unwrap_or_default(), error })
}

/// See [`super::Nic::transmit_in_place`].
pub(super) fn send_in_place(
    sender: &mut (dyn Sender<'_> + '_),
    frame: Source,
) -> Result<(Sent, Source), TransmitError> {
    while sender.outgoing().used() > 0 {
        let sent = sender.finish_oldest()?;
        sender.outgoing().keep(sent);
    }
    make_room(sender, frame.len(), FRAME_MIN)?;
    let record = sender.give(frame).map_err(|(error, _)| error)?;
    loop {
        if let Some(frame) = sender.finish_oldest()? {
            return Ok((record, frame));
        }
        core::hint::spin_loop();
    }
}

/// See [`super::Nic::reclaim`].
pub(super) fn reclaim(
    sender: &mut (dyn Sender<'_> + '_),
) -> Result<Option<Vec<u8>>, TransmitError> {
    match sender.outgoing().kept.pop() {
        Some(frame) => Ok(Some(frame)),
        None => Ok(sender.finish_oldest()?.and_then(Source::into_vec)),
    }
}

/// Sees that there is a place for a frame of `len` bytes. Looks at the oldest frame only if there is none.
fn make_room(
    sender: &mut (dyn Sender<'_> + '_),
    len: usize,
    min: usize,
) -> Result<(), TransmitError> {
    sender.life().check::<TransmitError>()?;
    if len < min || len > FRAME_MAX {
        return Err(TransmitError::BadLength { len, min, max: FRAME_MAX });
    }
    if sender.outgoing().free().is_none() {
        let sent = sender.finish_oldest()?;
        sender.outgoing().keep(sent);
    }
    let in_flight = sender.outgoing().used();
    let room = sender.outgoing().free();
    room.map(drop).ok_or(TransmitError::Full { in_flight })
}

/// The frames that a device has, and the buffers of some that it had.
pub(super) struct Outgoing<'m> {
    dma: dma::Device<'m>,
    /// What the device's registers or descriptors can point at.
    reach: DmaMask,
    places: usize,
    /// How many of them the device may have at a time.
    most: usize,
    oldest: usize,
    in_flight: VecDeque<InFlight<'m>>,
    /// Buffers of frames that were sent while waiting for another.
    kept: Vec<Vec<u8>>,
    last: Option<Sent>,
}

/// A frame that the device has.
pub(super) struct InFlight<'m> {
    frame: Lent<Mapping<'m, ToDevice, Source>>,
    /// When the device was told of it, or told to try it again.
    pub(super) since: Instant,
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oldest, used) = (self.oldest, self.used());
        f.debug_struct("Outgoing").field("oldest", &oldest).field("used", &used).finish()
    }
}

impl<'m> Outgoing<'m> {
    /// A device with so many places, of which it may have `most` at a time, and with registers of `reach`.
    pub(super) fn new(dma: dma::Device<'m>, reach: DmaMask, places: usize, most: usize) -> Self {
        Self {
            dma,
            reach,
            places,
            most,
            oldest: 0,
            in_flight: VecDeque::with_capacity(most),
            kept: Vec::new(),
            last: None,
        }
    }

    /// Places that the device has.
    pub(super) fn used(&self) -> usize {
        self.in_flight.len()
    }

    /// The place for the next frame; `None` if the device has all that it may have.
    pub(super) fn free(&self) -> Option<usize> {
        (self.used() < self.most).then(|| self.next())
    }

    fn next(&self) -> usize {
        (self.oldest + self.used()) % self.places
    }

    /// The place behind those that the device has, for its tail register.
    #[expect(clippy::cast_possible_truncation, reason = "one of a few places")]
    pub(super) fn tail(&self) -> u32 {
        self.next() as u32
    }

    /// The place that the device will be through with first, and the frame there.
    pub(super) fn oldest(&mut self) -> Option<(usize, &mut InFlight<'m>)> {
        self.in_flight.front_mut().map(|frame| (self.oldest, frame))
    }

    /// Where the device's frames are.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> impl Iterator<Item = crate::addr::BusAddr> {
        self.in_flight.iter().map(|in_flight| in_flight.frame.bus())
    }

    /// Frames that the device has, or had since they were last reclaimed.
    pub(super) fn unclaimed(&self) -> usize {
        self.used() + self.kept.len()
    }

    /// The way of the frame last given to the device.
    pub(super) const fn last(&self) -> Option<Sent> {
        self.last
    }

    /// Maps a frame and lends it to the device, in the place that [`Outgoing::free`] named; how, and its length.
    pub(super) fn lend(
        &mut self,
        frame: Source,
        since: Instant,
        (ranges, counters): (&mut Ranges, &mut Counters),
    ) -> Result<(Sent, u16), Refused> {
        let mapping = self.dma.try_map::<ToDevice, _>(frame);
        let mapping = mapping.map_err(|(error, frame)| (error.into(), frame))?;
        let record = Sent::of(&mapping);
        let Ok(len) = u16::try_from(record.len) else {
            let (len, min, max) = (record.len, FRAME_MIN, FRAME_MAX);
            return Err((TransmitError::BadLength { len, min, max }, mapping.abandon()));
        };
        if !self.reach.covers(record.dma, record.len) {
            return Err((TransmitError::BeyondRegisters(record.dma.0), mapping.abandon()));
        }
        ranges.add(&mapping);
        let bounced = u64::from(record.bounced.is_some());
        counters.tx_bounced += bounced;
        counters.tx_direct += 1 - bounced;
        counters.tx_bytes += u64::from(len);
        self.last = Some(record);
        self.in_flight.push_back(InFlight { frame: Lent::new(mapping), since });
        Ok((record, len))
    }

    /// Takes the oldest frame back, with which the device said that it is through.
    pub(super) fn finish(&mut self) -> Result<Option<Source>, FinishError> {
        let Some(done) = self.in_flight.pop_front() else { return Ok(None) };
        self.oldest = (self.oldest + 1) % self.places;
        done.frame.reported_done().finish(0).map(Some)
    }

    /// Takes all frames back from a device that was reset; how many they were.
    pub(super) fn drop_all(&mut self, stopped: &DeviceStopped) -> u64 {
        let dropped = core::mem::take(&mut self.in_flight);
        let count = dropped.len() as u64;
        for in_flight in dropped {
            self.keep(Some(in_flight.frame.reclaim(stopped).abandon()));
        }
        self.oldest = 0;
        count
    }

    /// Keeps a buffer for [`reclaim`]; of those nobody asks for not more than the device could hold.
    pub(super) fn keep(&mut self, frame: Option<Source>) {
        let room = self.places - self.kept.len().min(self.places);
        self.kept.extend(frame.and_then(Source::into_vec).into_iter().take(room));
    }

    /// Lets go of the buffers kept.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;
    use crate::dma::{
        Device, Limits, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    };
    use alloc::{boxed::Box, vec};

    const NOW: Instant = Instant(0);

    /// Runs `test` with a device of `bits` bits; afterwards the pool must be whole.
    fn with_device(bits: u32, test: impl FnOnce(Device<'_>)) {
        let machine = FakeMachine::new(Frames::default());
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let limits = Limits::new(DmaMask::from_bits(bits).unwrap());
        test(Device::new(&pool, &machine, limits, Policy::Auto));
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    }

    /// A frame that has no other reason to bounce than its device's mask.
    fn in_one_page(byte: u8) -> Vec<u8> {
        let straddles =
            |frame: &Vec<u8>| frame.as_ptr().addr() % PAGE_SIZE + frame.len() > PAGE_SIZE;
        let [first, second] = [0, 1].map(|_| vec![byte; 60]);
        if straddles(&first) { second } else { first }
    }

    fn lend(out: &mut Outgoing<'_>, byte: u8) -> Result<(Sent, u16), Refused> {
        let (mut ranges, mut counters) = (Ranges::default(), Counters::default());
        let lent = out.lend(in_one_page(byte).into(), NOW, (&mut ranges, &mut counters));
        assert_eq!(lent.is_ok(), !ranges.all().is_empty());
        assert_eq!(counters.tx_bytes, if lent.is_ok() { 60 } else { 0 });
        let bounced = lent.as_ref().map(|(record, _)| u64::from(record.bounced.is_some()));
        let counted = (counters.tx_bounced, counters.tx_direct);
        assert_eq!(counted, bounced.map_or((0, 0), |bounced| (bounced, 1 - bounced)));
        lent
    }

    /// Goes round the four places, then has as many frames as there may be.
    fn go_round(mut out: Outgoing<'_>, most: usize) {
        for byte in 0..9_u8 {
            let place = usize::from(byte) % 4;
            assert_eq!((out.free(), out.oldest().is_none()), (Some(place), true));
            lend(&mut out, byte).unwrap();
            assert_eq!(out.oldest().map(|(at, _)| at), Some(place));
            assert_eq!(out.tail() as usize, (place + 1) % 4);
            let back = out.finish().unwrap().and_then(Source::into_vec);
            assert_eq!(back, Some(vec![byte; 60]));
        }
        while out.free().is_some() {
            lend(&mut out, 0).unwrap();
        }
        assert_eq!((out.used(), out.oldest().map(|(at, _)| at)), (most, Some(1)));
        assert_eq!(out.drop_all(&DeviceStopped::seen()), most as u64);
        assert_eq!((out.used(), out.unclaimed(), out.free()), (0, most, Some(0)));
        (0..9).for_each(|_| out.keep(Some(vec![0; 60].into())));
        assert_eq!(out.unclaimed(), 4, "not more than the device has places");
        out.forget();
        assert_eq!(out.unclaimed(), 0);
    }

    #[test]
    fn places_are_taken_and_given_in_turn_up_to_the_most_there_may_be() {
        with_device(32, |dma| go_round(Outgoing::new(dma, DmaMask::BITS_32, 4, 3), 3));
        with_device(32, |dma| go_round(Outgoing::new(dma, DmaMask::BITS_32, 4, 4), 4));
    }

    #[test]
    fn what_bounces_and_what_goes_direct_is_counted_for_itself() {
        with_device(64, |dma| {
            let mut out = Outgoing::new(dma, DmaMask::BITS_64, 4, 4);
            let (mut ranges, mut counters) = (Ranges::default(), Counters::default());
            for sent in 1..=2 {
                let frame = in_one_page(7).into();
                out.lend(frame, NOW, (&mut ranges, &mut counters)).unwrap();
                assert_eq!((counters.tx_bounced, counters.tx_direct), (0, sent));
            }
            out.drop_all(&DeviceStopped::seen());
        });
    }

    #[test]
    fn an_address_that_the_registers_do_not_hold_is_refused_and_the_frame_is_back() {
        with_device(64, |dma| {
            let mut out = Outgoing::new(dma, DmaMask::BITS_32, 4, 4);
            let (error, frame) = lend(&mut out, 7).unwrap_err();
            assert_eq!(error.code(), "device-beyond-registers");
            assert_eq!((frame.into_vec(), out.used()), (Some(vec![7; 60]), 0));
            assert_eq!(out.last(), None);
        });
    }
}
