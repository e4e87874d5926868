//! Xen's word on what a device was tried on: the fault that an IOMMU reports for a read that it refused.
//!
//! A fault is the answer to a try, and no complaint, only where all of it fits: it is a read, by the device that the guest
//! names, in a page that the guest says it was kept from. And a guest that says so is believed where there is such a fault.

use protocol::report::ktap::{Answer, Tried};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// What Xen's log has on the pages that devices were tried on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers<'l> {
    /// All lines but those that are an answer.
    pub(crate) rest: Vec<&'l str>,
    /// The first page that a device is said to have been kept from, and of which Xen says nothing.
    pub(crate) unwitnessed: Option<String>,
}

/// Finds the faults that belong to what devices were `tried` on. `hosts` are the devices' addresses on the host, in the order
/// in which the guest has them; with none of them known any device's fault will do.
pub(crate) fn answers<'l>(
    lines: impl IntoIterator<Item = &'l str>,
    tried: &[Tried],
    hosts: &[String],
) -> Answers<'l> {
    let blocked: Vec<_> = tried.iter().filter(|tried| tried.answer == Answer::Blocked).collect();
    let mut seen = vec![false; blocked.len()];
    let (mut rest, mut reasons) = (Vec::new(), 0_usize);
    for line in lines {
        let fault = refused_read(line);
        let answered = fault.and_then(|fault| {
            blocked.iter().position(|tried| {
                tried.page == fault.address & !(PAGE - 1) && is_device(tried, fault.device, hosts)
            })
        });
        match answered {
            Some(at) => {
                seen[at] = true;
                reasons += usize::from(line.contains(DMAR));
            }
            // VT-d's reason stands in a line of its own.
            None if reasons > 0 && line.contains(NOT_READABLE) => reasons -= 1,
            None => rest.push(line),
        }
    }
    let missing = blocked.iter().zip(seen).find(|(_, seen)| !seen).map(|(tried, _)| tried);
    Answers { rest, unwitnessed: missing.map(ToString::to_string) }
}

const DMAR: &str = "DMAR:[DMA Read] Request device [";
const NOT_READABLE: &str = "DMAR: reason 06 ";
const PAGE_FAULT: &str = "IO_PAGE_FAULT: ";

/// A read that an IOMMU refused.
struct Fault<'l> {
    device: &'l str,
    address: u64,
}

/// `DMAR:[DMA Read] Request device [0000:00:05.0] fault addr 7fbbf000`, or
/// `IO_PAGE_FAULT: 0000:00:05.0 d1 addr 000000007fbbf000 flags 0`, which has `RW` behind the flags of a write.
fn refused_read(line: &str) -> Option<Fault<'_>> {
    let (device, rest) = match (line.split_once(DMAR), line.split_once(PAGE_FAULT)) {
        (Some((_, rest)), _) => rest.split_once("] fault addr ")?,
        (None, Some((_, rest))) if !rest.ends_with(" RW") && !rest.contains(" RW ") => {
            let (device, rest) = rest.split_once(' ')?;
            (device, rest.split_once(" addr ")?.1)
        }
        _ => return None,
    };
    let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let address = u64::from_str_radix(&rest[..end], 16).ok()?;
    Some(Fault { device, address })
}

/// Whether the guest's device is this one of the host's.
fn is_device(tried: &Tried, host: &str, hosts: &[String]) -> bool {
    match hosts {
        [] => true,
        [only] => only == host,
        // Pciback gives them slots in their order, unless they keep their own numbers.
        several => {
            let nth = tried.device.rsplit(':').next().and_then(|slot| slot.split('.').next());
            let nth = nth.and_then(|slot| usize::from_str_radix(slot, 16).ok());
            tried.device == host
                || nth.and_then(|nth| several.get(nth)).is_some_and(|of| of == host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::report::ktap::Tested;

    const FAULT: &str =
        "(XEN) [VT-D]DMAR:[DMA Read] Request device [0000:00:05.0] fault addr 7fbbf000";
    const REASON: &str = "(XEN) [VT-D]DMAR: reason 06 - PTE Read access is not set";
    const AMD: &str = "(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:00:05.0 d1 addr 000000007fbbf004 flags 0";

    fn tried(device: &str, page: u64, answer: Answer) -> Tried {
        Tried { device: device.into(), what: Tested::Table, page, answer }
    }

    /// The lines that are left, and whether a try lacks its witness.
    fn left<'l>(lines: &[&'l str], tried: &[Tried], hosts: &[&str]) -> (Vec<&'l str>, bool) {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let Answers { rest, unwitnessed } = answers(lines.iter().copied(), tried, &hosts);
        (rest, unwitnessed.is_some())
    }

    #[test]
    fn a_fault_of_the_device_in_the_page_is_the_answer() {
        let table = [tried("0000:00:00.0", 0x7fbb_f000, Answer::Blocked)];
        for lines in [
            &[FAULT, REASON][..],
            &[FAULT, "other", REASON],
            &[AMD],
            &[FAULT, FAULT, REASON, REASON],
        ] {
            let others: Vec<_> = lines.iter().copied().filter(|line| *line == "other").collect();
            assert_eq!(left(lines, &table, &["0000:00:05.0"]), (others.clone(), false));
            assert_eq!(left(lines, &table, &[]), (others, false), "a log knows no device");
        }
        let old = format!("{FAULT}, iommu reg = ffff82c000209000");
        assert_eq!(left(&[&old], &table, &["0000:00:05.0"]), (vec![], false));
    }

    #[test]
    fn whatever_does_not_fit_stays_a_complaint_and_is_no_witness() {
        let table = [tried("0000:00:00.0", 0x7fbb_f000, Answer::Blocked)];
        let other_page = FAULT.replace("7fbbf000", "7fbbe000");
        let write = FAULT.replace("DMA Read", "DMA Write");
        let amd_write = format!("{AMD} RW");
        let other_reason = REASON.replace("06", "02");
        for line in [&*other_page, &*write, &*amd_write, &*other_reason, REASON] {
            assert_eq!(left(&[line], &table, &["0000:00:05.0"]), (vec![line], true));
        }
        assert_eq!(left(&[FAULT], &table, &["0000:00:06.0"]), (vec![FAULT], true));
        let reached = [tried("0000:00:00.0", 0x7fbb_f000, Answer::Reached)];
        assert_eq!(
            left(&[FAULT, REASON], &reached, &["0000:00:05.0"]),
            (vec![FAULT, REASON], false)
        );
        assert_eq!(left(&[FAULT], &[], &["0000:00:05.0"]), (vec![FAULT], false));
        // One reason for one fault.
        let twice = left(&[FAULT, REASON, REASON], &table, &["0000:00:05.0"]);
        assert_eq!(twice, (vec![REASON], false));
    }

    #[test]
    fn of_several_devices_each_has_its_own() {
        let both = ["0000:00:05.0", "0000:00:06.0"];
        let second = [tried("0000:00:01.0", 0x7fbb_f000, Answer::Blocked)];
        assert_eq!(left(&[FAULT], &second, &both), (vec![FAULT], true));
        let fault = FAULT.replace("05.0", "06.0");
        assert_eq!(left(&[&fault], &second, &both), (vec![], false));
        let same = [tried("0000:00:05.0", 0x7fbb_f000, Answer::Blocked)];
        assert_eq!(left(&[FAULT], &same, &both), (vec![], false), "by the host's numbers");
        let all = [tried("0000:00:00.0", 0x7fbb_f000, Answer::Blocked), second[0].clone()];
        assert_eq!(left(&[FAULT], &all, &both), (vec![], true), "one fault is no witness for two");
        assert_eq!(left(&[FAULT, &fault], &all, &both), (vec![], false));
    }
}
