// What the image asks of the domain builder: Xen's ELF notes (public/elfnote.h).
//
// Strings end in NUL, as libelf reads them; numbers are 8 bytes. Each note is aligned to 4.

.macro note_string type, value
    .balign 4
    .long 2f - 1f
    .long 4f - 3f
    .long \type
1:  .asciz "Xen"
2:  .balign 4
3:  .asciz "\value"
4:  .balign 4
.endm

.macro note_number type, value
    .balign 4
    .long 2f - 1f
    .long 8
    .long \type
1:  .asciz "Xen"
2:  .balign 4
    .quad \value
.endm

.section .note.Xen, "a", @note

    note_string 6,  "pvbounce"              // GUEST_OS
    note_string 7,  "0.1"                   // GUEST_VERSION
    note_string 5,  "xen-3.0"               // XEN_VERSION: the PV ABI, not the release
    note_string 8,  "generic"               // LOADER
    note_number 3,  0xffffffff80000000      // VIRT_BASE: where pfn 0 is mapped
    note_number 4,  0                       // PADDR_OFFSET: load addresses are pseudo-physical
    note_number 1,  _start                  // ENTRY
    note_number 2,  HYPERCALL_PAGE          // HYPERCALL_PAGE
    note_string 10, "!writable_page_tables|pae_pgdir_above_4gb"     // FEATURES
    note_string 9,  "yes"                   // PAE_MODE: required by old toolstacks

.text
