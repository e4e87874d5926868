//! The reading half: takes a console's lines, keeps what belongs to the report, ignores the rest.
//!
//! A console is not a file: other things print into it, it stops mid-line when the guest dies, and a broken guest may
//! print anything. So no line ends the reading; what is wrong with the report stands beside it as its defects.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::defect::{Defect, Flaw};
use super::figures;
use super::report::{Check, NotShown, Report, Suite};
use super::{
    DMA_LIMITS, DMA_RANGE, FAILED, INDENT, ISOLATION, MAP, MAP_LINES, MapKind, MapLine, NOT_SHOWN,
    PANIC, POOL_WALK, REASON, REMEDY, RESULT, SITES, SUBTEST, TAKEN, TRANSFERS, VERSION, text,
};
use crate::report::verdict::Verdict;

/// Takes a console line by line.
#[derive(Debug, Default)]
pub struct Parser {
    report: Report,
    // The console's line, from 1.
    number: usize,
    started: bool,
    // A suite is open from its version line to its result line.
    open: bool,
    // What the lines before said of the next check, or `# not-shown` before its remedy.
    told: Told,
}

/// What is said ahead of a result line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    // As written.
    reason: Option<String>,
    remedy: Option<String>,
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The report in a whole text.
    pub fn read(text: &str) -> Report {
        let mut parser = Self::new();
        text.lines().for_each(|line| parser.line(line));
        parser.finish()
    }

    /// Takes the next line, without its end.
    pub fn line(&mut self, line: &str) {
        self.number += 1;
        let line = line.trim_end();
        if let Err(flaw) = self.take(line) {
            self.report.defects.push(Defect { flaw, line: self.number, text: line.to_owned() });
        }
    }

    /// What was said so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What was said at all, with what is wrong with it.
    pub fn finish(self) -> Report {
        let mut report = self.report;
        report.defects.extend(super::whole::of_the_whole(&report));
        report
    }

    fn take(&mut self, line: &str) -> Result<(), Flaw> {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        if self.open && indent == INDENT && figures::read(&mut self.report.figures, body) {
            return Ok(());
        }
        let Some((kind, rest)) = Kind::of(body) else {
            return Ok(());
        };
        let told = core::mem::take(&mut self.told);
        match indent {
            _ if kind == Kind::Panic => self.panic(indent, rest),
            _ if self.report.result.is_some() => Err(match kind {
                Kind::Version => Flaw::SecondReport,
                Kind::Result => Flaw::Twice,
                _ => Flaw::AfterTheEnd,
            }),
            "" => self.outer(kind, rest, told),
            INDENT => self.inner(kind, rest, told),
            _ => Err(Flaw::OutOfPlace),
        }
    }

    fn panic(&mut self, indent: &str, text: &str) -> Result<(), Flaw> {
        if !indent.is_empty() {
            return Err(Flaw::OutOfPlace);
        }
        self.report.panic.get_or_insert_with(|| text.to_owned());
        if self.report.result.is_some() { Err(Flaw::PanicAndResult) } else { Ok(()) }
    }

    fn outer(&mut self, kind: Kind, rest: &str, told: Told) -> Result<(), Flaw> {
        if self.open && told != Told::default() {
            return Err(Flaw::OutOfPlace);
        }
        match kind {
            Kind::Version if self.started => return Err(Flaw::SecondReport),
            Kind::Version => {
                self.started = true;
                return version(rest);
            }
            Kind::Result => return self.result(rest),
            _ if !self.started => return Err(Flaw::OutOfPlace),
            Kind::Check if self.open => return self.close(rest),
            // All else belongs before the suites or after them.
            _ if self.open => return Err(Flaw::OutOfPlace),
            _ => {}
        }
        let report = &mut self.report;
        match kind {
            Kind::Plan if !report.suites.is_empty() => Err(Flaw::OutOfPlace),
            Kind::Plan => once(&mut report.planned, number(rest)),
            Kind::Range => {
                report.ranges.push(rest.parse().map_err(|_| Flaw::Unreadable)?);
                Ok(())
            }
            Kind::Map => {
                let line: MapLine = rest.parse().map_err(|_| Flaw::Unreadable)?;
                let known = report.map.iter().filter(|known| known.kind == line.kind).count();
                // What is said of the end is said there, and all else before the first suite.
                let in_place = (line.kind == MapKind::End) != report.suites.is_empty();
                match () {
                    () if known >= MAP_LINES => Err(Flaw::TooMuch),
                    () if !in_place => Err(Flaw::OutOfPlace),
                    () => {
                        report.map.push(line);
                        Ok(())
                    }
                }
            }
            Kind::Tried => {
                report.tried.push(rest.parse().map_err(|_| Flaw::Unreadable)?);
                Ok(())
            }
            Kind::Taken => once(&mut report.taken, rest.parse().ok()),
            Kind::Transfers => once(&mut report.transfers, rest.parse().ok()),
            Kind::PoolWalk => once(&mut report.pool_walk, rest.parse().ok()),
            Kind::DmaLimits => once(&mut report.dma_limits, rest.parse().ok()),
            Kind::Failed => once(&mut report.failed, rest.parse().ok()),
            Kind::Sites => once(&mut report.sites, rest.parse().ok()),
            Kind::NotShown => {
                self.told.reason = Some(rest.to_owned());
                once(&mut report.not_shown, not_shown(rest))
            }
            Kind::Remedy => match report.not_shown.as_mut().filter(|_| told.reason.is_some()) {
                Some(reason) => {
                    reason.remedy = text::read(rest);
                    Ok(())
                }
                None => Err(Flaw::OutOfPlace),
            },
            _ => Err(Flaw::OutOfPlace),
        }
    }

    fn result(&mut self, word: &str) -> Result<(), Flaw> {
        once(&mut self.report.result, word.parse().ok())?;
        match (self.started, self.open, &self.report.panic) {
            (_, _, Some(_)) => Err(Flaw::PanicAndResult),
            (true, false, None) => Ok(()),
            _ => Err(Flaw::OutOfPlace),
        }
    }

    fn inner(&mut self, kind: Kind, rest: &str, told: Told) -> Result<(), Flaw> {
        if kind == Kind::Version && self.started && !self.open {
            self.report.suites.push(Suite::default());
            self.open = true;
            return version(rest);
        }
        if !self.open {
            return Err(Flaw::OutOfPlace);
        }
        match kind {
            Kind::Check => self.check(rest, told),
            Kind::Remedy if told.remedy.is_none() => {
                self.told = Told { remedy: Some(rest.to_owned()), ..told };
                Ok(())
            }
            _ if told != Told::default() => Err(Flaw::OutOfPlace),
            Kind::Reason => {
                self.told.reason = Some(rest.to_owned());
                Ok(())
            }
            Kind::Name => self.name(rest),
            Kind::Plan => once(&mut self.report.last()?.planned, number(rest)),
            _ => Err(Flaw::OutOfPlace),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), Flaw> {
        let known = self.report.suites.iter().any(|suite| suite.name == name);
        let suite = self.report.last()?;
        if known || !suite.name.is_empty() {
            return Err(Flaw::Twice);
        }
        name.clone_into(&mut suite.name);
        let first = suite.planned.is_none() && suite.checks.is_empty();
        if first { Ok(()) } else { Err(Flaw::OutOfPlace) }
    }

    fn check(&mut self, line: &str, told: Told) -> Result<(), Flaw> {
        let Numbered { number, mut check, agrees, reason } =
            numbered(line).ok_or(Flaw::Unreadable)?;
        let suite = self.report.last()?;
        let known = suite.checks.iter().any(|other| other.name == check.name);
        let reasoned = told.reason.as_deref() == Some(reason).filter(|_| !check.verdict.is_ok());
        let advised = told.remedy.is_none() || check.verdict != Verdict::Success;
        check.remedy = told.remedy.as_deref().map(text::read).unwrap_or_default();
        suite.checks.push(check);
        let wanted = suite.checks.len();
        match () {
            () if number != wanted => Err(Flaw::WrongNumber),
            () if known => Err(Flaw::Twice),
            () if !agrees => Err(Flaw::NotItsWord),
            () if !reasoned || !advised => Err(Flaw::NotItsReason),
            () => Ok(()),
        }
    }

    fn close(&mut self, line: &str) -> Result<(), Flaw> {
        let Numbered { number, check, agrees, .. } = numbered(line).ok_or(Flaw::Unreadable)?;
        self.open = false;
        let wanted = self.report.suites.len();
        let suite = self.report.last()?;
        suite.verdict = Some(check.verdict);
        suite.reason = match (check.code.as_str(), check.detail.as_str()) {
            (code, "") => code.to_owned(),
            ("", detail) => detail.to_owned(),
            (code, detail) => [code, ": ", detail].concat(),
        };
        match () {
            () if number != wanted => Err(Flaw::WrongNumber),
            () if check.name != suite.name => Err(Flaw::Contradiction),
            () if !agrees => Err(Flaw::NotItsWord),
            () => Ok(()),
        }
    }
}

/// The kinds of lines that only a report has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Version,
    Plan,
    Name,
    Check,
    Reason,
    Remedy,
    Range,
    Tried,
    Taken,
    Transfers,
    PoolWalk,
    DmaLimits,
    NotShown,
    Failed,
    Sites,
    Map,
    Panic,
    Result,
}

impl Kind {
    const PREFIXES: [(&str, Self); 16] = [
        (VERSION, Self::Version),
        (SUBTEST, Self::Name),
        (REASON, Self::Reason),
        (REMEDY, Self::Remedy),
        (DMA_RANGE, Self::Range),
        (ISOLATION, Self::Tried),
        (TAKEN, Self::Taken),
        (TRANSFERS, Self::Transfers),
        (POOL_WALK, Self::PoolWalk),
        (DMA_LIMITS, Self::DmaLimits),
        (NOT_SHOWN, Self::NotShown),
        (FAILED, Self::Failed),
        (SITES, Self::Sites),
        (MAP, Self::Map),
        (PANIC, Self::Panic),
        (RESULT, Self::Result),
    ];

    /// The kind of a line and what follows the words that tell it; all of it for a check.
    fn of(line: &str) -> Option<(Self, &str)> {
        let known = |(prefix, kind): (&str, Self)| Some((kind, line.strip_prefix(prefix)?));
        if let Some(found) = Self::PREFIXES.into_iter().find_map(known) {
            return Some(found);
        }
        let counted = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        if let Some(rest) = line.strip_prefix("1..").filter(|rest| counted(rest)) {
            return Some((Self::Plan, rest));
        }
        let rest = line.strip_prefix("not ok ").or_else(|| line.strip_prefix("ok "))?;
        counted(rest).then_some((Self::Check, line))
    }
}

/// Takes what can be said once.
fn once<T>(place: &mut Option<T>, read: Option<T>) -> Result<(), Flaw> {
    let value = read.ok_or(Flaw::Unreadable)?;
    match place {
        Some(_) => Err(Flaw::Twice),
        None => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// What follows the words of a version line: nothing.
fn version(rest: &str) -> Result<(), Flaw> {
    if rest.is_empty() { Ok(()) } else { Err(Flaw::Unreadable) }
}

/// Digits only: `parse` alone takes a sign, too.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn not_shown(text: &str) -> Option<NotShown> {
    let (code, detail) = why(text);
    (!code.is_empty()).then_some(NotShown { code, detail, remedy: String::new() })
}

/// `code: detail`, or the code alone.
fn why(text: &str) -> (String, String) {
    let (code, detail) = text.split_once(": ").unwrap_or((text, ""));
    (code.to_owned(), text::read(detail))
}

/// A line of a check or of a suite's result.
struct Numbered<'l> {
    number: usize,
    check: Check,
    // Whether `ok` and the word say the same.
    agrees: bool,
    // What follows the word, as written.
    reason: &'l str,
}

/// `ok 3 name`, `ok 3 name # note`, `[not ]ok 3 name # WORD code: value`.
fn numbered(line: &str) -> Option<Numbered<'_>> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (digits, rest) = rest.split_once(' ')?;
    let number = number(digits)?;
    // An empty note leaves its mark at the line's end.
    let bare = rest.strip_suffix(" #").unwrap_or(rest);
    let (name, note) = rest.split_once(" # ").unwrap_or((bare, ""));
    let (word, reason) = note.split_once(' ').unwrap_or((note, ""));
    let said = word.parse::<Verdict>().ok();
    let agrees = said.map_or(ok, |said| said != Verdict::Success && said.is_ok() == ok);
    // `not ok` without one of our words is still no pass.
    let verdict = match said {
        Some(said) if said.is_ok() == ok => said,
        _ if ok => Verdict::Success,
        _ => Verdict::Failure,
    };
    let (code, detail) = match said {
        Some(_) => why(reason),
        None => (String::new(), text::read(note)),
    };
    let check = Check { name: name.to_owned(), verdict, code, detail, remedy: String::new() };
    Some(Numbered { number, check, agrees, reason })
}
