//! How a run ends: orderly, with bad options, or in a panic.

use crate::{
    arch::image,
    options::OptionError,
    suites::{
        RESULT_PATH,
        guest::Guest,
        ktap::{PANIC, Writer},
        verdict::{Outcome, Reason, Verdict},
    },
    xen::{
        console::{self, Console, OneLine, print_in_panic},
        hypercall,
        store::{Store, TxId},
    },
};
use alloc::string::ToString;
use core::{fmt, panic::PanicInfo};

/// Ends the domain after its report.
pub(crate) fn close(guest: &Guest) -> ! {
    leave(guest.info.is_dom0)
}

/// Reports options that can't be followed and ends the domain.
pub(crate) fn refuse(error: &OptionError<'_>, store: Option<&dyn Store>, is_dom0: bool) -> ! {
    let reason = Reason::new(error.code(), error.to_string());
    let remedy = "correct the word in extra= of the xl config, or on Xen's command line for dom0";
    // Printing to the console never fails: what a sink can't take is dropped there.
    let _ = report(&Outcome::Error(reason.remedy(remedy)));
    if let Some(store) = store {
        // The console says it anyway.
        let _ = store.write(TxId::NONE, RESULT_PATH, Verdict::Error.word());
    }
    leave(is_dom0)
}

/// A report of one check, on the command line.
fn report(outcome: &Outcome) -> fmt::Result {
    let mut writer = Writer::start(Console, 1)?;
    let mut suite = writer.suite("options", 1)?;
    suite.check("command_line", outcome)?;
    suite.finish()?;
    writer.finish()?;
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
    hypercall::shutdown(xen_sys::SHUTDOWN_crash)
}

/// A domU powers off. Dom0 asks for a reboot, which ends a machine started with `-no-reboot`; its power-off
/// would only halt.
fn leave(is_dom0: bool) -> ! {
    console::drain();
    hypercall::shutdown(if is_dom0 { xen_sys::SHUTDOWN_reboot } else { xen_sys::SHUTDOWN_poweroff })
}
