//! What happens when the guest faults: expected faults are fixed up, all others end in a register dump.
#![expect(unsafe_code, reason = "the trap entries and the frame they pass")]

use crate::{addr::to_usize, arch::probe};
use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Vector under which boot/traps.S reports the event upcall.
const UPCALL: u64 = 256;
const PAGE_FAULT: u64 = 14;

/// The registers at a trap, as boot/traps.S leaves them on the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "each field is the register of that name")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<Frame>() == 22 * 8);

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |cells: [(&str, u64); 4]| {
            for (name, value) in cells {
                write!(f, "  {name:>6} {value:016x}")?;
            }
            writeln!(f)
        };
        row([("rip", self.rip), ("rsp", self.rsp), ("rbp", self.rbp), ("rflags", self.rflags)])?;
        row([("rax", self.rax), ("rbx", self.rbx), ("rcx", self.rcx), ("rdx", self.rdx)])?;
        row([("rsi", self.rsi), ("rdi", self.rdi), ("r8", self.r8), ("r9", self.r9)])?;
        row([("r10", self.r10), ("r11", self.r11), ("r12", self.r12), ("r13", self.r13)])?;
        row([("r14", self.r14), ("r15", self.r15), ("cs", self.cs), ("ss", self.ss)])
    }
}

unsafe extern "C" {
    /// In boot/traps.S: entry addresses by vector.
    static TRAP_ENTRIES: [u64; 20];
    fn event_upcall();
    fn failsafe_upcall();
}

/// Where Xen leaves the address of a page fault: `vcpu_info[0].arch.cr2`. Zero until that is mapped.
static CR2: AtomicU64 = AtomicU64::new(0);
static UPCALLS: AtomicU64 = AtomicU64::new(0);

/// The entries for Xen's trap table: `(vector, address)`.
pub fn entries() -> impl Iterator<Item = (u8, u64)> {
    // SAFETY: the table is constant, in read-only data.
    let entries: &'static [u64; 20] = unsafe { &TRAP_ENTRIES };
    (0u8..).zip(entries).filter(|(_, address)| **address != 0).map(|(vector, &a)| (vector, a))
}

/// The addresses of the event and failsafe entries.
pub fn callbacks() -> (u64, u64) {
    (event_upcall as *const () as u64, failsafe_upcall as *const () as u64)
}

/// Tells the page-fault report where to read the faulting address from.
///
/// # Safety
/// `cr2` must stay a readable, aligned word from now on.
pub unsafe fn read_cr2_at(cr2: u64) {
    CR2.store(cr2, Ordering::Relaxed);
}

/// How often the event upcall has run.
pub fn upcalls() -> u64 {
    UPCALLS.load(Ordering::Relaxed)
}

/// The trap handler behind boot/traps.S.
#[unsafe(no_mangle)]
extern "C" fn pvbounce_trap(frame: &mut Frame) {
    if frame.vector == UPCALL {
        // Whoever unmasked upcalls looks at the pending bits; counting proves that we came here. Returning
        // with IF clear leaves upcalls masked, or a pending bit nobody took would call us for ever.
        UPCALLS.fetch_add(1, Ordering::Relaxed);
        frame.rflags &= !(1 << 9);
        return;
    }
    if let Some(resume) = probe::fixup_for(frame.rip) {
        frame.rip = resume;
        frame.rdx = frame.vector;
        return;
    }
    if let Some(resume) = call_fixup(frame) {
        frame.rip = resume;
        frame.rsp += 8;
        frame.rdx = frame.vector;
        return;
    }
    let what = NAMES.get(to_usize(frame.vector)).copied().unwrap_or("trap");
    if frame.vector == PAGE_FAULT {
        panic!("{what} at {:#x}, error {:#x}\n{frame}", cr2(), frame.error);
    }
    panic!("{what} (vector {}), error {:#x}\n{frame}", frame.vector, frame.error);
}

/// A probed call into a page that can't run faults at its target, with the fixed-up call's return address on
/// top of the stack: return there.
fn call_fixup(frame: &Frame) -> Option<u64> {
    if frame.vector != PAGE_FAULT || cr2() != frame.rip {
        return None;
    }
    let return_address = probe::read_u64(frame.rsp).ok()?;
    probe::is_resume_point(return_address).then_some(return_address)
}

fn cr2() -> u64 {
    match CR2.load(Ordering::Relaxed) {
        0 => 0,
        // SAFETY: `read_cr2_at`'s caller promised a readable word.
        address => unsafe { (address as *const u64).read_volatile() },
    }
}

const NAMES: [&str; 20] = [
    "divide error",
    "debug trap",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "spurious interrupt",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
];

/// Ends in an undefined instruction.
pub fn undefined() -> ! {
    // SAFETY: traps, and does nothing else.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
