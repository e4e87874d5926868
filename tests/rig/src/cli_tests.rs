//! Words that are read, words that are refused, and README, which has all of them.

use clap::{CommandFactory, Parser};

use crate::cli::Cli;

const README: &str = include_str!("../../../README.md");

#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn options_may_follow_or_stand_alone() {
    let cli = Cli::try_parse_from(["run.sh", "--swiotlb", "early"]).unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.options.words(), ["swiotlb=early"]);
    let cli = Cli::try_parse_from(["run.sh", "dom0", "--memory", "16", "--suite", "boot"]).unwrap();
    assert_eq!(cli.options.memory, Some(16));
}

#[test]
fn words_that_the_guest_does_not_know_are_refused_before_a_boot() {
    let check = |words: &[&str]| {
        let words = ["run.sh"].iter().chain(words);
        Cli::try_parse_from(words).unwrap().options.check_words()
    };
    assert!(check(&["--suite", "dma,net", "--cmdline", "dma_bits=28"]).is_ok());
    let error = check(&["--suite", "dam"]).unwrap_err().to_string();
    assert!(error.contains("option-malformed: `suite=dam`") && error.contains("dma"), "{error}");
    let error = check(&["--cmdline", "swiotbl=late"]).unwrap_err().to_string();
    assert!(error.contains("option-unknown: `swiotbl=late`"), "{error}");
    assert!(check(&["--cmdline", "swiotbl=late", "--guest", "mine.elf"]).is_ok());
}

#[test]
fn a_device_is_asked_for_by_one_option_or_the_other() {
    let device =
        |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.options.device().to_owned());
    assert_eq!(device(&["run.sh"]).unwrap(), "rtl8139");
    assert_eq!(device(&["run.sh", "--nic", "e1000"]).unwrap(), "e1000");
    assert_eq!(device(&["run.sh", "--device", "edu"]).unwrap(), "edu");
    assert!(device(&["run.sh", "--device", "edu", "--nic", "e1000"]).is_err());
    assert_eq!(Cli::try_parse_from(["run.sh"]).unwrap().options.asked_for(), None);
}

#[test]
fn nonsense_is_refused() {
    for words in [["run.sh", "fly"], ["run.sh", "--memory=0"], ["run.sh", "--timeout=soon"]] {
        assert!(Cli::try_parse_from(words).is_err(), "{words:?}");
    }
}

/// What stands in README under a heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// README's rows for a command or an option: those whose first cell has it as the first word of what is quoted.
fn rows(word: &str) -> String {
    let is_here = |cell: &str| {
        let names = cell.split('`').skip(1).step_by(2);
        names.filter_map(|name| name.split_whitespace().next()).any(|name| name == word)
    };
    let cell = |line: &'static str| line.strip_prefix("| ")?.split(" | ").next();
    let lines = section("Commands and options").lines();
    lines.filter(|line| cell(line).is_some_and(is_here)).collect()
}

#[test]
fn readme_has_each_command_with_its_options_and_each_option_of_a_run() {
    let cli = Cli::command();
    let long = |option: &clap::Arg| option.get_long().map(|name| format!("--{name}"));
    let mut lacking = Vec::new();
    for command in cli.get_subcommands() {
        let name = command.get_name();
        let said = rows(name);
        lacking.extend(said.is_empty().then(|| name.to_owned()));
        let options = command.get_arguments().filter_map(long);
        lacking.extend(
            options.filter(|option| !said.contains(option)).map(|it| format!("{name} {it}")),
        );
    }
    lacking.extend(cli.get_arguments().filter_map(long).filter(|option| rows(option).is_empty()));
    assert_eq!(lacking, [""; 0], "not in README.md");
}

#[test]
fn readme_and_help_have_the_same_exit_codes_and_variables() {
    let help = Cli::command().render_long_help().to_string();
    let codes = section("Commands and options").split_once("| exit code |").unwrap().1;
    let codes: Vec<_> = codes.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    let told = help.split_once("Exit codes: ").unwrap().1.split('.').next().unwrap();
    let number = |text: &str| text.split_whitespace().next().map(str::to_owned);
    let told: Vec<_> = told.split(',').filter_map(number).collect();
    assert_eq!(codes.into_iter().filter_map(number).collect::<Vec<_>>(), told);
    let variables = help.split_once("Environment:\n").unwrap().1.lines();
    for name in variables.filter_map(|line| line.strip_prefix("  ")).filter_map(number) {
        assert!(README.contains(&format!("`{name}`")), "{name} is not in README.md");
    }
}
