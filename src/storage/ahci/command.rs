//! A command in memory: its header, its table and the FIS in it (AHCI 1.3.1, section 4.2). **There is none that changes a
//! medium**, nor any setting of the disk's.

use crate::{
    addr::{BusAddr, PAGE_SIZE},
    arch::volatile,
    dma::Coherent,
};
use core::fmt;

/// Where the command list is in the memory shared with the controller: 32 headers, of which the first is used.
pub(super) const LIST: usize = 0;
/// Where it puts the FISes it receives: 256 bytes.
pub(super) const RECEIVED: usize = 0x400;
/// The command's table.
const TABLE: usize = 0x500;
/// The physical region descriptors in it.
const REGIONS: usize = TABLE + 0x80;
/// Bytes of one.
const REGION: usize = 16;
/// Bytes of that memory.
pub(super) const SHARED: usize = PAGE_SIZE;

/// The most bytes of one command.
pub(super) const MOST: usize = 64 << 10;

// The descriptors of the longest, from the middle of a page on, fit.
const _: () = assert!(REGIONS + (MOST / PAGE_SIZE + 1) * REGION <= SHARED);

/// Every command there is here (ACS-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// IDENTIFY DEVICE (section 7.12): 512 bytes about the disk.
    Identify,
    /// READ DMA EXT (section 7.21).
    ReadDmaExt,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Identify => 0xec,
            Self::ReadDmaExt => 0x25,
        }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identify => "IDENTIFY DEVICE",
            Self::ReadDmaExt => "READ DMA EXT",
        })
    }
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The first one (LBA).
    pub(super) first: u64,
    /// How many.
    pub(super) count: u16,
}

/// A command about blocks, or about none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) opcode: Opcode,
    pub(super) blocks: Blocks,
}

impl Command {
    pub(super) const IDENTIFY: Self =
        Self { opcode: Opcode::Identify, blocks: Blocks { first: 0, count: 0 } };

    pub(super) const fn read(blocks: Blocks) -> Self {
        Self { opcode: Opcode::ReadDmaExt, blocks }
    }

    /// The register FIS from host to device, its first five doublewords (Serial ATA 3.1, section 10.5.5).
    const fn fis(self) -> [u32; 5] {
        let [a, b, c, d, e, f, _, _] = self.blocks.first.to_le_bytes();
        let device = match self.opcode {
            Opcode::Identify => 0,
            // LBA.
            Opcode::ReadDmaExt => 0x40,
        };
        [
            // Type 27h; C: a command.
            u32::from_le_bytes([0x27, 0x80, self.opcode.bits(), 0]),
            u32::from_le_bytes([a, b, c, device]),
            u32::from_le_bytes([d, e, f, 0]),
            self.blocks.count as u32,
            0,
        ]
    }

    /// Puts the command into slot 0, with `len` bytes of memory from `bus` that the device is to write to: a descriptor
    /// for each page of it.
    pub(super) fn put(self, memory: &Coherent<'_>, bus: BusAddr, len: usize) {
        let words = self.fis();
        for (word, at) in words.into_iter().zip((TABLE..).step_by(4)) {
            memory.write_u32(at, word);
        }
        let mut count = 0;
        for (at, (start, len)) in (REGIONS..).step_by(REGION).zip(regions(bus, len)) {
            memory.write_u64(at, start.0);
            // Bytes less one, and no interrupt of its own.
            memory.write_u32(at + 12, len - 1);
            count += 1;
        }
        // PRDTL, and five doublewords of FIS; no W: towards memory.
        memory.write_u32(LIST, count << 16 | 5);
        memory.write_u32(LIST + 4, 0);
        memory.write_u64(LIST + 8, memory.bus().0 + TABLE as u64);
        // The doorbell that follows must not overtake the command.
        volatile::write_barrier();
    }
}

/// Bytes that the controller reports to have moved (PRDBC).
pub(super) fn moved(memory: &Coherent<'_>) -> u32 {
    volatile::read_barrier();
    memory.read_u32(LIST + 4)
}

/// The pages that `len` bytes from `bus` lie in, each as a piece.
fn regions(bus: BusAddr, len: usize) -> impl Iterator<Item = (BusAddr, u32)> {
    let end = bus.0 + len as u64;
    let page = PAGE_SIZE as u64;
    let mut next = bus.0;
    core::iter::from_fn(move || {
        let start = next;
        next = end.min((start & !(page - 1)) + page);
        let len = u32::try_from(next - start).ok()?;
        (len > 0).then_some((BusAddr(start), len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_command_has_its_fields_where_the_specifications_have_them() {
        let read = Command::read(Blocks { first: 0x1234_5678_9abc, count: 0x102 });
        assert_eq!(read.fis(), [0x0025_8027, 0x4078_9abc, 0x0012_3456, 0x102, 0]);
        assert_eq!(Command::IDENTIFY.fis(), [0x00ec_8027, 0, 0, 0, 0]);
    }

    #[test]
    fn memory_is_told_page_by_page() {
        let all = |bus, len| regions(BusAddr(bus), len).collect::<Vec<_>>();
        let piece = |bus, len| (BusAddr(bus), len);
        assert_eq!(all(0x1000, 512), [piece(0x1000, 512)]);
        assert_eq!(all(0x1f00, 512), [piece(0x1f00, 256), piece(0x2000, 256)]);
        assert_eq!(all(0x1000, 4096), [piece(0x1000, 4096)]);
        assert_eq!(all(0x1ffe, MOST).len(), 17);
        assert_eq!(all(0x1000, 0), []);
    }
}
