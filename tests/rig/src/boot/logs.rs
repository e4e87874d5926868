//! The log files of the machine, and of the guests in it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::console::Piece;
use crate::error::{Context, Result};
use crate::machine::Plan;

/// The files, and where they are.
pub(super) struct Logs {
    folder: PathBuf,
    machine: PathBuf,
    xen: File,
    dom0: File,
    guest: Option<File>,
    last: String,
}

impl Logs {
    pub(super) fn create(plan: &Plan, folder: &Path) -> Result<Self> {
        let file = |name: &str| {
            let path = plan.folder.join(name);
            File::create(&path).on("create", &path)
        };
        Ok(Self {
            folder: folder.to_owned(),
            machine: plan.folder.clone(),
            xen: file("xen.log")?,
            dom0: file("dom0.log")?,
            guest: None,
            last: String::new(),
        })
    }

    pub(super) fn open_guest(&mut self, job: &str) -> Result {
        let path = self.folder.join(guest_log(job));
        self.guest = Some(File::create(&path).on("create", &path)?);
        Ok(())
    }

    pub(super) fn piece(&mut self, piece: &Piece) -> Result {
        let (file, line) = match piece {
            Piece::Xen(line) => (&mut self.xen, line),
            Piece::Dom0(line) => (&mut self.dom0, line),
        };
        if !line.trim().is_empty() {
            self.last.clone_from(line);
        }
        writeln!(file, "{line}").on("write", &self.machine)
    }

    pub(super) fn guest(&mut self, line: &str) -> Result {
        match &mut self.guest {
            Some(file) => writeln!(file, "{line}").on("write", &self.folder),
            None => Ok(()),
        }
    }

    pub(super) fn last_words(&self) -> &str {
        match self.last.trim() {
            "" => "none at all",
            words => words,
        }
    }
}

/// The name of a job's console log.
pub(crate) fn guest_log(job: &str) -> String {
    format!("guest-{job}.log")
}
