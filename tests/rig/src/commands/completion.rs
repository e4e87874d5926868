//! `completion` and `man`: the command line as shells and `man` want to be told of it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::error::{Context, Result};

pub(super) fn script(shell: Shell) -> Result<ExitCode> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "run.sh", &mut text);
    print(&text)
}

pub(super) fn manual() -> Result<ExitCode> {
    let mut text = Vec::new();
    Man::new(Cli::command()).render(&mut text).on("write", "the manual page")?;
    print(&text)
}

fn print(text: &[u8]) -> Result<ExitCode> {
    io::stdout().write_all(text).on("write", "standard output").map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_shell_and_man_hear_of_each_command() {
        let mut texts = Vec::new();
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            generate(*shell, &mut Cli::command(), "run.sh", &mut text);
            texts.push(String::from_utf8(text).unwrap());
        }
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).unwrap();
        texts.push(String::from_utf8(page).unwrap());
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(texts.iter().all(|text| text.contains(name)), "{name}");
        }
    }
}
