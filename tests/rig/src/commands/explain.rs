//! `explain CODE|LOG…`: what a reason code means and what to do, or each one in a log, out of docs/suites.md.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::console::runs;
use crate::error::{Context, Error, Result};
use crate::judge::Verdict;
use crate::report::{self, JobRecord};

const DOCS: &str = include_str!("../../../../docs/suites.md");
const HEADING: &str = "Reason codes";

pub(super) fn run(words: &[String]) -> Result<ExitCode> {
    let text = told(words, &codes(DOCS))?;
    io::stdout().lock().write_all(text.as_bytes()).on("write", "standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of these codes and logs, each code once. One that a log has and the docs lack is said to be such: the log may be
/// of another version, and what it has besides is explained all the same.
fn told(words: &[String], known: &[Code]) -> Result<String> {
    let mut told = BTreeSet::new();
    let mut text = String::new();
    for word in words {
        let is_log = Path::new(word).is_file();
        let codes = if is_log { of_log(word.as_ref())? } else { vec![word.clone()] };
        for code in codes.into_iter().filter(|code| told.insert(code.clone())) {
            text += &match explain(known, &code) {
                Err(_) if is_log => format!("{code}\n  means   not known to this version"),
                said => said?,
            };
            text.push('\n');
        }
    }
    Ok(text)
}

/// A reason code, as docs/suites.md has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Code {
    name: String,
    meaning: String,
    remedy: String,
}

/// Those of the table below its heading.
fn codes(docs: &str) -> Vec<Code> {
    let events = Parser::new_ext(docs, Options::ENABLE_TABLES);
    let mut here = false;
    let mut heading = String::new();
    let mut row: Vec<String> = Vec::new();
    let mut codes = Vec::new();
    for event in events {
        match event {
            Event::Start(Tag::Heading { .. }) => heading.clear(),
            Event::End(TagEnd::Heading(_)) => here = heading == HEADING,
            Event::Start(Tag::TableRow) => row.clear(),
            Event::Start(Tag::TableCell) => row.push(String::new()),
            Event::End(TagEnd::TableRow) if here => codes.extend(code(&row)),
            Event::Text(text) | Event::Code(text) => {
                heading.push_str(&text);
                row.iter_mut().next_back().into_iter().for_each(|cell| cell.push_str(&text));
            }
            _ => {}
        }
    }
    codes
}

fn code(row: &[String]) -> Option<Code> {
    let [name, meaning, remedy] = row else { return None };
    Some(Code { name: name.clone(), meaning: meaning.clone(), remedy: remedy.clone() })
}

/// The codes of a log: first what went wrong, then what was passed over.
fn of_log(log: &Path) -> Result<Vec<String>> {
    let found = runs(&fs::read(log).on("read", log)?);
    let records: Vec<JobRecord> =
        found.into_iter().map(|run| report::logged("explain", run, None)).collect();
    if records.is_empty() {
        return Err(Error::unfit(
            format!("{} has no line of a report of pvbounce", log.display()),
            "name the log of a guest's console, or a reason code",
        ));
    }
    let problems = records.iter().flat_map(JobRecord::problems).map(|problem| problem.code.clone());
    let suites = || records.iter().flat_map(|record| &record.suites);
    let checks = suites().flat_map(|suite| &suite.checks);
    let rest =
        checks.filter(|check| check.verdict != Verdict::Success).map(|check| check.code.clone());
    Ok(problems.chain(rest).filter(|code| !code.is_empty()).collect())
}

/// What is said of a code.
fn explain(known: &[Code], code: &str) -> Result<String> {
    let Some(Code { name, meaning, remedy }) = known.iter().find(|known| known.name == code) else {
        return Err(unknown(known, code));
    };
    let remedy = match remedy.as_str() {
        "" => "as the report says",
        remedy => remedy,
    };
    Ok(format!("{name}\n  means   {meaning}\n  remedy  {remedy}"))
}

/// Names those that it may have been: of the same kind, or with a word of it.
fn unknown(known: &[Code], code: &str) -> Error {
    let words = || code.split('-').filter(|word| word.len() > 2);
    let near = |known: &&Code| words().any(|word| known.name.split('-').any(|other| other == word));
    let near: Vec<_> = known.iter().filter(near).map(|known| known.name.as_str()).collect();
    let remedy = match near[..] {
        [] => "docs/suites.md lists them all".to_owned(),
        _ => format!("did you mean one of {}?", near.join(", ")),
    };
    Error::unfit(format!("{code} is no reason code, and no log"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_docs_can_be_explained() {
        let known = codes(DOCS);
        let rows = DOCS.split_once("## Reason codes").unwrap().1;
        let rows = rows.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(known.len(), rows);
        assert!(rows > 200, "{rows}");
        for code in &known {
            assert!(!code.meaning.is_empty(), "{}", code.name);
            assert!(explain(&known, &code.name).unwrap().contains(&code.meaning));
        }
    }

    #[test]
    fn a_code_is_explained_and_a_slip_of_it_gets_a_hint() {
        let known = codes(DOCS);
        let text = explain(&known, "dhcp-timeout").unwrap();
        assert!(
            text.starts_with("dhcp-timeout\n  means   ") && text.contains("\n  remedy  "),
            "{text}"
        );
        let hint = explain(&known, "dhcp-tineout").unwrap_err();
        assert!(hint.remedy().unwrap().contains("dhcp-timeout"), "{hint}");
        assert!(explain(&known, "qqq").unwrap_err().remedy().unwrap().contains("docs/suites.md"));
    }

    #[test]
    fn what_went_wrong_in_a_log_comes_before_what_was_passed_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: net\n  1..2\n  \
                    ok 1 a # SKIP pci-no-msi: x\n  # reason: dhcp-timeout: y\n  not ok 2 b # FAILURE dhcp-timeout: y\nnot ok 1 net # FAILURE\n\
                    Test result: FAILURE\n";
        fs::write(file.path(), text).unwrap();
        let codes = of_log(file.path()).unwrap();
        assert_eq!(codes.first().map(String::as_str), Some("dhcp-timeout"), "{codes:?}");
        assert!(codes.contains(&"pci-no-msi".to_owned()), "{codes:?}");
        let log = file.path().display().to_string();
        fs::write(&log, text.replace("pci-no-msi", "of-tomorrow")).unwrap();
        let known = super::codes(DOCS);
        let text = told(&[log.clone(), "leak".to_owned(), log.clone()], &known).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(lines, ["dhcp-timeout", "of-tomorrow", "leak"], "{text}");
        assert!(text.contains("not known to this version"), "{text}");
        assert!(told(&["of-tomorrow".to_owned()], &known).is_err());
        fs::write(file.path(), "nothing").unwrap();
        assert!(of_log(file.path()).is_err());
    }
}
