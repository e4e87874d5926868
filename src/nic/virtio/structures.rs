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

/// All that the driver uses, and the BARs they are in.
pub(super) struct Structures<R> {
    windows: Vec<R>,
    pub(super) common: Structure,
    pub(super) isr: Structure,
    pub(super) device: Structure,
    notify: Structure,
}

impl<R: Registers> Structures<R> {
    /// Maps the BARs that are needed, each once.
    pub(super) fn find(
        vendor: &[Vendor],
        mut map: impl FnMut(u8) -> Result<R, StartError>,
    ) -> Result<Self, StartError> {
        let (mut windows, mut bars) = (Vec::new(), Vec::new());
        let mut find = |(kind, needed), align| {
            let (bar, structure) = first(vendor, kind, needed)?;
            let window = match bars.iter().position(|&known| known == bar) {
                Some(window) => window,
                None => {
                    windows.push(map(bar)?);
                    bars.push(bar);
                    bars.len() - 1
                }
            };
            let (len, end) = (windows[window].size(), structure.offset + structure.len);
            if end > len {
                return Err(StartError::BarTooSmall { len, needed: end });
            }
            if !structure.offset.is_multiple_of(align) {
                let value = structure.offset as u64;
                return Err(StartError::Unfit { what: "structure's offset", value });
            }
            Ok(Structure { window, ..structure })
        };
        let (common, isr) = (find(COMMON, 4)?, find(ISR, 1)?);
        let (device, notify) = (find(DEVICE, 4)?, find(NOTIFY, 2)?);
        Ok(Self { windows, common, isr, device, notify })
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
        (&self.windows[structure.window], structure.offset + offset)
    }
}

/// The first structure of a kind that has what is needed, and its BAR. Bytes 3 to 7 of a capability are the kind, the BAR,
/// which is one of six, and others; then come offset and length.
fn first(vendor: &[Vendor], kind: u8, needed: usize) -> Result<(u8, Structure), StartError> {
    let found = vendor.iter().find_map(|&[head, place, offset, len, extra]| {
        let ([.., found], [bar, ..]) = (head.to_le_bytes(), place.to_le_bytes());
        let (offset, len) = (to_usize(offset.into()), to_usize(len.into()));
        let structure = Structure { window: 0, offset, len, extra };
        (found == kind && bar < BARS && len >= needed).then_some((bar, structure))
    });
    found.ok_or(StartError::Lacks("structures of virtio 1.0: with QEMU, say disable-legacy=on"))
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
    };
    use alloc::string::ToString;

    /// What comes of these capabilities over BARs of 16 KiB; the BARs that were mapped.
    fn find(vendor: &[Vendor]) -> Result<Vec<u8>, StartError> {
        let machine = FakeMachine::new(Frames::default());
        let chip = Played::new(&machine, [2; 6], Virtio::new(Traits::default()));
        let mut mapped = Vec::new();
        let found = Structures::find(vendor, |bar| {
            mapped.push(bar);
            Ok(&chip)
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
        assert_eq!(with(|vendor| vendor[1][1] = 2), Ok(alloc::vec![4, 2]));
        assert_eq!(with(|vendor| vendor.reverse()), Ok(alloc::vec![4]));
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
