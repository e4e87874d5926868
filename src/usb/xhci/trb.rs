//! Transfer request blocks: commands, and the events that answer them (xHCI 1.2, section 6.4).
//!
//! Of all commands there are two here, and **neither does anything**: No Op, and Disable Slot of a slot that was never
//! enabled, which the controller has to answer with Slot Not Enabled Error (section 6.4.5). So each answer tells which of the
//! two was read. Types that are not defined would be answered with an error as well, but mean something to some chips.

use crate::{addr::BusAddr, device::pattern::mix};

/// Bytes of one.
pub(super) const TRB: usize = 16;
/// Bytes of a segment that is sent, at least: as many blocks as tell a seed from the next by their kinds.
pub(super) const LEAST: usize = 16 * TRB;
/// At most: more commands than these QEMU does not do at one ring of its doorbell.
pub(super) const MOST: usize = 256 * TRB;

/// A block.
pub(super) type Trb = [u8; TRB];

/// Its type, in bits 10 to 15 of the last word (section 6.4.6).
const LINK: u32 = 6;
const DISABLE_SLOT: u32 = 10;
const NO_OP: u32 = 23;
const COMMAND_COMPLETION: u32 = 33;
const PORT_STATUS_CHANGE: u32 = 34;

/// Completion codes (section 6.4.5).
const SUCCESS: u32 = 1;
const SLOT_NOT_ENABLED: u32 = 11;

/// Bit 0 of the last word.
const CYCLE: u32 = 1;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// No Op (section 6.4.3.1).
    NoOp,
    /// Disable Slot (section 6.4.3.3) of this one.
    DisableSlot(u8),
}

impl Command {
    /// The `nth` of those for a seed; slots are numbered from 1.
    pub(super) fn drawn(seed: usize, nth: usize, slots: u8) -> Self {
        let [which, bit, ..] = mix((seed as u64) << 32 | nth as u64).to_le_bytes();
        if bit & 1 == 0 { Self::NoOp } else { Self::DisableSlot(1 + which % slots.max(1)) }
    }

    pub(super) fn trb(self) -> Trb {
        match self {
            Self::NoOp => of_words(0, NO_OP << 10 | CYCLE),
            Self::DisableSlot(slot) => {
                of_words(0, u32::from(slot) << 24 | DISABLE_SLOT << 10 | CYCLE)
            }
        }
    }

    fn of(trb: &Trb) -> Option<Self> {
        let [.., slot] = *trb;
        [Self::NoOp, Self::DisableSlot(slot)].into_iter().find(|command| command.trb() == *trb)
    }
}

/// Has the controller go on elsewhere (section 6.4.4.1).
pub(super) fn link(to: BusAddr) -> Trb {
    of_words(to.0, LINK << 10 | CYCLE)
}

fn of_words(parameter: u64, control: u32) -> Trb {
    let mut trb = [0; TRB];
    trb[..8].copy_from_slice(&parameter.to_le_bytes());
    trb[12..].copy_from_slice(&control.to_le_bytes());
    trb
}

/// What the controller wrote to its event ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pointer: u64,
    status: u32,
    control: u32,
}

impl Event {
    /// The event in these bytes, if there is one: the ring was zeroed, and is gone round once.
    pub(super) fn of(trb: &Trb) -> Option<Self> {
        let ([a, b, c, d], []) = trb.as_chunks::<4>() else { return None };
        let [low, high, status, control] = [*a, *b, *c, *d].map(u32::from_le_bytes);
        let pointer = u64::from(high) << 32 | u64::from(low);
        (control & CYCLE != 0).then_some(Self { pointer, status, control })
    }

    const fn kind(&self) -> u32 {
        self.control >> 10 & 0x3f
    }

    const fn code(&self) -> u32 {
        self.status >> 24
    }

    /// Whether a port's state changed, which answers nothing (section 6.4.2.3).
    pub(super) const fn is_of_a_port(&self) -> bool {
        self.kind() == PORT_STATUS_CHANGE
    }

    /// What the controller read in place of the block `asked`, which lies at `at`; `None` if this is no answer to that
    /// (section 6.4.2.2), to the last bit.
    ///
    /// Of a slot the answer may have the number, or nothing. The parameter, of which neither command makes use, the virtual
    /// function and what is reserved are nothing.
    pub(super) fn answer(&self, at: BusAddr, asked: &Trb) -> Option<Trb> {
        let [slot, ..] = self.control.to_be_bytes();
        let control = u32::from(slot) << 24 | COMMAND_COMPLETION << 10 | CYCLE;
        let parameter = self.status & 0xff_ffff;
        if self.control != control || self.pointer != at.0 || parameter != 0 {
            return None;
        }
        let asked = Command::of(asked)?;
        let read = match (self.code(), asked, slot) {
            (SUCCESS, _, 0) => Command::NoOp,
            (SLOT_NOT_ENABLED, Command::DisableSlot(slot), 0) | (SLOT_NOT_ENABLED, _, slot) => {
                Command::DisableSlot(slot)
            }
            _ => return None,
        };
        Some(read.trb())
    }
}

impl core::fmt::Display for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { pointer, status, control } = self;
        let (kind, code) = (self.kind(), self.code());
        write!(f, "type {kind}, code {code}: {pointer:#x}, {status:#010x}, {control:#010x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    fn event(pointer: u64, code: u32, control: u32) -> Option<Event> {
        let mut trb = of_words(pointer, control);
        trb[11] = code.to_le_bytes()[0];
        Event::of(&trb)
    }

    #[test]
    fn blocks_have_their_fields_where_the_specification_has_them() {
        assert_eq!(Command::NoOp.trb()[12..], [0x01, 0x5c, 0, 0]);
        assert_eq!(Command::DisableSlot(7).trb()[12..], [0x01, 0x28, 0, 7]);
        let to = link(BusAddr(0x1_2345_6780));
        assert_eq!(to, [0x80, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x18, 0, 0]);
    }

    #[test]
    fn each_seed_has_commands_of_its_own_of_both_kinds() {
        let drawn = |seed| (0..15).map(|n| Command::drawn(seed, n, 64)).collect::<Vec<_>>();
        let all: Vec<_> = (0..300).map(drawn).collect();
        for (seed, commands) in all.iter().enumerate() {
            assert!(commands.contains(&Command::NoOp), "{seed}");
            assert!(commands.iter().any(|command| *command != Command::NoOp), "{seed}");
            assert!(!all[..seed].contains(commands), "{seed}");
        }
        // A controller that does not name the slot shows no more than this.
        let kinds = |commands: &[Command]| -> Vec<_> {
            commands.iter().map(|command| *command == Command::NoOp).collect()
        };
        assert!(all.windows(2).all(|pair| kinds(&pair[0]) != kinds(&pair[1])));
        let slots = |slots| {
            (0..999).filter_map(move |n| match Command::drawn(5, n, slots) {
                Command::DisableSlot(slot) => Some(slot),
                Command::NoOp => None,
            })
        };
        assert_eq!((slots(255).min(), slots(255).max()), (Some(1), Some(255)));
        assert_eq!((slots(1).min(), slots(1).max()), (Some(1), Some(1)));
    }

    #[test]
    fn an_answer_says_which_command_was_read() {
        let at = BusAddr(0x1_0000_0040);
        let done = COMMAND_COMPLETION << 10 | CYCLE;
        let (no_op, slot) = (Command::NoOp.trb(), Command::DisableSlot(9).trb());
        let of = |code, control, asked| event(at.0, code, control).unwrap().answer(at, asked);
        assert_eq!(of(1, done, &no_op), Some(no_op));
        assert_eq!(of(1, done, &slot), Some(no_op), "another than was asked for");
        assert_eq!(of(11, done, &slot), Some(slot), "without the slot");
        assert_eq!(of(11, done | 9 << 24, &slot), Some(slot));
        assert_eq!(of(11, done | 8 << 24, &slot), Some(Command::DisableSlot(8).trb()));
        assert_eq!(of(11, done | 8 << 24, &no_op), Some(Command::DisableSlot(8).trb()));
        for wrong in [
            of(4, done, &no_op),
            // TRB Error: what is said of any command that is none.
            of(5, done, &slot),
            of(5, done | 9 << 24, &slot),
            of(1, done | 1 << 24, &no_op),
            of(1, 32 << 10 | 1, &no_op),
            of(1, done | 1 << 1, &no_op),
            of(1, done | 1 << 16, &no_op),
        ] {
            assert_eq!(wrong, None);
        }
        let mut odd = of_words(at.0, done);
        odd[8..12].copy_from_slice(&[1, 0, 0, 1]);
        assert_eq!(Event::of(&odd).unwrap().answer(at, &no_op), None, "a parameter");
        assert_eq!(event(at.0 + 16, 1, done).unwrap().answer(at, &no_op), None);
    }

    #[test]
    fn what_was_not_written_is_no_event() {
        assert_eq!(Event::of(&[0; TRB]), None);
        assert_eq!(event(7, 1, COMMAND_COMPLETION << 10), None);
        let port = event(0, 1, PORT_STATUS_CHANGE << 10 | CYCLE).unwrap();
        assert!(port.is_of_a_port());
        assert!(port.to_string().contains("type 34, code 1"));
    }
}
