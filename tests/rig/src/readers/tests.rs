//! What docs/testing.md tells people to write, tried on reports as the guest writes them: on one that has a check of each
//! kind, with the line ends of a console and of Xen's serial line.

use fancy_regex::Regex;
use protocol::report::ktap::Writer;
use protocol::report::verdict::{Outcome, Reason};

use super::*;

/// A report of a check that passed, one that was passed over, one that failed, and a suite that did not run.
pub(super) fn sample() -> String {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 2).unwrap();
    let mut boot = report.suite("boot", 3).unwrap();
    boot.check("start_info", &Outcome::pass("ok 7 pages # 2")).unwrap();
    boot.check("com1", &Outcome::Skip(Reason::new("no-ports", "not ok"))).unwrap();
    let reason = Reason::new("byte-mismatch", "offset 17").remedy("look");
    boot.check("copy", &Outcome::Failure(reason)).unwrap();
    boot.finish().unwrap();
    let irq = report.suite("irq@0000:00:00.0", 0).unwrap();
    irq.skip(&Reason::new("no-device", "none")).unwrap();
    report.finish().unwrap();
    text
}

/// The same on a console, between other lines.
fn consoles() -> [String; 2] {
    ["\r\n", "\n"].map(|end| {
        let around = ["(XEN) Xen version 4.20.4-pre", "pvbounce 0.1.0 on Xen"];
        let text = sample();
        around.into_iter().chain(text.lines()).map(|line| format!("{line}{end}")).collect()
    })
}

/// The value of a key of the job that docs/testing.md shows for LAVA.
fn lava_key(key: &str) -> String {
    let docs = fs::read_to_string("../../docs/testing.md").unwrap();
    let line = docs.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
    line.unwrap().trim_matches('\'').to_owned()
}

/// LAVA waits for `start`, then takes what comes first, again and again: `end`, or a match of `pattern`, whose result it looks up in
/// `fixupdict` (lava_dispatcher/actions/test/monitor.py). What it has not read to its end can't be matched: it is given a
/// piece at a time.
fn lava(console: &str) -> Vec<(String, String)> {
    let [start, end, pattern] = ["start", "end", "pattern"]
        .map(|key| Regex::new(&format!("(?s){}", lava_key(key))).unwrap());
    let fixup = lava_key("fixupdict");
    let fixup = fixup.trim_matches(['{', '}']).split(", ").filter_map(|pair| pair.split_once(": "));
    let fixup: Vec<_> = fixup.map(|(from, to)| (from.trim_matches('"'), to)).collect();
    let mut results = Vec::new();
    let (mut buffer, mut started) = (String::new(), false);
    for c in console.chars() {
        buffer.push(c);
        if !started {
            started = start.is_match(&buffer).unwrap();
            buffer = if started { String::new() } else { buffer };
        } else if end.is_match(&buffer).unwrap() {
            return results;
        } else if let Some(found) = pattern.captures(&buffer).unwrap() {
            let group = |name| found.name(name).unwrap().as_str();
            let result = fixup.iter().find(|(from, _)| *from == group("result")).unwrap().1;
            results.push((group("test_case_id").to_owned(), result.to_owned()));
            buffer = buffer[found.get(0).unwrap().end()..].to_owned();
        }
    }
    panic!("no end in {console}");
}

#[test]
fn lava_gets_each_check_and_each_suite() {
    let wanted = [
        ("start_info", "pass"),
        ("com1", "skip"),
        ("copy", "fail"),
        ("boot", "fail"),
        ("irq@0000:00:00.0", "skip"),
    ];
    for console in consoles() {
        let results = lava(&console);
        let results: Vec<_> = results.iter().map(|(name, as_)| (&**name, &**as_)).collect();
        assert_eq!(results, wanted, "{console}");
    }
}

/// xtf-runner takes the console's last line for the result (`interpret_result` in xtf-runner of the Xen Test Framework).
fn xtf(console: &str) -> &str {
    let line = console.lines().last().unwrap_or_default();
    let words = ["SUCCESS", "SKIP", "ERROR", "FAILURE", "CRASH"].into_iter();
    let mut known = words.filter(|word| line.contains("Test result:") && line.contains(word));
    known.next().unwrap_or("CRASH")
}

#[test]
fn xtf_runner_gets_the_result_and_has_no_word_for_what_a_network_left_open() {
    assert_eq!(consoles().map(|console| xtf(&console).to_owned()), ["FAILURE"; 2]);
    for verdict in protocol::report::verdict::Verdict::ALL {
        let wanted = if verdict.word() == "INCONCLUSIVE" { "CRASH" } else { verdict.word() };
        assert_eq!(
            xtf(&sample().replace("result: FAILURE", &format!("result: {verdict}"))),
            wanted
        );
    }
}

/// Xen's own tests wait for `BOOT_MSG`, then for `PASSED`, two regular expressions, on the serial line
/// (automation/scripts/console.exp in Xen's sources). docs/testing.md names them.
#[test]
fn xen_s_automation_sees_a_success_and_nothing_else() {
    let passes = |console: &str| {
        let (_, rest) = console.split_once("Xen version ").unwrap();
        rest.contains("Test result: SUCCESS")
    };
    for console in consoles() {
        assert!(!passes(&console));
        assert!(passes(&console.replace("result: FAILURE", "result: SUCCESS")));
    }
}

#[test]
fn consoles_with_a_whole_report_are_found_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("dom0-home");
    fs::create_dir(&below).unwrap();
    for (name, text) in [("guest-a.log", sample()), ("serial-com1.log", "(XEN) x\n".to_owned())] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(below.join("serial-com1.log"), consoles()[0].as_bytes()).unwrap();
    fs::write(below.join("guest-cut.log"), &sample()[..200]).unwrap();
    fs::write(below.join("report.html"), sample()).unwrap();
    let found = reports(folder.path()).unwrap();
    let found: Vec<_> = found.iter().map(|(path, _)| path.strip_prefix(&folder).unwrap()).collect();
    assert_eq!(found, ["dom0-home/serial-com1.log", "guest-a.log"].map(Path::new));
}
