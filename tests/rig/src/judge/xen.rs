//! A third witness: what Xen itself complained of on its console while the domain was there.
//!
//! The texts are those of Xen's own `printk` calls (4.17 to 4.20): VT-d's and AMD-Vi's fault handlers, the `WARN` and
//! `BUG` traps, and what mm.c, grant_table.c, irq.c and the like say with a domain's name when they refuse it.

/// What only a complaint contains, and what it is. `WARNING` banners at boot are about settings, and none of these.
const COMPLAINTS: [&str; 19] = [
    // drivers/passthrough/vtd/iommu.c: iommu_page_fault_do_one.
    "DMAR:[",
    "INTR-REMAP: Request device",
    "[VT-D]DMAR: reason",
    // drivers/passthrough/amd/iommu_init.c: parse_event_log_entry.
    "IO_PAGE_FAULT",
    "ILLEGAL_DEV_TABLE_ENTRY",
    "DEV_TABLE_HW_ERROR",
    "PAGE_TAB_HW_ERROR",
    "IOTLB_INV_TIMEOUT",
    "INVALID_DEV_REQUEST",
    // Queued invalidation that never ends.
    "Queue invalidate wait descriptor timed out",
    // arch/x86/traps.c, and what ends a domain or all.
    "Xen WARN at",
    "Xen BUG at",
    "Assertion '",
    "Panic on CPU",
    "domain_crash called from",
    // arch/x86/irq.c and apic.c: interrupts that nobody waits for.
    "No irq handler for vector",
    "spurious APIC interrupt",
    "spurious interrupt",
    "Unhandled NMI",
];

/// Files of Xen's that name a domain only to complain of it: `mm.c:1234:d1v0 …`.
const ACCUSERS: [&str; 6] =
    ["mm.c:", "grant_table.c:", "event_channel.c:", "irq.c:", "physdev.c:", "iommu.c:"];

/// What would count, and is normal: a PC's interrupt controllers do this once at boot.
const NORMAL: [&str; 1] = ["spurious 8259A interrupt"];

/// The lines that are complaints, without those that contain something that the job provokes.
pub(crate) fn complaints<'l>(
    lines: impl IntoIterator<Item = &'l str>,
    provoked: &[&str],
) -> Vec<&'l str> {
    let forgiven = |line: &str| NORMAL.iter().chain(provoked).any(|known| line.contains(known));
    lines.into_iter().filter(|line| is_complaint(line) && !forgiven(line)).collect()
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|known| line.contains(known)) || accuses(line)
}

/// `(XEN) mm.c:1234:d1v0 …`, also with a path before the file's name.
fn accuses(line: &str) -> bool {
    let places = ACCUSERS.iter().flat_map(|file| line.match_indices(file));
    places.map(|(at, file)| &line[at + file.len()..]).any(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let domain = rest.strip_prefix(":d");
        domain.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '['))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::OF_NOBODY;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_complaint_is_one() {
        for line in [
            "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:05.0] fault addr 12345000",
            "(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set",
            "(XEN) [VT-D]INTR-REMAP: Request device [0000:00:05.0] fault index 22",
            "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:05.0 d1 addr 000000007e000000 flags 0x20 RW",
            "(XEN) AMD-Vi: INVALID_DEV_REQUEST: 0000:00:05.0 addr 00000000fee00000 flags 0",
            "(XEN) Xen WARN at arch/x86/mm.c:2611",
            "(XEN) Xen BUG at page_alloc.c:1501",
            "(XEN) Assertion 'page_get_owner(pg) == d' failed at common/memory.c:773",
            "(XEN) mm.c:976:d1v0 pg_owner d1 l1e_owner d1, but real_pg_owner d0",
            "(XEN) mm.c:1077:d1v0 Error getting mfn 3df0c7 (pfn 74) from L1 entry 80000003df0c7067 for l1e_owner d1, pg_owner d1",
            "(XEN) arch/x86/mm.c:2971:d1v0 Bad type (saw 7400000000000001 != exp e000000000000000) for mfn 1",
            "(XEN) grant_table.c:803:d0v0 Bad flags (0) or dom (0); expected d0",
            "(XEN) common/event_channel.c:1008:d12v0 EVTCHNOP failure: error -22",
            "(XEN) irq.c:2238: dom1: x\n(XEN) physdev.c:141:d1v0 dom1: no free pirq",
            "(XEN) CPU0: No irq handler for vector b8 (IRQ -2147483648, LAPIC)",
            "(XEN) spurious APIC interrupt through vector ff on CPU#0, should never happen.",
            "(XEN) domain_crash called from arch/x86/mm.c:1234",
        ] {
            assert_eq!(complaints([line], &[]), [line]);
        }
    }

    #[test]
    fn a_clean_boot_and_a_job_have_none() {
        let log = "\
(XEN) Xen version 4.20.4-pre (Debian 4.20.3+127-gc42374a105-0+deb13u1) debug=n
(XEN) ACPI: DMAR 1FFE238C, 0088 (r1 BOCHS  BXPC            1 BXPC        1)
(XEN) ACPI: 32/64X FACS address mismatch in FADT - 1ffe0000/0000000000000000, using 32
(XEN) [VT-D]found ACPI_DMAR_DRHD:
(XEN) [VT-D]  dmaru->address = fed90000
(XEN) Intel VT-d Interrupt Remapping enabled.
(XEN) Platform timer is 100.000MHz HPET
(XEN) mtrr: your CPUs had inconsistent fixed MTRR settings
(XEN) d0: identity mappings for IOMMU:
(XEN) [VT-D]iommu_enable_translation: iommu->reg = ffff82c000209000
(XEN) uart interrupt taking more than 4ms, switched to polling
(XEN) PCI add device 0000:00:05.0
(XEN) 'H' pressed -> dumping heap info (now = 24119644469)
(XEN) heap[node=0][zone=15] -> 16128 pages
(XEN) spurious 8259A interrupt: IRQ7.
(XEN) WARNING: console output is synchronous
(XEN) *** LOADING DOMAIN 0 ***
(XEN) d1 has maximum 232 PIRQs
(XEN) drivers/passthrough/vtd/iommu.c:123: domain 1";
        assert_eq!(complaints(log.lines(), &[]), [""; 0]);
    }

    #[test]
    fn what_a_job_provokes_is_forgiven_and_nothing_else() {
        let lines = ["(XEN) CPU0: No irq handler for vector b8", "(XEN) Xen WARN at x.c:1"];
        assert_eq!(complaints(lines, &["vector b8"]), [lines[1]]);
        assert_eq!(complaints(lines, &[]), lines);
    }

    /// A complaint as Xen writes it, with what varies drawn.
    fn complaint() -> impl Strategy<Value = String> {
        let known = prop::sample::select(&COMPLAINTS[..]).prop_map(str::to_owned);
        let accusing = (prop::sample::select(&ACCUSERS[..]), 1..9999_u32, "(\\[|[0-9]{1,3})")
            .prop_map(|(file, line, domain)| format!("{file}{line}:d{domain}"));
        prop_oneof![known, accusing]
    }

    proptest! {
        #[test]
        fn a_complaint_is_one_whatever_stands_around_it(
            before in "\\PC{0,40}|(mm\\.c:|irq\\.c: d){1,3}",
            complaint in complaint(),
            after in "\\PC{0,40}",
        ) {
            let line = format!("(XEN) {before}{complaint}{after}");
            prop_assert_eq!(complaints([line.as_str()], &[]), [line.as_str()]);
            // And nothing else is forgiven for what a job provokes.
            prop_assert_eq!(complaints([line.as_str()], &["\n"]).len(), 1);
            prop_assert_eq!(complaints([line.as_str()], &[&complaint]).len(), 0);
        }

        #[test]
        fn no_other_line_is_one(line in "[ -~]{0,80}|(mm|irq|iommu)\\.c:[0-9]{0,4}[ -9;-~][ -~]{0,20}") {
            prop_assert_eq!(complaints([line.as_str()], &[]), [""; 0]);
        }
    }

    #[test]
    fn an_interrupt_of_a_device_that_is_nobodys_stays_a_complaint() {
        let dma = "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:05.0] fault addr 12345000";
        let interrupt = "(XEN) [VT-D]INTR-REMAP: Request device [0000:00:05.0] fault index 22";
        let reason = "(XEN) [VT-D]DMAR: reason 02 - Present bit in context entry is clear";
        assert_eq!(complaints([dma, interrupt, reason], &OF_NOBODY), [interrupt]);
    }
}
