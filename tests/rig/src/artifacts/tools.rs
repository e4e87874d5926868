//! What a boot stick is made and tried with: GRUB for both kinds of firmware, xorriso, mtools, and firmware of the newer
//! kind. A folder of its own beside the stack's, fetched when the first stick is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Release, apt, remove, shelf, unpack, unpack_all};
use crate::child;
use crate::error::{Advice, Result};
use crate::progress::Stage;

/// Bumped when what it holds changes.
const FORMAT: &str = "stick-1";
const PACKAGES: [&str; 6] =
    ["grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "mtools", "ovmf", "xorriso"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The tools of a release.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    root: PathBuf,
}

impl Tools {
    /// From the cache, or fetched now.
    pub(crate) fn ensure(release: &Release) -> Result<Self> {
        shelf::whole(release, FORMAT, |home, part| fetch(release, home, part))
            .map(|root| Self { root })
    }

    /// A program of these packages, with its own loader and libraries.
    pub(crate) fn program(&self, name: &str) -> Command {
        let libraries = self.root.join(LIBRARIES);
        let mut command = child::mortal(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libraries);
        command.arg(self.root.join("usr/bin").join(name));
        command
    }

    /// Runs such a program to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Result {
        child::output(command).map(drop).advise("run `./run.sh clean --cache`, then run again")
    }

    /// GRUB's folder of a platform, such as `i386-pc`.
    pub(crate) fn grub(&self, platform: &str) -> PathBuf {
        self.root.join("usr/lib/grub").join(platform)
    }

    /// OVMF's code, and its variables as they are at first.
    pub(crate) fn ovmf(&self) -> [PathBuf; 2] {
        ["CODE", "VARS"].map(|part| self.root.join(format!("usr/share/OVMF/OVMF_{part}_4M.fd")))
    }
}

fn fetch(release: &Release, home: &Path, part: &Path) -> Result {
    let stage = Stage::start("fetch", format!("GRUB, xorriso and OVMF of {release}"));
    let apt = home.join("apt-stick");
    let debs = apt::closure(release, &apt, &PACKAGES, &stage)?;
    unpack_all(&debs, part, unpack::STICK, &stage)?;
    remove(&apt)?;
    stage.done(format!("{} packages of {release}", debs.len()));
    Ok(())
}
