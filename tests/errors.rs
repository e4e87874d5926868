//! What a report says of a failure of xenstore, of the backend, or of config space: its code, and what to change.

use core::time::Duration;
use pvbounce::{
    arch::time::TimedOut,
    pci::{
        Bdf, Command, ConfigError, MasteringError, PciError,
        access::{Refusal, Width},
        front::{AerReport, FrontError},
    },
    xen::{
        errno::XenError,
        events::Port,
        grants::{GrantError, GrantRef},
        store::{
            StoreError,
            ring::RingError,
            wire::{MessageType, PathFault, WireError},
        },
        xenbus::{XenbusError, XenbusState},
    },
};

/// Rows of an error, its code, and the words that tell what to change.
macro_rules! say {
    ($($error:expr, $code:literal, $words:literal;)*) => {$({
        let error = $error;
        assert_eq!(error.code(), $code, "{error}");
        assert!(error.remedy().contains($words), "{}: {}", $code, error.remedy());
    })*};
}

const LATE: TimedOut = TimedOut { what: "an answer", after: Duration::from_secs(5) };
const OP: MessageType = MessageType::READ;
const NODE: &str = "device/pci/0";

fn bdf() -> Bdf {
    "00:03.0".parse().expect("an address")
}

#[test]
fn numbers_of_xen_s_say_what_they_number() {
    assert_eq!(Port(7).to_string(), "event channel 7");
    assert_eq!(GrantRef(8).to_string(), "gref 8");
}

#[test]
fn of_xenstore() {
    let path = || String::from(NODE);
    say! {
        StoreError::BadPath { path: path(), fault: PathFault::Empty }, "store-bad-path", "a bug in this guest";
        StoreError::TooLong { op: OP, path: path(), len: 9999 }, "store-too-long", "a bug in this guest";
        StoreError::Refused { op: OP, path: path(), error: XenError::NoEntry }, "store-refused", "xenstore-ls -fp";
        StoreError::BadValue { path: path(), value: "x".into(), expected: "a number" }, "store-bad-value", "who wrote it";
        StoreError::Conflict(16), "store-conflict", "who keeps writing";
        StoreError::NoAnswer { op: OP, path: path(), timed_out: LATE }, "store-no-answer", "xenstored runs";
        StoreError::Wire(WireError::PayloadTooLong(1 << 20)), "store-garbage", "xenstored's log";
        StoreError::Ring(RingError { ring: "reply", claimed: 9999 }), "store-garbage", "xenstored's log";
        StoreError::Events(XenError::Invalid), "store-event-channel", "xenstored's log";
        StoreError::Unusable, "store-unusable", "the first xenstore failure";
        XenbusError::Store(StoreError::Unusable), "store-unusable", "the first xenstore failure";
        XenbusError::Stuck { dir: path(), last: XenbusState::InitWait, timed_out: LATE }, "xenbus-stuck", "the backend's driver";
    }
}

#[test]
fn of_the_backend() {
    let bdf = bdf();
    say! {
        FrontError::NoDevice, "front-no-device", "pci = [";
        FrontError::AlreadyUsed { state: XenbusState::Connected }, "front-already-used", "create it again";
        FrontError::BackendLeft { state: XenbusState::Closed }, "front-backend-left", "taken back";
        FrontError::ScanTimedOut { looks: 1, of: 9, timed_out: LATE }, "front-scan-timeout", "slowly";
        FrontError::ErrorReports { count: 1, last: AerReport { command: 0, device: [0; 3] } }, "pci-error-report", "AER status";
        FrontError::Store(StoreError::Unusable), "store-unusable", "the first xenstore failure";
        FrontError::Xenbus(XenbusError::Store(StoreError::Unusable)), "store-unusable", "the first xenstore failure";
        FrontError::Grant(GrantError::TableFull(9)), "front-grant", "max_grant_frames";
        FrontError::Events(XenError::Invalid), "front-event-channel", "max_event_channels";
        FrontError::Config(ConfigError::Unusable), "config-unusable", "the first config space failure";
        FrontError::BadPirq { bdf, value: -1 }, "front-bad-pirq", "extra_guest_irqs=";
        FrontError::MsixRefused { bdf, asked: 2, result: 1 }, "front-msix-refused", "extra_guest_irqs=";
        FrontError::VectorCount { bdf, asked: 0 }, "front-vector-count", "1 to 128";
    }
}

#[test]
fn of_config_space() {
    let (bdf, offset) = (bdf(), 0x10);
    let command = Command::MASTER;
    say! {
        ConfigError::Misaligned { bdf, offset, width: Width::U32 }, "config-misaligned", "a bug in this guest";
        ConfigError::NoDevice(bdf), "config-no-device", "xl pci-list";
        ConfigError::Refused { bdf, offset, refusal: Refusal::AccessDenied }, "config-refused", "permissive=1";
        ConfigError::NoAnswer { bdf, offset, timed_out: LATE }, "config-no-answer", "stuck on the device";
        ConfigError::BackendLeft { bdf, state: XenbusState::Closing }, "config-backend-left", "who detached";
        ConfigError::Events(XenError::Invalid), "config-event-channel", "stuck on the device";
        ConfigError::Unusable, "config-unusable", "the first config space failure";
        PciError::Config(ConfigError::Unusable), "config-unusable", "the first config space failure";
        PciError::BadBar { bdf, index: 0, value: 1, mask: 2, why: "" }, "pci-bad-bar", "lspci -vvxxx";
        PciError::BadCapability { bdf, offset, why: "" }, "pci-bad-capability", "lspci -vvxxx";
        MasteringError::Config(ConfigError::Unusable), "config-unusable", "the first config space failure";
        MasteringError::Gone(bdf), "pci-gone", "lost power";
        MasteringError::LeftOff { bdf, command: Command::MEMORY }, "pci-bus-master", "the backend dropped the write";
        MasteringError::LeftOn { bdf, command }, "pci-bus-master-left", "reset it before";
    }
}

#[test]
fn a_refusal_shows_the_backends_own_number() {
    for (refusal, words) in [
        (Refusal::BadOffset, "bad offset (-2)"),
        (Refusal::AccessDenied, "access denied (-3)"),
        (Refusal::NotImplemented, "not implemented (-4)"),
        (Refusal::Failed, "operation failed (-5)"),
        (Refusal::Unknown(-77), "unknown code -77"),
    ] {
        assert_eq!(refusal.to_string(), words);
    }
}
