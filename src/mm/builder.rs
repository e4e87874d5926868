//! What the domain builder mapped: narrowed to what the guest needs, and the rest set free.
//!
//! ```text
//! pfn 0      .. image start     nothing: free
//! image start .. image end      text, rodata, data, guard page, stack: W^X
//! image end  .. builder's end   P2M, start_info, rings, page tables, first stack: data
//! builder's end .. 4 MiB step   mapped spare: free once unmapped
//! .. nr_pages                   never mapped: free
//! ```
//!
//! What start_info says is the builder's word: numbers that do not fit the address space are refused.
#![expect(unsafe_code, reason = "changes how the image is mapped")]

use crate::{
    addr::{PAGE_SIZE, PAGE_SIZE_U64, Pfn, PhysAddr},
    arch::VIRT_BASE,
    mm::{
        error::MemoryError,
        p2m::{P2m, PfnRange},
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, Pte, Remap},
        start_info::StartInfo,
    },
};
use core::ops::Range;
use x86_64::structures::paging::PageTableFlags;

/// The builder maps to the next multiple of this, at least `SPARE` beyond its last page.
const STEP: u64 = 4 << 20;
const SPARE: u64 = 512 << 10;

/// The PFN of an address in the builder's mapping.
pub const fn pfn_of(virt: u64) -> Pfn {
    PhysAddr(virt.wrapping_sub(VIRT_BASE)).frame()
}

/// The first page after everything the builder put somewhere; `first_stack` is its stack pointer. `None` if that
/// is beyond the last address.
pub fn end_of_use(info: &StartInfo, first_stack: u64, image_end: u64) -> Option<u64> {
    let end = |start: u64, count: u64, size: u64| start.checked_add(count.checked_mul(size)?);
    let ends = [
        image_end,
        end(info.at, 1, PAGE_SIZE_U64)?,
        end(info.pt_base, info.nr_pt_frames, PAGE_SIZE_U64)?,
        end(info.mfn_list, info.nr_pages, 8)?,
        first_stack,
    ];
    let last = ends.into_iter().filter(|end| *end > VIRT_BASE).max().unwrap_or(image_end);
    last.checked_next_multiple_of(PAGE_SIZE_U64)
}

/// Where the builder's mapping ends, given the end of what it put there; `None` beyond the last address.
pub fn end_of_mapping(end_of_use: u64) -> Option<u64> {
    let used = end_of_use.checked_sub(VIRT_BASE)?.checked_add(SPARE)?;
    VIRT_BASE.checked_add(used.checked_next_multiple_of(STEP)?)
}

/// The frames nothing lives in, once [`unmap`] has taken the spare mapping away.
pub fn free_runs(info: &StartInfo, image_start: u64, end_of_use: u64) -> [PfnRange; 2] {
    [
        PfnRange::between(Pfn(0), pfn_of(image_start)),
        PfnRange::between(pfn_of(end_of_use), Pfn(info.nr_pages)),
    ]
}

/// The pages of the P2M, which has them to itself.
pub fn p2m_pages(info: &StartInfo) -> Result<PfnRange, MemoryError> {
    let virt = info.mfn_list;
    match info.nr_pages.checked_mul(8) {
        Some(bytes) if virt.is_multiple_of(PAGE_SIZE_U64) => {
            Ok(PfnRange { start: pfn_of(virt), count: bytes.div_ceil(PAGE_SIZE_U64) })
        }
        _ => Err(MemoryError::Mapping { virt, error: XenError::Invalid }),
    }
}

/// Maps the pages of `range` as `flags` say.
///
/// # Safety
/// The flags permit what the image does with the pages.
pub unsafe fn protect(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    range: Range<u64>,
    flags: PageTableFlags,
) -> Result<(), XenError> {
    each_page(range, |virt| {
        let mfn = p2m.get(pfn_of(virt)).ok_or(XenError::BadAddress)?;
        // SAFETY: the page keeps its frame; for the flags the caller vouches.
        unsafe { xen.remap(&[Remap { virt, pte: Pte::new(mfn, flags) }]) }
    })
}

/// Takes the pages of `range` out of the builder's mapping.
///
/// # Safety
/// Nothing is reached through these addresses any more.
pub unsafe fn unmap(xen: &dyn MemoryCalls, range: Range<u64>) -> Result<(), XenError> {
    each_page(range, |virt| {
        // SAFETY: the caller vouches for the pages.
        unsafe { xen.remap(&[Remap { virt, pte: Pte::NONE }]) }
    })
}

fn each_page(
    range: Range<u64>,
    act: impl FnMut(u64) -> Result<(), XenError>,
) -> Result<(), XenError> {
    range.step_by(PAGE_SIZE).try_for_each(act)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_mapping_ends_a_step_beyond_the_spare() {
        let end = |used| end_of_mapping(VIRT_BASE + used);
        assert_eq!(end(0x1b_6000), Some(VIRT_BASE + 0x40_0000));
        assert_eq!(end(0x38_0000), Some(VIRT_BASE + 0x40_0000));
        assert_eq!(end(0x38_0001), Some(VIRT_BASE + 0x80_0000));
        assert_eq!(end(0x7fc0_0000), None);
        assert_eq!(end_of_mapping(u64::MAX), None);
        assert_eq!(end_of_mapping(VIRT_BASE - 1), None);
    }

    #[test]
    fn the_builder_s_use_ends_with_whatever_lies_last() {
        let image_end = VIRT_BASE + 0x30_0000;
        let at = |offset: u64| VIRT_BASE + offset;
        let info = StartInfo::of(1024, (at(0x30_0000), at(0x30_2000)), (at(0x30_3000), 10));
        assert_eq!(end_of_use(&info, at(0x30_d000), image_end), Some(at(0x30_d000)));
        assert_eq!(end_of_use(&info, at(0x30_e001), image_end), Some(at(0x30_f000)));
        assert_eq!(end_of_use(&info, 0, at(0x40_0000)), Some(at(0x40_0000)));
    }

    #[test]
    fn the_p2m_has_whole_pages_from_its_first_byte_on() {
        let pages = |nr_pages, list| p2m_pages(&StartInfo::of(nr_pages, (list, 0), (0, 0)));
        let list = VIRT_BASE + 0x30_0000;
        assert_eq!(pages(513, list).unwrap(), PfnRange { start: Pfn(0x300), count: 2 });
        assert!(pages(513, list + 8).is_err(), "its first page would be somebody else's, too");
        assert!(pages(u64::MAX, list).is_err());
    }

    #[test]
    fn each_page_is_acted_on_once_until_one_fails() {
        let mut pages = Vec::new();
        let range = VIRT_BASE..VIRT_BASE + 0x3000;
        let all = each_page(range.clone(), |virt| {
            pages.push(virt - VIRT_BASE);
            Ok(())
        });
        assert_eq!((all, pages), (Ok(()), [0, 0x1000, 0x2000].to_vec()));
        assert_eq!(each_page(range, |_| Err(XenError::Invalid)), Err(XenError::Invalid));
    }

    /// Numbers at the edges of what fits, and any others.
    fn number() -> impl Strategy<Value = u64> {
        let near =
            |edge: u64| (0..3u64).prop_map(move |off| edge.wrapping_add(off).wrapping_sub(1));
        let small = 0u64..1 << 19;
        prop_oneof![
            any::<u64>(),
            near(0),
            near(1 << 52),
            near(1 << 61),
            near(VIRT_BASE),
            small.prop_map(|offset| VIRT_BASE + (offset << 12)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_builder_says_nothing_wraps(
            nr_pages in number(), list in number(), at in number(), pt in number(), frames in number(),
            stack in number(),
        ) {
            let info = StartInfo::of(nr_pages, (list, at), (pt, frames));
            let image_end = VIRT_BASE + (3 << 20);
            if let Some(end) = end_of_use(&info, stack, image_end) {
                prop_assert!(end >= image_end && end.is_multiple_of(PAGE_SIZE_U64));
                prop_assert!(end >= stack || stack <= VIRT_BASE);
                if let Some(mapped) = end_of_mapping(end) {
                    prop_assert!(mapped >= end + SPARE && mapped - end - SPARE < STEP);
                }
                let [low, high] = free_runs(&info, VIRT_BASE + (1 << 20), end);
                prop_assert!(low.end() <= Pfn(256) && (high.count == 0 || high.end() == Pfn(nr_pages)));
            }
            if let Ok(pages) = p2m_pages(&info) {
                prop_assert!(u128::from(pages.count) * 512 >= u128::from(nr_pages));
            }
        }
    }

    #[test]
    fn addresses_and_pfns_agree_with_the_linker_script() {
        assert_eq!(pfn_of(VIRT_BASE + 0x10_0fff), Pfn(0x100));
    }
}
