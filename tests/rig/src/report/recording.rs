//! From what was seen of a job to its record.

use std::path::Path;

use protocol::report::ktap::{Report, Tried};
use protocol::report::verdict;

use super::failing::FailingRecord;
use super::reading::Reading;
use super::record::{
    FaultRecord, FiguresRecord, JobRecord, LineRecord, MapRecord, RangeRecord, StageRecord,
    SuiteRecord,
};
use crate::boot::{Fate, Seen, guest_log};
use crate::console::LoggedRun;
use crate::error::Result;
use crate::evidence::{Allowed, Trace};
use crate::guest::Guest;
use crate::job::{Fault, Job};
use crate::judge::{Answers, Facts, Judgement, Verdict, answers, complaints, judge};
use crate::machine::{Device, Medium, TRACE_LOG, traced};

/// Judges a job by all that was seen of it.
pub(crate) fn record(job: &Job, seen: Seen, guest: &Guest, folder: &Path) -> Result<JobRecord> {
    let (report, stages, suites) = Reading::of(&seen.console).finish();
    let watched = seen.board.as_ref().map(|board| board.watched.clone());
    let watched: Vec<_> = watched.unwrap_or_else(|| job.devices().map(Device::traced).collect());
    let trace = match job.device {
        None => Trace::NotDue,
        Some(_) if watched.is_empty() => Trace::Off("no IOMMU in this machine"),
        Some(_) if !seen.due.trace => Trace::Off("--no-trace"),
        Some(_) => {
            let tried = match seen.board {
                Some(_) => of_watched(&report.tried, &watched),
                None => report.tried.clone(),
            };
            let allowed = Allowed { ranges: &report.ranges, tried: &tried };
            Trace::read(&seen.folder.join(TRACE_LOG), seen.traced.clone(), &watched, allowed)
        }
    };
    let unwatched = job.devices().count().saturating_sub(watched.len());
    let text: String = seen.console.iter().map(|(_, line)| format!("{line}\n")).collect();
    let backtrace = report.panic.as_ref().map_or(Vec::new(), |_| guest.symbolise(&text));
    append(&folder.join(guest_log(&job.name)), &backtrace)?;
    let devices = job.devices().count();
    let memory = job.memory_bytes().filter(|_| seen.due.memory);
    let media = job.devices().filter_map(Device::medium);
    let media = media.map(|name| Medium::in_folder(&seen.folder, name)?.changed());
    let changed = media.collect::<Result<Vec<_>>>()?.into_iter().flatten().next();
    let witness = Witness { trace, unwatched, devices, memory, changed, backtrace };
    let mut record = compose(job, seen, Said { report: &report, stages, suites }, witness);
    if let Some(site) = job.fails {
        record.expected = record.verdict;
        record.failing = Some(FailingRecord::new(site, &record, &report, guest));
    }
    Ok(record)
}

/// What those were tried on that are watched. Nobody watches a device that no IOMMU is before: what it reached is the guest's word
/// alone.
fn of_watched(tried: &[Tried], watched: &[String]) -> Vec<Tried> {
    tried.iter().filter(|tried| watched.contains(&traced(&tried.device))).cloned().collect()
}

/// Judges a run of which there is only a log: nobody but the guest, and Xen, has said anything of it, unless somebody knows how
/// many devices it was given.
pub(crate) fn logged(name: &str, run: LoggedRun, devices: Option<usize>) -> JobRecord {
    let console = run.guest.into_iter().map(|line| (0.0, line)).collect();
    let seen = Seen { console, xen: run.xen, machine: Fate::Unknown, ..Seen::default() };
    let (report, stages, suites) = Reading::of(&seen.console).finish();
    // The suite about the device runs where there is one.
    let pci = report.suites.iter().find(|suite| suite.kind() == "pci");
    let has_device = pci.is_some_and(|suite| suite.verdict != Some(verdict::Verdict::Skip));
    let devices = devices.unwrap_or(has_device.into());
    let trace = if devices > 0 { Trace::Off("a log has none") } else { Trace::NotDue };
    let witness = Witness {
        trace,
        unwatched: 0,
        devices,
        memory: None,
        changed: None,
        backtrace: Vec::new(),
    };
    compose(&Job::new(name, "", None), seen, Said { report: &report, stages, suites }, witness)
}

/// The record of a guest that never was: what stopped it is added by who knows.
pub(crate) fn unborn(name: &str, verdict: Verdict) -> JobRecord {
    let mut record = logged(name, LoggedRun::default(), None);
    record.verdict = verdict;
    record.problem = None;
    record.also.clear();
    record
}

/// What others than the console know.
struct Witness {
    trace: Trace,
    unwatched: usize,
    devices: usize,
    memory: Option<u64>,
    changed: Option<u64>,
    backtrace: Vec<String>,
}

/// What the guest said.
struct Said<'r> {
    report: &'r Report,
    stages: Vec<StageRecord>,
    suites: Vec<SuiteRecord>,
}

fn compose(job: &Job, seen: Seen, said: Said<'_>, known: Witness) -> JobRecord {
    let Said { report, stages, suites } = said;
    let (abused, undone) = (seen.abused.is_some(), seen.undone);
    let Judgement { verdict, problems } = judged(job, &seen, report, &known);
    let mut problems = problems.into_iter();
    let mut record = JobRecord {
        verdict,
        expected: job.expect.unwrap_or(Verdict::Success),
        problem: problems.next(),
        also: problems.collect(),
        faults: owned(job.faults),
        either: owned(job.either),
        may: owned(job.may),
        seconds: seen.end.as_ref().map_or(0.0, |end| end.seconds),
        evidence: known.trace.evidence().cloned(),
        no_witness: known.trace.why_none(),
        wire: seen.wire,
        free_mib: seen.end.as_ref().and_then(|end| end.free_mib),
        low_pages: seen.end.as_ref().and_then(|end| end.low_pages),
        dom0: seen.end.and_then(|end| end.dom0),
        store: seen.store,
        taken: report.taken.map(|taken| taken.to_string()),
        stages,
        suites,
        figures: report.figures.iter().map(FiguresRecord::from).collect(),
        backtrace: known.backtrace,
        ranges: report.ranges.iter().map(RangeRecord::from).collect(),
        map: report.map.iter().map(MapRecord::from).collect(),
        console: seen.console.into_iter().map(|(at, text)| LineRecord { at, text }).collect(),
        ..JobRecord::new(&job.name)
    };
    record.must_show(&job.shows);
    if let Some(wire) = seen.wire.filter(|wire| !wire.is_whole()) {
        record.shows_nothing(format!("the wire was to lose, repeat and reorder frames: {wire}"));
    }
    if let Some(abuse) = job.abuse.filter(|_| !abused) {
        let detail = format!("nothing was done to the guest: it never said `{}`", abuse.at);
        record.shows_nothing(detail);
    }
    if undone {
        record.shows_nothing("dom0 failed at what it was to do to the guest: see dom0.log".into());
    }
    record
}

/// The verdict by all that was seen.
fn judged(job: &Job, seen: &Seen, report: &Report, known: &Witness) -> Judgement {
    let hosts: Vec<_> = job.devices().map(Device::bdf).collect();
    let log = seen.xen.iter().map(String::as_str);
    let Answers { rest, unwitnessed } = answers(log, &report.tried, &hosts);
    // Where only the guest's log exists there is no Xen log, so a missing fault proves nothing.
    let unwitnessed = unwitnessed.filter(|_| !seen.xen.is_empty());
    let complaints = complaints(rest, &job.provokes);
    let last_line =
        seen.console.iter().rev().map(|(_, line)| line.trim()).find(|line| !line.is_empty());
    judge(&Facts {
        report,
        end: seen.end.as_ref(),
        machine: seen.machine,
        xl: &seen.xl,
        found: &seen.found,
        store: &seen.store,
        last_line: last_line.unwrap_or("none at all"),
        trace: &known.trace,
        memory: known.memory,
        memory_is_due: seen.due.memory,
        complaints: &complaints,
        unwatched: known.unwatched,
        unwitnessed: unwitnessed.as_deref(),
        devices: known.devices,
        asked: seen.board.as_ref().map_or(&[], |board| &board.asked),
        changed: known.changed,
    })
}

/// Faults as a record has them.
pub(super) fn owned(faults: &[Fault]) -> Vec<FaultRecord> {
    faults.iter().map(|&(at, code)| (at.to_owned(), code.to_owned())).collect()
}

fn append(log: &Path, lines: &[String]) -> Result {
    use crate::error::Context;
    use std::io::Write;
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = std::fs::File::options().append(true).open(log).on("open", log)?;
    writeln!(file, "\nThe same with names, by the rig:\n{}", lines.join("\n")).on("write", log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::JobEnd;
    use crate::judge::Problem;
    use crate::machine::Mischief;
    use protocol::report::ktap::{Answer, Tested};

    fn ended(job: &Job, text: &str) -> JobRecord {
        let console = text.lines().map(|line| (0.0, line.to_owned())).collect();
        let end = Some(JobEnd { reason: Some(0), code: Some(0), ..JobEnd::default() });
        let guest = Guest { elf: Path::new("").to_owned() };
        record(job, Seen { console, end, ..Seen::default() }, &guest, Path::new("")).unwrap()
    }

    const BOUNCED: &str = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..1\n  \
                           ok 1 frames # bouncing is forced\nok 1 dma\nTest result: SUCCESS\n";

    #[test]
    fn what_dom0_could_not_do_to_a_guest_shows_nothing() {
        let job = Job::new("x", "no-device.cfg", None);
        let console = || BOUNCED.lines().map(|line| (0.0, line.to_owned())).collect();
        let end = || Some(JobEnd { reason: Some(0), code: Some(0), ..JobEnd::default() });
        let guest = Guest { elf: Path::new("").to_owned() };
        for (undone, verdict) in [(false, Verdict::Success), (true, Verdict::Failure)] {
            let seen = Seen { console: console(), end: end(), undone, ..Seen::default() };
            assert_eq!(record(&job, seen, &guest, Path::new("")).unwrap().verdict, verdict);
        }
    }

    #[test]
    fn a_run_that_does_not_show_what_it_is_for_is_a_failure() {
        let job = Job::new("x", "no-device.cfg", None);
        assert!(ended(&job, BOUNCED).is_as_expected());
        assert!(ended(&job.clone().shows("dma", "frames", "forced"), BOUNCED).is_as_expected());
        for (check, words) in [("frames", "direct"), ("others", "forced")] {
            let record = ended(&job.clone().shows("dma", check, words), BOUNCED);
            assert_eq!(record.verdict, Verdict::Failure);
            assert_eq!(record.problem.as_ref().unwrap().code, "not-shown");
            assert!(!record.is_as_expected());
        }
    }

    #[test]
    fn a_wire_that_was_to_be_rough_has_to_have_been() {
        let rough = Mischief { frames: 900, dropped: 9, repeated: 8, reordered: 7 };
        let record = |wire| {
            let console = BOUNCED.lines().map(|line| (0.0, line.to_owned())).collect();
            let end = Some(JobEnd { reason: Some(0), code: Some(0), ..JobEnd::default() });
            let seen = Seen { console, end, wire, ..Seen::default() };
            let guest = Guest { elf: Path::new("").to_owned() };
            record(&Job::new("x", "no-device.cfg", None), seen, &guest, Path::new("")).unwrap()
        };
        for wire in [None, Some(rough)] {
            assert!(record(wire).is_as_expected(), "{wire:?}");
        }
        for smooth in [
            Mischief { dropped: 0, ..rough },
            Mischief { repeated: 0, ..rough },
            Mischief { reordered: 0, ..rough },
        ] {
            let record = record(Some(smooth));
            let problem = record.problem.as_ref().unwrap();
            assert_eq!((record.verdict, &*problem.code), (Verdict::Failure, "not-shown"));
            assert!(problem.detail.contains("of 900 frames "), "{}", problem.detail);
        }
    }

    #[test]
    fn a_run_that_has_to_fail_has_to_show_it_too() {
        let text = BOUNCED.replace(
            "ok 1 frames # bouncing",
            "# reason: x: it is forced\n  not ok 1 frames # FAILURE x: it",
        );
        let text = text.replace("ok 1 dma", "not ok 1 dma # FAILURE").replace("SUCCESS", "FAILURE");
        let job =
            Job::new("x", "no-device.cfg", None).expect(Verdict::Failure, &[("dma.frames", "x")]);
        assert!(ended(&job, &text).is_as_expected());
        let record = ended(&job.shows("dma", "frames", "direct"), &text);
        assert!(!record.is_as_expected());
        assert_eq!(record.problem.unwrap().code, "not-shown");
    }

    /// Two checks of suite `dma`, ended as told.
    fn two(first: &str, second: &str, job: &Job) -> JobRecord {
        let line = |number, (name, code): (&str, &str)| match code {
            "" => format!("  ok {number} {name}\n"),
            code => {
                format!("  # reason: {code}: y\n  not ok {number} {name} # FAILURE {code}: y\n")
            }
        };
        let checks = line(1, ("a", first)) + &line(2, ("b", second));
        let (suite, result) = match (first, second) {
            ("", "") => ("ok 1 dma", "SUCCESS"),
            _ => ("not ok 1 dma # FAILURE", "FAILURE"),
        };
        let head = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..2\n";
        ended(job, &format!("{head}{checks}{suite}\nTest result: {result}\n"))
    }

    #[test]
    fn the_trace_is_asked_of_no_device_that_nobody_watches() {
        let tried = |device: &str| {
            let (device, page) = (device.to_owned(), 0x7fbb_f000);
            Tried { device, what: Tested::Table, page, answer: Answer::Reached }
        };
        let both = [tried("0000:00:18.0"), tried("0000:41:00.0")];
        assert_eq!(of_watched(&both, &["41:00.00".to_owned()]), both[1..]);
        assert_eq!(of_watched(&both, &[]), []);
    }

    #[test]
    fn a_job_may_fail_as_it_has_to_and_in_no_other_way() {
        let job = Job::new("x", "no-device.cfg", None);
        let fails = job.clone().expect(Verdict::Failure, &[("dma.a", "x")]);
        assert!(two("x", "", &fails).is_as_expected());
        // Another check beside it, another code, another check with this code, or none.
        for (first, second) in [("x", "z"), ("z", ""), ("", "x"), ("", "")] {
            assert!(!two(first, second, &fails).is_as_expected(), "{first} {second}");
        }
        assert!(two("", "", &job).is_as_expected());
        assert!(!two("x", "", &job).is_as_expected());
        let surprises = two("", "x", &fails).surprises();
        assert_eq!(surprises, ["dma.b x came, and may not", "dma.a x did not come, and has to"]);
    }

    #[test]
    fn of_several_ways_to_fail_one_has_to_come() {
        let mut job = Job::new("x", "no-device.cfg", None).expect(Verdict::Failure, &[]);
        job.either = &[("dma.a", "x"), ("dma.b", "y")];
        for (first, second, right) in [
            ("x", "", true),
            ("", "y", true),
            ("x", "y", true),
            ("z", "", false),
            ("x", "z", false),
        ] {
            assert_eq!(two(first, second, &job).is_as_expected(), right, "{first} {second}");
        }
        job.may = &[("dma.a", "z")];
        assert!(two("z", "y", &job).is_as_expected());
        let surprises = two("z", "", &job).surprises();
        assert_eq!(surprises, ["none of these came, and one has to: dma.a x, dma.b y"]);
    }

    #[test]
    fn a_job_that_ended_as_it_has_to_is_no_bad_news_and_any_other_end_is() {
        let job = Job::new("x", "no-device.cfg", None);
        let fails = job.clone().expect(Verdict::Failure, &[("dma.a", "x")]);
        assert_eq!(two("x", "", &fails).counts_as(), Verdict::Success);
        assert_eq!(two("", "", &fails).counts_as(), Verdict::Failure, "a SUCCESS that is wrong");
        assert_eq!(two("x", "z", &fails).counts_as(), Verdict::Failure);
        assert_eq!(two("", "", &job).counts_as(), Verdict::Success);
        assert_eq!(two("x", "", &job).counts_as(), Verdict::Failure);
        let mut skipped = two("", "", &job);
        skipped.verdict = Verdict::Skip;
        assert_eq!(skipped.counts_as(), Verdict::Skip);
        skipped.expected = Verdict::Inconclusive;
        assert_eq!(skipped.counts_as(), Verdict::Failure);
    }

    #[test]
    fn a_job_that_has_to_fail_forgives_nothing_that_the_rig_saw() {
        let job = Job::new("x", "no-device.cfg", None).expect(Verdict::Failure, &[("dma.a", "x")]);
        let mut record = two("x", "", &job);
        record.also.push(Problem::rig("xen-memory", "less", ""));
        assert!(!record.is_as_expected());
        record.faults = owned(&[("dma.a", "x"), ("rig", "xen-memory")]);
        assert!(record.is_as_expected());
    }
}
