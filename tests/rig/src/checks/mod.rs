//! What `./run.sh check` and `./run.sh test` do without a machine: cargo's own checks, host tests, and the rules of this
//! tree that no tool knows.

mod rules;
mod tally;

use std::process::Command;
use std::thread;

pub(crate) use tally::Tally;

use crate::child;
use crate::error::{Error, Result};
use crate::progress::Stage;

const GUEST: [&str; 4] = ["-p", "pvbounce", "--target", "x86_64-unknown-none"];

/// One cargo command that has to succeed.
struct Step {
    name: &'static str,
    words: Vec<&'static str>,
    docs: bool,
}

fn step(name: &'static str, words: &[&'static str]) -> Step {
    Step { name, words: words.to_vec(), docs: false }
}

fn docs(name: &'static str, words: &[&'static str]) -> Step {
    let words = ["doc", "--locked", "--no-deps", "--document-private-items"]
        .into_iter()
        .chain(words.iter().copied());
    Step { name, words: words.collect(), docs: true }
}

fn steps() -> Vec<Step> {
    let clippy_guest =
        ["clippy", "--locked"].into_iter().chain(GUEST).chain(["--", "-D", "warnings"]);
    vec![
        step("format", &["fmt", "--all", "--check"]),
        step(
            "lints, host",
            &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
        step("lints, guest", &clippy_guest.collect::<Vec<_>>()),
        docs("docs, host", &["--workspace"]),
        docs("docs, guest", &GUEST),
    ]
}

/// All checks of the source. Each runs, whatever the others say.
pub(crate) fn all() -> Result<Tally> {
    let mut tally = Tally::default();
    for step in steps() {
        let stage = Stage::start("check", step.name);
        let mut command = cargo(&step.words);
        if step.docs {
            command.env("RUSTDOCFLAGS", "-Dwarnings");
        }
        let outcome = child::output(&mut command).map(drop);
        tally.note(stage, step.name, outcome)?;
    }
    for (name, rule) in rules::ALL {
        let stage = Stage::start("check", name);
        tally.note_rule(stage, name, rule)?;
    }
    shellcheck(&mut tally)?;
    Ok(tally)
}

/// Tests that run at a time for each core: those of the rig wait for scripts most of the time, and take 60 s so instead of 176.
const AT_ONCE: usize = 4;

/// All tests that need no machine, counted one by one.
pub(crate) fn host_tests() -> Result<Tally> {
    let stage = Stage::start("check", "host tests");
    let mut tally = Tally::default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    command.env("RUST_TEST_THREADS", (AT_ONCE * cores).to_string());
    match child::output(&mut bounded(&command)) {
        Ok(printed) => {
            tally.count(&printed);
            stage.done(format!("host tests: {} passed", tally.passed));
        }
        failed => tally.note(stage, "host tests", failed.map(drop))?,
    }
    Ok(tally)
}

fn shellcheck(tally: &mut Tally) -> Result {
    const SCRIPTS: [&str; 7] = [
        "run.sh",
        ".ci/run",
        "host/pvbounce.sh",
        "tests/rig/src/bundle/xl.sh",
        "tests/rig/src/dom0/bundle.sh",
        "tests/rig/src/dom0/init.sh",
        "tests/rig/src/dom0/peer.sh",
    ];
    let stage = Stage::start("check", "shell scripts");
    match child::output(Command::new("shellcheck").args(SCRIPTS)) {
        Err(Error::Start { .. }) => {
            tally.skipped += 1;
            stage.done("shell scripts: skipped, shellcheck is not installed");
            Ok(())
        }
        outcome => tally.note(stage, "shell scripts", outcome.map(drop)),
    }
}

/// The same command, ended with all that it started once a test must be hanging: it takes two minutes on two cores.
fn bounded(command: &Command) -> Command {
    const SECONDS: &str = "1200";
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=10", SECONDS, "setpriv", "--pdeathsig", "TERM", "--"]);
    bounded.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(words[0]).args((words[0] != "fmt").then_some("--quiet")).args(&words[1..]);
    // Set by `cargo run` for the rig itself; they would make cargo rebuild what depends on them.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_command_is_the_same_otherwise() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $KEPT"]).env("KEPT", "yes");
        assert_eq!(child::output(&mut bounded(&command)).unwrap(), "yes\n");
    }
}
