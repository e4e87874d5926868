//! Programs the rig starts: each is killed when its guard goes, and when the rig itself dies.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::interrupt;

const POLL: Duration = Duration::from_millis(20);

/// Sends a signal by its name to a process or, if its number is negative, to a group of them. The shell's own `kill` does it: a
/// system with little on it has no other.
pub(crate) fn signal(name: &str, process: &str) -> Result {
    let mut kill = Command::new("sh");
    output(kill.args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", name, process])).map(drop)
}

/// A running program, killed on drop.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        command
            .spawn()
            .map(Self)
            .map_err(|source| Error::Start { program: program(command), source })
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for its end, no longer than `limit`. `None` when it is still running.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            if let Some(status) = self.ended() {
                return Ok(Some(status));
            }
            if start.elapsed() >= limit {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, once.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Its standard input, once.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Its standard error, once.
    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.0.stderr.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A command whose process the kernel kills when the rig dies, even by SIGKILL.
///
/// `setpriv` sets the parent-death signal and then becomes the program: same process id, no unsafe code here. It is in
/// a process group of its own, so that the terminal's Ctrl-C reaches only the rig, which then ends it in order.
pub(crate) fn mortal(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0);
    command
}

/// Runs a program to its end and gives what it printed. On failure the error carries its last lines.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard::spawn(command)?;
    let out = drain(child.stdout());
    let err = drain(child.stderr());
    let status = loop {
        if let Some(status) = child.wait(Duration::from_secs(3600))? {
            break status;
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    // The terminal's Ctrl-C also reaches the child: its failure is then not the news.
    interrupt::check()?;
    if status.success() {
        return Ok(out);
    }
    let said = tail(&[out, err].concat(), 40);
    Err(Error::Command { command: line(command), status: status.to_string(), said })
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,.:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks ends the text; the exit status tells the rest.
        let _end = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_carries_what_was_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("why") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"));
        assert!(error.remedy().is_some());
    }

    #[test]
    fn command_lines_can_be_pasted() {
        let mut command = Command::new("xl");
        command.args(["create", "a b", "it's"]);
        assert_eq!(line(&command), r"xl create 'a b' 'it'\''s'");
    }

    #[test]
    fn a_guard_that_goes_takes_its_child_along() {
        let mut sleep = Guard::spawn(Command::new("sleep").arg("600")).unwrap();
        assert!(sleep.wait(Duration::ZERO).unwrap().is_none());
        let id = sleep.0.id();
        drop(sleep);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
