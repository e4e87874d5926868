//! How the domain ended, as dom0, the toolstack and the machine saw it.

use super::{Facts, Finding, Problem, Verdict};
use crate::boot::Fate;
use crate::console::JobEnd;

/// What is wrong with the ending, if anything. Where it is such that the guest's report counts no more, the second is
/// true.
pub(super) fn of(facts: &Facts<'_>) -> Option<(Finding, bool)> {
    let last = facts.last_line;
    let said = facts.report.result.map(Verdict::from);
    let over = |verdict, problem| Some(((verdict, problem), true));
    match (facts.end, facts.machine, said) {
        (None, Fate::Silent, Some(said)) => stuck(said, "dom0 went silent"),
        (None, Fate::Silent, None) => {
            let detail =
                format!("dom0 went silent with the domain in it; the guest's last line: {last}");
            let remedy = "see xen.log and dom0.log";
            over(Verdict::Timeout, Problem::rig("machine-silent", detail, remedy))
        }
        (None, Fate::Unknown, said) => logged(facts, said).map(|finding| (finding, true)),
        (None, Fate::Ended | Fate::Alive, _) => {
            let detail =
                format!("the machine ended with the domain in it; the guest's last line: {last}");
            let remedy = "see the end of xen.log";
            over(Verdict::Crash, Problem::rig("machine-ended", detail, remedy))
        }
        (Some(JobEnd { late: true, seconds, .. }), _, Some(said)) => {
            stuck(said, &format!("the domain was not gone after {seconds:.0} s"))
        }
        (Some(JobEnd { stuck: true, .. }), _, Some(said)) => {
            stuck(said, "xl never buried it, and was killed")
        }
        (Some(JobEnd { late: true, seconds, .. }), _, None) => {
            let detail = format!("no end after {seconds:.0} s; its last line: {last}");
            let remedy =
                "raise --timeout if the machine is slow; the last line says where it waits";
            over(Verdict::Timeout, Problem::rig("timeout", detail, remedy))
        }
        (Some(end), ..) => not_orderly(facts, end).map(|finding| (finding, true)),
    }
}

/// The guest had its last word, and then nothing ended. A verdict that is bad already stands.
fn stuck(said: Verdict, what: &str) -> Option<(Finding, bool)> {
    let detail = format!("the guest said {said}, then {what}");
    let remedy =
        "see dom0.log: do xenstored and xl still work? then xen.log: is the domain still there?";
    let verdict = if said <= Verdict::Skip { Verdict::Timeout } else { said };
    Some(((verdict, Problem::rig("toolstack-stuck", detail, remedy)), false))
}

/// A log says no more than the guest did.
fn logged(facts: &Facts<'_>, said: Option<Verdict>) -> Option<Finding> {
    match (&facts.report.panic, said) {
        (_, Some(_)) => None,
        (Some(panic), None) => Some((Verdict::Crash, crash(panic.clone()))),
        (None, None) => {
            let detail =
                format!("the log ends before the verdict; its last line: {}", facts.last_line);
            let remedy = "log from before the guest starts until it has ended; if it never ends, the last line says where it waits";
            Some((Verdict::Error, Problem::rig("log-cut", detail, remedy)))
        }
    }
}

fn crash(detail: String) -> Problem {
    let remedy = "the backtrace is in the guest's log, with names at its end";
    Problem::rig("crash", detail, remedy)
}

fn not_orderly(facts: &Facts<'_>, end: &JobEnd) -> Option<Finding> {
    let last = facts.last_line;
    if end.reason.is_none() && facts.report.result.is_none() && end.code != Some(0) {
        let printed = facts.xl.iter().find(|line| line.contains("error")).or(facts.xl.last());
        let detail = printed.cloned().unwrap_or_else(|| "xl printed nothing".to_owned());
        let remedy = "see dom0.log and xen.log";
        return Some((Verdict::Error, Problem::rig("xl-create", detail, remedy)));
    }
    if let Some(finding) = cut_off(facts) {
        return Some(finding);
    }
    if end.crashed() || facts.report.result.is_none() {
        let said = facts.report.panic.clone();
        let detail = said.unwrap_or_else(|| format!("no verdict; its last line: {last}"));
        return Some((Verdict::Crash, crash(detail)));
    }
    None
}

/// The guest was not to blame that its report has no end.
fn cut_off(facts: &Facts<'_>) -> Option<Finding> {
    let last = facts.last_line;
    if facts.report.result.is_some() || facts.report.panic.is_some() {
        return None;
    }
    if let Some((_, said)) = facts.store.iter().rev().find(|(key, _)| key == "result") {
        let detail = format!(
            "the guest's verdict in the store is {said}, but its console ended with: {last}"
        );
        let remedy = "see in dom0 that xenconsoled runs, and its log";
        return Some((Verdict::Failure, Problem::rig("console-lost", detail, remedy)));
    }
    let destroyed = facts.xl.iter().any(|line| line.contains("has been destroyed"));
    destroyed.then(|| {
        let detail = format!("somebody destroyed the domain; its last line: {last}");
        let remedy = "find out who ran `xl destroy`";
        (Verdict::Crash, Problem::rig("destroyed", detail, remedy))
    })
}
