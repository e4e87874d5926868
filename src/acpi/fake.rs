//! Memory with firmware's tables in it, for host tests: what lies nowhere can't be read.

use super::table::{HEAD, Physical, sum};
use crate::{
    addr::{BusAddr, to_usize},
    mm::memory::MemoryError,
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::cell::Cell;

/// Ranges of memory by their start. A gap between two is nobody's.
#[derive(Clone, Debug, Default)]
pub struct FakeMemory {
    ranges: BTreeMap<u64, Vec<u8>>,
    reads: Cell<usize>,
    most: Cell<usize>,
}

impl FakeMemory {
    /// A machine whose BIOS has empty memory.
    pub fn bios() -> Self {
        let empty = Self::default();
        empty.with(0x400, &[0; 0x100]).with(0xe_0000, &[0; 0x2_0000])
    }

    /// The same with bytes somewhere, over what was there.
    #[must_use]
    pub fn with(mut self, at: u64, bytes: &[u8]) -> Self {
        let below = self.ranges.range_mut(..=at).next_back();
        if let Some((start, range)) = below {
            let offset = to_usize(at - start);
            if let Some(over) = range.get_mut(offset..offset.saturating_add(bytes.len())) {
                over.copy_from_slice(bytes);
                return self;
            }
        }
        self.ranges.insert(at, bytes.to_vec());
        self
    }

    /// How often something was read, and how much at most at once.
    pub fn reads(&self) -> (usize, usize) {
        (self.reads.get(), self.most.get())
    }
}

impl Physical for FakeMemory {
    fn read(&self, at: BusAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + 1);
        self.most.set(self.most.get().max(into.len()));
        let bytes = self.ranges.range(..=at.0).next_back().and_then(|(start, range)| {
            let offset = to_usize(at.0 - start);
            range.get(offset..offset.checked_add(into.len())?)
        });
        let bytes = bytes.ok_or(MemoryError::NoAddresses { pages: 1 })?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

/// Has a byte of it make all of them add up to nothing.
pub fn sealed(mut bytes: Vec<u8>, checksum: usize) -> Vec<u8> {
    bytes[checksum] = 0;
    bytes[checksum] = sum(&bytes).wrapping_neg();
    bytes
}

/// A table with its head.
pub fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let mut bytes = name.to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend([1, 0]);
    bytes.extend(*b"PVBNCETABLES");
    bytes.resize(HEAD, 0);
    bytes.extend(body);
    sealed(bytes, 9)
}

/// A root table of addresses of so many bytes.
pub fn directory(name: &[u8; 4], entry: usize, tables: &[u64]) -> Vec<u8> {
    let body: Vec<u8> =
        tables.iter().flat_map(|at| at.to_le_bytes().into_iter().take(entry)).collect();
    table(name, &body)
}

/// A root pointer of version 1, or of version 2 if there is an XSDT.
pub fn pointer(rsdt: u32, xsdt: Option<u64>) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0PVBNCE".to_vec();
    bytes.push(if xsdt.is_some() { 2 } else { 0 });
    bytes.extend(rsdt.to_le_bytes());
    let mut bytes = sealed(bytes, 8);
    if let Some(xsdt) = xsdt {
        bytes.extend(36_u32.to_le_bytes());
        bytes.extend(xsdt.to_le_bytes());
        bytes.extend([0; 4]);
        bytes = sealed(bytes, 32);
    }
    bytes
}

/// A record of MCFG.
pub fn region(base: u64, segment: u16, first: u8, last: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&base.to_le_bytes());
    bytes[8..10].copy_from_slice(&segment.to_le_bytes());
    bytes[10..12].copy_from_slice(&[first, last]);
    bytes
}

/// MCFG with these records.
pub fn mcfg(records: &[[u8; 16]]) -> Vec<u8> {
    table(b"MCFG", &[&[0; 8][..], &records.concat()].concat())
}
