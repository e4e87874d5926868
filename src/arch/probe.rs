//! Accesses that may fault, and say so instead of crashing.
//!
//! Each one is an instruction with an entry in the `.fixups` section: when it traps, the trap handler
//! resumes at the fixup, which returns the vector. Tests of the machine use this to see expected faults.
#![expect(unsafe_code, reason = "the instructions that may fault")]

use core::arch::global_asm;

/// An access that trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The x86 vector: 13 general protection, 14 page fault.
    pub vector: u8,
}

// Each routine: argument in rdi (value in rsi), result in rax, vector in rdx (0 = no fault, since vector 0,
// divide error, can't come from these instructions). The trap handler puts the vector into rdx itself.
global_asm!(
    ".macro probe name, body:vararg",
    ".globl \\name",
    "\\name:",
    "    xor edx, edx",
    "    xor eax, eax",
    "1:  \\body",
    "2:  ret",
    ".pushsection .fixups, \"a\", @progbits",
    "    .quad 1b, 2b",
    ".popsection",
    ".endm",
    ".section .text.probe, \"ax\", @progbits",
    "probe probe_read_u64, mov rax, [rdi]",
    "probe probe_write_u64, mov [rdi], rsi",
    "probe probe_call, call rdi",
    ".text",
);

#[repr(C)]
struct Answer {
    value: u64,
    vector: u64,
}

unsafe extern "C" {
    fn probe_read_u64(address: u64) -> Answer;
    fn probe_write_u64(address: u64, value: u64) -> Answer;
    fn probe_call(address: u64) -> Answer;
    static __fixups_start: [[u64; 2]; 0];
    static __fixups_end: [[u64; 2]; 0];
}

const fn decode(answer: Answer) -> Result<u64, Fault> {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are below 32")]
    match answer.vector as u8 {
        0 => Ok(answer.value),
        vector => Err(Fault { vector }),
    }
}

/// Reads 8 bytes at any address; a fault is an error, not a crash.
pub fn read_u64(address: u64) -> Result<u64, Fault> {
    // SAFETY: a read changes nothing, and a fault is caught. Nobody passes the address of device registers.
    decode(unsafe { probe_read_u64(address) })
}

/// Writes 8 bytes; a fault is an error, not a crash.
///
/// # Safety
/// If the write succeeds, whatever the bytes belong to must bear it.
pub unsafe fn write_u64(address: u64, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller vouches for the target.
    decode(unsafe { probe_write_u64(address, value) }).map(drop)
}

/// Calls the address and reports the fault of the call itself, as when the page is not executable.
///
/// # Safety
/// If there is executable code, it must be a function that takes nothing and returns.
pub unsafe fn call(address: u64) -> Result<(), Fault> {
    // SAFETY: the caller vouches for the code.
    decode(unsafe { probe_call(address) }).map(drop)
}

/// Where to go on after a trap at `rip`, if that instruction was expected to trap.
pub(super) fn fixup_for(rip: u64) -> Option<u64> {
    fixups().iter().find(|[at, _]| *at == rip).map(|[_, resume]| *resume)
}

/// Whether `rip` is where a fixed-up instruction resumes.
pub(super) fn is_resume_point(rip: u64) -> bool {
    fixups().iter().any(|[_, resume]| *resume == rip)
}

fn fixups() -> &'static [[u64; 2]] {
    let start = (&raw const __fixups_start).cast::<[u64; 2]>();
    let end = (&raw const __fixups_end).cast::<[u64; 2]>();
    let count = (end.addr() - start.addr()) / size_of::<[u64; 2]>();
    // SAFETY: the linker script puts a table of `count` pairs between the two symbols, in read-only data.
    unsafe { core::slice::from_raw_parts(start, count) }
}
