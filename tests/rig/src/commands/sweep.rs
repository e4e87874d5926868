//! `sweep`: domain after domain, in each of which an operation fails at one more of the guest's call sites, until one says
//! that it has no more. docs/testing.md says what a site is and what may come of it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use super::workbench::{Keep, Spread};
use super::{Bench, smoke};
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::Device;
use crate::peers::Peers;
use crate::report::{self, JobRecord};

/// More sites than the guest tells apart.
const ALL: u32 = 513;
/// Its memory in MiB, unless told otherwise: what is to fail is there in a small domain, too, and that is sooner done.
const MEMORY: u32 = 64;
/// How long a domain may live, in seconds.
const LIMIT: u64 = 120;
/// A small download: what is to fail is on its way, not in its length.
const BYTES: usize = 100_000;

/// Some for `test`, spread over stages and suites: those without a device, which take a second each, and those with one.
const QUICK: ([u32; 3], [u32; 6]) = ([1, 15, 36], [31, 39, 57, 135, 157, 170]);

/// The sites that are to fail, one after the other.
#[derive(Clone, Debug)]
pub(super) enum Sites {
    /// From this one on, all that there are.
    From(u32),
    /// These.
    Some(Vec<u32>),
}

impl Sites {
    /// Those from the first to the last, or those that are named.
    pub(super) fn of(from: u32, to: Option<u32>, named: Vec<u32>) -> Result<Self> {
        match to {
            _ if !named.is_empty() => Ok(Self::Some(named)),
            None => Ok(Self::From(from)),
            Some(to) if from <= to => Ok(Self::Some((from..=to).collect())),
            Some(to) => Err(Error::unfit(
                format!("no site from {from} to {to}"),
                "give the lower number as --from",
            )),
        }
    }
}

/// Fails at these sites.
pub(super) fn run(options: &Options, sites: Sites) -> Result<ExitCode> {
    let is_part = matches!(sites, Sites::Some(_));
    let sites = match sites {
        Sites::From(from) => (from..=ALL).collect(),
        Sites::Some(sites) => sites,
    };
    let bench = Bench::prepare("sweep", options)?;
    let peers = Peers::start()?;
    let jobs: Vec<Job> = sites.into_iter().map(|site| job(options, &peers, site)).collect();
    let (nic, _) = smoke::device(options.device());
    let mut sweep = Sweep::default();
    let ended = bench
        .run_each(options, nic, &jobs, (Spread::Many, Keep::Bad), &mut |record| sweep.add(record));
    let interrupted = matches!(ended, Err(Error::Interrupted));
    if !interrupted {
        ended?;
    }
    sweep.records.sort_by(|a, b| a.name.cmp(&b.name));
    let good = sweep.is_good(is_part);
    print!("{}", sweep.table(is_part));
    let run = bench.record(sweep.records);
    let run = report::write(run, &bench.stream)?;
    report::print_bad(&run, &bench.folder);
    Ok(match interrupted {
        true => ExitCode::from(130),
        false => ExitCode::from(if good { Verdict::Success } else { Verdict::Failure }.exit_code()),
    })
}

/// A domain with all that a smoke has, in which something fails.
fn job(options: &Options, peers: &Peers, site: u32) -> Job {
    let (_, device) = smoke::device(options.device());
    let mut job = smoke::job(options, device, peers);
    job.limit = options.limit(LIMIT);
    at_site(job, peers, site)
}

/// The job, made small.
fn at_site(mut job: Job, peers: &Peers, site: u32) -> Job {
    job.words.retain(|word| !word.starts_with("download="));
    if job.device.is_some() {
        let words = peers.words_for(BYTES).into_iter();
        job.words.extend(words.filter(|word| word.starts_with("download=")));
    }
    job.memory = job.memory.or(Some(MEMORY));
    job.name = format!("fail-{site:04}");
    job.fails(site)
}

/// Few of them, that take little time.
pub(super) fn quick(peers: &Peers) -> Vec<Job> {
    let job = |config: &str, device, site| {
        let mut job = Job::new("", config, device);
        job.limit = Duration::from_secs(LIMIT);
        at_site(job, peers, site)
    };
    let (bare, with) = QUICK;
    let bare = bare.into_iter().map(|site| job("no-device.cfg", None, site));
    let with = with.into_iter().map(|site| job("smoke-late.cfg", Some(Device::Nic), site));
    bare.chain(with).collect()
}

/// A sweep under way.
#[derive(Default)]
struct Sweep {
    records: Vec<JobRecord>,
    ended: bool,
}

impl Sweep {
    fn add(&mut self, record: JobRecord) -> ControlFlow<()> {
        self.ended |= record.failing.as_ref().is_some_and(|failing| failing.is_beyond());
        self.records.push(record);
        if self.ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether something failed, each domain ended as it may, and the last had nothing left to fail, if that is what was to
    /// be seen.
    fn is_good(&self, is_part: bool) -> bool {
        let failed = |record: &JobRecord| record.failing.as_ref().is_some_and(|f| f.site.is_some());
        (self.ended || is_part)
            && self.records.iter().any(failed)
            && self.records.iter().all(JobRecord::is_as_expected)
    }

    fn table(&self, is_part: bool) -> String {
        let mut out =
            "\n| K | operation | in | called by | verdict | reason |\n|---:|---|---|---|---|---|\n"
                .to_owned();
        let mut sites = BTreeSet::new();
        for record in &self.records {
            let Some(site) = record.failing.as_ref().and_then(|failing| failing.site.clone())
            else {
                continue;
            };
            out += &row(record);
            sites.insert(site);
        }
        let bad = self.records.iter().filter(|record| !record.is_as_expected()).count();
        let last = self.records.last().and_then(|record| record.failing.as_ref()?.reached);
        let end = match (self.ended, is_part) {
            (true, _) => "the end was reached",
            (false, true) => "a part, as told",
            (false, false) => "THE END WAS NOT REACHED",
        };
        let last = last.map_or("?".to_owned(), |last| last.to_string());
        out + &format!(
            "\n{} domains: {} different sites failed, of {last} in the last domain; {bad} ended as they may not; {end}\n",
            self.records.len(),
            sites.len(),
        )
    }
}

fn row(record: &JobRecord) -> String {
    let Some(failing) = &record.failing else { return String::new() };
    let Some(site) = &failing.site else { return String::new() };
    let problem = record.problem.as_ref();
    let reason = problem.map_or(String::new(), |p| format!("{} `{}`", p.at, p.code));
    let wrong: String = failing.wrong.iter().map(|wrong| format!(" **{wrong}**")).collect();
    format!(
        "| {} | {} | {} | {} | {} | {reason}{wrong} |\n",
        failing.wanted,
        site.operation,
        site.place,
        caller(&site.way),
        record.verdict
    )
}

/// The first function on the way that is above Xen's services and the memory's bookkeeping, and its line.
fn caller(way: &[String]) -> String {
    const BELOW: [&str; 4] = ["src/xen/", "src/mm/memory/", "core/src/", "alloc/src/"];
    let frames = || way.iter().flat_map(|frame| frame.split(" in "));
    let places = || frames().filter_map(|frame| frame.rsplit_once(" at "));
    let above = places().find(|(_, file)| !BELOW.iter().any(|below| file.starts_with(below)));
    let found = above.or_else(|| places().last());
    found.map_or_else(
        || "?".to_owned(),
        |(name, file)| {
            let name = name.rsplit("::").next().unwrap_or(name);
            format!("{name}, {}", file.trim_start_matches("src/"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{FailingRecord, SiteRecord};

    fn record(site: Option<SiteRecord>, reached: u64) -> JobRecord {
        let failing = FailingRecord { wanted: 9, site, reached: Some(reached), wrong: vec![] };
        JobRecord {
            verdict: Verdict::Success,
            failing: Some(failing),
            ..report::unborn("fail-0009", Verdict::Success)
        }
    }

    fn good(records: Vec<JobRecord>, is_part: bool) -> bool {
        let mut sweep = Sweep::default();
        for record in records {
            let _ = sweep.add(record);
        }
        sweep.is_good(is_part)
    }

    #[test]
    fn a_sweep_in_which_nothing_failed_shows_nothing() {
        let failed = || {
            record(
                Some(SiteRecord { operation: "grant".into(), place: "net".into(), way: vec![] }),
                20,
            )
        };
        let beyond = || record(None, 8);
        assert!(good(vec![failed(), beyond()], false) && good(vec![failed()], true));
        assert!(!good(vec![failed()], false), "the end was not reached");
        for is_part in [false, true] {
            assert!(!good(vec![], is_part) && !good(vec![beyond()], is_part));
        }
        let bad = JobRecord { expected: Verdict::Failure, ..failed() };
        assert!(!good(vec![failed(), bad, beyond()], false));
    }

    #[test]
    fn sites_that_are_none_are_refused() {
        assert!(matches!(Sites::of(1, None, vec![]), Ok(Sites::From(1))));
        assert!(matches!(Sites::of(3, Some(5), vec![]), Ok(Sites::Some(n)) if n == [3, 4, 5]));
        assert!(matches!(Sites::of(1, None, vec![7, 2]), Ok(Sites::Some(n)) if n == [7, 2]));
        assert!(Sites::of(300, Some(30), vec![]).is_err());
    }
}
