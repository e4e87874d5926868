//! What goes wrong in the rig itself: always with the value that was wrong, and with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for what most functions here give back.
pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

/// An error of the rig. What the guest or the machine did wrong is no error but a verdict: see [`crate::judge`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused something about a file.
    #[error("can't {doing} {}: {source}", path.display())]
    File {
        /// The verb: read, write, create, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("can't run `{program}`: {source}")]
    Start {
        /// The program's name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with something else than 0.
    #[error("`{command}` failed ({status}){}", indented(said))]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines it printed.
        said: String,
    },
    /// Something is not as it has to be.
    #[error("{what}")]
    Unfit {
        /// What, with the value.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// An error below, with what to do about it in this place.
    #[error("{source}")]
    Advised {
        /// The error below.
        source: Box<Self>,
        /// What to do.
        remedy: String,
    },
    /// Ctrl-C, or a request to end.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Something is not as it has to be: what, and what to do.
    pub(crate) fn unfit(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unfit { what: what.into(), remedy: remedy.into() }
    }

    /// What to do, if this error knows it.
    pub(crate) fn remedy(&self) -> Option<&str> {
        match self {
            Self::Unfit { remedy, .. } | Self::Advised { remedy, .. } => Some(remedy),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => {
                    Some("free some disk space; the cache can be elsewhere, by XDG_CACHE_HOME")
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("let this user write there; the cache can be elsewhere, by XDG_CACHE_HOME")
                }
                _ => None,
            },
            Self::Start { .. } => Some("install it, or put it on PATH"),
            Self::Command { .. } | Self::Interrupted => None,
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}

/// Adds what was being done, or what to do, to an error.
pub(crate) trait Context<T> {
    /// Names the file and what was being done with it.
    fn on(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::File { doing, path: path.as_ref().to_owned(), source })
    }
}

/// Adds a remedy to an error of ours.
pub(crate) trait Advice {
    /// Says what to do. An interruption stays one: there is nothing to remedy.
    fn advise(self, remedy: impl Into<String>) -> Self;
}

impl<T> Advice for Result<T> {
    fn advise(self, remedy: impl Into<String>) -> Self {
        self.map_err(|error| match error {
            Error::Interrupted => Error::Interrupted,
            other => Error::Advised { source: Box::new(other), remedy: remedy.into() },
        })
    }
}
