//! A job in which an operation of the guest's failed on purpose: which one, and whether the end is as it may be then.
//!
//! Whatever fails, a verdict comes in time: no crash, nothing that Xen or dom0 complain of, and nothing is kept, unless what
//! failed was to give it back.

use protocol::report::ktap::{FailedSite, Report};
use serde::{Deserialize, Serialize};

use super::record::JobRecord;
use crate::guest::Guest;
use crate::judge::Verdict;

/// What failed on purpose, and what is wrong with how that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailingRecord {
    /// The number of the call site that was to fail.
    pub(crate) wanted: u32,
    /// The site; `None` if the guest has fewer.
    pub(crate) site: Option<SiteRecord>,
    /// How many sites the guest reached; `None` if it did not say.
    pub(crate) reached: Option<u64>,
    /// What is wrong; nothing if the end is as it may be.
    pub(crate) wrong: Vec<String>,
}

/// A call site of the guest's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SiteRecord {
    /// What failed.
    pub(crate) operation: String,
    /// In which stage or suite.
    pub(crate) place: String,
    /// The way to it with names, innermost first.
    pub(crate) way: Vec<String>,
}

impl FailingRecord {
    pub(super) fn new(wanted: u32, record: &JobRecord, report: &Report, guest: &Guest) -> Self {
        let site = report.failed.as_ref().map(|failed| SiteRecord {
            operation: failed.operation.clone(),
            place: failed.place.clone(),
            way: way(failed, guest),
        });
        let reached = report.sites.map(|sites| sites.reached);
        let wrong = wrong(wanted, record, report);
        Self { wanted, site, reached, wrong }
    }

    /// Whether the guest has fewer sites than the number that was to fail, and has said so.
    pub(crate) fn is_beyond(&self) -> bool {
        self.site.is_none() && self.reached.is_some_and(|reached| reached < self.wanted.into())
    }
}

/// The frames of a way with their names, without those that every operation goes through.
fn way(failed: &FailedSite, guest: &Guest) -> Vec<String> {
    let lines = failed.way.iter().enumerate();
    let text: String = lines.map(|(n, address)| format!("  #{n} {address:#018x}\n")).collect();
    let bare = |line: &String| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    let inner = |line: &String| line.starts_with("pvbounce::xen::failing");
    guest.symbolise(&text).iter().map(bare).skip_while(inner).collect()
}

fn wrong(wanted: u32, record: &JobRecord, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    if record.verdict >= Verdict::Crash {
        wrong.push(format!("it ended as {}", record.verdict));
    }
    let seen = record.problems().filter(|problem| problem.at == "rig");
    // A device that the guest did not come to use is what may come of it.
    let seen = seen.filter(|problem| problem.code != "dma-skipped");
    wrong.extend(seen.map(|problem| format!("{}: {}", problem.code, problem.detail)));
    match (&report.failed, report.sites) {
        (Some(failed), _) if failed.site != u64::from(wanted) => {
            wrong.push(format!("site {} failed, not {wanted}", failed.site));
        }
        (None, Some(sites)) if sites.reached >= wanted.into() => {
            wrong.push(format!("nothing failed, of {} sites", sites.reached));
        }
        (_, None) => wrong.push("it did not say how many sites it has".to_owned()),
        _ => {}
    }
    let may_keep = report.failed.as_ref().is_some_and(FailedSite::may_keep);
    if let Some(taken) = report.taken.filter(|taken| !taken.is_nothing() && !may_keep) {
        wrong.push(format!("the guest kept {taken}"));
    }
    if report.failed.is_none() && record.verdict != Verdict::Success {
        wrong.push(format!("nothing failed, and it ended as {}", record.verdict));
    }
    wrong
}
