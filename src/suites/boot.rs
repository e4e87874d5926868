//! Suite `boot`: the guest stands on what it thinks it stands on.

use super::check::{Finding, Suite, attends, failure, nothing, proof, skip};
use crate::{
    arch::{
        image::{self, Access},
        probe::{self, Fault},
        time::{Clock, micros},
    },
    guest::{Guest, blame::of_memory},
    mm::{page_table, pages::Pages},
    report::Outcome,
    xen::{console, hypercall},
};
use alloc::{
    format,
    string::{String, ToString},
};

const PAGE_FAULT: u8 = 14;

pub(super) const SUITE: Suite = Suite {
    name: "boot",
    missing: nothing,
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("start_info", start_info),
        proof("features", features),
        proof("clock_advances", clock_advances),
        proof("page_0_is_not_mapped", page_0_is_not_mapped),
        proof("text_is_not_writable", text_is_not_writable),
        proof("constants_are_not_writable", constants_are_not_writable),
        proof("data_is_not_executable", data_is_not_executable),
        proof("stack_has_a_guard_page", stack_has_a_guard_page),
        proof("free_pages_are_not_mapped", free_pages_are_not_mapped),
        attends("com_port", com_port),
        attends("screen", screen),
    ],
};

fn start_info(guest: &mut Guest) -> Finding {
    let info = &guest.info;
    let magic = core::str::from_utf8(&info.magic).unwrap_or("?").trim_end_matches('\0');
    // Xen's dom0 builder adds a letter for the paging mode.
    if !magic.starts_with("xen-3.0-x86_64") {
        return Err(failure("boot-magic", format!("`{magic}`, not `xen-3.0-x86_64`")));
    }
    let owned = hypercall::current_reservation()
        .map_err(|error| failure("boot-reservation", error.to_string()))?;
    if owned < info.nr_pages {
        let detail = format!("Xen counts {owned} pages, start_info {}", info.nr_pages);
        return Err(failure("boot-reservation", detail));
    }
    Ok(format!("{} pages, command line `{}`", info.nr_pages, info.command_line()))
}

fn features(_: &mut Guest) -> Finding {
    /// `XENFEAT_auto_translated_physmap`.
    const AUTO_TRANSLATED: u32 = 1 << 2;
    let features =
        hypercall::features().map_err(|error| failure("boot-features", error.to_string()))?;
    if features & AUTO_TRANSLATED != 0 {
        let detail = format!("features {features:#x} say that frames are translated: not PV");
        return Err(failure("boot-not-pv", detail));
    }
    Ok(format!("{features:#x}"))
}

fn clock_advances(guest: &mut Guest) -> Finding {
    let start = guest.shared.now();
    let mut last = start;
    for _ in 0..10_000 {
        let now = guest.shared.now();
        if now < last {
            return Err(failure("boot-clock", format!("went back from {last:?} to {now:?}")));
        }
        last = now;
    }
    if last == start {
        return Err(failure("boot-clock", format!("stands still at {start:?}")));
    }
    Ok(format!("{} ns a reading", micros(last.since(start)) / 10))
}

fn page_0_is_not_mapped(_: &mut Guest) -> Finding {
    faults("reading address 0", probe::read_u64(0).map(drop))
}

fn text_is_not_writable(_: &mut Guest) -> Finding {
    // The word is written back as it is, so that a success, which is the failure, harms nothing.
    let address = part(Access::Execute);
    let word = probe::read_u64(address).map_err(|fault| unexpected("reading text", fault))?;
    faults("writing text", write_back(address, word))
}

fn constants_are_not_writable(_: &mut Guest) -> Finding {
    let address = part(Access::Read);
    let word = probe::read_u64(address).map_err(|fault| unexpected("reading constants", fault))?;
    faults("writing constants", write_back(address, word))
}

fn data_is_not_executable(guest: &mut Guest) -> Finding {
    let mut page = Pages::new(guest.memory, 1).map_err(of_memory)?;
    // `ret`: harmless if it does run.
    page.fill(0xc3);
    let address = page.as_ptr().addr() as u64;
    faults("calling data", call(address))
}

fn stack_has_a_guard_page(_: &mut Guest) -> Finding {
    faults("reading below the stack", probe::read_u64(part(Access::None)).map(drop))
}

fn free_pages_are_not_mapped(guest: &mut Guest) -> Finding {
    let page = Pages::new(guest.memory, 1).map_err(of_memory)?;
    let address = page_table::direct(page.pfn()).unwrap_or(page_table::DIRECT);
    drop(page);
    faults("reading a page that was given back", probe::read_u64(address).map(drop))
}

/// The page is on the screen; one that Xen describes in numbers that can't be right is left alone.
fn screen(guest: &mut Guest) -> Finding {
    match &guest.screen {
        Ok(mode) => Ok(mode.to_string()),
        Err(error) => Err(skip(error.code(), error.to_string())),
    }
}

fn com_port(_: &mut Guest) -> Finding {
    match console::uart_port() {
        Some(port) => Ok(format!("{port:#x}")),
        None => Err(skip("no-com-port", "the domain has no COM port (ioports=)")),
    }
}

fn part(wanted: Access) -> u64 {
    let part = image::parts().into_iter().find(|(_, access)| *access == wanted);
    part.map_or(0, |(range, _)| range.start)
}

#[expect(unsafe_code, reason = "a write that is meant to fault")]
fn write_back(address: u64, word: u64) -> Result<(), Fault> {
    // SAFETY: if the write goes through, it stores the value that is there.
    unsafe { probe::write_u64(address, word) }
}

#[expect(unsafe_code, reason = "a call that is meant to fault")]
fn call(address: u64) -> Result<(), Fault> {
    // SAFETY: if the call goes through, it runs a `ret`.
    unsafe { probe::call(address) }
}

fn faults(what: &str, result: Result<(), Fault>) -> Finding {
    match result {
        Err(Fault { vector: PAGE_FAULT }) => Ok(String::new()),
        Err(fault) => Err(unexpected(what, fault)),
        Ok(()) => Err(failure("boot-no-fault", format!("{what} did not fault"))),
    }
}

fn unexpected(what: &str, fault: Fault) -> Outcome {
    failure("boot-wrong-fault", format!("{what} trapped with vector {}", fault.vector))
}
