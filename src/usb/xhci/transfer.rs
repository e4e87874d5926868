//! Commands, as transfers: the memory that is sent is a segment of the command ring, and what comes back is what the
//! controller's answers say that it read there.

use super::{
    Xhci,
    error::XhciError,
    events::Events,
    hc::Rings,
    trb::{self, Command, LEAST, MOST, TRB},
};
use crate::{
    addr::BusAddr,
    arch::wait::Deadline,
    device::{Arrival, Cause, Ended, Registers, ResetError, Sent, life::Life},
    dma::{DeviceStopped, FinishError, Lent, Mapping, Source, ToDevice},
};
use alloc::vec::Vec;
use core::time::Duration;

/// How long all commands of a transfer may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

impl<'m, R: Registers> Xhci<'m, R> {
    /// Passes a result on, after a reset of a controller that did not do as told.
    fn settle<T>(&mut self, result: Result<T, XhciError>) -> Result<T, XhciError> {
        match result {
            Err(XhciError::Lost(error)) => Err(self.life.lose(error).into()),
            Err(error) => Err(self.give_up(error)),
            done => done,
        }
    }

    fn give_up(&mut self, error: XhciError) -> XhciError {
        match self.hc.reset() {
            Ok(stopped) => {
                self.traffic.resets += 1;
                // What it did to memory of a transfer that failed matters less than why it failed.
                let _ = self.reclaim(&stopped);
                self.life = Life::Down(stopped);
                error
            }
            Err(error) => self.life.lose(error).into(),
        }
    }

    /// Takes what was to be moved back.
    pub(super) fn reclaim(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.inside = false;
        let (leaving, events) = (self.leaving.take(), self.events.take());
        self.traffic.lost += u64::from(leaving.is_some());
        leaving.into_iter().for_each(|memory| drop(memory.reclaim(stopped).abandon()));
        events.map_or(Ok(()), |events| events.end(stopped))
    }

    /// Tells the controller of its memory, unless that was done.
    pub(super) fn bring_up(&mut self) -> Result<(), XhciError> {
        self.life.check::<XhciError>()?;
        if let (Some(stopped), Some(memory)) = (self.life.start(), &self.memory) {
            self.hc.enable(memory.contexts(), self.unmasked, stopped);
        }
        Ok(())
    }

    /// Fills memory with commands, and a link back to the driver's own ring.
    pub(super) fn fill_ring(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), XhciError> {
        self.life.check::<XhciError>()?;
        let Some(memory) = &self.memory else { return Err(Ended.into()) };
        let len = bytes.len();
        if !len.is_multiple_of(TRB) || !(LEAST..=MOST).contains(&len) {
            return Err(XhciError::Length(len));
        }
        let (blocks, []) = bytes.as_chunks_mut::<TRB>() else { return Err(XhciError::Length(len)) };
        for (nth, block) in blocks.iter_mut().enumerate() {
            *block = Command::drawn(seed, nth, self.hc.traits.slots).trb();
        }
        if let Some(last) = blocks.last_mut() {
            *last = trb::link(memory.last());
        }
        self.asked.clear();
        self.asked.extend_from_slice(blocks);
        Ok(())
    }

    /// Readies the controller for other rings: it is halted, and what it wrote events to is free.
    fn begin_anew(&mut self) -> Result<(), XhciError> {
        self.bring_up()?;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.traffic.lost += u64::from(self.inside);
        let halted = self.hc.halt().map_err(|error| self.life.lose(error))?;
        let ended = self.reclaim(&halted).map_err(XhciError::Finish);
        self.settle(ended)
    }

    /// Has the controller do the commands in `bytes`, from where they lie; they are those that the driver filled them with.
    pub(super) fn do_commands(&mut self, bytes: Source) -> Result<(Sent, Source), XhciError> {
        self.begin_anew()?;
        if self.asked.is_empty() || *self.asked.as_flattened() != bytes[..] {
            return Err(XhciError::NotFilled);
        }
        let commands = self.dma.map::<ToDevice, _>(bytes)?;
        let record = Sent::of(&commands);
        self.run(commands)?;
        self.wait_for()?;
        let memory = self.leaving.take().ok_or(Ended)?;
        self.traffic.sent += 1;
        self.traffic.sent_bounced += u64::from(record.bounced.is_some());
        self.inside = true;
        Ok((record, memory.reported_done().end(0)?))
    }

    /// Starts the controller with these commands, and with memory for what it answers.
    fn run(&mut self, commands: Mapping<'m, ToDevice, Source>) -> Result<(), XhciError> {
        let ports = self.hc.traits.ports;
        let room = self
            .memory
            .as_ref()
            .ok_or(XhciError::Stopped(Ended))
            .and_then(|memory| Ok((memory, Events::map(&self.dma, self.asked.len(), ports)?)));
        let (memory, events) = match room {
            Ok(room) => room,
            Err(error) => {
                commands.abandon();
                return Err(error);
            }
        };
        self.ranges.add(&commands);
        self.ranges.add(&events.memory);
        self.commands = commands.bus();
        self.leaving = Some(Lent::new(commands));
        self.answers.clear();
        memory.put(self.commands, events.bus(), events.blocks());
        let (commands, table) = (memory.ring(), memory.table());
        let rings = Rings { commands, table, events: events.bus() };
        self.events = Some(events);
        let run = self.hc.run(rings).map_err(|error| match error {
            ResetError::Stuck(late) => XhciError::Late(late),
            ResetError::Gone | ResetError::Refused(_) => error.into(),
        });
        self.settle(run)
    }

    /// Waits for all answers.
    fn wait_for(&mut self) -> Result<(), XhciError> {
        let deadline = Deadline::new(self.hc.clock, COMMAND_LIMIT);
        let done = deadline.until("the controller to do its commands", || {
            self.look()?;
            Ok(self.answers.len() == self.asked.len())
        });
        self.settle(done)
    }

    /// Takes the answers that there are, and looks whether the controller is well.
    fn look(&mut self) -> Result<(), XhciError> {
        let status = self.hc.status()?;
        let (Some(events), Some(memory)) = (&mut self.events, &self.memory) else {
            return Ok(());
        };
        (0..events.blocks()).map_while(|_| events.take()).try_for_each(|event| {
            let nth = self.answers.len();
            let read = match self.asked.get(nth..) {
                // That the link was followed is what the last command shows.
                Some([link]) => event.answer(memory.last(), &Command::NoOp.trb()).map(|_| *link),
                Some([asked, ..]) => event.answer(at(self.commands, nth), asked),
                _ => None,
            };
            self.answers.push(read.ok_or(XhciError::Event { nth, event })?);
            Ok::<_, XhciError>(())
        })?;
        XhciError::of_status(status)
    }

    /// Looks for what the answers say.
    pub(super) fn fetch_answers(&mut self, back: &mut Vec<u8>) -> Result<Arrival, XhciError> {
        self.life.check::<XhciError>()?;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (true, Some(events)) = (self.inside, &self.events) else {
            return Ok(Arrival::Nothing);
        };
        let guarded = events.memory.check_guards().map_err(XhciError::Finish);
        self.settle(guarded)?;
        self.inside = false;
        self.traffic.received += 1;
        let bytes = self.answers.as_flattened();
        Ok(Arrival::of(bytes, back))
    }

    /// Takes what the controller interrupts for.
    pub(super) fn take_interrupts(&mut self) -> Cause {
        let looked = match &self.events {
            Some(_) => self.look(),
            None => self.hc.status().map(drop).map_err(XhciError::Lost),
        };
        let next = self.events.as_ref().map(Events::next);
        let taken = looked
            .and_then(|()| next.map_or(Ok(false), |next| Ok(self.hc.take_interrupt(next)?)));
        match taken {
            Ok(true) => Cause::RECEIVED,
            Ok(false) => Cause::empty(),
            Err(XhciError::Lost(_)) => Cause::GONE,
            Err(error) => {
                self.failed = self.settle::<()>(Err(error)).err();
                Cause::ERROR
            }
        }
    }
}

/// Where the nth of some blocks is.
const fn at(first: BusAddr, nth: usize) -> BusAddr {
    BusAddr(first.0 + (nth * TRB) as u64)
}
