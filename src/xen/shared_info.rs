//! The page Xen shares with the domain: pending events, masks, and the clock (`public/xen.h`).

use crate::{
    arch::{
        time::{Clock, Instant},
        volatile::{Window, read_barrier},
    },
    xen::events::Port,
};
use core::{
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};
use xen_sys::{shared_info, vcpu_info, vcpu_time_info};

const PENDING: usize = offset_of!(shared_info, evtchn_pending);
const MASK: usize = offset_of!(shared_info, evtchn_mask);
/// Ports of the two-level ABI: 64 words of 64 bits.
const PORTS: u32 = 64 * 64;

/// The shared info page, of which vCPU 0's part is used.
#[derive(Clone, Copy, Debug)]
pub struct SharedInfo {
    page: Window<'static>,
    tsc: fn() -> u64,
    latest: &'static AtomicU64,
}

impl SharedInfo {
    /// The page at `page`, mapped for good; `tsc` reads the time stamp counter, `latest` is the clock's memory.
    pub const fn new(page: Window<'static>, tsc: fn() -> u64, latest: &'static AtomicU64) -> Self {
        Self { page, tsc, latest }
    }

    /// Keeps every port from raising the upcall: events are polled.
    pub fn mask_all(&self) {
        for word in 0..64 {
            self.page.write_u64(MASK + word * 8, u64::MAX);
        }
    }

    /// Takes the pending mark off `port`; says whether there was one.
    pub fn take(&self, port: Port) -> bool {
        self.page.take_bit(PENDING + word_of(port), port.0)
    }

    /// Holds back (`true`) or lets through the upcall for all ports.
    pub fn set_upcall_mask(&self, masked: bool) {
        self.page.write_u8(offset_of!(vcpu_info, evtchn_upcall_mask), masked.into());
    }

    /// Clears the mark of waiting upcalls and the selector of words with pending ports.
    pub fn clear_upcall(&self) {
        self.page.write_u8(offset_of!(vcpu_info, evtchn_upcall_pending), 0);
        self.page.write_u64(offset_of!(vcpu_info, evtchn_pending_sel), 0);
    }

    /// Address of the word where Xen leaves the address of a page fault.
    pub fn cr2(&self) -> *const u8 {
        self.page.as_ptr().wrapping_add(offset_of!(vcpu_info, arch)).cast_const()
    }

    fn time_field(&self, offset: usize) -> usize {
        offset_of!(vcpu_info, time) + offset
    }
}

impl Clock for SharedInfo {
    /// Xen's system time: nanoseconds since the host booted.
    fn now(&self) -> Instant {
        let version = self.time_field(offset_of!(vcpu_time_info, version));
        loop {
            let before = self.page.read_u32(version);
            read_barrier();
            let stamp =
                self.page.read_u64(self.time_field(offset_of!(vcpu_time_info, tsc_timestamp)));
            let base = self.page.read_u64(self.time_field(offset_of!(vcpu_time_info, system_time)));
            let multiplier =
                self.page.read_u32(self.time_field(offset_of!(vcpu_time_info, tsc_to_system_mul)));
            let shift = self.page.read_u8(self.time_field(offset_of!(vcpu_time_info, tsc_shift)));
            let ticks = (self.tsc)().saturating_sub(stamp);
            read_barrier();
            // An odd version marks an update under way; Xen finishes it without our help.
            if before & 1 == 0 && before == self.page.read_u32(version) {
                let now = base.wrapping_add(to_nanos(ticks, multiplier, shift.cast_signed()));
                // What Xen writes anew may lie a little before what was worked out of the old.
                return Instant(now.max(self.latest.fetch_max(now, Ordering::Relaxed)));
            }
        }
    }
}

/// Scales TSC ticks: shift by `shift` bits (right when negative), times `multiplier` / 2^32.
fn to_nanos(ticks: u64, multiplier: u32, shift: i8) -> u64 {
    let shifted = if shift >= 0 {
        ticks.checked_shl(shift.unsigned_abs().into()).unwrap_or(0)
    } else {
        ticks.checked_shr(shift.unsigned_abs().into()).unwrap_or(0)
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "wraps after 584 years, as Xen's own clock"
    )]
    let nanos = ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64;
    nanos
}

fn word_of(port: Port) -> usize {
    assert!(port.0 < PORTS, "{port}: the two-level ABI ends at {PORTS}");
    (port.0 / 64) as usize * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{addr::PAGE_SIZE, arch::volatile::host::shared_page};

    #[test]
    fn ticks_scale_both_ways() {
        // 2.6 GHz: Xen says multiplier 0xc4ec4ec4, shift -1.
        assert_eq!(to_nanos(2_600_000_000, 0xc4ec_4ec4, -1), 999_999_999);
        assert_eq!(to_nanos(500, 0x8000_0000, 1), 500);
        assert_eq!(to_nanos(500, u32::MAX, -100), 0);
    }

    #[test]
    fn the_clock_adds_elapsed_ticks_to_the_time_xen_wrote() {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let page = shared_page();
        let info = SharedInfo::new(page, || 1_100, &LATEST);
        let at = |offset| offset_of!(vcpu_info, time) + offset;
        page.write_u64(at(offset_of!(vcpu_time_info, tsc_timestamp)), 1_000);
        page.write_u64(at(offset_of!(vcpu_time_info, system_time)), 5_000);
        page.write_u32(at(offset_of!(vcpu_time_info, tsc_to_system_mul)), 0x8000_0000);
        assert_eq!(info.now(), Instant(5_050));
        // Xen's next base lies before what the last one came to.
        page.write_u64(at(offset_of!(vcpu_time_info, system_time)), 4_000);
        assert_eq!(info.now(), Instant(5_050));
        page.write_u64(at(offset_of!(vcpu_time_info, system_time)), 5_001);
        assert_eq!(info.now(), Instant(5_051));
    }

    #[test]
    fn a_base_that_xen_changes_meanwhile_is_read_again() {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        static PAGE: spin::Once<Window<'static>> = spin::Once::new();
        const VERSION: usize = offset_of!(vcpu_info, time) + offset_of!(vcpu_time_info, version);
        const BASE: usize = offset_of!(vcpu_info, time) + offset_of!(vcpu_time_info, system_time);
        fn page_of_xen() -> Window<'static> {
            PAGE.get().copied().unwrap_or(Window::EMPTY)
        }
        let page = *PAGE.call_once(shared_page);
        // Xen comes between the two looks at the version: it begins, and the next time it is done.
        let info = SharedInfo::new(
            page,
            || {
                let version = page_of_xen().read_u32(VERSION);
                if version < 4 {
                    page_of_xen().write_u32(VERSION, version + 1);
                    page_of_xen().write_u64(BASE, 1000 + u64::from(version));
                }
                0
            },
            &LATEST,
        );
        page.write_u32(VERSION, 2);
        page.write_u64(BASE, 7);
        assert_eq!(info.now(), Instant(1003));
    }

    /// Places and values as Xen's public/xen.h and public/arch-x86/xen.h have them.
    #[test]
    fn the_upcall_is_held_back_seen_and_cleared_in_its_own_bytes() {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        const PENDING_BYTE: usize = 0;
        const MASK_BYTE: usize = 1;
        const SELECTOR: usize = 8;
        const CR2: usize = 16;
        let page = shared_page();
        let info = SharedInfo::new(page, || 0, &LATEST);
        info.set_upcall_mask(true);
        assert_eq!(page.read_u64(0), 1 << (8 * MASK_BYTE));
        info.set_upcall_mask(false);
        assert_eq!(page.read_u64(0), 0);
        page.write_u8(PENDING_BYTE, 1);
        page.write_u8(MASK_BYTE, 1);
        page.write_u64(SELECTOR, 5);
        info.clear_upcall();
        assert_eq!((page.read_u8(PENDING_BYTE), page.read_u64(SELECTOR)), (0, 0));
        assert_eq!(page.read_u8(MASK_BYTE), 1);
        assert_eq!(info.cr2(), page.as_ptr().wrapping_add(CR2).cast_const());
    }

    #[test]
    fn every_port_is_masked_and_nothing_beside_them() {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let page = shared_page();
        SharedInfo::new(page, || 0, &LATEST).mask_all();
        let words = (0..PAGE_SIZE).step_by(8).filter(|at| page.read_u64(*at) != 0);
        assert!(words.eq((MASK..MASK + 4096 / 8).step_by(8)));
        assert!((0..64).all(|word| page.read_u64(MASK + word * 8) == u64::MAX));
    }

    #[test]
    fn taking_a_port_leaves_its_neighbours() {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let page = shared_page();
        let info = SharedInfo::new(page, || 0, &LATEST);
        page.write_u64(PENDING + 8, 0b11_0011);
        assert!(info.take(Port(69)));
        assert!(!info.take(Port(69)));
        assert_eq!(page.read_u64(PENDING + 8), 0b01_0011);
    }
}
