//! Suite `board`: as dom0 the whole machine is the guest's to look at, and it says what it found and what it leaves alone.

use super::check::{Finding, Suite, attends, proof, skip};
use crate::{
    guest::Guest,
    pci::{Host as _, board::Board},
    report::{Outcome, Reason},
    xen::{command_line, hypercall},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) const SUITE: Suite = Suite {
    name: "board",
    missing: |guest| match &guest.connection {
        _ if !guest.info.is_dom0 => Some(not_a_board()),
        Err(Outcome::Skip(reason)) => Some(reason.clone()),
        _ => None,
    },
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("functions_are_found", functions_are_found),
        proof("both_ways_agree", both_ways_agree),
        proof("bars_lie_apart", bars_lie_apart),
        attends("what_has_no_driver_is_left_alone", what_has_no_driver_is_left_alone),
    ],
};

fn not_a_board() -> Reason {
    Reason::new("pci-no-board", "a domU sees the devices that were passed through, and no board")
}

fn board(guest: &Guest) -> Result<&Board<'static>, Outcome> {
    let connection = guest.connection.as_ref().map_err(Clone::clone)?;
    connection.board().ok_or_else(|| Outcome::Skip(not_a_board()))
}

fn functions_are_found(guest: &mut Guest) -> Finding {
    let board = board(guest)?;
    if let Some(odd) = board.oddities().first() {
        return Err((*odd).into());
    }
    let (driven, others) = (board.functions().len(), board.others().len());
    Ok(format!("{} on {} buses, {driven} with a driver", driven + others, board.buses()))
}

/// What lies in memory has to be config space as the ports have it.
fn both_ways_agree(guest: &mut Guest) -> Finding {
    let ways = board(guest)?.ways();
    // A wrong table (FAILURE) is told before a missing one (SKIP).
    let lacks = ways.lacks();
    let wrong = lacks.iter().find(|lack| !lack.is_absence());
    match wrong.or(lacks.first()) {
        Some(lack) if lack.is_absence() => Err(Outcome::Skip((*lack).into())),
        Some(lack) => Err(Outcome::Failure((*lack).into())),
        None => {
            let regions: Vec<_> = ways.regions().iter().map(ToString::to_string).collect();
            Ok(format!("{} functions in memory, {}", ways.in_memory(), regions.join("; ")))
        }
    }
}

fn bars_lie_apart(guest: &mut Guest) -> Finding {
    let board = board(guest)?;
    if let Some(objection) = board.objections().next() {
        return Err((*objection).into());
    }
    match board.ranges().len() {
        0 => Err(skip("pci-no-bar", "no device with a driver has a memory BAR")),
        count => Ok(format!("{count} of memory, under no RAM of the machine's, each alone")),
    }
}

fn what_has_no_driver_is_left_alone(guest: &mut Guest) -> Finding {
    let others: Vec<_> = board(guest)?.others().iter().map(ToString::to_string).collect();
    let fixed = match fixed(guest) {
        fixed if fixed.is_empty() => String::new(),
        fixed => format!("; Xen's own: {}", fixed.join(", ")),
    };
    match others.is_empty() {
        true => Ok(format!("there is nothing else{fixed}")),
        false => Err(skip("no-driver", others.join("; ") + &fixed)),
    }
}

/// What Xen keeps that is on no bus: by firmware's tables, and by Xen's command line.
fn fixed(guest: &Guest) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(tables) = &guest.firmware {
        found.extend(tables.timers.iter().map(|at| format!("HPET at {at:#x}")));
        found.extend(tables.io_apics.iter().map(|at| format!("I/O APIC at {at:#x}")));
        found.extend(tables.iommus().map(|name| format!("IOMMUs ({name})")));
    }
    if let Ok(line) = hypercall::command_line() {
        found.extend(command_line::consoles(&line).map(|port| format!("console {port}")));
    }
    found
}
