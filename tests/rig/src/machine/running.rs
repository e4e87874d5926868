//! A machine that runs: QEMU under guard, its serial ports as one stream of lines.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::argv::{CHANNEL, COM1, QEMU_LOG, QMP};
use super::relay::{self, Relay};
use super::{Device, End, Mischief, Plan, Qmp, Wire};
use crate::child::{self, Guard};
use crate::error::{Context, Error, Result};
use crate::interrupt;

/// How long dom0 may take nothing of what it is sent; it takes all in a tenth of a second.
const TAKING: Duration = Duration::from_secs(30);

/// Where a piece of text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Xen's console, with dom0's in it.
    Com1,
    /// The guests' console, with the job markers in it.
    Channel,
}

/// A running machine. Dropping it kills QEMU and removes its sockets.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Guard,
    sockets: Sockets,
    lines: Receiver<(Source, String)>,
    channel: Option<UnixStream>,
    relay: Option<Relay>,
    /// The control socket.
    pub(crate) qmp: Option<Qmp>,
}

/// What came next out of a machine.
#[derive(Debug)]
pub(crate) enum Next {
    /// A line, or the part of one that stood there when the port closed.
    Line(Source, String),
    /// Nothing for a moment.
    Quiet,
    /// Nothing any more: QEMU has ended.
    Ended,
}

impl Machine {
    /// Starts QEMU in its folder.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let folder = &plan.folder;
        let log = folder.join(QEMU_LOG);
        for (file, name) in plan.links() {
            let link = folder.join(name);
            symlink(file, &link).on("link", &link)?;
        }
        let mut command = plan.command();
        fs::write(&log, format!("{}\n", child::line(&command))).on("write", &log)?;
        let output = File::options().append(true).open(&log).on("open", &log)?;
        let errors = output.try_clone().on("open", &log)?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(errors);

        let sockets = Sockets(folder.to_owned());
        let com1 = listen(&folder.join(COM1))?;
        let qmp = listen(&folder.join(QMP))?;
        let channel = plan.jobs.is_some().then(|| listen(&folder.join(CHANNEL))).transpose()?;
        let relay = rough(plan).map(|seed| Relay::start(folder, seed)).transpose()?;
        let mut qemu = Guard::spawn(&mut command)?;
        let (sender, lines) = mpsc::channel();
        read_lines(Source::Com1, accept(&com1, &mut qemu, &log)?, sender.clone());
        let mut machine = Self { qemu, sockets, lines, channel: None, relay, qmp: None };
        if let Some(channel) = channel {
            let stream = accept(&channel, &mut machine.qemu, &log)?;
            stream.set_write_timeout(Some(TAKING)).on("set up", folder.join(CHANNEL))?;
            machine.channel = Some(stream.try_clone().on("open", folder.join(CHANNEL))?);
            read_lines(Source::Channel, stream, sender);
        }
        let stream = accept(&qmp, &mut machine.qemu, &log)?;
        // It answers once it has made all devices. What it refuses it refuses before, and its own words are better than ours.
        machine.qmp = match Qmp::open(stream) {
            Ok(qmp) => Some(qmp),
            Err(error) => {
                let ended = machine.qemu.wait(Duration::from_secs(1))?;
                return Err(ended.map_or(error, |status| ended_at_once(status, &log)));
            }
        };
        Ok(machine)
    }

    /// The next line, waiting for a moment.
    pub(crate) fn next(&mut self) -> Result<Next> {
        interrupt::check()?;
        Ok(match self.lines.recv_timeout(Duration::from_millis(50)) {
            Ok((source, line)) => Next::Line(source, line),
            Err(RecvTimeoutError::Timeout) => Next::Quiet,
            // Both readers have ended: QEMU closed its ports.
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        })
    }

    /// Says a word to dom0.
    pub(crate) fn tell(&mut self, word: &str) -> Result {
        self.send(format!("{word}\n").as_bytes())
    }

    /// Hands dom0 a file, which is to know its own end.
    pub(crate) fn hand(&mut self, file: &Path) -> Result {
        let bytes = fs::read(self.sockets.0.join(file)).on("read", file)?;
        self.send(&bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result {
        self.channel.as_mut().map_or(Ok(()), |stream| send(stream, bytes))
    }

    /// What was done so far to the frames on its rough wire.
    pub(crate) fn mischief(&self) -> Mischief {
        self.relay.as_ref().map(Relay::done).unwrap_or_default()
    }

    /// Ends QEMU: in order if it listens, by force if it doesn't.
    pub(crate) fn stop(mut self) -> Result {
        if let Some(qmp) = &mut self.qmp {
            // It may be gone by itself; then there is nothing to quit.
            let _gone = qmp.quit();
        }
        self.qemu.wait(Duration::from_secs(3)).map(drop)
    }
}

/// What the rough wire's frames are drawn with, if the machine has one.
fn rough(plan: &Plan) -> Option<u64> {
    plan.devices.iter().find_map(|device| match device {
        Device::End(End { wire: Wire::Rough(seed), .. }) => Some(*seed),
        _ => None,
    })
}

/// The sockets in a machine's folder, removed on drop.
#[derive(Debug)]
struct Sockets(PathBuf);

impl Drop for Sockets {
    fn drop(&mut self) {
        let names = [COM1, CHANNEL, QMP].map(str::to_owned);
        for name in names.into_iter().chain(relay::ends()) {
            // Not every machine has a channel, and most have no wire.
            let _missing = fs::remove_file(self.0.join(name));
        }
    }
}

/// Sends all of it, unless dom0 takes nothing for as long as it may.
fn send(stream: &mut UnixStream, bytes: &[u8]) -> Result {
    stream.write_all(bytes).map_err(|error| {
        Error::unfit(
            format!("dom0 did not take {} bytes of the rig's: {error}", bytes.len()),
            "see dom0.log and xen.log in the run's folder; --cold boots a dom0 where one was kept",
        )
    })
}

fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path).on("create", path)?;
    listener.set_nonblocking(true).on("set up", path)?;
    Ok(listener)
}

/// Waits for QEMU to connect. If it ends instead, its own words are the error.
fn accept(listener: &UnixListener, qemu: &mut Guard, log: &Path) -> Result<UnixStream> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).on("set up", log)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).on("listen at", log),
        }
        if let Some(status) = qemu.wait(Duration::from_millis(5))? {
            return Err(ended_at_once(status, log));
        }
    }
    Err(Error::unfit("QEMU did not start within 30 s", "see qemu.log in the run's folder"))
}

/// QEMU's own words; the log's first line is its command line.
fn ended_at_once(status: ExitStatus, log: &Path) -> Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let said = text.split_once('\n').map_or("", |(_, said)| said);
    Error::unfit(
        format!("QEMU ended at once ({status}): {}", child::tail(said, 3)),
        "check --nic and, if set, the program that QEMU= names",
    )
}

/// Sends a stream's lines until it closes, then what is left of the last one.
fn read_lines(source: Source, mut stream: UnixStream, lines: Sender<(Source, String)>) {
    thread::spawn(move || {
        let mut pending = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            pending.extend_from_slice(&buffer[..length]);
            let Ok(()) = send_whole(&mut pending, source, &lines) else {
                return;
            };
        }
        if !pending.is_empty() {
            // Nobody may be listening any more, and then nobody misses it.
            let _unheard = lines.send((source, text(&pending)));
        }
    });
}

/// Sends the whole lines at the start of `pending` and takes them out. Fails when nobody listens any more.
fn send_whole(
    pending: &mut Vec<u8>,
    source: Source,
    lines: &Sender<(Source, String)>,
) -> std::result::Result<(), SendError<(Source, String)>> {
    while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
        let line: Vec<u8> = pending.drain(..=end).collect();
        lines.send((source, text(&line)))?;
    }
    Ok(())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dom0_that_takes_nothing_is_not_waited_for_without_end() {
        let (mut rig, dom0) = UnixStream::pair().unwrap();
        rig.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        send(&mut rig, b"jobs\n").unwrap();
        let error = send(&mut rig, &[0; 8 << 20]).unwrap_err();
        assert!(error.to_string().starts_with("dom0 did not take 8388608 bytes"), "{error}");
        drop(dom0);
    }
}
