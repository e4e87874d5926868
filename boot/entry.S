// The first instructions: Xen enters here with rsi = start_info and paging on (public/xen.h).

.section .text.start, "ax", @progbits

.globl _start
_start:
    cld
    mov     rdi, rsi
    mov     rsi, rsp            // the builder's stack: the last page it took
    lea     rsp, [__stack_top]
    xor     ebp, ebp            // the backtrace ends here
    call    pvbounce_start
    ud2

.text
