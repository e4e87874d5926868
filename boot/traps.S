// Trap entries. Xen pushes, lowest address first: rcx, r11, [error code], rip, cs, rflags, rsp, ss,
// on a stack aligned to 16. Each stub levels that to one frame, arch::traps::Frame:
//
//   r15 r14 r13 r12 r11 r10 r9 r8 rbp rdi rsi rdx rcx rbx rax | vector error | rip cs rflags rsp ss
//
// The way back is HYPERVISOR_iret, which also restores the event mask kept in rflags.IF.

.macro trap_entry vector, has_error
trap_entry_\vector:
    pop     rcx
    pop     r11
    .if \has_error == 0
    push    0
    .endif
    push    \vector
    jmp     trap_common
.endm

.section .text.traps, "ax", @progbits

.balign 16
trap_common:
    push    rax
    push    rbx
    push    rcx
    push    rdx
    push    rsi
    push    rdi
    push    rbp
    push    r8
    push    r9
    push    r10
    push    r11
    push    r12
    push    r13
    push    r14
    push    r15
    cld
    mov     rdi, rsp
    call    pvbounce_trap
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     r11
    pop     r10
    pop     r9
    pop     r8
    pop     rbp
    pop     rdi
    pop     rsi
    pop     rdx
    pop     rcx
    pop     rbx
    pop     rax
    add     rsp, 16
    push    0                                   // iret_context.flags
    jmp     HYPERCALL_PAGE + 23 * 32            // __HYPERVISOR_iret

// Events are polled, so this runs only when a check unmasks upcalls on purpose. It enters the common
// path as vector 256, no hardware vector.
.globl event_upcall
event_upcall:
    pop     rcx
    pop     r11
    push    0
    push    256
    jmp     trap_common

// Xen could not load a segment while returning to us: there is nothing to repair.
.globl failsafe_upcall
failsafe_upcall:
    ud2

trap_entry 0, 0
trap_entry 1, 0
trap_entry 3, 0
trap_entry 4, 0
trap_entry 5, 0
trap_entry 6, 0
trap_entry 7, 0
trap_entry 10, 1
trap_entry 11, 1
trap_entry 12, 1
trap_entry 13, 1
trap_entry 14, 1
trap_entry 16, 0
trap_entry 17, 1
trap_entry 18, 0
trap_entry 19, 0

// Where each entry is, indexed by vector; zero means Xen may do as it likes.
.section .rodata.trap_entries, "a", @progbits

.balign 8
.globl TRAP_ENTRIES
TRAP_ENTRIES:
    .quad trap_entry_0, trap_entry_1, 0, trap_entry_3, trap_entry_4, trap_entry_5, trap_entry_6
    .quad trap_entry_7, 0, 0, trap_entry_10, trap_entry_11, trap_entry_12, trap_entry_13
    .quad trap_entry_14, 0, trap_entry_16, trap_entry_17, trap_entry_18, trap_entry_19

.text
