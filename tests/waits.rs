//! No wait is written as a loop in the layers that deal with somebody else: who is waited for could keep such a
//! loop busy for ever. `arch::wait::Deadline` goes round instead, and reads the clock each time. What is still a loop
//! there is listed, with what ends it.

use std::{collections::BTreeMap, fs, path::Path};

/// Where somebody else decides how much there is to do.
const LAYERS: [&str; 11] = [
    "src/acpi",
    "src/device",
    "src/engine",
    "src/storage",
    "src/net",
    "src/nic",
    "src/pci",
    "src/suites",
    "src/usb",
    "src/xen/store",
    "src/xen/xenbus.rs",
];

/// File, what makes the loop, and why it ends.
const LOOPS: [(&str, &str, &str); 31] = [
    ("src/acpi/tables.rs", "while let [kind, len, ..] = *rest {", "the table's bytes"),
    ("src/net/download.rs", "while socket.can_recv() {", "the receive buffer's 64 KiB"),
    ("src/net/pair.rs", "while socket.can_recv() {", "the receive buffer's 24 KiB"),
    ("src/net/pair.rs", "while self.sent < self.bytes && socket.can_send() {", "the send buffer"),
    ("src/net/stream.rs", "while bits < 64 {", "64 bits"),
    ("src/net/stream.rs", "while !bytes.is_empty() {", "the caller's bytes"),
    ("src/net/stream.rs", "while !bytes.is_empty() {", "the caller's bytes"),
    ("src/net/ping.rs", "while let Ok((bytes, from)) = socket.recv() {", "a buffer of 4 packets"),
    ("src/net/run.rs", "while interface.poll_egress(", "the sockets' send buffers"),
    ("src/net/udp.rs", "while let Ok((bytes, from)) = socket.recv() {", "a buffer of 4 packets"),
    ("src/nic/rings/receive.rs", "while let Some(index) = self.rx.free() {", "a ring's places"),
    (
        "src/nic/rings/split.rs",
        "while self.odd.is_none() && self.read != written {",
        "the buffers offered",
    ),
    ("src/nic/sending.rs", "while sender.outgoing().used() > 0 {", "the time a frame has to leave"),
    ("src/nic/sending.rs", "loop {", "the time a frame has to leave"),
    ("src/pci/bar.rs", "while index < count {", "six BARs"),
    ("src/pci/place.rs", "while index < count {", "six BARs"),
    ("src/pci/board/scan.rs", "while let Some(number) = next.pop() {", "256 buses, each once"),
    ("src/pci/cap.rs", "while next != 0 {", "48 capabilities"),
    ("src/pci/cap.rs", "while offset != 0 {", "960 places, each once"),
    ("src/suites/bench/race.rs", "while took < ROUND && *count < 1 << 20 {", "2^20 rounds"),
    ("src/suites/bench/pool.rs", "while let Some(wanted) = order {", "the orders there are"),
    ("src/suites/bench/slots.rs", "while slots.in_use() > wanted {", "the slots there are"),
    ("src/suites/bench/pool.rs", "while let Some(order) = Order::within(", "64 MiB"),
    ("src/suites/faults.rs", "=> loop {", "the rig: it is what `selftest=hang` is for"),
    ("src/suites/hog.rs", "loop {", "the guest's own pages, and the orders there are"),
    ("src/suites/hog.rs", "while left < guest.options.hog.leave {", "the regions it holds"),
    ("src/suites/swiotlb/life.rs", "let error = loop {", "a full pool"),
    ("src/suites/swiotlb/life.rs", "while let Some(live) = self.live.pop() {", "the mappings held"),
    ("src/suites/swiotlb/life.rs", "let refusal = loop {", "a full pool, or one that grew"),
    ("src/xen/store/client.rs", "while message.is_none() {", "a message's 4112 bytes"),
    ("src/xen/xenbus.rs", "while i < states.len() {", "the caller's list"),
];

/// Whether only tests have a module, by what its parent says.
fn is_of_tests(path: &Path, parent: &str) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "fake" || parent.contains(&format!("#[cfg(test)]\nmod {name};"))
}

fn loops(path: &Path, found: &mut BTreeMap<String, Vec<String>>) {
    if path.is_dir() {
        let parent = fs::read_to_string(path.join("mod.rs")).unwrap_or_default();
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let entries = entries.map(|entry| entry.path());
        entries.filter(|entry| !is_of_tests(entry, &parent)).for_each(|e| loops(&e, found));
        return;
    }
    let text = fs::read_to_string(path).expect("tests run in the repository's top folder");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let starts = |line: &&str| {
        line.contains("loop {") || line.starts_with("while ") || line.contains(": while ")
    };
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    for line in lines.filter(starts) {
        found.entry(path.display().to_string()).or_default().push(line.into());
    }
}

#[test]
fn every_loop_that_somebody_else_could_hold_has_an_end() {
    let mut found = BTreeMap::new();
    LAYERS.iter().for_each(|layer| loops(Path::new(layer), &mut found));
    let mut listed = LOOPS.to_vec();
    for (file, lines) in found {
        for line in lines {
            let place = listed.iter().position(|(f, start, _)| *f == file && line.contains(start));
            let place = place.unwrap_or_else(|| {
                panic!(
                    "{file}: `{line}`: use arch::wait::Deadline, or list in tests/waits.rs what ends it"
                )
            });
            listed.remove(place);
        }
    }
    assert!(listed.is_empty(), "listed, and not there: {listed:?}");
}
