//! What bytes from outside must not do: a function a target, for `cargo test` (tests/short.rs) and for libFuzzer
//! (libfuzzer/, `./run.sh fuzz`).
//!
//! ```text
//! xenstored   store                  a reply ring that says anything, at any moment
//! pciback     pcifront               states, nodes and the shared page, at any moment
//! devices     ahci, config, cplus,   config space; registers, rings, buffers, completions
//!             e1000, edu, igb, nvme,
//!             pcnet, rtl8139, virtio,
//!             xhci
//! network     net, http              frames, answers to our own, heads of answers
//! Xen         exchange, e820         refusals at any call; memory maps
//! firmware    acpi                   tables, and what is none
//! callers     dma, options           operations against a model; the command line
//! consoles    ktap, report           what is written is what is read; any text
//! ```
//!
//! A target panics when something is wrong. All of its choices come from one [`Input`].
#![cfg(not(target_os = "none"))]

mod cards;
mod input;
mod mover;
mod pattern;
mod stage;

pub mod acpi;
pub mod ahci;
pub mod config;
pub mod cplus;
pub mod dma;
pub mod e820;
pub mod edu;
pub mod exchange;
pub mod intel;
pub mod ktap;
pub mod net;
pub mod nvme;
pub mod options;
pub mod pcifront;
pub mod pcnet;
pub mod rtl8139;
pub mod store;
pub mod virtio;
pub mod xhci;

pub use input::Input;

/// A target: takes any bytes, panics when what it asserts does not hold.
pub type Target = fn(&[u8]);

/// All targets by the names of their folders in corpus/ and of their programs in libfuzzer/.
pub const TARGETS: [(&str, Target); 22] = [
    ("acpi", acpi::run),
    ("ahci", ahci::run),
    ("config", config::run),
    ("cplus", cplus::run),
    ("dma", dma::run),
    ("e1000", intel::e1000),
    ("e820", e820::run),
    ("edu", edu::run),
    ("exchange", exchange::run),
    ("http", net::http),
    ("igb", intel::igb),
    ("ktap", ktap::round_trip),
    ("net", net::run),
    ("nvme", nvme::run),
    ("options", options::run),
    ("pcifront", pcifront::run),
    ("pcnet", pcnet::run),
    ("report", ktap::any_text),
    ("rtl8139", rtl8139::run),
    ("store", store::run),
    ("virtio", virtio::run),
    ("xhci", xhci::run),
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or if what it asserts does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("no target {name}"));
    target(bytes);
}
