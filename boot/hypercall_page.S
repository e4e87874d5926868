// The page Xen fills with one entry of 32 bytes per hypercall; the xen-sys crate calls into it.

.section .text.hypercall_page, "ax", @progbits

.balign 4096
.globl HYPERCALL_PAGE
HYPERCALL_PAGE:
    .skip 4096

.text
