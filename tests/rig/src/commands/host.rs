//! `host USER@HOST DEVICE…`: the bundle on a real Xen host, over one connection; judged here.
//!
//! ```text
//!  stdin    the archive, and then nothing for as long as the run is wanted: where it ends, so does the run (--tied)
//!  stdout   the guest's console as it is
//!  stderr   what the script says: what it found, a line for each suite, what was given back
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::workbench::run_folder;
use super::{bundle, judge};
use crate::child::Guard;
use crate::cli::Options;
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::judge::{Problem, Verdict};
use crate::report::{self, JobRecord, RunRecord, Stream};

/// Where on the host the script keeps its notes and logs: always there, so that the next run finds what one that was killed
/// had taken.
const NOTES: &str = "/run/pvbounce";

/// What runs on the host, in a shell of its own: the login shell may be any. `N` is the archive's size, `ARGS` the script's
/// arguments. Of the notes those stay that are of a run under way, or of a device that could not be given back.
const REMOTE: &str = "as=; [ \"$(id -u)\" = 0 ] || as=\"sudo -n\"; c=4; \
     if d=$(mktemp -d) && head -c N | tar -xzf - -C \"$d\"; then \
     $as \"$d/pvbounce/pvbounce\" --console --tied --output NOTES ARGS; c=$?; \
     $as sh -c \"for r in NOTES/*; do [ -e \\\"\\$r/pid\\\" ] || [ -e \\\"\\$r/taken\\\" ] || rm -rf \\\"\\$r\\\"; done\"; \
     else echo \"ERROR        host-unpack: the archive could not be unpacked in ${d:-a temporary folder}\" >&2; \
     echo \"  remedy       see that the host has tar and gzip, and room in ${TMPDIR:-/tmp}\" >&2; fi; \
     [ -z \"$d\" ] || $as rm -rf \"$d\"; exit $c";

/// What ssh itself ends with.
const SSH_FAILED: i32 = 255;
/// How long a host may take to give back after an interruption: libxl waits ten seconds for each device of a guest that does not
/// answer, and a busy dom0 takes its time over each xl.
pub(super) const GOODBYE: Duration = Duration::from_secs(180);
/// What a rig that was interrupted ends with.
const INTERRUPTED: u8 = 130;

/// What the host's side came to.
#[derive(Debug)]
struct Told {
    console: Vec<u8>,
    said: Vec<String>,
    code: Option<i32>,
    interrupted: bool,
}

pub(super) fn run(
    options: &Options,
    host: &str,
    devices: &[String],
    force: bool,
) -> Result<ExitCode> {
    let arguments = words(options, devices, force)?;
    if host.starts_with('-') {
        return Err(Error::unfit(format!("no host: {host}"), "name it as ssh knows it: USER@HOST"));
    }
    let archive = bundle::pack(options)?;
    let now = Utc::now();
    let mut ssh = ssh("ssh".as_ref(), host, &remote(archive.len(), &arguments, NOTES));
    let told = over(&mut ssh, archive, &|| interrupt::check().is_err(), GOODBYE)?;
    if told.interrupted {
        let (code, said) = farewell(host, told.code);
        eprintln!("{said}");
        return Ok(ExitCode::from(code));
    }
    if told.code == Some(SSH_FAILED) {
        return Err(Error::unfit(
            format!("ssh did not get to {host}, or lost it"),
            format!(
                "see its message above, and try: ssh {host} true; what a lost run had taken goes back by itself"
            ),
        ));
    }
    let folder = run_folder(&format!("{}-host", now.format("%Y%m%d-%H%M%S")))?;
    let run = RunRecord {
        name: "host".to_owned(),
        started: now.format("%Y-%m-%d %H:%M:%S").to_string(),
        machine: machine(host, &told.said),
        image_bytes: 0,
        jobs: jobs(&told, devices.len(), &folder)?,
        over: true,
        ..RunRecord::default()
    };
    let stream = Stream::create(&folder, &run)?;
    let run = report::write(run, &stream)?;
    report::print(&run, &folder);
    Ok(ExitCode::from(run.worst().exit_code()))
}

/// What an interrupted run ends with, and says of the host, which ended with this, or not yet.
fn farewell(host: &str, code: Option<i32>) -> (u8, String) {
    let next = format!(
        "the next run on {host} gives back what is then left; its notes are in {NOTES} there"
    );
    let error = Verdict::Error.exit_code();
    match code {
        None => {
            let limit = GOODBYE.as_secs();
            let said = "what it waits for stands above, and it goes on by itself";
            (error, format!("interrupted: {host} has not ended after {limit} s; {said}; {next}"))
        }
        Some(SSH_FAILED) => {
            let said = "is lost, and the host gives back by itself what it had taken";
            (error, format!("interrupted: the connection to {host} {said}; {next}"))
        }
        Some(code) if code == i32::from(error) => {
            (error, format!("interrupted: {host} ended with an ERROR, see above; {next}"))
        }
        // A run that was over by then has no verdict here either: nobody judged it.
        Some(_) => (INTERRUPTED, format!("interrupted: {host} has given back what it had taken")),
    }
}

/// The script's arguments, for a shell to read as they are.
fn words(options: &Options, devices: &[String], force: bool) -> Result<String> {
    if let Some(word) = devices.iter().find(|word| !is_address(word)) {
        return Err(Error::unfit(format!("no PCI address: {word}"), "devices are as 0000:03:00.0"));
    }
    let guest = [options.words().join(" "), options.cmdline.clone()].join(" ");
    let timeout = options.timeout.iter().map(|s| format!("--timeout {s}"));
    let memory = options.memory.iter().map(|mib| format!("--memory {mib}"));
    let guest = Some(guest.trim().to_owned()).filter(|words| !words.is_empty());
    let plain = |c: &char| c.is_ascii_alphanumeric() || " -_=+,.:/@^".contains(*c);
    let strange = devices.iter().chain(guest.as_ref()).flat_map(|word| word.chars());
    let strange = strange.into_iter().find(|c| !plain(c));
    let quoted = guest.map(|words| format!("--words \"{words}\""));
    let force = force.then(|| "--force".to_owned());
    let all = timeout.chain(memory).chain(quoted).chain(force).chain(devices.iter().cloned());
    match strange {
        None => Ok(all.collect::<Vec<_>>().join(" ")),
        Some(c) => Err(Error::unfit(
            format!("a host is told nothing that has {c:?} in it"),
            "devices are as 0000:03:00.0, words as swiotlb=early",
        )),
    }
}

/// Whether this is a PCI address, with its segment or without: 0000:03:00.0.
fn is_address(word: &str) -> bool {
    let like = |shape: &str| {
        let fits = |(c, s): (char, char)| if s == 'h' { c.is_ascii_hexdigit() } else { c == s };
        word.len() == shape.len() && word.chars().zip(shape.chars()).all(fits)
    };
    like("hhhh:hh:hh.h") || like("hh:hh.h")
}

fn remote(size: usize, arguments: &str, notes: &str) -> String {
    let script = REMOTE.replace("head -c N", &format!("head -c {size}")).replace("ARGS", arguments);
    let script = script.replace("NOTES", notes);
    format!("exec sh -c '{script}'")
}

/// What ssh is told of a network that is lost: it ends when a minute of its questions had no answer.
const ALIVE: &str = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// ssh, deaf to the terminal's Ctrl-C, so that it tells what became of the device after it; it ends when its input does.
fn ssh(program: &Path, host: &str, command: &str) -> Command {
    let mut ssh = Command::new("sh");
    ssh.args(["-c", &format!("trap '' INT TERM HUP QUIT; exec \"$0\" {ALIVE} -T \"$@\"")])
        .arg(program)
        .args([host, command]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ssh
}

/// Runs it to its end, or until it is to stop and has, or has not in so much time. What the script says is shown as it comes.
fn over(
    ssh: &mut Command,
    archive: Vec<u8>,
    stop: &dyn Fn() -> bool,
    goodbye: Duration,
) -> Result<Told> {
    let mut child = Guard::spawn(ssh)?;
    let mut input = child.stdin().map(|pipe| feed(pipe, archive));
    let console = child.stdout().map(|pipe| lines(pipe, false));
    let said = child.stderr().map(|pipe| lines(pipe, true));
    let mut left = None;
    let code = loop {
        if let Some(status) = child.ended() {
            break status.code();
        }
        if left.is_none() && stop() {
            let limit = goodbye.as_secs();
            eprintln!(
                "interrupted: the host gives back what it has taken; waiting for that, at most {limit} s"
            );
            input.take();
            left = Some(Instant::now() + goodbye);
        }
        if left.is_some_and(|until| Instant::now() > until) {
            break None;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let interrupted = left.is_some();
    let all = |lines: Option<Receiver<Vec<u8>>>| -> Vec<u8> {
        // A program that ssh left behind may hold the pipe.
        let wait = Duration::from_secs(2);
        let lines =
            lines.into_iter().flat_map(|l| std::iter::from_fn(move || l.recv_timeout(wait).ok()));
        lines.flatten().collect()
    };
    let said = String::from_utf8_lossy(&all(said)).lines().map(str::to_owned).collect();
    Ok(Told { console: all(console), said, code, interrupted })
}

/// Hands the archive over, and keeps the pipe open until the sender goes.
fn feed(mut pipe: ChildStdin, archive: Vec<u8>) -> mpsc::Sender<()> {
    let (keep, kept) = mpsc::channel::<()>();
    thread::spawn(move || {
        // Where nobody takes it, ssh has its own message about why.
        let _sent = pipe.write_all(&archive).and_then(|()| pipe.flush());
        let _gone = kept.recv();
    });
    keep
}

/// The lines of a pipe, as they come; shown, if that is wanted.
fn lines(pipe: impl Read + Send + 'static, show: bool) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if show => eprint!("{}", printable(&line)),
                Ok(_) => {}
            }
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// What comes from a host may hold anything.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// What the host is, by what the script found.
fn machine(host: &str, said: &[String]) -> String {
    let fact = |name: &str| {
        said.iter().find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim)
    };
    match fact("Xen  ") {
        Some(xen) => format!("{host}: Xen {xen}"),
        None => host.to_owned(),
    }
}

/// A record of each guest that had a console, with what the script alone can say added to the last.
fn jobs(told: &Told, devices: usize, folder: &Path) -> Result<Vec<JobRecord>> {
    let log = folder.join("host.log");
    std::fs::write(&log, &told.console).on("write", &log)?;
    let mut jobs = judge::records("host", &told.console, devices, folder)?;
    let verdict = told.code.and_then(Verdict::of_exit_code).unwrap_or(Verdict::Error);
    let mut problems = problems(&told.said);
    if jobs.is_empty() {
        jobs.push(report::unborn("host", verdict));
        if verdict == Verdict::Success {
            problems.push((Verdict::Error, no_console()));
        }
    }
    let guest = jobs.last().map(|job| job.verdict);
    let is_explained = guest == Some(verdict) && !told.console.is_empty();
    if problems.is_empty() && verdict == Verdict::Error && !is_explained {
        let last = told.said.last().cloned().unwrap_or_default();
        problems.push((
            verdict,
            Problem::rig(
                "host-unclear",
                format!("the host's side ended with {:?}: {last}", told.code),
                "see its words above",
            ),
        ));
    }
    if let Some(last) = jobs.last_mut() {
        problems.into_iter().for_each(|(verdict, problem)| last.add(verdict, problem));
        last.at_least(verdict);
    }
    Ok(jobs)
}

/// A SUCCESS of nothing.
fn no_console() -> Problem {
    Problem::rig(
        "log-cut",
        "the host's side calls it SUCCESS, and there is no console of a guest",
        "see its words above: was there a device to run with?",
    )
}

/// What the script said that no check of the guest's did: `VERDICT      code: detail`, and the remedy below it.
fn problems(said: &[String]) -> Vec<(Verdict, Problem)> {
    let mut found: Vec<(Verdict, Problem)> = Vec::new();
    for line in said {
        if let Some(remedy) = line.strip_prefix("  remedy  ")
            && let Some((_, problem)) = found.last_mut()
        {
            remedy.trim().clone_into(&mut problem.remedy);
        }
        let word = line.split(' ').next().unwrap_or_default();
        let Some(verdict) = Verdict::of_word(word) else { continue };
        let Some((code, detail)) = line[word.len()..].trim_start().split_once(": ") else {
            continue;
        };
        if !code.contains(' ') {
            let at = "host".to_owned();
            let [code, detail] = [code, detail].map(str::to_owned);
            found.push((verdict, Problem { at, code, detail, remedy: String::new() }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::host::Host;
    use crate::bundle::pack_from;

    const CARD: &str = "0000:03:00.0";
    const CONSOLE: &str = "pvbounce 0.1.0 on Xen 4.20.3, domU, 256 MiB\nKTAP version 1\n1..1\n  KTAP version 1\n  \
                           # Subtest: dma\n  1..1\n  ok 1 loopback\nok 1 dma\n\
                           # transfers out=0 in=1 compared=1 bytes=60\nTest result: SUCCESS\n";

    fn host() -> Host {
        let host = Host::new();
        host.card(CARD, "eth0");
        host.file("state/console", CONSOLE);
        host
    }

    fn told(host: &Host, name: &str, arguments: &str, stop: &dyn Fn() -> bool) -> Told {
        told_within(host, name, arguments, stop, GOODBYE)
    }

    fn told_within(
        host: &Host,
        name: &str,
        arguments: &str,
        stop: &dyn Fn() -> bool,
        goodbye: Duration,
    ) -> Told {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let archive = pack_from(root, &root.join("run.sh")).unwrap();
        let notes = host.at("state/notes");
        let remote = remote(archive.len(), arguments, notes.to_str().unwrap());
        let mut ssh = ssh(&host.ssh(), name, &remote);
        over(&mut ssh, archive, stop, goodbye).unwrap()
    }

    /// The verdict, and the codes of what is wrong.
    fn judged(told: &Told) -> (Verdict, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let jobs = jobs(told, 1, folder.path()).unwrap();
        let [job] = &jobs[..] else { panic!("{told:?}") };
        (job.verdict, job.problems().map(|problem| problem.code.clone()).collect())
    }

    #[test]
    fn a_run_over_ssh_is_judged_here_and_leaves_nothing_there() {
        let host = host();
        let told = told(&host, "root@host", CARD, &|| false);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert_eq!(judged(&told), (Verdict::Success, vec![]));
        assert_eq!(String::from_utf8_lossy(&told.console), CONSOLE);
        assert_eq!(machine("h", &told.said), "h: Xen 4.20.3, dom0");
        assert_eq!(host.driver(CARD), "r8169");
        let left = std::fs::read_dir(host.at("state")).unwrap();
        let left = left.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("tmp.")
        });
        assert_eq!(left.count(), 0);
        let notes = std::fs::read_dir(host.at("state/notes")).unwrap();
        assert_eq!(notes.count(), 0);
    }

    #[test]
    fn what_a_lost_run_had_taken_is_given_back_by_the_next() {
        let host = host();
        host.file("state/refuses", "pci-assignable-remove");
        let lost = told(&host, "root@host", CARD, &|| false);
        assert_eq!(judged(&lost), (Verdict::Error, vec!["not-given-back".to_owned()]));
        assert_eq!(host.driver(CARD), "pciback");
        std::fs::remove_file(host.at("state/refuses")).unwrap();
        let next = told(&host, "root@host", CARD, &|| false);
        assert_eq!(judged(&next), (Verdict::Success, vec![]), "{next:?}");
        assert!(next.said.iter().any(|line| line.contains("is back with r8169")), "{next:?}");
        assert_eq!(host.driver(CARD), "r8169");
    }

    #[test]
    fn a_success_without_a_console_is_none_and_an_error_has_its_reason() {
        let host = host();
        let checked = told(&host, "root@host", "--check", &|| false);
        assert_eq!(checked.code, Some(0));
        assert_eq!(judged(&checked), (Verdict::Error, vec!["log-cut".to_owned()]));
        host.program("tar", "#!/bin/sh\nexit 1\n");
        let packed = told(&host, "root@host", CARD, &|| false);
        assert_eq!(judged(&packed), (Verdict::Error, vec!["host-unpack".to_owned()]));
        assert!(problems(&packed.said)[0].1.remedy.contains("tar"), "{packed:?}");
        let left = std::fs::read_dir(host.at("state")).unwrap();
        let is_left = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("tmp.");
        assert!(left.into_iter().all(|entry| !is_left(&entry.unwrap().file_name())));
        let silent = Told { console: vec![], said: vec![], code: Some(4), interrupted: false };
        assert_eq!(judged(&silent), (Verdict::Error, vec!["host-unclear".to_owned()]));
    }

    #[test]
    fn only_addresses_are_devices() {
        for good in ["0000:03:00.0", "aF:1f.7"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["--check", "", "03:00", "03:00.0 --all", "0000:03:00.g", "\u{e9}3:00.0"] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn what_the_script_alone_can_say_counts() {
        let host = host();
        host.file("proc/net/route", "Iface\neth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n");
        let refused = told(&host, "root@host", CARD, &|| false);
        assert_eq!(judged(&refused), (Verdict::Skip, vec!["device-in-use".to_owned()]));
        assert!(problems(&refused.said)[0].1.remedy.contains("--force"));
        host.file("state/hold", "");
        host.file("state/console", CONSOLE.replace("Test result: SUCCESS\n", ""));
        let late = told(&host, "root@host", &format!("--timeout 1 --force {CARD}"), &|| false);
        let (verdict, codes) = judged(&late);
        assert_eq!((verdict, &*codes[0]), (Verdict::Timeout, "timeout"));
        assert_eq!(host.driver(CARD), "r8169");
    }

    #[test]
    fn an_interruption_waits_for_the_device_to_be_given_back() {
        let host = host();
        host.file("state/hold", "");
        let running = || host.calls().iter().any(|call| call == "unpause");
        let told = told(&host, "root@host", CARD, &running);
        assert!(told.interrupted);
        assert_eq!(told.code, Some(130), "{told:?}");
        assert_eq!(host.driver(CARD), "r8169");
        for words in ["xl to destroy pvbounce-", "xl to give 0000:03:00.0 back"] {
            assert!(told.said.iter().any(|line| line.contains(words)), "{words}: {told:?}");
        }
    }

    #[test]
    fn an_interruption_ends_in_its_time_and_the_host_goes_on() {
        let host = host();
        host.file("state/hold", "");
        host.file("state/slow", "destroy 4");
        let running = || host.calls().iter().any(|call| call == "unpause");
        let start = Instant::now();
        let told = told_within(&host, "root@host", CARD, &running, Duration::from_secs(1));
        assert!(told.interrupted && told.code.is_none(), "{told:?}");
        assert!(start.elapsed() < Duration::from_secs(60));
        let waits = told.said.iter().any(|line| line.contains("waits") && line.contains("destroy"));
        assert!(waits, "{told:?}");
        while host.driver(CARD) != "r8169" {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not go on");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn what_an_interruption_leaves_open_is_told_and_no_success() {
        for (code, ends, words) in [
            (Some(130), 130, "has given back"),
            (Some(0), 130, "has given back"),
            (Some(4), 4, "see above"),
            (Some(SSH_FAILED), 4, "connection to h is lost"),
            (None, 4, "has not ended after 180 s"),
        ] {
            let (ended, said) = farewell("h", code);
            assert_eq!(ended, ends, "{code:?}");
            assert!(said.contains(words), "{said}");
            assert_eq!(ended == 4, said.contains(NOTES), "{said}");
        }
    }

    #[test]
    fn a_host_that_is_not_reached_is_told_from_one_that_is() {
        assert_eq!(told(&host(), "root@elsewhere", CARD, &|| false).code, Some(SSH_FAILED));
    }

    #[test]
    fn nothing_breaks_out_of_the_command() {
        let options = |words: &[&str]| {
            use clap::Parser;
            let words = ["run.sh", "host", "h", CARD].iter().chain(words);
            crate::cli::Cli::try_parse_from(words).unwrap().options
        };
        let device = [CARD.to_owned()];
        let said = words(&options(&["--suite", "dma", "--memory", "64"]), &device, true).unwrap();
        assert_eq!(said, "--memory 64 --words \"suite=dma\" --force 0000:03:00.0");
        for bad in ["'x", "$(x)", "a;b", "x\"", "`x`", "a\nb"] {
            assert!(words(&options(&[]), &[bad.to_owned()], false).is_err(), "{bad}");
            assert!(words(&options(&[]), &["--check".to_owned()], false).is_err());
            assert!(words(&options(&["--cmdline", bad]), &device, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_from_a_host_reach_no_terminal() {
        assert_eq!(printable(b"ok\x1b[2J\x07 \xff\n"), "ok[2J \u{fffd}\n");
    }
}
