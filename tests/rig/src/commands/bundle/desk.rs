//! The desk: `./run.sh host`, as a process of its own, on a nested dom0 that ssh gets to. Once to its end, once to a Ctrl-C, once
//! until the connection is lost; and after each the device has its driver.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::child;
use crate::commands::host;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::job::Door;
use crate::progress::Stage;

/// What a run over ssh takes at most, with an emulated dom0 at the other end.
const LIMIT: Duration = Duration::from_secs(300);
/// How long what an interrupted or lost run has taken may take to be back: no longer than the command says that it waits.
const BACK: Duration = host::GOODBYE;
/// What the script says as soon as the guest runs: the row of its first suite.
const RUNNING: &str = "  boot ";
const SUITES: &str = "boot,memory,irq,dma";
/// The file that dom0 waits for.
const DONE: &str = "/tmp/desk-done";

/// What happens in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nothing,
    CtrlC,
    Lost,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "to its end",
            Self::CtrlC => "to a Ctrl-C",
            Self::Lost => "to a lost connection",
        })
    }
}

/// A person's folder with a key and a configuration of ssh's.
#[derive(Debug)]
pub(super) struct Desk {
    folder: PathBuf,
    port: u16,
    guest: PathBuf,
    device: String,
}

impl Desk {
    /// Makes it, for a device of dom0's.
    pub(super) fn set_up(run: &Path, guest: &Path, device: String) -> Result<Self> {
        let folder = run.join("desk");
        fs::create_dir_all(&folder).on("create", &folder)?;
        let folder = fs::canonicalize(&folder).on("find", &folder)?;
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
        let desk = Self {
            port: port.on("bind", "127.0.0.1")?.port(),
            guest: guest.to_owned(),
            folder,
            device,
        };
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(desk.at("key"));
        child::output(&mut keygen)?;
        let file = |name: &str| desk.at(name).display().to_string();
        let config = format!(
            "Host dom0\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile \"{}\"\n IdentitiesOnly yes\n \
             UserKnownHostsFile \"{}\"\n StrictHostKeyChecking accept-new\n HostKeyAlgorithms ssh-ed25519\n \
             BatchMode yes\n ConnectTimeout 20\n LogLevel ERROR\n",
            desk.port,
            file("key"),
            file("known")
        );
        fs::write(desk.at("config"), config).on("write", desk.at("config"))?;
        let ssh = format!("#!/bin/sh\nexec {} -F '{}' \"$@\"\n", program("ssh")?, file("config"));
        fs::write(desk.at("ssh"), ssh).on("write", desk.at("ssh"))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(desk.at("ssh"), executable).on("write", desk.at("ssh"))?;
        Ok(desk)
    }

    /// How dom0 lets it in.
    pub(super) fn door(&self) -> Result<Door> {
        let path = self.at("key.pub");
        Ok(Door { port: self.port, key: fs::read_to_string(&path).on("read", &path)? })
    }

    /// All three, as soon as dom0 answers; `over` says that it never will. What is not as it has to be, a line each.
    pub(super) fn visit(&self, over: &dyn Fn() -> bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let ended = self.await_sshd(over).and_then(|()| {
            let owner = self.owner()?;
            for way in [Way::Nothing, Way::CtrlC, Way::Lost] {
                let stage = Stage::start("desk", format!("`./run.sh host`, {way}"));
                wrong.extend(self.go(way)?.into_iter().map(|what| format!("{way}: {what}")));
                wrong.extend(self.await_owner(&owner)?.map(|what| format!("{way}: {what}")));
                stage.done(format!("`./run.sh host`, {way}"));
            }
            Ok(())
        });
        // It waits for that, whatever came of the visits.
        let told = (0..10).any(|_| self.ask(&format!("touch {DONE}")).is_ok());
        wrong.extend((!told).then(|| "dom0 can't be told that it is done".to_owned()));
        // Made for this run.
        let _gone = fs::remove_file(self.at("key"));
        wrong.extend(ended.err().map(|error| error.to_string()));
        wrong
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// QEMU takes a connection before dom0 does: it is there when it says who it is.
    fn await_sshd(&self, over: &dyn Fn() -> bool) -> Result {
        // Other stories may come before this one; the run's own limits end it.
        while !over() {
            interrupt::check()?;
            if banner(self.port).is_some_and(|said| said.starts_with(b"SSH-")) {
                return Ok(());
            }
            thread::sleep(Duration::from_secs(1));
        }
        Err(Error::unfit("dom0's sshd did not answer", "see dom0.log"))
    }

    fn ask(&self, command: &str) -> Result<String> {
        child::output(Command::new(self.at("ssh")).args(["dom0", command]))
    }

    /// The device's driver.
    fn owner(&self) -> Result<String> {
        self.ask(&format!("readlink /sys/bus/pci/devices/{}/driver", self.device))
    }

    /// Waits until dom0 is as it was: the device with this driver, no domain and no folder of ours.
    fn await_owner(&self, owner: &str) -> Result<Option<String>> {
        let left = "xl list | grep pvbounce-; ls -d /tmp/tmp.* /run/pvbounce/* 2>/dev/null; true";
        let start = Instant::now();
        loop {
            interrupt::check()?;
            // A connection that fails is no answer, and the next one may be.
            let (now, left) = (self.owner(), self.ask(left));
            let now = now.unwrap_or_else(|error| error.to_string());
            let left = left.unwrap_or_else(|error| error.to_string());
            if now == owner && left.is_empty() {
                return Ok(None);
            }
            if start.elapsed() > BACK {
                return Ok(Some(format!(
                    "{} is with {now:?}, not with {owner:?}; left: {left:?}",
                    self.device
                )));
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// One run.
    fn go(&self, way: Way) -> Result<Vec<String>> {
        let rig = std::env::current_exe().on("find", "the rig")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(rig);
        command.args(["host", "dom0", &self.device, "--suite", SUITES, "--guest"]).arg(&self.guest);
        command.env("PATH", [self.folder.as_os_str(), &path].join(":".as_ref()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // As a terminal has it, whose Ctrl-C is for all of the group.
        command.process_group(0);
        let mut rig = child::Guard::spawn(&mut command)?;
        let id = rig.id();
        let log = self.at(&format!("{way:?}.log"));
        let log = File::create(&log).on("create", &log)?;
        let lines = follow([rig.stdout().map(boxed), rig.stderr().map(boxed)], log);
        let mut said = Vec::new();
        let (mut since, mut limit) = (Instant::now(), LIMIT);
        // The table in the end has such a row, too.
        let mut due = way != Way::Nothing;
        let status = loop {
            interrupt::check()?;
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) if due && line.starts_with(RUNNING) => {
                    happen(way, id)?;
                    due = false;
                    // The command's own time, and some for its words.
                    (since, limit) = (Instant::now(), BACK + Duration::from_secs(10));
                }
                Ok(line) => said.push(line),
                Err(_) => {}
            }
            if let Some(status) = rig.ended() {
                break status;
            }
            if since.elapsed() > limit {
                return Ok(vec![format!("no end after {} s", limit.as_secs())]);
            }
        };
        said.extend(std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(1)).ok()));
        let wanted = [(Way::Nothing, 0), (Way::CtrlC, 130), (Way::Lost, 4)];
        let code = wanted.into_iter().find_map(|(known, code)| (known == way).then_some(code));
        let mut wrong = Vec::new();
        if status.code() != code {
            wrong.push(format!("ended with {status}, not {code:?}; {:?}", said.last()));
        }
        if way == Way::Nothing {
            wrong.extend(lacking(&said));
        }
        Ok(wrong)
    }
}

/// What a run that came to its end did not leave.
fn lacking(said: &[String]) -> Vec<String> {
    let Some(folder) = said.iter().find_map(|line| line.strip_prefix("logs: ")) else {
        return vec!["it does not say where its logs are".to_owned()];
    };
    let lacks = |name: &&&str| !Path::new(folder).join(name).is_file();
    let files = ["junit.xml", "report.html", "result.json", "host.log"];
    files.iter().filter(lacks).map(|name| format!("{folder} has no {name}")).collect()
}

/// Does to the run of this process what is to happen to it.
fn happen(way: Way, rig: u32) -> Result {
    match way {
        Way::Nothing => Ok(()),
        Way::CtrlC => child::signal("INT", &format!("-{rig}")),
        Way::Lost => {
            // ssh, which is all that it has started by then.
            let path = format!("/proc/{rig}/task/{rig}/children");
            let children = fs::read_to_string(&path).on("read", &path)?;
            let ssh = children.split_whitespace().last().unwrap_or_default();
            child::signal("KILL", ssh)
        }
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

/// The lines of both pipes, as they come, and into a file, where each has the second that it came in.
fn follow(pipes: [Option<Box<dyn Read + Send>>; 2], log: File) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    let log = std::sync::Arc::new(log);
    let start = Instant::now();
    for pipe in pipes.into_iter().flatten() {
        let (send, log) = (send.clone(), std::sync::Arc::clone(&log));
        thread::spawn(move || {
            let mut lines = BufReader::new(pipe).lines().map_while(std::io::Result::ok);
            // Where the disk is full, the run still counts.
            let keep = |line: &String| {
                drop(writeln!(&mut &*log, "{:6.1} {line}", start.elapsed().as_secs_f64()));
            };
            lines.by_ref().inspect(keep).try_for_each(|line| send.send(line))
        });
    }
    receive
}

/// What a server says first.
fn banner(port: u16) -> Option<Vec<u8>> {
    let wait = Some(Duration::from_secs(3));
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.set_read_timeout(wait).ok()?;
    let mut said = vec![0; 4];
    server.read_exact(&mut said).ok().map(|()| said)
}

/// Where a program is.
fn program(name: &str) -> Result<String> {
    let found = child::output(Command::new("sh").args(["-c", "command -v \"$0\"", name]));
    found
        .map(|path| path.trim().to_owned())
        .map_err(|_| Error::unfit(format!("there is no {name} here"), "install openssh-client"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_left_no_reports_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let said = [format!("logs: {}", folder.path().display())];
        for name in ["junit.xml", "report.html", "result.json"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let wrong = lacking(&said);
        assert!(matches!(&wrong[..], [one] if one.ends_with("has no host.log")), "{wrong:?}");
        fs::write(folder.path().join("host.log"), "").unwrap();
        assert!(lacking(&said).is_empty());
        assert_eq!(lacking(&[]).len(), 1);
    }

    #[test]
    fn a_server_is_there_when_it_says_who_it_is() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let said = thread::spawn(move || server.accept().unwrap().0.write_all(b"SSH-2.0-x\r\n"));
        assert_eq!(banner(port).unwrap(), b"SSH-");
        said.join().unwrap().unwrap();
        // Nobody is there any more.
        assert_eq!(banner(port), None);
    }

    #[test]
    fn both_pipes_are_read_to_their_ends() {
        let mut child = Command::new("sh");
        child.args(["-c", "echo a; echo b >&2"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child::Guard::spawn(&mut child).unwrap();
        let log = tempfile::tempfile().unwrap();
        let lines = follow([child.stdout().map(boxed), child.stderr().map(boxed)], log);
        let mut lines: Vec<_> = lines.iter().collect();
        lines.sort();
        assert_eq!(lines, ["a", "b"]);
    }
}
