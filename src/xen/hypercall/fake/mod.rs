//! A Xen for host tests that owns machine frames and refuses what Xen refuses.
//!
//! Stricter than the real one: it insists that a frame given away or made a page table is mapped nowhere,
//! that a table was cleared first, and that every mapping has its tables. It maps nothing that could be touched.
#![expect(unsafe_code, reason = "implements calls that are unsafe where they are real")]

mod lie;
mod state;

pub use lie::Lie;

use crate::{
    addr::{Mfn, PAGE_SHIFT, Pfn, to_usize},
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, MmuUpdate, Remap, Trade},
    },
};
use core::sync::atomic::{AtomicU64, Ordering};
use state::{Frame, State, index};

/// The fake hypervisor.
#[derive(Debug)]
pub struct FakeXen {
    state: spin::Mutex<State>,
    l4: Mfn,
}

/// What Xen has in its books about a frame, at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Whether the guest owns it.
    pub ours: bool,
    /// Whether it is mapped in the guest's window.
    pub mapped: bool,
    /// Whether it is a page table.
    pub table: bool,
    /// The page that M2P says it is.
    pub name: Option<Pfn>,
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

    /// Leaves something in a frame, which whoever gets it finds there.
    pub fn soil(&self, mfn: Mfn) {
        self.state.lock().frames[index(mfn)].soiled = true;
    }

    /// Hands a frame to another domain, whose M2P entry claims to be our `pfn`.
    pub fn plant_foreign(&self, mfn: Mfn, pfn: Pfn) {
        let mut state = self.state.lock();
        let at = index(mfn);
        state.frames[at].hand_over();
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
        self.state.lock().frames[..index(limit)].iter().filter(|f| f.is_free()).count()
    }

    /// All that it knows of a frame of the machine.
    pub fn truth(&self, mfn: Mfn) -> Truth {
        let state = self.state.lock();
        let (frame, name) = (state.frames[index(mfn)], state.m2p[index(mfn)]);
        let name = (name != u64::MAX).then_some(Pfn(name));
        Truth { ours: frame.ours, mapped: frame.mappings > 0, table: frame.table, name }
    }

    /// Pages mapped in the guest's window.
    pub fn mapped(&self) -> usize {
        self.state.lock().mapped.len()
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
            (frame.wiped, frame.clean, frame.soiled) = (true, true, false);
        }
        Ok(())
    }

    unsafe fn wipe(&self, virt: u64, pages: u64) -> u64 {
        let state = &mut *self.state.lock();
        let mut soiled = 0;
        for (_, (mfn, _)) in state.mapped.range(virt..virt + (pages << PAGE_SHIFT)) {
            let frame = &mut state.frames[index(Mfn(*mfn))];
            soiled += u64::from(frame.soiled);
            (frame.wiped, frame.clean, frame.soiled) = (true, true, false);
        }
        soiled
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
