//! Who owns which frame of the fake's machine, what is mapped, and what a call does to both.

use super::Lie;
use crate::{
    addr::{Mfn, PAGE_SHIFT, to_usize},
    xen::{
        abi::mmu::MMU_MACHPHYS_UPDATE,
        errno::XenError,
        hypercall::{MmuUpdate, Remap, Trade},
    },
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{ops::Range, sync::atomic::Ordering};

/// Marks bits of a page-table entry that hold the frame.
const FRAME_BITS: u64 = 0x000f_ffff_ffff_f000;

/// The bit that lets a page be written.
const WRITABLE: u64 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) ours: bool,
    /// Another domain's.
    pub(super) theirs: bool,
    pub(super) mappings: u32,
    /// Those of them that may be written through.
    pub(super) writable: u32,
    pub(super) table: bool,
    /// Holds nothing of ours.
    pub(super) wiped: bool,
    /// Holds nothing but zero.
    pub(super) clean: bool,
    /// Holds what somebody else left in it.
    pub(super) soiled: bool,
}

impl Frame {
    /// Whether nobody owns it.
    pub(super) const fn is_free(&self) -> bool {
        !self.ours && !self.theirs
    }

    /// Gives it to another domain.
    pub(super) const fn hand_over(&mut self) {
        (self.ours, self.theirs) = (false, true);
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) frames: Vec<Frame>,
    pub(super) m2p: Vec<u64>,
    pub(super) entries: BTreeMap<u64, u64>,
    /// By address: the frame, and whether it may be written.
    pub(super) mapped: BTreeMap<u64, (u64, bool)>,
    pub(super) exchanges: u64,
    pub(super) calls: u64,
    /// Which calls fail, counted from the first.
    pub(super) fail_calls: Range<u64>,
    pub(super) failed: u64,
    pub(super) fail_after_chunks: Option<u64>,
    pub(super) fail_after_updates: Option<usize>,
    pub(super) lie: Option<Lie>,
    /// The largest order it trades.
    pub(super) max_order: u8,
}

pub(super) fn index(mfn: Mfn) -> usize {
    to_usize(mfn.0)
}

impl State {
    pub(super) fn call(&mut self) -> Result<(), XenError> {
        self.calls += 1;
        if self.fail_calls.contains(&self.calls) {
            self.failed += 1;
            return Err(XenError::NoMemory);
        }
        Ok(())
    }

    pub(super) fn own(&mut self, mfn: Mfn) -> Result<&mut Frame, XenError> {
        self.frames.get_mut(index(mfn)).filter(|f| f.ours).ok_or(XenError::Invalid)
    }

    /// The table at the next level, under the entry for `virt` of the table in `table`.
    fn walk(&self, l4: Mfn, virt: u64) -> Result<(), XenError> {
        let mut table = l4;
        for shift in [39, 30, 21] {
            let entry = table.addr().0 + ((virt >> shift) & 511) * 8;
            let value = self.entries.get(&entry).filter(|value| **value != 0);
            let value = value.ok_or(XenError::Invalid)?;
            table = Mfn((value & FRAME_BITS) >> PAGE_SHIFT);
        }
        Ok(())
    }

    pub(super) fn remap(&mut self, l4: Mfn, change: Remap) -> Result<(), XenError> {
        self.walk(l4, change.virt)?;
        let mfn = Mfn((change.pte.0 & FRAME_BITS) >> PAGE_SHIFT);
        let writable = change.pte.0 & WRITABLE != 0;
        // What Xen refuses stays as it was.
        if change.pte.0 != 0 && index(mfn) < self.frames.len() && self.own(mfn)?.table && writable {
            return Err(XenError::Busy);
        }
        if let Some((old, was_writable)) = self.mapped.remove(&change.virt)
            && let Some(frame) = self.frames.get_mut(index(Mfn(old)))
        {
            frame.mappings -= 1;
            frame.writable -= u32::from(was_writable);
        }
        if change.pte.0 == 0 {
            return Ok(());
        }
        self.mapped.insert(change.virt, (mfn.0, writable));
        // Beyond the RAM lie the devices.
        if index(mfn) < self.frames.len() {
            let frame = self.own(mfn)?;
            frame.mappings += 1;
            frame.writable += u32::from(writable);
            (frame.wiped, frame.clean) = (false, false);
        }
        Ok(())
    }

    pub(super) fn write_entry(&mut self, update: MmuUpdate) -> Result<(), XenError> {
        let target = Mfn((update.ptr & FRAME_BITS) >> PAGE_SHIFT);
        if update.ptr & 3 == MMU_MACHPHYS_UPDATE {
            self.own(target)?;
            self.m2p[index(target)] = update.val;
            return Ok(());
        }
        if !self.own(target)?.table {
            return Err(XenError::Invalid);
        }
        if update.val != 0 {
            let table = self.own(Mfn((update.val & FRAME_BITS) >> PAGE_SHIFT))?;
            // One that is mapped was filled by the guest, and nobody may change it any more.
            if table.table || table.writable != 0 || (table.mappings == 0 && !table.clean) {
                return Err(XenError::Busy);
            }
            table.table = true;
        }
        if let Some(old) = self.entries.insert(update.ptr, update.val).filter(|old| *old != 0) {
            self.own(Mfn((old & FRAME_BITS) >> PAGE_SHIFT))?.table = false;
        }
        Ok(())
    }

    /// Frames given by the trade that Xen would steal: ours, unmapped, no tables.
    fn check_given(&mut self, trade: &Trade<'_>) -> Result<(), XenError> {
        let bases = trade.give.iter().map(|entry| entry.load(Ordering::Relaxed));
        for mfn in bases.flat_map(|base| base..base + (1 << trade.give_order)) {
            let frame = self.own(Mfn(mfn))?;
            if frame.mappings != 0 || frame.table || !frame.wiped {
                return Err(XenError::Invalid);
            }
        }
        Ok(())
    }

    fn find(&self, order: u8, bits: u32) -> Option<u64> {
        let pages = 1usize << order;
        let limit = if bits == 0 { u64::MAX } else { 1 << (bits - PAGE_SHIFT).min(52) };
        let blocks = self.frames.len() / pages;
        let fits = |block: &usize| (block * pages + pages) as u64 <= limit;
        let free = |block: &usize| self.frames[block * pages..][..pages].iter().all(Frame::is_free);
        (0..blocks).rev().filter(fits).find(free).map(|block| (block * pages) as u64)
    }

    fn assign(&mut self, base: u64, order: u8, pfn: u64) {
        for i in 0..1u64 << order {
            let at = index(Mfn(base + i));
            let soiled = self.frames[at].soiled;
            self.frames[at] = Frame { ours: true, wiped: true, soiled, ..Frame::default() };
            self.m2p[at] = pfn + i;
        }
    }

    fn free(&mut self, base: u64, order: u8) {
        for mfn in base..base + (1 << order) {
            self.frames[index(Mfn(mfn))] = Frame::default();
            self.m2p[index(Mfn(mfn))] = u64::MAX;
        }
    }

    /// As much of the trade as is one for the larger of both orders at a time: all of that, or nothing.
    pub(super) fn exchange(&mut self, trade: &Trade<'_>, lie: Option<Lie>) -> Result<(), XenError> {
        self.check_given(trade)?;
        if lie == Some(Lie::SucceedsIdle) {
            return Ok(());
        }
        let given: Vec<u64> = trade.give.iter().map(|g| g.load(Ordering::Relaxed)).collect();
        let order = trade.give_order.max(trade.want_order);
        let (give, want) = (1 << (order - trade.give_order), 1 << (order - trade.want_order));
        let mut stop = self.fail_after_chunks.take();
        for (given, want) in given.chunks(give).zip(trade.want.chunks(want)) {
            let bases = self.take_blocks(trade, lie, want.len(), &mut stop);
            for (base, entry) in bases.ok_or(XenError::NoMemory)?.into_iter().zip(want) {
                self.assign(base, trade.want_order, entry.load(Ordering::Relaxed));
                entry.store(base, Ordering::Relaxed);
            }
            given.iter().for_each(|&base| self.free(base, trade.give_order));
        }
        self.spoil(trade, lie);
        if lie == Some(Lie::FailsAfterSwap) { Err(XenError::NoMemory) } else { Ok(()) }
    }

    fn find_or_lie(&self, trade: &Trade<'_>, lie: Option<Lie>) -> Option<u64> {
        let (order, bits) = (trade.want_order, trade.bits);
        match lie {
            Some(Lie::TooHigh) => self.find(order, 0),
            Some(Lie::Misaligned) => self.find(order + 1, bits).map(|base| base + 1),
            _ => self.find(order, bits),
        }
    }

    /// Makes a lie of a trade that was done.
    fn spoil(&mut self, trade: &Trade<'_>, lie: Option<Lie>) {
        let size = 1 << trade.want_order;
        let first = trade.want.first().map_or(0, |entry| entry.load(Ordering::Relaxed));
        for entry in trade.want {
            let base = entry.load(Ordering::Relaxed);
            let frames = to_usize(base)..to_usize(base) + size;
            match lie {
                Some(Lie::Foreign) => {
                    self.frames[frames.clone()].iter_mut().for_each(Frame::hand_over);
                    self.m2p[frames].fill(u64::MAX);
                }
                Some(Lie::ForeignByOurNames) => {
                    self.frames[frames].iter_mut().for_each(Frame::hand_over);
                }
                Some(Lie::Untold) => self.m2p[frames].fill(u64::MAX),
                Some(Lie::Duplicate) => entry.store(first, Ordering::Relaxed),
                Some(Lie::NoFrames) => entry.store(base | 1 << 52, Ordering::Relaxed),
                _ => {}
            }
        }
    }

    /// The guest's from now on, as Xen needs both at once; `None` if there are not so many, or `stop` is before.
    fn take_blocks(
        &mut self,
        trade: &Trade<'_>,
        lie: Option<Lie>,
        n: usize,
        stop: &mut Option<u64>,
    ) -> Option<Vec<u64>> {
        let mut bases = Vec::new();
        while bases.len() < n {
            let found = match stop {
                Some(0) => None,
                _ => self.find_or_lie(trade, lie),
            };
            let Some(base) = found else {
                bases.iter().for_each(|&base| self.free(base, trade.want_order));
                return None;
            };
            stop.iter_mut().for_each(|left| *left -= 1);
            let pages = index(Mfn(base))..index(Mfn(base + (1 << trade.want_order)));
            self.frames[pages].iter_mut().for_each(|frame| frame.ours = true);
            bases.push(base);
        }
        Some(bases)
    }
}
