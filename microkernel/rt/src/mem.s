# SPDX-License-Identifier: MIT OR Apache-2.0
#
# memmove, memset, memcmp, strlen: the functions that compiled code calls and that a C library would
# bring. In assembly, because a compiler turns such loops in Rust or C into calls of themselves.
#
# Large blocks go by `rep movsq` and `rep stosq`: under QEMU's TCG six times as fast as their byte
# forms, on hardware as fast as anything short of vector registers, and those would drag FPU state
# into every server. Heads and tails that are not whole words are covered by one overlapping word
# each, so there are no byte loops.
#
# System V calling convention: rdi, rsi, rdx in; rax out; rcx, r8-r11 free.

    .globl kr_memmove, kr_memset, kr_memcmp, kr_strlen

    .section .text.kr_memmove, "ax", @progbits
    .p2align 4
kr_memmove:                         # rdi to, rsi from, rdx bytes; may overlap
    mov rax, rdi
    cmp rdx, 16
    jb 3f
    cmp rdx, 32
    ja 5f
    mov r8, [rsi]                   # 16..=32: all loads before the first store
    mov r9, [rsi + 8]
    mov r10, [rsi + rdx - 16]
    mov r11, [rsi + rdx - 8]
    mov [rdi], r8
    mov [rdi + 8], r9
    mov [rdi + rdx - 16], r10
    mov [rdi + rdx - 8], r11
    ret
3:  cmp rdx, 8
    jb 4f
    mov r8, [rsi]
    mov r9, [rsi + rdx - 8]
    mov [rdi], r8
    mov [rdi + rdx - 8], r9
    ret
4:  cmp rdx, 4
    jb 4f
    mov r8d, [rsi]
    mov r9d, [rsi + rdx - 4]
    mov [rdi], r8d
    mov [rdi + rdx - 4], r9d
    ret
4:  test rdx, rdx
    jz 4f
    movzx r8d, byte ptr [rsi]       # 1..=3: first, middle, last
    movzx r9d, byte ptr [rsi + rdx - 1]
    mov rcx, rdx
    shr rcx, 1
    movzx r10d, byte ptr [rsi + rcx]
    mov [rdi + rcx], r10b
    mov [rdi], r8b
    mov [rdi + rdx - 1], r9b
4:  ret
5:  mov r8, [rsi]                   # more than 32: first and last word by hand, whole aligned
    mov r9, [rsi + rdx - 8]         # words of the destination between them
    lea r10, [rdi + rdx - 8]
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 6f                           # the destination starts inside the source: from the end
    mov r11, rdi
    lea rcx, [rdi + 8]
    and rcx, -8
    sub rcx, rdi                    # 1..=8 bytes to the first aligned word
    add rdi, rcx
    add rsi, rcx
    sub rdx, rcx
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov [r11], r8
    mov [r10], r9
    ret
6:  mov rcx, rdx
    shr rcx, 3                      # whole words, counted from the end; the head word covers the rest
    add rsi, rdx
    add rdi, rdx
7:  mov r11, [rsi - 8]
    sub rsi, 8
    sub rdi, 8
    mov [rdi], r11
    dec rcx
    jnz 7b
    mov [rax], r8
    ret

    .section .text.kr_memset, "ax", @progbits
    .p2align 4
kr_memset:                          # rdi to, esi byte, rdx bytes
    mov r8, rdi
    movzx eax, sil
    movabs r9, 0x0101010101010101
    imul rax, r9
    cmp rdx, 16
    ja 5f
    cmp rdx, 8
    jb 3f
    mov [rdi], rax
    mov [rdi + rdx - 8], rax
    mov rax, r8
    ret
3:  cmp rdx, 4
    jb 4f
    mov [rdi], eax
    mov [rdi + rdx - 4], eax
    mov rax, r8
    ret
4:  test rdx, rdx
    jz 4f
    mov [rdi], al
    mov [rdi + rdx - 1], al
    shr rdx, 1
    mov [rdi + rdx], al
4:  mov rax, r8
    ret
5:  mov [rdi], rax
    mov [rdi + rdx - 8], rax
    lea rcx, [rdi + 8]
    and rcx, -8
    sub rcx, rdi
    add rdi, rcx
    sub rdx, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov rax, r8
    ret

    .section .text.kr_memcmp, "ax", @progbits
    .p2align 4
kr_memcmp:                          # rdi, rsi, rdx bytes; below, at or above 0
    cmp rdx, 8
    jb 3f
2:  mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 5f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 2b
3:  test rdx, rdx
    jz 6f
4:  movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jnz 7f
    inc rdi
    inc rsi
    dec rdx
    jnz 4b
6:  xor eax, eax
7:  ret
5:  bswap rax                       # the first byte that differs decides: compare big-endian
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
    ret

    .section .text.kr_strlen, "ax", @progbits
    .p2align 4
kr_strlen:                          # rdi: bytes up to a zero
    mov rax, rdi
2:  cmp byte ptr [rax], 0
    je 3f
    inc rax
    jmp 2b
3:  sub rax, rdi
    ret

    .text
