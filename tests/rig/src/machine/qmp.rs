//! QEMU's control socket: a few commands, each answered before the next.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// An open control socket.
#[derive(Debug)]
pub(crate) struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes QEMU's greeting and leaves the negotiation behind.
    pub(crate) fn open(stream: UnixStream) -> Result<Self> {
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).map_err(|error| broken("set up", &error.to_string()))?;
        let mut qmp = Self { lines: BufReader::new(stream) };
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

    /// Reads up to the answer; events in between are of no interest.
    fn answer(&mut self, command: &str) -> Result<Value> {
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return Err(broken(command, "closed")),
                Ok(_) => {}
                Err(error) => return Err(broken(command, &error.to_string())),
            }
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
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
