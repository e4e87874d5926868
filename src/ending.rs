//! How a run ends: orderly, with bad options, or in a panic.

use crate::{
    arch::image,
    guest::Guest,
    mm::{heap, memory::MemoryError},
    options::{OptionError, stays},
    println,
    report::ktap::{PANIC, Writer},
    report::verdict::{Outcome, Reason, Verdict},
    screen,
    suites::{self, RESULT_PATH},
    xen::{
        console::{self, Console, OneLine, print_in_panic},
        errno::XenError,
        hypercall,
        keyboard::Keyboard,
        shared_info::SharedInfo,
        start_info::StartInfo,
        store::{Store, TxId},
    },
};
use alloc::string::ToString;
use core::{fmt, panic::PanicInfo};

/// Ends the domain after its report.
pub(crate) fn close(guest: &Guest) -> ! {
    stay(guest.options.stay, guest.info.is_dom0, guest.shared);
    leave(guest.info.is_dom0)
}

/// Reports options that can't be followed and ends the domain.
pub(crate) fn refuse(
    error: &OptionError<'_>,
    store: Option<&dyn Store>,
    info: &StartInfo,
    shared: &SharedInfo,
) -> ! {
    let reason = Reason::new(error.code(), error.to_string());
    let remedy = "correct the word in extra= of the xl config, or on Xen's command line for dom0";
    // Printing to the console never fails: what a sink can't take is dropped there.
    let _ = report("options", "command_line", &Outcome::Error(reason.remedy(remedy)));
    if let Some(store) = store {
        // The console says it anyway.
        let _ = store.write(TxId::NONE, RESULT_PATH, Verdict::Error.word());
    }
    stay(stays(info.command_line()), info.is_dom0, shared);
    leave(info.is_dom0)
}

/// As dom0 that was told to stay: waits for a key, so for ever where nobody presses one.
fn stay(told: bool, is_dom0: bool, shared: &SharedInfo) {
    if told && is_dom0 {
        let keyboard = Keyboard::open();
        println!("The page stays on the screen until a key is pressed.");
        keyboard.wait(shared);
    }
}

/// Why the guest can't start.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Xen refused what no guest starts without.
    #[error("Xen refused a hypercall that no guest starts without: {0}")]
    Refused(XenError),
    /// The builder's numbers make no sense.
    #[error("start_info names memory beyond the last address, or none: {0:#x}")]
    Beyond(u64),
    /// There is no memory for the heap.
    #[error("no memory for the heap: {0}")]
    Heap(MemoryError),
}

impl StartError {
    const fn code(&self) -> &'static str {
        match self {
            Self::Heap(MemoryError::NoFreePages { .. }) => "no-memory",
            Self::Refused(_) | Self::Heap(_) => "start-refused",
            Self::Beyond(_) => "start-info",
        }
    }

    const fn remedy(&self) -> &'static str {
        match self {
            Self::Heap(MemoryError::NoFreePages { .. }) => "give the domain more memory: `memory=`",
            Self::Refused(_) | Self::Heap(_) => "see Xen's log for what it refused and why",
            Self::Beyond(_) => "Xen's domain builder is wrong, or this guest: please report it",
        }
    }

    fn outcome(&self) -> Outcome {
        let reason = Reason::new(self.code(), self.to_string()).remedy(self.remedy());
        match self {
            Self::Heap(MemoryError::NoFreePages { .. }) => Outcome::Error(reason),
            _ => Outcome::Failure(reason),
        }
    }
}

/// Reports that the guest can't start, and ends the domain.
pub(crate) fn give_up(error: &StartError, is_dom0: bool) -> ! {
    heap::init_from_image();
    // As above.
    let _ = report("start", "guest_starts", &error.outcome());
    leave(is_dom0)
}

/// A report of one check.
fn report(suite: &str, check: &str, outcome: &Outcome) -> fmt::Result {
    let mut writer = Writer::start(Console, 1)?.watched(screen::told);
    let mut suite = writer.suite(suite, 1)?;
    suite.check(check, outcome)?;
    suite.finish()?;
    suites::end(writer)?;
    Ok(())
}

/// Reports a panic on every console and has Xen treat the domain as crashed.
pub fn crash(info: &PanicInfo<'_>) -> ! {
    // An assertion's message has several lines, and may quote what came from outside.
    print_in_panic(format_args!("{PANIC}{}\n", OneLine(info.message())));
    if let Some(at) = info.location() {
        print_in_panic(format_args!("  at {at}\n"));
    }
    for (depth, address) in image::backtrace().enumerate() {
        print_in_panic(format_args!("  #{depth} {address:#018x}\n"));
    }
    console::drain();
    screen::crashed();
    hypercall::shutdown(xen_sys::SHUTDOWN_crash)
}

/// A domU powers off. Dom0 asks for a reboot, which ends a machine started with `-no-reboot`; its power-off
/// would only halt.
fn leave(is_dom0: bool) -> ! {
    console::drain();
    hypercall::shutdown(if is_dom0 { xen_sys::SHUTDOWN_reboot } else { xen_sys::SHUTDOWN_poweroff })
}
