//! Counts what passed, failed and was skipped, and says at once what failed.

use crate::error::{Error, Result};
use crate::progress::Stage;

use super::rules::Rule;

/// The counts of a run's closing line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// What held.
    pub(crate) passed: usize,
    /// What didn't.
    pub(crate) failed: usize,
    /// What could not be tried.
    pub(crate) skipped: usize,
    /// The names of what didn't hold, for the end of a long run.
    broken: Vec<String>,
}

impl Tally {
    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.broken.extend(other.broken);
    }

    /// Counts one more.
    pub(crate) fn one(&mut self, name: &str, held: bool) {
        if held {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.broken.push(name.to_owned());
        }
    }

    /// Ends a stage with its outcome. Only an interruption is passed on: the other checks run all the same.
    pub(super) fn note(&mut self, stage: Stage, name: &str, outcome: Result) -> Result {
        match outcome {
            Ok(()) => {
                self.one(name, true);
                stage.done(name);
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                self.one(name, false);
                stage.done(format!("{name}: FAILED\n{error}"));
            }
        }
        Ok(())
    }

    /// Ends a stage with the complaints of a rule.
    pub(super) fn note_rule(&mut self, stage: Stage, name: &str, rule: Rule) -> Result {
        let complaints = rule()?;
        let outcome = match complaints.is_empty() {
            true => Ok(()),
            false => Err(Error::unfit(format!("    {}", complaints.join("\n    ")), "see above")),
        };
        self.note(stage, name, outcome)
    }

    /// Adds the counts in what `cargo test` printed.
    pub(super) fn count(&mut self, printed: &str) {
        for line in printed.lines().filter(|line| line.starts_with("test result: ")) {
            self.passed += before(line, " passed");
            self.failed += before(line, " failed");
            self.skipped += before(line, " ignored");
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.broken.iter().try_for_each(|name| writeln!(f, "failed: {name}"))?;
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

fn before(line: &str, word: &str) -> usize {
    let number = line.split_once(word).and_then(|(head, _)| head.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named_before_the_counts() {
        let mut tally = Tally::default();
        tally.one("good", true);
        tally.one("bad", false);
        assert_eq!(tally.to_string(), "failed: bad\n1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn cargos_counts_are_read() {
        let mut tally = Tally::default();
        tally.count("x\ntest result: ok. 20 passed; 0 failed; 1 ignored; 0 measured\ntest result: ok. 2 passed; 3 failed;\n");
        assert_eq!(tally.to_string(), "22 passed, 3 failed, 1 skipped");
    }
}
