//! Commands as they lie in a submission queue (NVM Express Base Specification 2.0, section 3.3.3.1). **There is none that
//! changes a medium**, nor firmware, nor any setting that outlives a reset.

use super::prp::Prps;
use crate::addr::BusAddr;
use core::fmt;

/// Bytes of a command.
pub(super) const COMMAND: usize = 64;

/// Every command there is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Create I/O Submission Queue (section 5.5).
    CreateSubmissionQueue,
    /// Create I/O Completion Queue (section 5.4).
    CreateCompletionQueue,
    /// Identify (section 5.17).
    Identify,
    /// Set Features (section 5.27), of which only Number of Queues is used.
    SetNumberOfQueues,
    /// Get Features (section 5.15), of the same.
    GetNumberOfQueues,
    /// Read (NVM Command Set Specification 1.0, section 3.2.4).
    Read,
    /// Compare (the same, section 3.2.1): the controller reads memory and says whether the medium holds the same.
    Compare,
}

impl Opcode {
    const fn bits(self) -> u32 {
        match self {
            Self::CreateSubmissionQueue => 0x01,
            Self::CreateCompletionQueue | Self::Compare => 0x05,
            Self::Identify => 0x06,
            Self::SetNumberOfQueues => 0x09,
            Self::GetNumberOfQueues => 0x0a,
            Self::Read => 0x02,
        }
    }

    /// Its name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateSubmissionQueue => "Create I/O Submission Queue",
            Self::CreateCompletionQueue => "Create I/O Completion Queue",
            Self::Identify => "Identify",
            Self::SetNumberOfQueues => "Set Features (Number of Queues)",
            Self::GetNumberOfQueues => "Get Features (Number of Queues)",
            Self::Read => "Read",
            Self::Compare => "Compare",
        }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What Identify tells of (CNS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identify {
    /// The namespace of this number.
    Namespace(u32),
    /// The controller.
    Controller,
    /// The numbers of active namespaces.
    ActiveNamespaces,
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The namespace's number.
    pub(super) namespace: u32,
    /// The first one (LBA).
    pub(super) first: u64,
    /// How many, at most 65536.
    pub(super) count: u32,
}

/// A command without its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) opcode: Opcode,
    words: [u32; COMMAND / 4],
}

impl Command {
    const fn new(opcode: Opcode) -> Self {
        let mut words = [0; COMMAND / 4];
        words[0] = opcode.bits();
        Self { opcode, words }
    }

    /// DPTR: where the data is.
    const fn data(mut self, Prps { first, second }: Prps) -> Self {
        [self.words[6], self.words[7]] = halves(first);
        [self.words[8], self.words[9]] = halves(second);
        self
    }

    pub(super) const fn identify(what: Identify, data: Prps) -> Self {
        let mut command = Self::new(Opcode::Identify).data(data);
        (command.words[1], command.words[10]) = match what {
            Identify::Namespace(number) => (number, 0),
            Identify::Controller => (0, 1),
            Identify::ActiveNamespaces => (0, 2),
        };
        command
    }

    /// Asks for two I/O queue pairs.
    pub(super) const fn set_number_of_queues() -> Self {
        let mut command = Self::new(Opcode::SetNumberOfQueues);
        // Feature 07h; counts less one.
        (command.words[10], command.words[11]) = (0x07, 1 << 16 | 1);
        command
    }

    /// Asks how many there are: a command without data that changes nothing.
    pub(super) const fn get_number_of_queues() -> Self {
        let mut command = Self::new(Opcode::GetNumberOfQueues);
        command.words[10] = 0x07;
        command
    }

    /// A completion queue in contiguous memory that interrupts by vector 0, or not at all.
    pub(super) const fn create_completion_queue(
        id: u16,
        entries: u16,
        at: BusAddr,
        interrupts: bool,
    ) -> Self {
        let mut command = Self::new(Opcode::CreateCompletionQueue).queue(id, entries, at);
        // IEN and PC; the vector is in the upper half.
        command.words[11] = (interrupts as u32) << 1 | 1;
        command
    }

    /// A submission queue in contiguous memory, for the completion queue of the same number.
    pub(super) const fn create_submission_queue(id: u16, entries: u16, at: BusAddr) -> Self {
        let mut command = Self::new(Opcode::CreateSubmissionQueue).queue(id, entries, at);
        // CQID and PC.
        command.words[11] = (id as u32) << 16 | 1;
        command
    }

    const fn queue(self, id: u16, entries: u16, at: BusAddr) -> Self {
        let mut command = self.data(Prps { first: at.0, second: 0 });
        command.words[10] = (entries as u32 - 1) << 16 | id as u32;
        command
    }

    pub(super) const fn read(blocks: Blocks, data: Prps) -> Self {
        Self::new(Opcode::Read).data(data).blocks(blocks)
    }

    pub(super) const fn compare(blocks: Blocks, data: Prps) -> Self {
        Self::new(Opcode::Compare).data(data).blocks(blocks)
    }

    const fn blocks(mut self, Blocks { namespace, first, count }: Blocks) -> Self {
        self.words[1] = namespace;
        [self.words[10], self.words[11]] = halves(first);
        self.words[12] = count - 1;
        self
    }

    /// The 16 words, with the command's identifier.
    pub(super) const fn words(&self, identifier: u16) -> [u32; COMMAND / 4] {
        let mut words = self.words;
        words[0] |= (identifier as u32) << 16;
        words
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each half is what is left of it")]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Prps = Prps { first: 0x1_2345_6004, second: 0x2_0000_7000 };

    #[test]
    fn a_command_has_its_fields_where_the_specification_has_them() {
        let blocks = Blocks { namespace: 3, first: 0x9_8765_4321, count: 8 };
        let read = Command::read(blocks, DATA).words(0xabcd);
        assert_eq!(read[..2], [0xabcd_0002, 3]);
        assert_eq!(read[6..10], [0x2345_6004, 1, 0x7000, 2]);
        assert_eq!(read[10..], [0x8765_4321, 9, 7, 0, 0, 0]);
        assert_eq!(Command::compare(blocks, DATA).words(0)[0], 5);
    }

    #[test]
    fn queues_are_named_by_their_number_and_size_less_one() {
        for (interrupts, flags) in [(true, 3), (false, 1)] {
            let at = BusAddr(0x5000);
            let cq = Command::create_completion_queue(1, 16, at, interrupts).words(0);
            assert_eq!((cq[0], cq[6], cq[10], cq[11]), (5, 0x5000, 0xf_0001, flags));
        }
        let sq = Command::create_submission_queue(1, 16, BusAddr(0x4000)).words(0);
        assert_eq!((sq[0], sq[6], sq[10], sq[11]), (1, 0x4000, 0xf_0001, 0x1_0001));
    }

    #[test]
    fn identify_names_what_it_is_about() {
        let words = |what| Command::identify(what, DATA).words(0);
        let of = |what| (words(what)[0], words(what)[1], words(what)[10]);
        assert_eq!(of(Identify::Namespace(7)), (6, 7, 0));
        assert_eq!(of(Identify::Controller), (6, 0, 1));
        assert_eq!(of(Identify::ActiveNamespaces), (6, 0, 2));
        let (set, get) = (Command::set_number_of_queues(), Command::get_number_of_queues());
        let of = |command: Command| (command.words(1)[0], command.words(1)[10..12].to_vec());
        assert_eq!(of(set), (0x1_0009, [7, 0x1_0001].to_vec()));
        assert_eq!(of(get), (0x1_000a, [7, 0].to_vec()));
    }
}
