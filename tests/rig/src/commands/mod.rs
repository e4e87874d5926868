//! The commands, each a short story told in calls to the other modules.

mod abuse;
mod at_once;
mod bench;
mod boards;
mod bundle;
mod check;
mod completion;
mod deep;
mod explain;
mod fuzz;
mod hog;
mod home;
mod host;
mod hotplug;
mod isolated;
mod judge;
mod matrix;
mod mutants;
mod nightly;
mod pair;
mod peer;
mod place;
mod reasons;
mod session;
mod smoke;
mod soak;
mod stick;
mod sweep;
mod test;
mod workbench;

use std::process::ExitCode;

use crate::artifacts;
use crate::cli::{Cli, Command, Options};
use crate::error::Result;
use crate::guest::Guest;
use crate::judge::Verdict;
use crate::report::{self, RunRecord};

pub(crate) use workbench::Bench;

use fuzz::Effort;
use mutants::Choice;
use sweep::Sites;

/// Runs the command that was asked for.
pub(crate) fn run(cli: &Cli) -> Result<ExitCode> {
    let options = &cli.options;
    options.check_words()?;
    match cli.command.clone().unwrap_or(Command::Smoke) {
        Command::Smoke => smoke::run(options),
        Command::Dom0 { iommu, strict } => home::run(options, iommu, strict),
        Command::Hog => hog::run(options),
        Command::Hotplug { rounds } => hotplug::run(options, rounds),
        Command::Pair { mib, rough } => pair::run(options, mib, rough),
        Command::Test { deep } => test::run(options, deep),
        Command::Check => check::run(),
        Command::Bench { peer, rounds } => bench::run(options, peer.zip(Some(rounds))),
        Command::Abuse { cases } => abuse::run(options, &cases),
        Command::Soak { minutes, seed } => soak::run(options, minutes, seed),
        Command::Sweep { from, to, sites } => sweep::run(options, Sites::of(from, to, sites)?),
        Command::Matrix { quick, resume } => matrix::run(options, quick, resume),
        Command::Judge { logs } => judge::run(&logs),
        Command::Explain { words } => explain::run(&words),
        Command::Fuzz { minutes, inputs, targets } => {
            let effort = minutes.map_or(Effort::Inputs(inputs), |n| Effort::Seconds(n * 60));
            fuzz::run(effort, &targets)
        }
        Command::Mutants { file, nested, sample, seed } => {
            let choice = Choice { files: file, nested, sample, seed };
            mutants::run(options, &choice)
        }
        Command::Build => build(options),
        Command::Stick { boot, picture } => stick::run(options, boot, picture.as_deref()),
        Command::Host { host, devices, force } => host::run(options, &host, &devices, force),
        Command::Bundle { nested: false, .. } => bundle::run(options),
        Command::Bundle { stories, seed, .. } => bundle::nested(options, &stories, seed),
        Command::Completion { shell } => completion::script(shell),
        Command::Man => completion::manual(),
        Command::Session { file, words } => session::run(&file, &words),
        Command::Clean { cache } => clean(cache),
    }
}

fn build(options: &Options) -> Result<ExitCode> {
    let guest = Guest::get(options.guest.as_deref())?;
    let stripped = guest.elf.with_extension("stripped");
    let size = guest.strip(&stripped)?;
    println!("{}  {} KiB", stripped.display(), size.div_ceil(1024));
    Ok(ExitCode::SUCCESS)
}

fn clean(cache: bool) -> Result<ExitCode> {
    artifacts::remove("runs".as_ref())?;
    crate::child::output(std::process::Command::new("cargo").args(["clean", "--quiet"]))?;
    if cache {
        artifacts::remove(&artifacts::cache()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends a run: reports on disk, table on the terminal, the worst verdict as exit code.
fn conclude(run: RunRecord, bench: &Bench) -> Result<ExitCode> {
    let run = report::write(run, &bench.stream)?;
    report::print(&run, &bench.folder);
    let verdict: Verdict = run.worst();
    Ok(ExitCode::from(verdict.exit_code()))
}
