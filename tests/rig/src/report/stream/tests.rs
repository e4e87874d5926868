//! What is written is what is read, and what is no stream is refused by its line.

use std::fs;

use super::*;
use crate::boot::Watch;
use crate::report::changes::ChangeRecord;
use crate::report::failing::SiteRecord;
use crate::report::reading::Reading;

const CONSOLE: [&str; 11] = [
    "[    0.021] memory: 3 of 4 pages free",
    "KTAP version 1",
    "1..1",
    "  KTAP version 1",
    "  # Subtest: dma",
    "  1..2",
    "  ok 1 a # 7 <b> \u{1f980} \"quoted\"",
    "  # reason: x: y",
    "  # remedy: look",
    "  not ok 2 b # FAILURE x: y",
    "not ok 1 dma # FAILURE",
];

fn console() -> Vec<(f64, String)> {
    (0..).map(|n| 0.1 + f64::from(n) / 3.0).zip(CONSOLE.map(str::to_owned)).collect()
}

/// A job of which everything is known.
fn full(name: &str) -> JobRecord {
    let (_, stages, suites) = Reading::of(&console()).finish();
    let problem = |code: &str| Problem::rig(code, "detail", "remedy");
    let site = SiteRecord { operation: "send".into(), place: "pci".into(), way: vec!["f".into()] };
    let cells = |text: &str| vec![text.to_owned(), "0.1".to_owned()];
    let figures =
        FiguresRecord { table: "map".into(), columns: cells("bytes"), rows: vec![cells("64")] };
    JobRecord {
        verdict: Verdict::Failure,
        expected: Verdict::Timeout,
        problem: Some(problem("first")),
        also: vec![problem("second"), problem("second")],
        faults: vec![("dma.b".into(), "x".into())],
        either: vec![("a".into(), "b".into())],
        may: vec![("c".into(), "d".into())],
        not_shown: Some("nothing".into()),
        seconds: 0.1 + 0.2,
        evidence: Some(Evidence { addresses: u64::MAX, ..Evidence::default() }),
        no_witness: Some("why".into()),
        wire: Some(Mischief { frames: 1, dropped: 2, repeated: 3, reordered: 4 }),
        free_mib: Some((5, 6)),
        low_pages: Some((7, 8)),
        dom0: Some(Dom0 { available_kib: 9, ports: 10, domains: 11 }),
        store: vec![("key".into(), "value".into())],
        taken: Some("frames=1".into()),
        stages,
        suites,
        figures: vec![figures.clone(), figures],
        failing: Some(FailingRecord {
            wanted: 1,
            site: Some(site),
            reached: Some(2),
            wrong: vec!["w".into()],
        }),
        backtrace: vec!["#0 main".into()],
        ranges: vec![RangeRecord { first: 0, last: u64::MAX, kind: "pool".into() }],
        map: vec![MapRecord { kind: "e820".into(), first: 1, last: 2, word: "Ram".into() }],
        console: console().into_iter().map(|(at, text)| LineRecord { at, text }).collect(),
        ..JobRecord::new(name)
    }
}

fn run(jobs: Vec<JobRecord>) -> RunRecord {
    RunRecord {
        name: "smoke".into(),
        started: "2026-01-02 03:04:05".into(),
        machine: "Xen".into(),
        image_bytes: 1,
        jobs,
        over: true,
        ..RunRecord::default()
    }
}

/// A stream of its own, with what is to be read back from it.
fn stream(head: &RunRecord) -> (tempfile::TempDir, Stream) {
    let folder = tempfile::tempdir().unwrap();
    let stream = Stream::create(folder.path(), head).unwrap();
    (folder, stream)
}

#[test]
fn what_is_written_is_what_is_read() {
    let figures = full("x").figures.remove(0);
    let comparison = Some(ComparisonRecord { figures, legend: vec!["how".into()] });
    let [job, at, was, is] = ["x", "dma.a", "SUCCESS", ""].map(str::to_owned);
    let changes = vec![ChangeRecord { job, at, was, is }];
    let changes = Some(ChangesRecord { before: "20260101".into(), changes });
    let run =
        RunRecord { comparison, changes, ..run(vec![full("b"), full("a"), JobRecord::new("c")]) };
    let (_folder, stream) = stream(&run);
    stream.close(&run).unwrap();
    assert_eq!(read(stream.path()).unwrap(), run);
}

#[test]
fn what_was_told_as_it_came_is_told_once() {
    let job = Job::new("x", "no-device.cfg", None);
    let mut record = full("x");
    record.expected = Verdict::Success;
    (record.faults, record.either, record.may) = Default::default();
    let run = run(vec![record.clone()]);
    let (_folder, stream) = stream(&run);
    stream.begin(&job).unwrap();
    console().iter().for_each(|(at, line)| stream.line("x", *at, line).unwrap());
    let live = fs::read_to_string(stream.path()).unwrap();
    assert_eq!(live.matches("\"record\":\"check\"").count(), 2);
    assert_eq!(live.matches("\"record\":\"suite\"").count(), 1);
    stream.end(&record).unwrap();
    stream.close(&run).unwrap();
    let text = fs::read_to_string(stream.path()).unwrap();
    for kind in ["job", "check", "suite", "stage", "end"] {
        let count = |text: &str| text.matches(&format!("\"record\":\"{kind}\"")).count();
        assert!(count(&text) == count(&live).max(1), "{kind} in {text}");
    }
    assert_eq!(read(stream.path()).unwrap(), run);
}

#[test]
fn what_changes_after_the_end_takes_its_place() {
    let (mut record, head) = (full("x"), run(vec![]));
    let (_folder, stream) = stream(&head);
    stream.end(&record).unwrap();
    record.add(Verdict::Crash, Problem::rig("later", "", ""));
    let run = run(vec![record]);
    stream.close(&run).unwrap();
    assert_eq!(read(stream.path()).unwrap(), run);
}

#[test]
fn an_interrupted_run_leaves_what_it_has() {
    let head = run(vec![]);
    let (_folder, stream) = stream(&head);
    stream.end(&full("whole")).unwrap();
    stream.begin(&Job::new("x", "no-device.cfg", None)).unwrap();
    console()[..10].iter().for_each(|(at, line)| stream.line("x", *at, line).unwrap());
    let text = fs::read_to_string(stream.path()).unwrap();
    fs::write(stream.path(), text + "{\"record\":\"che").unwrap();
    let found = read(stream.path()).unwrap();
    assert!(!found.over);
    let [whole, cut] = &found.jobs[..] else { panic!("two jobs") };
    assert_eq!(*whole, full("whole"));
    assert_eq!((cut.verdict, cut.suites[0].verdict), (Verdict::Error, Verdict::Crash));
    assert_eq!(cut.suites[0].checks, full("whole").suites[0].checks);
    let problem = cut.problem.as_ref().unwrap();
    assert_eq!(problem.code, "run-cut");
    assert!(problem.detail.contains("not ok 2 b"), "{}", problem.detail);
}

#[test]
fn a_run_that_was_cut_off_between_two_jobs_is_no_success() {
    let good = JobRecord { verdict: Verdict::Success, ..JobRecord::new("good") };
    let head = run(vec![good.clone()]);
    assert_eq!(head.worst(), Verdict::Success);
    let (_folder, stream) = stream(&head);
    stream.end(&good).unwrap();
    let found = read(stream.path()).unwrap();
    assert_eq!((found.jobs.len(), found.over, found.worst()), (1, false, Verdict::Error));
}

#[test]
fn what_is_no_stream_is_refused_by_its_line() {
    let run = run(vec![full("x")]);
    let (folder, stream) = stream(&run);
    stream.close(&run).unwrap();
    let good = fs::read_to_string(stream.path()).unwrap();
    let lines: Vec<_> = good.lines().collect();
    let first_of = |kind: &str| lines.iter().position(|line| line.contains(kind)).unwrap();
    let (job, line) = (first_of("\"job\""), first_of("\"line\""));
    let without = |at: usize| {
        let left = lines.iter().enumerate().filter(|(n, _)| *n != at);
        left.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    for (text, at) in [
        (without(0), "line 1: it does not begin with its schema"),
        (good.replace("\"version\":1", "\"version\":2"), "line 1: version 2, not 1"),
        (good.replace(SCHEMA, "other"), "line 1: `other`, not pvbounce-run"),
        (format!("{good}{}\n", lines[0]), "a second schema"),
        (without(1), "it does not say what run it is of"),
        (without(job), "job `x` has not begun"),
        (without(line), "line 2 of x's console after line 0"),
        (good.replace("\"number\":1,", ""), "missing field"),
        (good.replace("\"jobs\":[\"x\"]", "\"jobs\":[\"y\"]"), "job `y` is named at its end"),
        (format!("{good}[]\n"), "records.jsonl, line"),
        (format!("{good}\u{0}\n"), "records.jsonl, line"),
        (format!("{good}{}\n", " ".repeat(1 << 20)), "longer than"),
    ] {
        let path = folder.path().join(RECORDS);
        fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains(at), "{error}");
        assert!(error.remedy().is_some());
    }
    fs::write(stream.path(), good + "{\"record\":\"of-tomorrow\",\"x\":1}\n").unwrap();
    assert_eq!(read(stream.path()).unwrap(), run, "what a reader does not know it passes over");
}

#[test]
fn the_docs_have_each_kind_with_its_fields() {
    let docs = include_str!("../../../../../docs/records.md");
    let described = docs.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let fields = cells.nth(1)?.split(", ").map(|field| field.trim_matches('`').to_owned());
        let kind = line.strip_prefix("| `")?.split('`').next()?.to_owned();
        Some((kind, fields.filter(|field| !field.is_empty()).collect::<Vec<_>>()))
    });
    let described: Vec<_> = described.collect();
    assert!(docs.contains(&format!("`{SCHEMA}`, version {VERSION}")));
    let mut records = all(full("x"));
    let head = run(vec![]);
    let comparison = ComparisonRecord { figures: full("x").figures.remove(0), legend: vec![] };
    records.extend([
        Record::Schema { schema: SCHEMA.into(), version: VERSION },
        super::head(&head),
        Record::Comparison { comparison },
        Record::Changes { changes: ChangesRecord { before: String::new(), changes: vec![] } },
        Record::Over { jobs: vec![] },
    ]);
    let mut kinds = std::collections::BTreeSet::new();
    for record in records {
        let value = serde_json::to_value(&record).unwrap();
        let fields = value.as_object().unwrap();
        let kind = fields["record"].as_str().unwrap().to_owned();
        let line = described.iter().find(|(known, _)| *known == kind);
        let (_, known) = line.unwrap_or_else(|| panic!("docs/records.md has no {kind}"));
        let mut known = known.clone();
        let mut fields: Vec<_> = fields.keys().filter(|key| *key != "record").cloned().collect();
        fields.sort();
        known.sort();
        assert_eq!(fields, known, "{kind}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), described.len(), "a kind that is in docs/records.md and nowhere else");
}
