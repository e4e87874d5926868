//! The nightly compiler that libFuzzer and Miri take, and the tools on top of cargo: there, or put there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;
use crate::error::{Advice, Context, Error, Result};
use crate::progress::Stage;

/// The project that names the compiler.
pub(super) const PROJECT: &str = "tests/fuzz/libfuzzer";
/// Where tools go that this host lacks.
const TOOLS: &str = "target/tools";

/// A nightly compiler that is installed.
#[derive(Debug)]
pub(super) struct Nightly {
    name: String,
}

impl Nightly {
    /// The one that the project names, if it is installed.
    pub(super) fn find() -> Result<Option<Self>> {
        let file = Path::new(PROJECT).join("rust-toolchain.toml");
        let text = fs::read_to_string(&file).on("read", &file)?;
        let name = channel(&text).ok_or_else(|| {
            Error::unfit(format!("{} names no channel", file.display()), "add one: channel = \"…\"")
        })?;
        let installed = child::output(Command::new("rustup").args(["toolchain", "list"]))?;
        let found = installed.lines().any(|line| line.starts_with(name));
        Ok(found.then(|| Self { name: name.to_owned() }))
    }

    /// The same, installed if need be.
    pub(super) fn ensure() -> Result<Self> {
        if let Some(nightly) = Self::find()? {
            return Ok(nightly);
        }
        let file = fs::read_to_string(Path::new(PROJECT).join("rust-toolchain.toml"));
        let name = channel(&file.unwrap_or_default()).unwrap_or("nightly").to_owned();
        let stage = Stage::start("install", format!("Rust {name}"));
        let words = ["toolchain", "install", &name, "--profile", "minimal", "--no-self-update"];
        child::output(Command::new("rustup").args(words))
            .advise(format!("check the network, then run: rustup toolchain install {name}"))?;
        stage.done(format!("Rust {name}"));
        Ok(Self { name })
    }

    /// A command with this compiler in place of the pinned one.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.name, program]);
        command
    }

    /// Whether a component is there: `miri` answers to `cargo miri --version`.
    pub(super) fn has(&self, subcommand: &str) -> bool {
        child::output(self.command("cargo").args([subcommand, "--version"])).is_ok()
    }

    /// Puts a tool on the search path that is given back, built if the host lacks it.
    pub(super) fn tool(&self, tool: [&str; 2]) -> Result<OsString> {
        tool_path(tool)
    }
}

/// The search path with a tool of cargo's on it: the host's own, else one that is built into target/.
pub(super) fn tool_path([name, version]: [&str; 2]) -> Result<OsString> {
    let ours = PathBuf::from(TOOLS).join("bin");
    let ours = std::path::absolute(&ours).on("find", &ours)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if !ours.join(name).exists() && !folders.iter().any(|folder| folder.join(name).exists()) {
        let stage = Stage::start("install", format!("{name} {version} into {TOOLS}"));
        let words = ["install", name, "--version", version, "--locked", "--root", TOOLS];
        child::output(Command::new("cargo").args(words)).advise(format!(
            "check the network, then run: cargo install {name} --version {version}"
        ))?;
        stage.done(format!("{name} {version}"));
    }
    let all = folders.into_iter().chain([ours]);
    std::env::join_paths(all)
        .map_err(|_| Error::unfit("this folder's name can't be on PATH", "rename it: no colons"))
}

/// The value of `channel = "…"`.
fn channel(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("channel = \""))?;
    line.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_found_among_comments() {
        let text = "# why\n[toolchain]\nchannel = \"nightly-2026-05-20\"\n";
        assert_eq!(channel(text), Some("nightly-2026-05-20"));
        assert_eq!(channel("[toolchain]"), None);
    }
}
