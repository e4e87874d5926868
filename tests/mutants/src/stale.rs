//! Which exceptions match no mutant: what they were for is gone, or has another name. They would leave out what is new and
//! happens to be called that, and nobody would know why.

use std::error::Error;

use regex::Regex;
use serde::Deserialize;

/// What is looked for, and where.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    /// The text of `.cargo/mutants.toml`.
    settings: String,
    /// All mutants, as cargo-mutants calls them.
    names: Vec<String>,
}

#[derive(Deserialize)]
struct Settings {
    exclude_re: Vec<String>,
}

impl Request {
    /// The exceptions without a mutant, in their order.
    pub(crate) fn stale(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut stale = Vec::new();
        for pattern in toml::from_str::<Settings>(&self.settings)?.exclude_re {
            let regex = Regex::new(&pattern)?;
            if !self.names.iter().any(|name| regex.is_match(name)) {
                stale.push(pattern);
            }
        }
        Ok(stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(patterns: &str) -> Result<Vec<String>, Box<dyn Error>> {
        let names = ["src/a.rs:3:9: replace | with ^ in X<'m>::f", "src/b.rs:1:1: replace g -> ()"];
        let settings = format!("exclude_globs = []\nexclude_re = [\n# why\n{patterns}\n]\n");
        Request { settings, names: names.map(str::to_owned).into() }.stale()
    }

    #[test]
    fn a_pattern_without_a_mutant_is_told_and_one_with_any_is_not() {
        let patterns = r#""src/a.rs.*replace \\| with \\^ in X", "src/a.rs.*::g",
            "replace (f|g) -> ", 'c.rs'"#;
        assert_eq!(stale(patterns).unwrap(), ["src/a.rs.*::g", "c.rs"]);
    }

    #[test]
    fn what_is_no_pattern_is_an_error() {
        assert!(stale("'src/(a.rs'").unwrap_err().to_string().contains("unclosed group"));
        assert!(stale("src").is_err(), "no TOML");
    }
}
