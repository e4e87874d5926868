//! Pulls in the assembly of boot/: the ELF notes, the entry, the hypercall page and the trap entries.
#![expect(unsafe_code, reason = "assembly")]

use core::arch::global_asm;

global_asm!(include_str!("../../boot/notes.S"));
global_asm!(include_str!("../../boot/hypercall_page.S"));
global_asm!(include_str!("../../boot/entry.S"));
global_asm!(include_str!("../../boot/traps.S"));
