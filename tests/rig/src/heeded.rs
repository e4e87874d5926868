//! Which of the options each command heeds. One that would change nothing is refused, before anybody believes that it did.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use crate::cli::Cli;

/// What the guest is and gets.
const GUEST: [&str; 7] = ["nic", "device", "swiotlb", "memory", "suite", "timeout", "cmdline"];
/// How a domU has its devices.
const DOMU: [&str; 3] = ["flat", "host_numbers", "permissive"];
/// What it runs on, and what is run.
const MACHINE: [&str; 11] = [
    "release",
    "xen",
    "dom0_kernel",
    "dom0_modules",
    "without",
    "xenstored",
    "no_trace",
    "no_kvm",
    "machines",
    "cold",
    "guest",
];

/// Fails for the first option that the command does not heed.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), clap::Error> {
    let command = matches.subcommand_name().unwrap_or("smoke");
    let heeded = by(command);
    let told = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let all = GUEST.iter().chain(&DOMU).chain(&MACHINE);
    match all.filter(told).find(|id| !heeded.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let option = id.replace('_', "-");
            let told = format!("--{option} changes nothing about `{command}`");
            Err(Cli::command().error(ErrorKind::ArgumentConflict, told))
        }
    }
}

/// Those that a command heeds.
fn by(command: &str) -> Vec<&'static str> {
    match command {
        "smoke" | "bench" | "sweep" | "mutants" => [&GUEST[..], &DOMU, &MACHINE].concat(),
        "dom0" | "hotplug" | "pair" | "stick" => [&GUEST[..], &MACHINE].concat(),
        "soak" => [&["nic", "device", "timeout", "cmdline"], &MACHINE[..]].concat(),
        "hog" | "abuse" => [&["cmdline"], &MACHINE[..]].concat(),
        "test" | "bundle" => MACHINE.to_vec(),
        "matrix" => ["no_kvm", "machines", "cold", "guest"].to_vec(),
        "host" => ["memory", "suite", "swiotlb", "timeout", "cmdline", "guest"].to_vec(),
        "build" => ["guest"].to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use clap::Args;
    use std::collections::BTreeSet;

    fn checked(words: &str) -> Result<(), String> {
        let words = std::iter::once("run.sh").chain(words.split_whitespace());
        let matches = Cli::command().try_get_matches_from(words).map_err(|e| e.to_string())?;
        check(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn what_changes_nothing_is_refused_by_its_name() {
        for words in ["", "--flat", "dom0 --memory 16", "test --no-kvm", "matrix --cold --quick"] {
            assert_eq!(checked(words), Ok(()), "{words}");
        }
        for (words, told) in [
            ("test --suite boot", "--suite changes nothing about `test`"),
            ("--memory 64 hog", "--memory changes nothing about `hog`"),
            ("matrix --without cpus", "--without changes nothing about `matrix`"),
            ("dom0 --host-numbers", "--host-numbers changes nothing about `dom0`"),
            ("explain --no-trace leak", "--no-trace changes nothing about `explain`"),
        ] {
            let error = checked(words).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn each_option_is_of_one_kind_and_each_command_is_known() {
        let options = Options::augment_args(clap::Command::new(""));
        let options: BTreeSet<_> =
            options.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        let known = [&GUEST[..], &DOMU, &MACHINE].concat();
        assert_eq!(known.len(), options.len());
        assert_eq!(known.into_iter().collect::<BTreeSet<_>>(), options);
        // These run no guest.
        let without =
            ["check", "judge", "explain", "fuzz", "completion", "man", "session", "clean"];
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert_eq!(by(name).is_empty(), without.contains(&name), "{name}");
        }
    }
}
