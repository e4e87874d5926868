//! QEMU's control socket: a few commands, each answered before the next.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child;
use crate::error::{Error, Result};

/// An open control socket.
#[derive(Debug)]
pub(crate) struct Qmp {
    lines: BufReader<UnixStream>,
    // How far the machine's state has got out or in.
    migration: String,
}

/// How long the machine's state may take: some hundred MB, on a busy disk.
const MIGRATION: Duration = Duration::from_secs(60);
/// How long any other answer may.
const ANSWER: Duration = Duration::from_secs(10);

impl Qmp {
    /// Takes QEMU's greeting and leaves the negotiation behind.
    pub(crate) fn open(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { lines: BufReader::new(stream), migration: String::new() };
        qmp.wait_up_to(ANSWER)?;
        qmp.answer("greet")?;
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Pulls or plugs the network cable.
    pub(crate) fn set_link(&mut self, up: bool) -> Result {
        self.run("set_link", &json!({ "name": "n0", "up": up }))
    }

    /// Writes a picture of the screen: `png` for people, `ppm` for programs.
    pub(crate) fn screendump(&mut self, file: &Path, format: &str) -> Result {
        self.run("screendump", &json!({ "filename": file, "format": format }))
    }

    /// Presses a key and lets it go.
    pub(crate) fn press(&mut self, key: &str) -> Result {
        self.run("send-key", &json!({ "keys": [{ "type": "qcode", "data": key }] }))
    }

    /// Has a device report an error to the port it is behind, both by QEMU's names.
    pub(crate) fn report_error(&mut self, device: &str, error: &str) -> Result {
        let command = format!("pcie_aer_inject_error {device} {error}");
        let answer = self.ask("human-monitor-command", &json!({ "command-line": command }))?;
        // What is made for people has no error of its own.
        match answer.as_str() {
            Some(text) if text.starts_with("OK") => Ok(()),
            _ => Err(broken(&command, &answer.to_string())),
        }
    }

    /// Has the whole state of the machine written to a file. It stands still meanwhile.
    pub(crate) fn save(&mut self, state: &Path) -> Result {
        self.run("stop", &json!({}))?;
        // As fast as the disk is: nobody else is in its way.
        self.run("migrate-set-parameters", &json!({ "max-bandwidth": 1_u64 << 40 }))?;
        let file = child::quoted(&state.to_string_lossy());
        let saved = self.migrate("migrate", &format!("exec:cat >{file}"));
        self.finish_migration()?;
        self.run("cont", &json!({}))?;
        saved
    }

    /// Waits until QEMU has cleared up: it says that all is written a moment before, and tells nobody when it is done.
    fn finish_migration(&mut self) -> Result {
        for _ in 0..100 {
            let answer = self.ask("query-status", &json!({}))?;
            if answer["status"] != "finish-migrate" {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(broken("query-status", "the machine is not done with its migration"))
    }

    /// Has a machine that was started for it go on from such a state.
    pub(crate) fn resume(&mut self, state: &Path) -> Result {
        let file = child::quoted(&state.to_string_lossy());
        self.migrate("migrate-incoming", &format!("exec:cat {file}"))?;
        self.run("cont", &json!({}))
    }

    /// Lets the state out or in, to its end.
    fn migrate(&mut self, command: &str, uri: &str) -> Result {
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        self.run("migrate-set-capabilities", &events)?;
        self.migration.clear();
        self.run(command, &json!({ "uri": uri }))?;
        self.wait_up_to(MIGRATION)?;
        loop {
            match self.migration.as_str() {
                "completed" => return self.wait_up_to(ANSWER),
                "failed" | "cancelled" => return Err(broken(command, &self.migration)),
                _ => self.line(command).map(drop)?,
            }
        }
    }

    fn wait_up_to(&self, limit: Duration) -> Result {
        let set = self.lines.get_ref().set_read_timeout(Some(limit));
        set.map_err(|error| broken("set up", &error.to_string()))
    }

    /// Ends QEMU in order, so that its logs are whole.
    pub(crate) fn quit(&mut self) -> Result {
        self.run("quit", &json!({}))
    }

    fn run(&mut self, command: &str, arguments: &Value) -> Result {
        self.ask(command, arguments).map(drop)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        let stream = self.lines.get_mut();
        writeln!(stream, "{text}").map_err(|error| broken(command, &error.to_string()))?;
        self.answer(command)
    }

    /// Reads a line, and keeps what it says of the machine's state; other events are of no interest.
    fn line(&mut self, command: &str) -> Result<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => return Err(broken(command, "closed")),
            Ok(_) => {}
            Err(error) => return Err(broken(command, &error.to_string())),
        }
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        if value["event"] == "MIGRATION" {
            value["data"]["status"].as_str().unwrap_or_default().clone_into(&mut self.migration);
        }
        Ok(value)
    }

    /// Reads up to the answer.
    fn answer(&mut self, command: &str) -> Result<Value> {
        loop {
            let value = self.line(command)?;
            if let Some(error) = value.get("error") {
                return Err(broken(command, &error.to_string()));
            }
            if let Some(answer) = value.get("return").or_else(|| value.get("QMP")) {
                return Ok(answer.clone());
            }
        }
    }
}

fn broken(command: &str, why: &str) -> Error {
    Error::unfit(
        format!("QEMU's control socket, {command}: {why}"),
        "see qemu.log in the run's folder",
    )
}
