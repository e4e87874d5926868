//! The hole below 4 GiB: no frame of the guest has a name that the memory map gives to something else.
//!
//! The builder numbers a domain's frames from 0 without a gap, whatever the map says. So a large domain has
//! RAM under the names of the host's devices: in the guest's own numbering a BAR's address then is a page
//! of RAM, too. Those frames move up, to names that are RAM by the map and have no frame:
//!
//! ```text
//!           0          the map's hole       4 GiB         nr_pages
//! before    | frames   | frames             | frames      |
//! after     | frames   | -                  | frames      | frames of the hole |
//! ```
//!
//! A frame moves by its two entries in the P2M; Xen's table follows ([`crate::mm::m2p_sync`]). Only frames that are
//! in no use move. The map is the toolstack's, so nothing in it is taken for granted.
#![expect(unsafe_code, reason = "declares pages free")]

use crate::{
    addr::{GIB_4, PAGE_SIZE_U64, Pfn, PhysAddr},
    mm::{
        e820::Map,
        memory::{Memory, MemoryError},
        p2m::{P2m, PfnRange},
        page_table,
    },
};
use core::fmt;

/// The P2M may take this part of the free pages for its new entries, no more.
const SHARE: u64 = 64;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// From the first name that was taken from a frame to the last.
    pub names: PfnRange,
    /// Frames that moved.
    pub moved: u64,
    /// Their first new name.
    pub to: Pfn,
    /// Frames that should have moved; they are not used.
    pub left: u64,
    /// Frames in use that should not be where they are.
    pub in_use: u64,
    /// Why frames were left.
    pub why: Option<HoleError>,
}

/// Why frames stay under names that are not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoleError {
    /// There are not as many names as frames.
    #[error("the map has no RAM for them from {0} on")]
    NoRam(PhysAddr),
    /// The list would be too long.
    #[error("they would be named up to {end}: {pages} more pages of P2M")]
    TooFar {
        /// Where the last new name ends.
        end: PhysAddr,
        /// Pages of entries.
        pages: u64,
    },
    /// The list could not be made longer, or the new names not be remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Hole {
    const NONE: Self =
        Self { names: PfnRange::EMPTY, moved: 0, to: Pfn(0), left: 0, in_use: 0, why: None };
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, moved, to, left, in_use, why } = self;
        match moved {
            0 => write!(f, "no hole made")?,
            _ => {
                let (first, last) = (names.start.addr(), names.end().addr().0 - 1);
                write!(f, "hole {first}-{last:#x} made, {moved} pages moved to {}", to.addr())?;
            }
        }
        if let Some(why) = why {
            write!(f, "; {left} pages are left in a hole, for {why}")?;
        }
        match in_use {
            0 => Ok(()),
            _ => write!(f, "; {in_use} pages in use lie in a hole"),
        }
    }
}

/// Makes all free that `unused` has: what is RAM by the map where it is, the rest after it moved.
///
/// `longer` makes a P2M of so many entries out of the memory that is free.
///
/// # Safety
/// Nothing lives in the pages of `unused`, and nothing maps them. What `longer` returns starts with the same entries
/// as the memory's P2M, and is changed by nobody else.
pub unsafe fn make<'x>(
    memory: &mut Memory<'x>,
    map: &Map,
    unused: [PfnRange; 2],
    longer: &mut dyn FnMut(&Memory<'x>, u64) -> Result<P2m<'x>, MemoryError>,
) -> Hole {
    let all = PfnRange::between(Pfn(0), Pfn(memory.p2m().len()));
    let left = unused.map(|run| pages_astray(map, run)).iter().sum();
    let hole = Hole { left, in_use: pages_astray(map, all) - left, ..Hole::NONE };
    let first = all.end().max(PhysAddr(GIB_4).frame());
    let names = PfnRange::between(first, page_table::DIRECT_END);
    let mut made = Making { hole, moves: Moves { map, from: unused, names } };
    let done = made.free_and_move(memory, longer);
    let hole = made.hole;
    let why = match done {
        Err(error) => Some(error),
        Ok(()) if hole.left > 0 => Some(HoleError::NoRam(first.addr())),
        Ok(()) => None,
    };
    Hole { why, ..hole }
}

/// Names of a run that are not RAM.
fn pages_astray(map: &Map, run: PfnRange) -> u64 {
    map.gaps_in(run).map(|gap| gap.count).sum()
}

/// A hole on its way.
struct Making<'m> {
    hole: Hole,
    moves: Moves<'m>,
}

impl Making<'_> {
    fn free_and_move<'x>(
        &mut self,
        memory: &mut Memory<'x>,
        longer: &mut dyn FnMut(&Memory<'x>, u64) -> Result<P2m<'x>, MemoryError>,
    ) -> Result<(), HoleError> {
        for run in self.moves.from {
            self.moves.map.ram_in(run).try_for_each(|part| memory.add_free(part))?;
        }
        // A copy is enough to know how far it goes.
        let rehearsal = self.moves;
        if let Some((run, to)) = rehearsal.last() {
            let end = Pfn(to.0 + run.count);
            lengthen(memory, end, self.moves.names.start, longer)?;
        }
        self.moves.try_for_each(|(run, to)| self.hole.rename(memory, run, to))
    }
}

/// Makes the P2M longer, up to `end`; the names from `first` on are new to Xen.
fn lengthen<'x>(
    memory: &mut Memory<'x>,
    end: Pfn,
    first: Pfn,
    longer: &mut dyn FnMut(&Memory<'x>, u64) -> Result<P2m<'x>, MemoryError>,
) -> Result<(), HoleError> {
    let pages = (end.0 - memory.p2m().len()).div_ceil(PAGE_SIZE_U64 / 8);
    if pages > memory.free_pages() / SHARE {
        return Err(HoleError::TooFar { end: end.addr(), pages });
    }
    let p2m = longer(memory, end.0)?;
    memory.lengthen(p2m, first);
    Ok(())
}

impl Hole {
    /// Moves frames and makes them free.
    fn rename(&mut self, memory: &Memory<'_>, run: PfnRange, to: Pfn) -> Result<(), HoleError> {
        memory.add_free(PfnRange { start: to, count: run.count })?;
        memory.p2m().rename(run, to);
        if self.moved == 0 {
            (self.names, self.to) = (run, to);
        }
        self.names = PfnRange::between(self.names.start, run.end());
        self.moved += run.count;
        self.left -= run.count;
        Ok(())
    }
}

/// Frames that move, and their first new name; as many as there are names for.
#[derive(Clone, Copy)]
struct Moves<'m> {
    map: &'m Map,
    from: [PfnRange; 2],
    names: PfnRange,
}

impl Iterator for Moves<'_> {
    type Item = (PfnRange, Pfn);

    fn next(&mut self) -> Option<Self::Item> {
        let Self { map, from, names } = self;
        let (run, gap) =
            from.iter_mut().find_map(|run| map.first_gap(*run).map(|gap| (run, gap)))?;
        let ram = map.first_ram(*names)?;
        let count = gap.count.min(ram.count);
        *run = PfnRange::between(Pfn(gap.start.0 + count), run.end());
        *names = PfnRange::between(Pfn(ram.start.0 + count), names.end());
        Some((PfnRange { start: gap.start, count }, ram.start))
    }
}
