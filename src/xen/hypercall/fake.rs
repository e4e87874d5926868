//! A Xen for host tests that owns machine frames and refuses what Xen refuses.
//!
//! Stricter than the real one: it insists that a frame given away or made a page table is mapped nowhere,
//! that a table was cleared first, and that every mapping has its tables. It maps nothing that could be touched.
#![expect(unsafe_code, reason = "implements calls that are unsafe where they are real")]

use crate::{
    addr::{Mfn, PAGE_SHIFT, Pfn, to_usize},
    xen::{
        abi::mmu::MMU_MACHPHYS_UPDATE,
        errno::XenError,
        hypercall::{MemoryCalls, MmuUpdate, Remap, Trade},
    },
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// Marks bits of a page-table entry that hold the frame.
const FRAME_BITS: u64 = 0x000f_ffff_ffff_f000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    ours: bool,
    mappings: u32,
    table: bool,
    /// Holds nothing of ours.
    wiped: bool,
    /// Holds nothing but zero.
    clean: bool,
}

/// What an exchange answers that no Xen should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Everything was swapped, yet it reports failure.
    FailsAfterSwap,
    /// Nothing was, yet it reports success.
    SucceedsIdle,
    /// The frames given are gone, those that came belong to somebody else.
    Foreign,
    /// The same, and their M2P entries have our names all the same.
    ForeignByOurNames,
    /// All extents that came are the same one.
    Duplicate,
    /// The address limit was not looked at.
    TooHigh,
    /// The block that came is not aligned to its size.
    Misaligned,
    /// The numbers that came are no frames'.
    NoFrames,
    /// The M2P does not know of the swap.
    Untold,
}

impl Lie {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::FailsAfterSwap,
        Self::SucceedsIdle,
        Self::Foreign,
        Self::ForeignByOurNames,
        Self::Duplicate,
        Self::TooHigh,
        Self::Misaligned,
        Self::NoFrames,
        Self::Untold,
    ];
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Frame>,
    m2p: Vec<u64>,
    entries: BTreeMap<u64, u64>,
    mapped: BTreeMap<u64, u64>,
    exchanges: u64,
    calls: u64,
    /// Which calls fail, counted from the first.
    fail_calls: Range<u64>,
    failed: u64,
    fail_after_chunks: Option<u64>,
    fail_after_updates: Option<usize>,
    lie: Option<Lie>,
    /// The largest order it trades.
    max_order: u8,
}

/// The fake hypervisor.
#[derive(Debug)]
pub struct FakeXen {
    state: spin::Mutex<State>,
    l4: Mfn,
}

impl FakeXen {
    /// A machine of `frames` frames. The guest owns `p2m.len()` of them, from the top down as Xen gives
    /// them out, and a top page table besides; the rest is free.
    pub fn new(frames: u64, p2m: &[AtomicU64]) -> Self {
        let count = to_usize(frames);
        let mut state = State {
            frames: alloc::vec![Frame::default(); count],
            m2p: alloc::vec![u64::MAX; count],
            max_order: 12,
            ..State::default()
        };
        let l4 = Mfn(frames - 1);
        state.frames[count - 1] = Frame { ours: true, table: true, ..Frame::default() };
        for (pfn, (entry, mfn)) in p2m.iter().zip((0..count - 1).rev()).enumerate() {
            entry.store(mfn as u64, Ordering::Relaxed);
            state.frames[mfn] = Frame { ours: true, wiped: true, ..Frame::default() };
            state.m2p[mfn] = pfn as u64;
        }
        Self { state: spin::Mutex::new(state), l4 }
    }

    /// The guest's top page table.
    pub const fn l4(&self) -> Mfn {
        self.l4
    }

    /// Refuses larger orders from now on, as for a domain that has no device any more.
    pub fn limit_order(&self, order: u8) {
        self.state.lock().max_order = order;
    }

    /// Makes `count` hypercalls fail with ENOMEM from the `n`-th from now, whichever they are.
    pub fn fail_calls(&self, n: u64, count: u64) {
        let mut state = self.state.lock();
        let first = state.calls + n;
        state.fail_calls = first..first + count;
    }

    /// Makes the next exchange stop after `chunks` of its extents.
    pub fn fail_after_chunks(&self, chunks: u64) {
        self.state.lock().fail_after_chunks = Some(chunks);
    }

    /// Makes the table update that comes after `updates` fail, once.
    pub fn fail_after_updates(&self, updates: usize) {
        self.state.lock().fail_after_updates = Some(updates);
    }

    /// How many calls have failed because of [`FakeXen::fail_calls`].
    pub fn failed(&self) -> u64 {
        self.state.lock().failed
    }

    /// What the next exchange lies about.
    pub fn lie(&self, lie: Lie) {
        self.state.lock().lie = Some(lie);
    }

    /// Has the M2P say that `mfn` is `pfn`, whoever owns it.
    pub fn say(&self, mfn: Mfn, pfn: Pfn) {
        self.state.lock().m2p[index(mfn)] = pfn.0;
    }

    /// Whether the guest owns a frame.
    pub fn owns(&self, mfn: Mfn) -> bool {
        self.state.lock().own(mfn).is_ok()
    }

    /// Hands a frame to another domain, whose M2P entry claims to be our `pfn`.
    pub fn plant_foreign(&self, mfn: Mfn, pfn: Pfn) {
        let mut state = self.state.lock();
        let at = index(mfn);
        state.frames[at].ours = false;
        state.m2p[at] = pfn.0;
    }

    /// Exchanges asked for so far.
    pub fn exchanges(&self) -> u64 {
        self.state.lock().exchanges
    }

    /// Frames the guest owns, page tables included.
    pub fn owned(&self) -> usize {
        self.state.lock().frames.iter().filter(|f| f.ours).count()
    }

    /// Frames below `limit` that nobody owns.
    pub fn free_below(&self, limit: Mfn) -> usize {
        self.state.lock().frames[..index(limit)].iter().filter(|f| !f.ours).count()
    }

    /// Whether a frame is mapped in the guest's window.
    pub fn maps(&self, mfn: Mfn) -> bool {
        self.state.lock().frames[index(mfn)].mappings > 0
    }

    /// Pages mapped in the guest's window.
    pub fn mapped(&self) -> usize {
        self.state.lock().mapped.len()
    }
}

fn index(mfn: Mfn) -> usize {
    to_usize(mfn.0)
}

impl State {
    fn call(&mut self) -> Result<(), XenError> {
        self.calls += 1;
        if self.fail_calls.contains(&self.calls) {
            self.failed += 1;
            return Err(XenError::NoMemory);
        }
        Ok(())
    }

    fn own(&mut self, mfn: Mfn) -> Result<&mut Frame, XenError> {
        self.frames.get_mut(index(mfn)).filter(|f| f.ours).ok_or(XenError::Invalid)
    }

    /// The table at the next level, under the entry for `virt` of the table in `table`.
    fn walk(&self, l4: Mfn, virt: u64) -> Result<(), XenError> {
        let mut table = l4;
        for shift in [39, 30, 21] {
            let entry = table.addr().0 + ((virt >> shift) & 511) * 8;
            let value = self.entries.get(&entry).ok_or(XenError::Invalid)?;
            table = Mfn((value & FRAME_BITS) >> PAGE_SHIFT);
        }
        Ok(())
    }

    fn remap(&mut self, l4: Mfn, change: Remap) -> Result<(), XenError> {
        self.walk(l4, change.virt)?;
        if let Some(old) = self.mapped.remove(&change.virt)
            && let Some(frame) = self.frames.get_mut(index(Mfn(old)))
        {
            frame.mappings -= 1;
        }
        if change.pte.0 == 0 {
            return Ok(());
        }
        let mfn = Mfn((change.pte.0 & FRAME_BITS) >> PAGE_SHIFT);
        // Beyond the RAM lie the devices.
        if index(mfn) >= self.frames.len() {
            self.mapped.insert(change.virt, mfn.0);
            return Ok(());
        }
        let frame = self.own(mfn)?;
        if frame.table {
            return Err(XenError::Busy);
        }
        frame.mappings += 1;
        (frame.wiped, frame.clean) = (false, false);
        self.mapped.insert(change.virt, mfn.0);
        Ok(())
    }

    fn write_entry(&mut self, update: MmuUpdate) -> Result<(), XenError> {
        let target = Mfn((update.ptr & FRAME_BITS) >> PAGE_SHIFT);
        if update.ptr & 3 == MMU_MACHPHYS_UPDATE {
            self.own(target)?;
            self.m2p[index(target)] = update.val;
            return Ok(());
        }
        if !self.own(target)?.table {
            return Err(XenError::Invalid);
        }
        let table = self.own(Mfn((update.val & FRAME_BITS) >> PAGE_SHIFT))?;
        if table.mappings != 0 || !table.clean {
            return Err(XenError::Busy);
        }
        table.table = true;
        self.entries.insert(update.ptr, update.val);
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
        let free =
            |block: &usize| self.frames[block * pages..][..pages].iter().all(|frame| !frame.ours);
        (0..blocks).rev().filter(fits).find(free).map(|block| (block * pages) as u64)
    }

    fn assign(&mut self, base: u64, order: u8, pfn: u64) {
        for i in 0..1u64 << order {
            let at = index(Mfn(base + i));
            self.frames[at] = Frame { ours: true, wiped: true, ..Frame::default() };
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
    fn exchange(&mut self, trade: &Trade<'_>, lie: Option<Lie>) -> Result<(), XenError> {
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
                    self.frames[frames.clone()].fill(Frame::default());
                    self.m2p[frames].fill(u64::MAX);
                }
                Some(Lie::ForeignByOurNames) => self.frames[frames].fill(Frame::default()),
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

impl MemoryCalls for FakeXen {
    unsafe fn remap(&self, changes: &[Remap]) -> Result<(), XenError> {
        let mut state = self.state.lock();
        state.call()?;
        changes.iter().try_for_each(|&change| state.remap(self.l4, change))
    }

    unsafe fn mmu_update(&self, updates: &[MmuUpdate]) -> Result<(), XenError> {
        let mut state = self.state.lock();
        state.call()?;
        for &update in updates {
            match &mut state.fail_after_updates {
                Some(0) => {
                    state.fail_after_updates = None;
                    return Err(XenError::Invalid);
                }
                Some(left) => *left -= 1,
                None => {}
            }
            state.write_entry(update)?;
        }
        Ok(())
    }

    unsafe fn clear(&self, frames: &mut dyn Iterator<Item = Mfn>) -> Result<(), XenError> {
        let mut state = self.state.lock();
        state.call()?;
        for mfn in frames {
            let frame = state.own(mfn)?;
            (frame.wiped, frame.clean) = (true, true);
        }
        Ok(())
    }

    unsafe fn wipe(&self, virt: u64, pages: u64) {
        let state = &mut *self.state.lock();
        for (_, mfn) in state.mapped.range(virt..virt + (pages << PAGE_SHIFT)) {
            let frame = &mut state.frames[index(Mfn(*mfn))];
            (frame.wiped, frame.clean) = (true, true);
        }
    }

    unsafe fn exchange(&self, trade: &Trade<'_>) -> Result<(), XenError> {
        let mut state = self.state.lock();
        state.exchanges += 1;
        state.call()?;
        if trade.give_order.max(trade.want_order) > state.max_order {
            return Err(XenError::NotPermitted);
        }
        if trade.give.len() << trade.give_order != trade.want.len() << trade.want_order {
            return Err(XenError::Invalid);
        }
        let lie = state.lie.take();
        state.exchange(trade, lie)
    }

    fn m2p(&self, mfn: Mfn) -> Option<Pfn> {
        let entry = self.state.lock().m2p.get(index(mfn)).copied()?;
        (entry != u64::MAX).then_some(Pfn(entry))
    }

    fn calls(&self) -> u64 {
        self.state.lock().calls
    }
}
