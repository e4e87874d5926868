//! Which patterns match no mutant: what they were for is gone, or has another name.

use regex::Regex;
use serde::Deserialize;

/// What is looked for, and where.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    patterns: Vec<String>,
    /// All mutants, as cargo-mutants calls them.
    names: Vec<String>,
}

impl Request {
    /// The patterns without a mutant, in their order.
    pub(crate) fn stale(&self) -> Result<Vec<&str>, regex::Error> {
        let mut stale = Vec::new();
        for pattern in &self.patterns {
            let regex = Regex::new(pattern)?;
            if !self.names.iter().any(|name| regex.is_match(name)) {
                stale.push(pattern.as_str());
            }
        }
        Ok(stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(patterns: &[&str]) -> Result<Vec<String>, regex::Error> {
        let names = ["src/a.rs:3:9: replace | with ^ in X<'m>::f", "src/b.rs:1:1: replace g -> ()"];
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let request = Request { patterns: own(patterns), names: own(&names) };
        Ok(own(&request.stale()?))
    }

    #[test]
    fn a_pattern_without_a_mutant_is_told_and_one_with_any_is_not() {
        let patterns =
            [r"src/a.rs.*replace \| with \^ in X", "src/a.rs.*::g", "replace (f|g) -> ", "c.rs"];
        assert_eq!(stale(&patterns).unwrap(), ["src/a.rs.*::g", "c.rs"]);
    }

    #[test]
    fn what_is_no_pattern_is_an_error() {
        assert!(stale(&["src/(a.rs"]).unwrap_err().to_string().contains("unclosed group"));
    }
}
