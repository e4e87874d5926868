//! A second witness: QEMU's own note of each address that a device used, held against what the guest reported.
//!
//! QEMU's emulated IOMMU can trace every translation it does for a device. Xen maps a PV domain's memory one to one, so
//! the address in the trace is the machine address that the device put on the bus. QEMU names the IOMMU's page, not the
//! byte; so an address counts as inside when its page overlaps a range of the guest's. Xen is told to use none but pages of
//! 4 KiB; in a larger one the device may have been anywhere, so that one is as much of the pool as it has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use protocol::report::ktap::{Answer, DmaRange, RangeKind, Tried};
use protocol::report::spans::{Span, Spans};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// The smallest page of an IOMMU.
const SMALL: u64 = 4096;

/// What the trace says about one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// How many times the device used an address.
    pub(crate) addresses: u64,
    /// How many of the job's devices did.
    pub(crate) devices: usize,
    /// How many different pages those were in.
    pub(crate) pages: usize,
    /// How much of the bounce pool those hold, in pages of 4 KiB: as many as the device may have been in.
    pub(crate) pool_pages: u64,
    /// How many of the pool's segments those are in.
    pub(crate) segments: u64,
    /// How many ranges the guest reported: with none there is nothing to hold the addresses against.
    pub(crate) ranges: usize,
    /// How many times it was outside of all of them.
    pub(crate) outside: u64,
    /// Where the pages are that it used and may.
    #[serde(default)]
    pub(crate) used: Vec<UsedSpan>,
    /// Where those are that it used and may not.
    #[serde(default)]
    pub(crate) strayed: Vec<UsedSpan>,
    /// The first address outside.
    pub(crate) first_outside: Option<u64>,
    /// The first page that the guest says its device read to see whether it can, and that it did not use.
    pub(crate) not_reached: Option<u64>,
}

/// Addresses from the first byte to the last, and how many pages of 4 KiB of them a device used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsedSpan {
    /// The first byte.
    pub(crate) first: u64,
    /// The last.
    pub(crate) last: u64,
    /// Pages.
    pub(crate) pages: u64,
}

/// Spans that a record has of such pages; where there are more, those that are near each other become one.
const SPANS: usize = 48;

/// Where these pages are.
fn spans(pages: &BTreeSet<Page>) -> Vec<UsedSpan> {
    let mut spans = Spans::<SPANS>::default();
    let mut from = 0;
    // In the order of their addresses; a large one may have been split since, so that they overlap.
    for page in pages {
        let first = from.max(page.first / SMALL);
        let end = page.last / SMALL + 1;
        spans.add(first * SMALL, end.saturating_sub(first));
        from = from.max(end);
    }
    let of = |&Span { first, last, pages }: &Span| UsedSpan { first, last, pages };
    spans.all().iter().map(of).collect()
}

/// Where the guest let its device go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowed<'r> {
    /// What it was given.
    pub(crate) ranges: &'r [DmaRange],
    /// What it was tried on: it is to have been where it is said to have got, and nowhere else.
    pub(crate) tried: &'r [Tried],
}

impl Allowed<'_> {
    fn has(&self, page: Page) -> bool {
        self.ranges.iter().any(|range| page.touches(range))
            || self.reached().any(|tried| page.is_of(tried))
    }

    /// Whether an IOMMU was to refuse it.
    fn has_blocked(&self, page: Page) -> bool {
        let blocked = |tried: &&Tried| tried.answer == Answer::Blocked;
        self.tried.iter().filter(blocked).any(|tried| page.is_of(tried))
    }

    fn reached(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|tried| tried.answer == Answer::Reached)
    }
}

/// The witness that the trace is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Nobody was to watch: there is no device.
    #[default]
    NotDue,
    /// Nobody was to watch, for this reason.
    Off(&'static str),
    /// It was to be there and is not, for this reason.
    Missing(String),
    /// It is there.
    Seen(Evidence),
}

impl Trace {
    /// What it holds, if it is there.
    pub(crate) const fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Seen(evidence) => Some(evidence),
            Self::NotDue | Self::Off(_) | Self::Missing(_) => None,
        }
    }

    /// Why there is none although there is a device.
    pub(crate) fn why_none(&self) -> Option<String> {
        match self {
            Self::Off(why) => Some((*why).to_owned()),
            Self::Missing(why) => Some(why.clone()),
            Self::NotDue | Self::Seen(_) => None,
        }
    }

    /// Reads a job's part of a trace that is due, for the devices that QEMU calls so.
    pub(crate) fn read(
        file: &Path,
        part: Range<u64>,
        devices: &[String],
        allowed: Allowed<'_>,
    ) -> Self {
        match examine(file, part, devices, allowed) {
            Ok(evidence) => Self::Seen(evidence),
            Err(error) => Self::Missing(error.to_string()),
        }
    }
}

/// Reads a job's part of the trace.
fn examine(
    trace: &Path,
    part: Range<u64>,
    devices: &[String],
    allowed: Allowed<'_>,
) -> Result<Evidence> {
    let mut file = File::open(trace).on("open", trace)?;
    // A line belongs to the part that it begins in, so what is left of one that began before is passed over.
    let start = part.start.saturating_sub(1);
    file.seek(SeekFrom::Start(start)).on("read", trace)?;
    let mut reader = BufReader::new(file);
    let mut left = part.end.saturating_sub(start);
    let mut line = Vec::new();
    let mut tally = Tally::default();
    if start < part.start {
        let passed = reader.read_until(b'\n', &mut line).on("read", trace)?;
        left = left.saturating_sub(passed as u64);
    }
    while left > 0 {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).on("read", trace)?;
        if length == 0 {
            let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(end).on("read to the end of the part in", trace);
        }
        left = left.saturating_sub(length as u64);
        let asked = std::str::from_utf8(&line).ok().and_then(|line| translation(line, devices));
        asked.into_iter().for_each(|asked| tally.add(asked, allowed));
    }
    Ok(tally.finish(allowed))
}

/// Gives the disk back what the trace took up to here. Whoever writes it goes on where it was, so what comes before becomes a
/// hole of the same length, and ends as a line does: the next one is a line of its own.
pub(crate) fn forget(trace: &Path, end: u64) -> Result {
    let file = File::options().write(true).open(trace).on("open", trace)?;
    file.set_len(0).and_then(|()| file.set_len(end)).on("empty", trace)?;
    let Some(last) = end.checked_sub(1) else { return Ok(()) };
    file.write_all_at(b"\n", last).on("empty", trace)
}

/// What an IOMMU was asked for one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// By which of the devices.
    device: usize,
    /// For an address in this page.
    page: Page,
    /// Whether it refused it.
    refused: bool,
}

/// One of the IOMMU's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Page {
    first: u64,
    last: u64,
}

#[derive(Default)]
struct Tally {
    found: Evidence,
    devices: BTreeSet<usize>,
    // Pages judged already: few, while the addresses are many.
    inside: BTreeSet<Page>,
    outside: BTreeSet<Page>,
}

impl Tally {
    fn add(&mut self, asked: Asked, allowed: Allowed<'_>) {
        let Asked { device, page, refused } = asked;
        if refused && allowed.has_blocked(page) {
            return;
        }
        self.devices.insert(device);
        self.found.addresses += 1;
        if !refused && self.inside.contains(&page) {
            return;
        }
        if !refused && allowed.has(page) {
            self.inside.insert(page);
            return;
        }
        self.found.outside += 1;
        self.found.first_outside.get_or_insert(page.first);
        self.outside.insert(page);
    }

    fn finish(self, allowed: Allowed<'_>) -> Evidence {
        let Allowed { ranges, .. } = allowed;
        let was_there = |tried: &&Tried| self.inside.iter().any(|page| page.is_of(tried));
        let not_reached = allowed.reached().find(|tried| !was_there(tried)).map(|tried| tried.page);
        let touched = |segment: &&DmaRange| self.inside.iter().any(|page| page.touches(segment));
        let pool = ranges.iter().filter(|range| range.kind == RangeKind::Pool);
        Evidence {
            devices: self.devices.len(),
            pages: self.inside.len() + self.outside.len(),
            pool_pages: pool.clone().map(|segment| covered(&self.inside, segment)).sum(),
            segments: pool.clone().filter(touched).count() as u64,
            ranges: ranges.len(),
            not_reached,
            used: spans(&self.inside),
            strayed: spans(&self.outside),
            ..self.found
        }
    }
}

/// How many pages of 4 KiB of a range these pages hold. A large one may have been split since, so that they overlap.
fn covered(pages: &BTreeSet<Page>, range: &DmaRange) -> u64 {
    let (mut count, mut from) = (0, range.first / SMALL);
    let last = range.last / SMALL;
    // In the order of their addresses.
    for page in pages.iter().filter(|page| page.touches(range)) {
        from = from.max(page.first / SMALL);
        let end = last.min(page.last / SMALL) + 1;
        count += end.saturating_sub(from);
        from = from.max(end);
    }
    count
}

impl Page {
    const fn touches(&self, range: &DmaRange) -> bool {
        range.first <= self.last && self.first <= range.last
    }

    const fn is_of(&self, tried: &Tried) -> bool {
        self.first <= tried.page && tried.last() <= self.last
    }
}

/// One translation, by whichever IOMMU QEMU plays, for devices that are called so.
fn translation(line: &str, wanted: &[String]) -> Option<Asked> {
    intel(line, wanted).or_else(|| amd(line, wanted))
}

/// `amdvi_translation_result devid: 00:05.0 gpa 0x1234567 hpa 0x1234000`: the address as the device gave it, and the function
/// with one digit. What is refused is said to lead to 0.
fn amd(line: &str, wanted: &[String]) -> Option<Asked> {
    let (_, fields) = line.split_once("amdvi_translation_result devid: ")?;
    let words: Vec<&str> = fields.split_ascii_whitespace().collect();
    let [device, "gpa", address, "hpa", machine] = words[..] else { return None };
    let device = device.replace('.', ".0");
    let device = wanted.iter().position(|wanted| *wanted == device)?;
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let (first, machine) = (number(address)? & !0xfff, number(machine)?);
    let page = Page { first, last: first | 0xfff };
    Some(Asked { device, page, refused: machine == 0 && first != 0 })
}

/// `vtd_dmar_translate dev 00:05.00 iova 0x1234000 -> gpa 0x1234000 mask 0xfff`, for devices that QEMU calls so.
///
/// Before it may stand who wrote it and when; a line with anything behind it, or less in it, is none. What is refused has no
/// line.
fn intel(line: &str, wanted: &[String]) -> Option<Asked> {
    let (_, fields) = line.split_once("vtd_dmar_translate dev ")?;
    let mut words = fields.split_ascii_whitespace();
    let mut next = || words.next();
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let fields = (next()?, next()?, number(next()?)?, next()?, next()?, number(next()?)?, next()?);
    let (mask, end) = (number(next()?)?, next());
    match fields {
        (device, "iova", first, "->", "gpa", _, "mask") if end.is_none() => {
            let device = wanted.iter().position(|wanted| wanted == device)?;
            Some(Asked { device, page: Page { first, last: first | mask }, refused: false })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::report::ktap::Tested;
    use std::io::Write;

    fn seen(line: &str, device: &str) -> Option<Page> {
        translation(line, &[device.to_owned()]).map(|asked| asked.page)
    }

    const fn of(ranges: &[DmaRange]) -> Allowed<'_> {
        Allowed { ranges, tried: &[] }
    }

    const LINE: &str =
        "vtd_dmar_translate dev 00:05.00 iova 0x12401000 -> gpa 0x12401000 mask 0xfff";

    #[test]
    fn a_witness_that_is_not_there_says_why_if_one_was_due() {
        let why = |trace: Trace| trace.why_none();
        assert_eq!(why(Trace::Off("no IOMMU")).as_deref(), Some("no IOMMU"));
        assert_eq!(why(Trace::Missing("no file".into())).as_deref(), Some("no file"));
        assert_eq!((why(Trace::NotDue), why(Trace::Seen(Evidence::default()))), (None, None));
    }

    #[test]
    fn lines_are_read_for_one_device() {
        assert_eq!(seen(LINE, "00:05.00"), Some(Page { first: 0x1240_1000, last: 0x1240_1fff }));
        assert_eq!(seen(LINE, "00:06.00"), None);
        let both = ["00:06.00".to_owned(), "00:05.00".to_owned()];
        let asked = translation(LINE, &both).unwrap();
        assert_eq!((asked.device, asked.refused), (1, false));
        assert_eq!(seen("vtd_dmar_translate dev", "00:05.00"), None);
        assert_eq!(seen("anything", "00:05.00"), None);
    }

    #[test]
    fn an_amd_iommu_s_lines_are_read_too() {
        let line =
            "7@1.000001:amdvi_translation_result devid: 00:15.0 gpa 0x7e003f40 hpa 0x7e003000";
        assert_eq!(seen(line, "00:15.00"), Some(Page { first: 0x7e00_3000, last: 0x7e00_3fff }));
        assert_eq!(seen(line, "00:15.01"), None);
        for broken in [
            line.replace("gpa", "hpa"),
            line.replace(" hpa 0x7e003000", ""),
            format!("{line} more"),
            line.replace("0x7e003f40", "7e003f40"),
        ] {
            assert_eq!(seen(&broken, "00:15.00"), None, "{broken}");
        }
    }

    #[test]
    fn what_an_iommu_refuses_is_no_use_of_an_address_and_outside_unless_it_was_to_be_refused() {
        let at = |gpa: &str, hpa: &str| {
            format!("amdvi_translation_result devid: 00:05.0 gpa {gpa} hpa {hpa}\n")
        };
        let ranges = [DmaRange { first: 0x1000, last: 0x3fff, kind: RangeKind::Direct }];
        let tried = |answer| {
            let (device, what) = ("0000:00:00.0".to_owned(), Tested::Table);
            [Tried { device, what, page: 0x8000, answer }]
        };
        let found = |lines: &str, answer| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            let tried = tried(answer);
            let allowed = Allowed { ranges: &ranges, tried: &tried };
            let part = 0..lines.len() as u64;
            let found = examine(file.path(), part, &["00:05.00".into()], allowed).unwrap();
            (found.addresses, found.outside, found.first_outside)
        };
        let (own, refused) = (at("0x2004", "0x2000"), at("0x8004", "0x0"));
        let lines = format!("{own}{refused}{refused}");
        assert_eq!(found(&lines, Answer::Blocked), (1, 0, None));
        assert_eq!(found(&lines, Answer::Reached), (3, 2, Some(0x8000)));
        // Nobody was to be refused there; nor was what came through to be blocked.
        let lines = format!("{own}{}", at("0x2008", "0x0"));
        assert_eq!(found(&lines, Answer::Blocked), (2, 1, Some(0x2000)));
        assert_eq!(found(&at("0x8004", "0x8000"), Answer::Blocked), (1, 1, Some(0x8000)));
        assert_eq!(found(&at("0x0", "0x0"), Answer::Blocked), (1, 1, Some(0)), "reached, at 0");
    }

    #[test]
    fn what_is_forgotten_takes_no_line_of_the_next_part_along() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let end = 100_000;
        forget(file.path(), end).unwrap();
        file.as_file_mut().seek(SeekFrom::Start(end)).unwrap();
        writeln!(file, "{LINE}").unwrap();
        let part = end..end + LINE.len() as u64 + 1;
        let found = examine(file.path(), part, &["00:05.00".into()], of(&[])).unwrap();
        assert_eq!(found.addresses, 1);
        forget(file.path(), 0).unwrap();
        assert_eq!(file.path().metadata().unwrap().len(), 0);
    }

    #[test]
    fn only_the_jobs_part_counts_and_what_is_outside_is_named() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let outside = LINE.replace("0x12401000 ->", "0x99999000 ->");
        let before = format!("{outside}\n");
        let part = format!("{LINE}\n{LINE}\n{outside}\n");
        writeln!(file, "{before}{part}{LINE}").unwrap();
        let allowed = [DmaRange { first: 0x1240_0000, last: 0x125f_ffff, kind: RangeKind::Pool }];
        let start = before.len() as u64;
        let range = start..start + part.len() as u64;
        let found = examine(file.path(), range, &["00:05.00".into()], of(&allowed)).unwrap();
        let wanted = Evidence {
            devices: 1,
            addresses: 3,
            pages: 2,
            pool_pages: 1,
            segments: 1,
            ranges: 1,
            outside: 1,
            used: vec![UsedSpan { first: 0x1240_1000, last: 0x1240_1fff, pages: 1 }],
            strayed: vec![UsedSpan { first: 0x9999_9000, last: 0x9999_9fff, pages: 1 }],
            first_outside: Some(0x9999_9000),
            not_reached: None,
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn pages_and_segments_of_the_pool_are_counted_apart() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for at in ["12400000", "12400000", "12401000", "20000000", "30000000"] {
            writeln!(file, "{}", LINE.replace("0x12401000 ->", &format!("0x{at} ->"))).unwrap();
        }
        let range = |first, kind| DmaRange { first, last: first + 0xffff, kind };
        let allowed = [
            range(0x1240_0000, RangeKind::Pool),
            range(0x2000_0000, RangeKind::Pool),
            range(0x2800_0000, RangeKind::Pool),
            range(0x3000_0000, RangeKind::Direct),
        ];
        let end = file.as_file().metadata().unwrap().len();
        let read = |end| Trace::read(file.path(), 0..end, &["00:05.00".into()], of(&allowed));
        assert!(matches!(read(end + 1), Trace::Missing(why) if why.contains("to the end")), "cut");
        let trace = read(end);
        let found = trace.evidence().unwrap();
        assert_eq!((found.addresses, found.pages, found.outside), (5, 4, 0));
        assert_eq!((found.pool_pages, found.segments), (3, 2));
    }

    #[test]
    fn a_large_page_is_as_much_of_the_pool_as_it_holds_and_counts_once() {
        const MIB: u64 = 1 << 20;
        let large = Page { first: 0x1240_0000, last: 0x125f_ffff };
        let small = |first| Page { first, last: first | 0xfff };
        let segment =
            |first, bytes| DmaRange { first, last: first + bytes - 1, kind: RangeKind::Pool };
        let held = |pages: &[Page], first, bytes| {
            let mut tally = Tally::default();
            let ranges = [segment(first, bytes), segment(0x3000_0000, MIB)];
            for page in pages {
                let asked = Asked { device: 0, page: *page, refused: false };
                tally.add(asked, of(&ranges));
            }
            let found = tally.finish(of(&ranges));
            assert_eq!((found.outside, found.segments), (0, 1));
            found.pool_pages
        };
        // All of it, the part that the page has, and what two of them have together.
        assert_eq!(held(&[large], 0x1240_0000, 2 * MIB), 512);
        assert_eq!(held(&[large], 0x1250_0000, 4 * MIB), 256);
        assert_eq!(held(&[large], 0x1230_0000, 2 * MIB), 256);
        assert_eq!(held(&[large], 0x1250_0800, 0x1000), 2);
        // Split since: the small ones were in it.
        let split = [large, small(0x1240_0000), small(0x1250_3000), small(0x1260_0000)];
        assert_eq!(held(&split, 0x1240_0000, 4 * MIB), 513);
        assert_eq!(held(&[small(0x1240_0000), small(0x1240_1000)], 0x1240_0000, MIB), 2);
        let all = Page { first: 0, last: u64::MAX };
        assert_eq!(covered(&BTreeSet::from([all]), &segment(0x1240_0000, 16 * MIB)), 4096);
    }

    #[test]
    fn what_a_device_was_tried_on_is_where_it_was_or_was_not_by_the_guest_s_word() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{LINE}").unwrap();
        let end = file.as_file().metadata().unwrap().len();
        let look = |answer, page| {
            let (device, what) = ("0000:00:00.0".to_owned(), Tested::Frame);
            let tried = [Tried { device, what, page, answer }];
            let allowed = Allowed { ranges: &[], tried: &tried };
            let found = examine(file.path(), 0..end, &["00:05.00".into()], allowed).unwrap();
            (found.first_outside, found.not_reached)
        };
        let (here, there) = (0x1240_1000, 0x1240_2000);
        assert_eq!(look(Answer::Reached, here), (None, None));
        assert_eq!(look(Answer::Blocked, here), (Some(here), None), "it was there all the same");
        assert_eq!(look(Answer::Reached, there), (Some(here), Some(there)));
        assert_eq!(look(Answer::Blocked, there), (Some(here), None));
    }

    const OURS: &str = "00:05.00";

    fn written(at: u64, device: &str) -> String {
        format!("vtd_dmar_translate dev {device} iova 0x{at:x} -> gpa 0x{at:x} mask 0xfff")
    }

    /// A line of the trace, and the page that counts.
    fn any_line() -> impl Strategy<Value = (String, Option<u64>)> {
        let page = (0..16_u64).prop_map(|page| 0x1_0000 + page * 4096);
        let stamp = prop_oneof![Just(String::new()), "[0-9]{1,5}@[0-9]{1,6}\\.[0-9]{6}:"];
        let ours =
            (stamp, page.clone()).prop_map(|(stamp, at)| (stamp + &written(at, OURS), Some(at)));
        let other = page.clone().prop_map(|at| (written(at, "00:06.00"), None));
        let cut = (page, any::<prop::sample::Index>()).prop_map(|(at, cut)| {
            let mut line = written(at, OURS);
            // A mask that lost digits is one, too.
            line.truncate(cut.index(line.len() - "fff".len()));
            (line, None)
        });
        let noise = "[ -~]{0,40}".prop_map(|line| (line, None));
        prop_oneof![4 => ours, 2 => other, 1 => cut, 1 => noise]
    }

    fn count(file: &Path, part: Range<u64>) -> Evidence {
        let allowed = DmaRange { first: 0x1_0000, last: 0x1_7fff, kind: RangeKind::Pool };
        examine(file, part, &[OURS.into()], of(&[allowed])).unwrap()
    }

    proptest! {
        /// However a trace is cut into jobs, each of the device's lines counts in one of them, and no other line does.
        #[test]
        fn each_line_of_the_device_counts_once(
            lines in prop::collection::vec(any_line(), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        ) {
            let text: String = lines.iter().flat_map(|(line, _)| [line.as_str(), "\n"]).collect();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut cuts: Vec<u64> =
                cuts.iter().map(|cut| cut.index(text.len() + 1) as u64).collect();
            cuts.extend([0, text.len() as u64]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|two| count(file.path(), two[0]..two[1]));
            let (used, outside) = parts.fold((0, 0), |(used, outside), part| {
                (used + part.addresses, outside + part.outside)
            });
            let pages = || lines.iter().filter_map(|(_, page)| *page);
            prop_assert_eq!(used, pages().count() as u64);
            prop_assert_eq!(outside, pages().filter(|page| *page > 0x1_7fff).count() as u64);
        }

        #[test]
        fn what_has_not_the_form_of_a_translation_is_none(line in "\\PC{0,120}", at in any::<u64>()) {
            prop_assert_eq!(seen(&line, OURS), None);
            let page = Page { first: at, last: at | 0xfff };
            let true_line = written(at, OURS);
            prop_assert_eq!(seen(&true_line, OURS), Some(page));
            // Two lines torn into one are neither's.
            prop_assert_eq!(seen(&format!("{true_line}{line}x"), OURS), None);
            prop_assert_eq!(seen(&true_line.replace("iova", &line), OURS), None);
        }
    }

    #[test]
    fn a_trace_that_is_not_there_says_so() {
        let trace =
            Trace::read(Path::new("/nonexistent/trace"), 0..1, &["00:05.00".into()], of(&[]));
        assert!(matches!(&trace, Trace::Missing(why) if why.contains("/nonexistent/trace")));
        assert_eq!(trace.evidence(), None);
    }
}
