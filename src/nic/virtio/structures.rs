//! Where a device has its structures: each anywhere in any BAR, as the device's own capabilities say (virtio 1.2, section
//! 4.1.4). What they say is checked against the BARs before it is used.

use super::regs::{COMMON, DEVICE, ISR, NOTIFY};
use crate::{
    addr::to_usize,
    device::{Registers, StartError},
    pci::cap::Vendor,
};
use alloc::vec::Vec;

/// BARs of a function.
const BARS: u8 = 6;

/// A structure in a BAR that is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Structure {
    window: usize,
    offset: usize,
    len: usize,
    /// The last word of its capability.
    extra: u32,
}

/// BARs that are mapped, each once.
struct Windows<R, M> {
    mapped: Vec<(u8, R)>,
    map: M,
}

impl<R: Registers, M: FnMut(u8) -> Result<R, StartError>> Windows<R, M> {
    /// The first structure of a kind that has what is needed and is in a BAR that can be used, which a BAR of ports can't
    /// (section 4.1.4.1). Bytes 3 to 7 of a capability are the kind, the BAR, which is one of six, and others; then come
    /// offset and length.
    fn find(
        &mut self,
        vendor: &[Vendor],
        (kind, needed): (u8, usize),
        align: usize,
    ) -> Result<Structure, StartError> {
        let mut none =
            StartError::Lacks("structures of virtio 1.0: with QEMU, say disable-legacy=on");
        for &[head, place, offset, len, extra] in vendor {
            let ([.., found], [bar, ..]) = (head.to_le_bytes(), place.to_le_bytes());
            let (offset, len) = (to_usize(offset.into()), to_usize(len.into()));
            if found != kind || bar >= BARS || len < needed {
                continue;
            }
            match self.window(bar) {
                Err(error @ StartError::NoBar(_)) => none = error,
                window => {
                    return self.fitting(Structure { window: window?, offset, len, extra }, align);
                }
            }
        }
        Err(none)
    }

    fn window(&mut self, bar: u8) -> Result<usize, StartError> {
        if let Some(window) = self.mapped.iter().position(|(known, _)| *known == bar) {
            return Ok(window);
        }
        self.mapped.push((bar, (self.map)(bar)?));
        Ok(self.mapped.len() - 1)
    }

    /// A structure that is within its BAR.
    fn fitting(&self, structure: Structure, align: usize) -> Result<Structure, StartError> {
        let (_, regs) = &self.mapped[structure.window];
        let (len, needed) = (regs.size(), structure.offset + structure.len);
        if needed > len {
            return Err(StartError::BarTooSmall { len, needed });
        }
        if !structure.offset.is_multiple_of(align) {
            let value = structure.offset as u64;
            return Err(StartError::Unfit { what: "structure's offset", value });
        }
        Ok(structure)
    }
}

/// All that the driver uses, and the BARs they are in.
pub(super) struct Structures<R> {
    windows: Vec<(u8, R)>,
    pub(super) common: Structure,
    pub(super) isr: Structure,
    pub(super) device: Structure,
    notify: Structure,
}

impl<R: Registers> Structures<R> {
    /// Maps the BARs that are needed.
    pub(super) fn find(
        vendor: &[Vendor],
        map: impl FnMut(u8) -> Result<R, StartError>,
    ) -> Result<Self, StartError> {
        let mut windows = Windows { mapped: Vec::new(), map };
        let mut find = |kind, align| windows.find(vendor, kind, align);
        let (common, isr) = (find(COMMON, 4)?, find(ISR, 1)?);
        let (device, notify) = (find(DEVICE, 4)?, find(NOTIFY, 2)?);
        Ok(Self { windows: windows.mapped, common, isr, device, notify })
    }

    /// A doorbell by its number (section 4.1.4.4), as an offset for [`Structures::ring`].
    pub(super) fn doorbell(&self, number: u16) -> Result<usize, StartError> {
        let at = u64::from(number) * u64::from(self.notify.extra);
        if at + 2 > self.notify.len as u64 || at % 2 != 0 {
            return Err(StartError::Unfit { what: "doorbell's offset", value: at });
        }
        Ok(to_usize(at))
    }

    /// Rings a doorbell for a queue.
    pub(super) fn ring(&self, doorbell: usize, queue: u16) {
        let (regs, at) = self.at(self.notify, doorbell);
        regs.write_u16(at, queue);
    }

    /// A register of a structure: whose, and where.
    pub(super) fn at(&self, structure: Structure, offset: usize) -> (&R, usize) {
        let (_, regs) = &self.windows[structure.window];
        (regs, structure.offset + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dma::fake::{FakeMachine, Frames},
        nic::fake::{
            played::Played,
            virtio::{CAPABILITIES, Traits, Virtio},
        },
        pci::NoBar,
    };
    use alloc::string::ToString;

    /// A BAR that is none of memory.
    const PORTS: u8 = 2;

    /// What comes of these capabilities over BARs of 16 KiB; the BARs that were asked for.
    fn find(vendor: &[Vendor]) -> Result<Vec<u8>, StartError> {
        let machine = FakeMachine::new(Frames::default());
        let chip = Played::new(&machine, [2; 6], Virtio::new(Traits::default()));
        let mut mapped = Vec::new();
        let found = Structures::find(vendor, |bar| {
            mapped.push(bar);
            if bar == PORTS {
                Err(NoBar { index: bar, is_memory: false }.into())
            } else {
                Ok(&chip)
            }
        })?;
        found.doorbell(1)?;
        Ok(mapped)
    }

    fn with(change: impl FnOnce(&mut [Vendor; 4])) -> Result<Vec<u8>, StartError> {
        let mut vendor = CAPABILITIES;
        change(&mut vendor);
        find(&vendor)
    }

    #[test]
    fn each_bar_is_mapped_once_wherever_the_structures_are() {
        assert_eq!(with(|_| {}), Ok(alloc::vec![4]));
        assert_eq!(with(|vendor| vendor[1][1] = 5), Ok(alloc::vec![4, 5]));
        assert_eq!(with(|vendor| vendor.reverse()), Ok(alloc::vec![4]));
    }

    #[test]
    fn of_structures_of_a_kind_the_first_counts_that_is_in_a_bar_of_memory() {
        for n in 0..CAPABILITIES.len() {
            let [head, _, _, len, extra] = CAPABILITIES[n];
            let in_ports = [head, PORTS.into(), 0, len, extra];
            let found = find(&[&[in_ports], &CAPABILITIES[..]].concat()).unwrap();
            assert!(found.contains(&PORTS) && found.contains(&4), "{found:?}");
            let other = [head, 1, CAPABILITIES[n][2], len, extra];
            let third = find(&[&[in_ports, other], &CAPABILITIES[..]].concat()).unwrap();
            assert!(third.contains(&1), "the first of two: {third:?}");
            let only = with(|vendor| vendor[n] = in_ports).unwrap_err();
            assert_eq!(only, NoBar { index: PORTS, is_memory: false }.into());
        }
    }

    #[test]
    fn a_doorbell_may_be_the_last_of_its_structure_and_no_further() {
        for (offset, len, fits) in [
            (0xffe, 0x1000, true),
            (0x1000, 0x1000, false),
            (0xffe, 0xfff, false),
            (0xffd, 0x1000, false),
        ] {
            let found = with(|vendor| [vendor[3][3], vendor[3][4]] = [len, offset]);
            let error = Err(StartError::Unfit { what: "doorbell's offset", value: offset.into() });
            assert_eq!(found, if fits { Ok(alloc::vec![4]) } else { error }, "{offset:#x}");
        }
    }

    #[test]
    fn a_structure_that_can_not_be_used_is_passed_over_and_one_that_lies_is_refused() {
        let code = |change: fn(&mut [Vendor; 4])| with(change).map_err(|error| error.code());
        assert_eq!(code(|vendor| vendor[0][1] = 6), Err("device-lacks"));
        assert_eq!(code(|vendor| vendor[0][3] = 0x37), Err("device-lacks"));
        assert_eq!(code(|vendor| vendor[2][3] = 0x3001), Err("device-bar-too-small"));
        assert_eq!(code(|vendor| vendor[3][2] = u32::MAX - 3), Err("device-bar-too-small"));
        assert_eq!(code(|vendor| vendor[0][2] = 2), Err("device-unfit"));
        assert_eq!(code(|vendor| vendor[3][4] = 1), Err("device-unfit"));
        assert_eq!(code(|vendor| vendor[3][4] = u32::MAX), Err("device-unfit"));
        let bad = [CAPABILITIES[0][0], 6, 0, 0x38, 0];
        assert_eq!(find(&[&[bad], &CAPABILITIES[..]].concat()), Ok(alloc::vec![4]));
        let none = find(&[]).unwrap_err();
        assert!(none.to_string().contains("disable-legacy=on"), "{none}");
    }
}
