//! Commands given and waited for, and what is done with a controller that does not do them.

use super::{
    Interrupts, Nvme,
    command::{Command, Identify},
    error::NvmeError,
    identify::{self, BYTES, Identity, Namespace},
    prp::Prps,
    queue::{ADMIN, Done, INTERRUPTING, POLLED},
};
use crate::{
    addr::BusAddr,
    arch::wait::Deadline,
    device::{Ended, Registers, StartError, life::Life},
    dma::{
        Coherent, DeviceStopped, Direction, FinishError, FromDevice, Lent, Mapping, buffer::Buffer,
    },
};
use alloc::{vec, vec::Vec};
use core::time::Duration;

/// How long a command may take; a disk that spins needs a second at most for a block.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

impl<'m, R: Registers> Nvme<'m, R> {
    /// Passes a result on, after disabling a controller of which nothing more can be believed.
    pub(super) fn settle<T>(&mut self, result: Result<T, NvmeError>) -> Result<T, NvmeError> {
        match result {
            Err(
                error @ (NvmeError::Late(_) | NvmeError::Completion { .. } | NvmeError::Fatal(_)),
            ) => Err(self.give_up(error)),
            Err(NvmeError::Lost(error)) => Err(self.life.lose(error).into()),
            other => other,
        }
    }

    fn give_up(&mut self, error: NvmeError) -> NvmeError {
        match self.controller.disable() {
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
        (self.inside, self.done, self.interrupts) = (false, None, Interrupts::default());
        let read = self.reading.take().map(|memory| memory.reclaim(stopped).abandon());
        let placed = self.placing.take().map(|memory| memory.reclaim(stopped).end(0));
        let arrived = self.arriving.take().map(|memory| memory.reclaim(stopped).end(0));
        self.traffic.lost += [read.is_some(), placed.is_some(), arrived.is_some()]
            .into_iter()
            .map(u64::from)
            .sum::<u64>();
        placed.transpose()?;
        arrived.transpose().map(drop)
    }

    fn shared(&self) -> Result<&Coherent<'m>, NvmeError> {
        self.shared.as_deref().ok_or(Ended.into())
    }

    /// Enables the controller and makes its queues, unless that was done.
    pub(super) fn bring_up(&mut self) -> Result<(), NvmeError> {
        self.life.check::<NvmeError>()?;
        let Some(stopped) = self.life.start() else {
            return Ok(());
        };
        let up = self.enable(stopped);
        let up = self.settle(up);
        if up.is_err() && self.life.is_running() {
            let stopped = self.controller.disable().map_err(|error| self.life.lose(error))?;
            self.life = Life::Down(stopped);
        }
        up
    }

    fn enable(&mut self, stopped: DeviceStopped) -> Result<(), NvmeError> {
        let memory = self.shared.as_deref().ok_or(Ended)?;
        self.queues.iter_mut().for_each(|queue| queue.reset(memory, &stopped));
        self.controller.enable(&self.queues[ADMIN], memory, stopped)?;
        let create = [POLLED, INTERRUPTING].map(|number| {
            let queue = &self.queues[number];
            let (id, entries, interrupts) = (queue.id, queue.entries, number == INTERRUPTING);
            let (submissions, completions) = (queue.submissions(memory), queue.completions(memory));
            [
                Command::create_completion_queue(id, entries, completions, interrupts),
                Command::create_submission_queue(id, entries, submissions),
            ]
        });
        self.apply_mask(false);
        self.submit(ADMIN, &Command::set_number_of_queues())?;
        let granted = self.completed(ADMIN)?.check()?;
        if granted & 0xffff == 0 || granted >> 16 == 0 {
            return Err(NvmeError::Queues(granted));
        }
        for command in create.as_flattened() {
            self.submit(ADMIN, command)?;
            self.wait_for(ADMIN)?;
        }
        self.apply_mask(self.unmasked);
        Ok(())
    }

    /// Who the controller is, and the first of its namespaces that can be read.
    pub(super) fn identify(&mut self) -> Result<(Identity, Namespace), StartError> {
        let identity = Identity::read(&self.identified(Identify::Controller)?);
        for number in identify::active(&self.identified(Identify::ActiveNamespaces)?) {
            let found = Namespace::read(number, &self.identified(Identify::Namespace(number))?);
            if let Some(namespace) = found.filter(|namespace| namespace.block <= identity.most) {
                return Ok((identity, namespace));
            }
        }
        Err(StartError::Lacks("namespace of plain blocks"))
    }

    fn identified(&mut self, what: Identify) -> Result<[u8; BYTES], NvmeError> {
        let mapping = self.dma.map::<FromDevice, _>(vec![0; BYTES])?;
        self.arriving = Some(self.begin(ADMIN, mapping, &|data| Command::identify(what, data))?);
        let waited = self.wait_for(ADMIN);
        let bytes = self.ended(waited)?;
        bytes.try_into().map_err(|_| NvmeError::NotFilled)
    }

    /// Gives the controller a command about a mapping.
    pub(super) fn begin<D: Direction, B: Buffer<D>>(
        &mut self,
        queue: usize,
        mapping: Mapping<'m, D, B>,
        command: &dyn Fn(Prps) -> Command,
    ) -> Result<Lent<Mapping<'m, D, B>>, NvmeError> {
        let memory = match self.shared() {
            Ok(memory) => memory,
            Err(error) => {
                mapping.abandon();
                return Err(error);
            }
        };
        let list = BusAddr(memory.bus().0 + super::LIST as u64);
        let data = Prps::new(mapping.bus(), mapping.len(), list, |number, entry| {
            memory.write_u64(super::LIST + 8 * number, entry);
        });
        self.ranges.add(&mapping);
        let lent = Lent::new(mapping);
        self.submit(queue, &command(data))?;
        Ok(lent)
    }

    pub(super) fn submit(&mut self, queue: usize, command: &Command) -> Result<(), NvmeError> {
        if queue == INTERRUPTING {
            // Else there may be no room for this one's completion.
            self.take();
        }
        let memory = self.shared.as_deref().ok_or(Ended)?;
        let queue = &mut self.queues[queue];
        let tail = queue.submit(memory, command);
        self.controller.submitted(queue.id, tail);
        Ok(())
    }

    /// Waits for the command under way, which is to be successful.
    pub(super) fn wait_for(&mut self, queue: usize) -> Result<(), NvmeError> {
        self.completed(queue)?.check().map(drop)
    }

    /// Waits for the command under way, and has the controller know that its completion was seen.
    pub(super) fn completed(&mut self, queue: usize) -> Result<Done, NvmeError> {
        let memory = self.shared.as_deref().ok_or(Ended)?;
        let (controller, queue) = (&self.controller, &mut self.queues[queue]);
        let deadline = Deadline::new(controller.clock, COMMAND_LIMIT);
        let done = deadline.find("the controller to complete a command", || {
            let done = queue.poll(memory)?;
            if done.is_none() {
                controller.check()?;
            }
            Ok(done)
        });
        if done.is_ok() {
            controller.taken(queue.id, queue.head());
        }
        self.settle(done)
    }

    /// What arrived, once the command for it has ended.
    pub(super) fn ended(&mut self, how: Result<(), NvmeError>) -> Result<Vec<u8>, NvmeError> {
        match how {
            Ok(()) => {
                let memory = self.arriving.take().ok_or(Ended)?.reported_done();
                let len = memory.len();
                Ok(memory.end(len)?)
            }
            Err(error @ NvmeError::Ended { .. }) => {
                let memory = self.arriving.take().map(Lent::reported_done);
                self.traffic.lost += u64::from(memory.is_some());
                memory.map(|memory| memory.end(0)).transpose()?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}
