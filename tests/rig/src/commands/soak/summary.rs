//! What a soak came to: verdicts, what was kept, and what got slower.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::draw::REFERENCE;
use super::trend::Series;
use crate::console::Dom0;
use crate::judge::Verdict;
use crate::report::JobRecord;

/// Growth from the first domain to the last that is drift: this part of what is usual, and more than this.
const LIMIT: f64 = 0.25;
/// Fewer domains say nothing.
const FEW: usize = 6;
/// The host's own speed may change by this much, and it is still the host that the figures were taken on.
const HOST_LIMIT: f64 = 0.125;
/// What dom0 may have less at the end, in KiB: its kernel keeps what it once needed.
const DOM0_MAY_KEEP: f64 = 16_384.0;

/// The figures by name, in the order of the table: how they are written, and the least growth that counts.
const FIGURES: [(&str, &str, f64); 3] = [
    ("xl create to gone", "s", 1.0),
    ("10 pings, on average", "us", 300.0),
    ("download", "s", 0.5),
];
/// The same for the time that a suite takes.
const SUITE: (&str, f64) = ("s", 0.5);

/// One domain.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    verdict: Verdict,
    hour: f64,
    host_ms: f64,
    seconds: f64,
    suites: Vec<(String, f64)>,
    free_mib: Option<(u64, u64)>,
    low_pages: Option<(u64, u64)>,
    dom0: Option<Dom0>,
    taken: Option<String>,
    addresses: u64,
    outside: u64,
}

/// All that is kept of a soak.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    seed: u64,
    rows: Vec<Row>,
    #[serde(skip)]
    worst: Verdict,
    #[serde(skip)]
    bad: usize,
    #[serde(skip)]
    figures: BTreeMap<String, Series>,
    #[serde(skip)]
    dom0_memory: Series,
    // How long this host takes for work that is always the same, in ms.
    #[serde(skip)]
    host: Series,
}

impl Summary {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rows: Vec::new(),
            worst: Verdict::Success,
            bad: 0,
            figures: BTreeMap::new(),
            dom0_memory: Series::default(),
            host: Series::default(),
        }
    }

    /// Takes a domain's record, and what the host took at that time for work that is always the same.
    pub(super) fn add(&mut self, record: &JobRecord, hour: f64, host_ms: f64) {
        self.host.add(hour, host_ms);
        if !record.is_as_expected() {
            self.bad += 1;
            // The network's doing stays that; all else that was not to be is a fault.
            let counts = match record.counts_as() {
                Verdict::Inconclusive => Verdict::Inconclusive,
                other => other.max(Verdict::Failure),
            };
            self.worst = self.worst.max(counts);
        }
        if record.name.ends_with(REFERENCE) {
            for (name, value) in figures(record) {
                self.figures.entry(name).or_default().add(hour, value);
            }
        }
        if let Some(Dom0 { available_kib: kib @ 0..=0xffff_ffff, .. }) = record.dom0 {
            self.dom0_memory.add(hour, f64::from(u32::try_from(kib).unwrap_or(0)));
        }
        let evidence = record.evidence.as_ref();
        self.rows.push(Row {
            name: record.name.clone(),
            verdict: record.verdict,
            hour,
            host_ms,
            seconds: record.seconds,
            suites: record.suites.iter().map(|s| (s.name.clone(), s.seconds)).collect(),
            free_mib: record.free_mib,
            low_pages: record.low_pages,
            dom0: record.dom0,
            taken: record.taken.clone(),
            addresses: evidence.map_or(0, |seen| seen.addresses),
            outside: evidence.map_or(0, |seen| seen.outside),
        });
    }

    /// Domains that did not end as they have to.
    pub(super) const fn bad(&self) -> usize {
        self.bad
    }

    /// How far it is, in a line.
    pub(super) fn line(&self) -> String {
        let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
        self.rows.iter().for_each(|row| *counts.entry(row.verdict).or_default() += 1);
        let counts = counts.iter().map(|(verdict, count)| format!("{count} {verdict}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let counts = if counts.is_empty() { "-".to_owned() } else { counts };
        let leaks = self.leaks().iter().filter(|leak| leak.is_one).count();
        format!("{} domains: {counts}; {leaks} leaks; seed {}", self.rows.len(), self.seed)
    }

    /// The worst of the domains' verdicts. A leak is a FAILURE, and so is a drift, unless the host drifts, too.
    pub(super) fn verdict(&self) -> Verdict {
        let leaks = self.leaks().iter().any(|leak| leak.is_one);
        let drifts = self.figures.iter().any(|(name, series)| drifts(name, series));
        match (leaks, drifts, self.host.drift() > HOST_LIMIT) {
            _ if self.rows.is_empty() => Verdict::Error,
            (true, ..) | (_, true, false) => self.worst.max(Verdict::Failure),
            (false, true, true) => self.worst.max(Verdict::Inconclusive),
            (false, false, _) => self.worst,
        }
    }

    pub(super) fn table(&self) -> String {
        let mut out = format!("\n{}\n", self.line());
        let addresses: u64 = self.rows.iter().map(|row| row.addresses).sum();
        let outside: u64 = self.rows.iter().map(|row| row.outside).sum();
        let _ = writeln!(out, "{addresses} DMA addresses, {outside} outside\n");
        let _ = writeln!(out, "{:30} {:>14} {:>14}", "has to stay the same", "first", "last");
        for Leak { what, first, last, is_one } in self.leaks() {
            let word = if is_one { "  LEAK" } else { "" };
            let _ = writeln!(out, "{what:30} {first:>14} {last:>14}{word}");
        }
        let _ = writeln!(
            out,
            "\n{:30} {:>4} {:>12} {:>12} {:>9}",
            "in domains that are the same", "n", "first third", "last third", "drift"
        );
        for (name, series) in &self.figures {
            let word = if drifts(name, series) { "  DRIFT" } else { "" };
            out += &format!("{}{word}\n", trend(name, limit(name).0, series));
        }
        out += &format!("{}\n", trend("the host's own work", "ms", &self.host));
        out + &format!(
            "drift: by Theil and Sen, from the first such domain to the last; too much is {} % and {} s or {} us, \
             in {FEW} domains\nor more. If the host's own work drifts by more than {} %, too, it shows nothing: INCONCLUSIVE\n",
            LIMIT * 100.0,
            SUITE.1,
            FIGURES[1].2,
            HOST_LIMIT * 100.0,
        )
    }

    /// What has to be the same in the end.
    fn leaks(&self) -> Vec<Leak> {
        let exact = |what: &'static str, of: fn(&Row) -> Option<(u64, u64)>| {
            let first = self.rows.iter().find_map(of)?.0;
            let last = self.rows.iter().rev().find_map(of)?.1;
            Some(Leak::new(what, first, last, first != last))
        };
        let dom0 = |what: &'static str, of: fn(&Dom0) -> u64| {
            let first = self.rows.iter().find_map(|row| row.dom0.as_ref())?;
            let last = self.rows.iter().rev().find_map(|row| row.dom0.as_ref())?;
            Some(Leak::new(what, of(first), of(last), of(last) > of(first)))
        };
        let memory = dom0("dom0's memory, KiB", |dom0| dom0.available_kib).map(|leak| Leak {
            is_one: self.dom0_memory.len() >= FEW && -self.dom0_memory.growth() > DOM0_MAY_KEEP,
            ..leak
        });
        let kept = self.rows.iter().filter(|row| holds_something(row.taken.as_deref())).count();
        let kept = Leak::new("guests that kept something", 0, kept, kept != 0);
        [
            exact("Xen's free memory, MiB", |row| row.free_mib),
            exact("Xen's free pages below 4 GiB", |row| row.low_pages),
            dom0("domains", |dom0| dom0.domains),
            dom0("dom0's event channels", |dom0| dom0.ports),
            memory,
            Some(kept),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A thing that nobody may keep.
struct Leak {
    what: &'static str,
    first: String,
    last: String,
    is_one: bool,
}

impl Leak {
    fn new(what: &'static str, first: impl ToString, last: impl ToString, is_one: bool) -> Self {
        Self { what, first: first.to_string(), last: last.to_string(), is_one }
    }
}

/// Whether any of the counts in a guest's own words is not 0.
fn holds_something(taken: Option<&str>) -> bool {
    let mut fields = taken.unwrap_or_default().split_whitespace();
    fields.any(|field| field.split_once('=').is_some_and(|(_, count)| count != "0"))
}

/// The figures of a domain that is the same each time.
fn figures(record: &JobRecord) -> Vec<(String, f64)> {
    let [gone, pings, download] = FIGURES.map(|(name, ..)| name.to_owned());
    let mut figures = vec![(gone, record.seconds)];
    let number = |check: &str, before: &str, after: &str| {
        let note = record.note("net", check)?;
        note.split_once(after)?.0.rsplit_once(before)?.1.trim().parse::<f64>().ok()
    };
    figures.extend(number("router_answers_10_pings", ",", " on average").map(|us| (pings, us)));
    figures.extend(number("download_is_intact", " in ", " s,").map(|s| (download, s)));
    figures.extend(record.suites.iter().map(|s| (format!("suite {}", s.name), s.seconds)));
    figures
}

/// A figure's line in the table.
fn trend(name: &str, unit: &str, series: &Series) -> String {
    let ((first, last), drift) = (series.thirds(), series.drift() * 100.0);
    let n = series.len();
    format!("{name:30} {n:>4} {first:>9.3} {unit:2} {last:>9.3} {unit:2} {drift:>+7.1} %")
}

/// A figure's unit, and the least growth that counts.
fn limit(name: &str) -> (&'static str, f64) {
    FIGURES.iter().find(|known| known.0 == name).map_or(SUITE, |known| (known.1, known.2))
}

fn drifts(name: &str, series: &Series) -> bool {
    series.len() >= FEW && series.drift() > LIMIT && series.growth() > limit(name).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(growth: f64) -> Series {
        let mut series = Series::default();
        let at = (0_u32..12).map(|number| f64::from(number) / 11.0);
        at.for_each(|hour| series.add(hour, 10.0 + growth * hour));
        series
    }

    fn soak(suite: f64, host: f64) -> Summary {
        let row = Row {
            name: String::new(),
            verdict: Verdict::Success,
            hour: 0.0,
            host_ms: 0.0,
            seconds: 0.0,
            suites: Vec::new(),
            free_mib: Some((5, 5)),
            low_pages: Some((7, 7)),
            dom0: Some(Dom0 { available_kib: 100_000, ports: 16, domains: 1 }),
            taken: Some("frames=0 ports=0".to_owned()),
            addresses: 1,
            outside: 0,
        };
        let mut summary = Summary::new(1);
        summary.rows.push(row);
        summary.figures.insert("suite dma".to_owned(), series(suite));
        summary.host = series(host);
        summary
    }

    #[test]
    fn a_drift_is_a_failure_unless_the_host_drifts_too() {
        assert_eq!(soak(0.0, 0.0).verdict(), Verdict::Success);
        assert_eq!(soak(-5.0, 0.0).verdict(), Verdict::Success);
        assert_eq!(soak(4.0, 0.0).verdict(), Verdict::Failure);
        assert_eq!(soak(4.0, 4.0).verdict(), Verdict::Inconclusive);
        assert!(soak(4.0, 0.0).table().contains("DRIFT"));
    }

    #[test]
    fn whatever_is_kept_is_a_leak() {
        let changes: [fn(&mut Row); 5] = [
            |row| row.free_mib = Some((5, 4)),
            |row| row.low_pages = Some((7, 8)),
            |row| row.dom0 = Some(Dom0 { available_kib: 100_000, ports: 16, domains: 2 }),
            |row| row.dom0 = Some(Dom0 { available_kib: 100_000, ports: 17, domains: 1 }),
            |row| row.taken = Some("frames=0 ports=1".to_owned()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (mut summary, other) = (soak(0.0, 0.0), soak(0.0, 0.0));
            summary.rows.extend(other.rows);
            assert_eq!(summary.verdict(), Verdict::Success);
            change(&mut summary.rows[1]);
            assert_eq!(summary.verdict(), Verdict::Failure, "{number}");
            assert!(summary.table().contains("LEAK"));
        }
    }

    #[test]
    fn a_soak_without_domains_is_an_error() {
        assert_eq!(Summary::new(1).verdict(), Verdict::Error);
    }
}
