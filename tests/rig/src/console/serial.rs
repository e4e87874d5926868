//! A serial log as some program left it: which of its lines are Xen's, which the guest's, and where each run begins.
//!
//! What stands in it besides: carriage returns in any number, escapes of terminals, bytes that are no text, and a time
//! before each line, in whatever form the program that wrote the log puts it there. That form is learnt from the line
//! that starts a report, so that no line can be taken for a stamped one that is not.

use super::{Piece, Splitter};

/// Starts each report, after the stamp.
const VERSION: &str = "KTAP version 1";
/// A stamp is no longer than this.
const STAMP_MAX: usize = 48;

/// One boot of the guest, as far as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggedRun {
    /// What the guest printed.
    pub(crate) guest: Vec<String>,
    /// What Xen printed since the run before.
    pub(crate) xen: Vec<String>,
}

impl LoggedRun {
    /// What the guest's first line says of itself, of Xen and of the domain.
    pub(crate) fn banner(&self) -> Option<&str> {
        self.guest.iter().map(String::as_str).find(|line| is_banner(line))
    }

    fn has(&self, line: impl Fn(&str) -> bool) -> bool {
        self.guest.iter().any(|l| line(l))
    }

    /// Whether there is anything of a report in it.
    fn is_any(&self) -> bool {
        self.has(|line| is_banner(line) || line == VERSION || is_end(line))
    }
}

fn is_banner(line: &str) -> bool {
    line.starts_with("pvbounce ") && line.contains(" on Xen ")
}

fn is_end(line: &str) -> bool {
    line.starts_with("Test result: ") || line.starts_with("PANIC: ")
}

/// The runs in a log, in order; none if there is no trace of the guest in it.
pub(crate) fn runs(log: &[u8]) -> Vec<LoggedRun> {
    let lines = lines(log);
    let stamp = Stamp::learn(&lines);
    let mut splitter = Splitter::default();
    let mut runs = vec![LoggedRun::default()];
    for line in &lines {
        let line = stamp.as_ref().and_then(|stamp| stamp.strip(line)).unwrap_or(line);
        if let Some(piece) = splitter.line(line) {
            add(&mut runs, piece);
        }
    }
    splitter.finish().into_iter().for_each(|piece| add(&mut runs, piece));
    runs.retain(LoggedRun::is_any);
    runs
}

fn add(runs: &mut Vec<LoggedRun>, piece: Piece) {
    let begins = |run: &LoggedRun, line: &str| {
        // Xen's lines of the boot come before the banner, and a log may be cut after it.
        is_banner(line) && run.is_any()
            || line == VERSION && run.has(|line| line == VERSION || is_end(line))
    };
    if let Piece::Dom0(line) = &piece
        && runs.last().is_some_and(|run| begins(run, line))
    {
        runs.push(LoggedRun::default());
    }
    let Some(run) = runs.last_mut() else {
        return;
    };
    match piece {
        Piece::Xen(line) => run.xen.push(line),
        Piece::Dom0(line) => run.guest.push(line),
    }
}

/// The log's lines, without what is no text.
fn lines(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    text.split(['\n', '\r']).map(printable).filter(|line| !line.trim().is_empty()).collect()
}

fn printable(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // Parameters, then one letter.
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
            '\t' => out.push(' '),
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => {}
            c => out.push(c),
        }
    }
    out
}

/// The form of the time that stands before each line.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Digits,
    Letters,
    Blanks,
    Char(char),
}

impl Part {
    const fn of(c: char) -> Self {
        match c {
            '0'..='9' => Self::Digits,
            'a'..='z' | 'A'..='Z' => Self::Letters,
            ' ' => Self::Blanks,
            other => Self::Char(other),
        }
    }
}

impl Stamp {
    /// Its form, from the shortest text before a report's start; `None` where that is no time.
    fn learn(lines: &[String]) -> Option<Self> {
        let before = lines.iter().filter_map(|line| line.strip_suffix(VERSION));
        let text = before.min_by_key(|text| text.len())?;
        let is_time = text.bytes().any(|b| b.is_ascii_digit()) && text.contains(':');
        (is_time && text.len() <= STAMP_MAX)
            .then(|| Self(parts(text).map(|(part, _)| part).collect()))
    }

    /// The line without its stamp; `None` if it has none.
    fn strip<'l>(&self, line: &'l str) -> Option<&'l str> {
        let mut rest = line;
        let last = self.0.len().checked_sub(1)?;
        for (index, part) in self.0.iter().enumerate() {
            let (found, length) = parts(rest).next()?;
            if found != *part {
                return None;
            }
            // Of the blanks at its end one is the stamp's, the others indent the line.
            let length = if index == last && found == Part::Blanks { 1 } else { length };
            rest = rest.get(length..)?;
        }
        Some(rest)
    }
}

/// Runs of characters of one kind, with their bytes.
fn parts(text: &str) -> impl Iterator<Item = (Part, usize)> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let part = Part::of(first);
        let length = match part {
            Part::Char(_) => first.len_utf8(),
            _ => rest.find(|c| Part::of(c) != part).unwrap_or(rest.len()),
        };
        rest = &rest[length..];
        Some((part, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::report::ktap::Parser;
    use protocol::report::verdict::Verdict;

    /// A board's log: Xen's boot, the guest as dom0, Xen's words in the middle of its lines.
    const BOARD: &str = "\
(XEN) Xen version 4.20.4-pre debug=n\r\r
(XEN) *** Building a PV Dom0 ***\r\r
pvbounce 0.1.0 on Xen 4.20.4-pre, dom0, 512 MiB\r\r
[    0.003] console: Xen\r\r
KTAP version 1\r\r
1..1\r\r
  KTAP version 1\r\r
  # Subtest: boot\r\r
  1..2\r\r
  ok 1 st(XEN) [    1.234567] grant_table: x\r\r
art_info # 131072 pages\r\r
  ok 2 features\r\r
ok 1 boot\r\r
Test result: SUCCESS\r\r
(XEN) Hardware Dom0 shutdown: rebooting machine\r\r
";

    fn results(log: &[u8]) -> Vec<Option<Verdict>> {
        let read = |run: &LoggedRun| {
            let report = Parser::read(&run.guest.join("\n"));
            report.result.filter(|_| report.defects.is_empty())
        };
        runs(log).iter().map(read).collect()
    }

    #[test]
    fn a_boards_log_is_read() {
        let runs = runs(BOARD.as_bytes());
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].banner().unwrap(), "pvbounce 0.1.0 on Xen 4.20.4-pre, dom0, 512 MiB");
        assert_eq!(runs[0].xen.len(), 4);
        assert_eq!(results(BOARD.as_bytes()), [Some(Verdict::Success)]);
    }

    #[test]
    fn stamps_of_any_program_are_taken_off() {
        for stamp in [
            "[2026-11-21 12:00:07] ",
            "[2026-11-21 12:00:07.123] ",
            "2026-11-21T12:00:07.123Z ",
            "Nov 21 12:00:07 ",
            "12:00:07.123> ",
            "[12:00:07:123]",
            "00:00:07 | ",
        ] {
            let mut seconds = 0;
            let stamped: String = BOARD
                .lines()
                .map(|line| {
                    seconds += 1;
                    format!("{}{line}\n", stamp.replace("07", &format!("{seconds:02}")))
                })
                .collect();
            assert_eq!(results(stamped.as_bytes()), [Some(Verdict::Success)], "{stamp}");
        }
    }

    #[test]
    fn a_line_without_the_stamp_of_the_others_stays_as_it_is() {
        let stamp = Stamp::learn(&["[12:00] KTAP version 1".to_owned()]).unwrap();
        assert_eq!(stamp.strip("[12:01]   ok 1 x"), Some("  ok 1 x"));
        assert_eq!(stamp.strip("[112:01] x"), Some("x"));
        for line in ["ok 1 x", "[12:00]x", "[12-00] x", "", "[12:"] {
            assert_eq!(stamp.strip(line), None, "{line}");
        }
        for text in
            ["  KTAP version 1", "x KTAP version 1", "[0.1] KTAP version 1", "KTAP version 1"]
        {
            assert_eq!(Stamp::learn(&[text.to_owned()]), None, "{text}");
        }
    }

    #[test]
    fn noise_and_escapes_are_dropped() {
        let mut noisy = b"\xff\xfe\0\0garbage\x80\r\n".to_vec();
        for line in BOARD.lines() {
            noisy.extend(b"\x1b[0;32m\0");
            noisy.extend(line.as_bytes());
            noisy.extend(b"\x1b[0m\xf0\r\n");
        }
        assert_eq!(results(&noisy), [Some(Verdict::Success)]);
    }

    #[test]
    fn each_boot_is_a_run() {
        let twice =
            [BOARD, &BOARD.replace("SUCCESS", "FAILURE").replace("ok 1 boot", "not ok 1 boot")]
                .concat();
        let runs = runs(twice.as_bytes());
        assert_eq!(runs.len(), 2);
        // What Xen says between two runs may be the first one's doing.
        assert_eq!((runs[0].xen.len(), runs[1].xen.len()), (6, 2));
        // The banner of the second is lost.
        let lost = [BOARD, &BOARD.replace("pvbounce 0.1.0 on", "pvb")].concat();
        assert_eq!(results(lost.as_bytes()), [Some(Verdict::Success); 2]);
    }

    #[test]
    fn a_log_cut_at_either_end_is_never_sound() {
        let start = BOARD.find("KTAP").unwrap();
        let end = BOARD.find("Test result: S").unwrap();
        for cut in start + 1..end {
            if BOARD.is_char_boundary(cut) {
                let sound = |log: &str| results(log.as_bytes()).iter().any(Option::is_some);
                assert!(!sound(&BOARD[cut..]), "{}", &BOARD[cut..]);
                assert!(!sound(&BOARD[..cut]), "{}", &BOARD[..cut]);
            }
        }
    }

    #[test]
    fn a_log_of_something_else_has_no_run() {
        assert_eq!(runs(b""), []);
        assert_eq!(runs(b"Linux version 6.12\n(XEN) x\n"), []);
    }

    /// The same run, with a check that failed.
    fn failed() -> String {
        let suite = BOARD.replace(
            "  ok 2 features",
            "  # reason: none: x\n  not ok 2 features # FAILURE none: x",
        );
        let suite = suite.replace("\nok 1 boot", "\nnot ok 1 boot");
        suite.replace("SUCCESS", "FAILURE")
    }

    fn sound(log: &[u8]) -> bool {
        results(log).contains(&Some(Verdict::Success))
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_are_no_success(
            log in prop::collection::vec(any::<u8>(), 0..400),
            text in "(\\PC{0,20}[\n\r]){0,20}",
        ) {
            prop_assert!(!sound(&log) && !sound(text.as_bytes()));
        }

        /// Bytes put in, lost or changed in one place make no success of a failure.
        #[test]
        fn noise_makes_no_success(
            at in any::<prop::sample::Index>(),
            lost in 0..60_usize,
            noise in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n\x1b[ "[..])], 0..12),
        ) {
            let log = failed().into_bytes();
            let at = at.index(log.len());
            let end = (at + lost).min(log.len());
            let changed = [&log[..at], &noise, &log[end..]].concat();
            prop_assert!(!sound(&changed), "{}", String::from_utf8_lossy(&changed));
        }

        /// What is no text, and how lines end, does not count.
        #[test]
        fn noise_between_lines_loses_none(
            noise in prop::collection::vec(prop::collection::vec(0xf8..=0xff_u8, 0..6), 1..9),
            end in prop::sample::select(&["\n", "\r\n", "\r\r\n", "\n\r", "\r"][..]),
        ) {
            let noise = noise.iter().cycle();
            let lines = BOARD.lines().zip(noise);
            let log: Vec<u8> = lines
                .flat_map(|(line, noise)| [line.trim_end().as_bytes(), noise, end.as_bytes()].concat())
                .collect();
            prop_assert_eq!(results(&log), [Some(Verdict::Success)]);
        }
    }
}
