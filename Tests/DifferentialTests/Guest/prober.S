/*
 * Accesses memory through page tables as it is asked to, and tells what came of it.
 *
 * Requests are made in RAM by whoever shares it: eight 8-byte fields each, of which a 32-bit processor uses the lower halves.
 * Machine mode sees physical addresses, so this program needs no tables of its own.
 */
#if __riscv_xlen == 64
#define LOAD ld
#define STORE sd
#else
#define LOAD lw
#define STORE sw
#endif

    .equ COUNT, 0x80110000              # how many requests there are; 0 once they are done
    .equ REQUESTS, 0x80111000
    .equ SIZE, 64
    .equ IDENTITY, 0x801f0000           # an Sv57x4 root, made by the same

    .equ ROOT, 0                        # satp, hgatp or vsatp
    .equ STATUS, 8                      # mstatus while accessing
    .equ ADDRESS, 16
    .equ OPERATION, 24
    .equ VALUE, 32                      # what to store; what was loaded, its upper half in a field of its own
    .equ UPPER, 40
    .equ CAUSE, 48                      # of the trap; all ones for none
    .equ WHERE, 56                      # mtval2, in bytes

    .equ MACHINE, 0x1800                # mstatus.MPP
    .equ HGATP, 0x680
    .equ VSATP, 0x280
    .equ HSTATUS, 0x600
    .equ VSSTATUS, 0x200
    .equ MENVCFG, 0x30a
    .equ MTVAL2, 0x34b

    # Where the machine starts. Nobody needs it afterwards, so what becomes of it does not matter.
    .section .reset, "ax"
    .globl _start
_start:
    lla t0, begin
    jr t0

    .text
begin:
    lla t0, trap
    csrw mtvec, t0
    csrw mie, zero
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f                         # everything: one naturally aligned range with R, W and X
    csrw pmpcfg0, t0
#if __riscv_xlen == 64
    lla s4, 1f                           # where a processor without the register goes on
    li t0, 3 << 61                      # PBMTE, and A and D set by the processor
    csrw MENVCFG, t0
1:
#endif
    li s0, COUNT
wait:
    LOAD s6, 0(s0)
    beqz s6, wait
    fence rw, rw
    li s1, REQUESTS
    lla s4, done

next:
    LOAD t0, ROOT(s1)
    LOAD s7, STATUS(s1)
    LOAD s2, ADDRESS(s1)
    LOAD t2, OPERATION(s1)
    LOAD s3, VALUE(s1)
    li s8, 0
    li s5, -1
#if __riscv_xlen == 64
    csrw MTVAL2, zero
    li t3, 3
    bltu t2, t3, first_stage
    li t3, 5
    beq t2, t3, both_stages
    csrw VSATP, zero
    csrw HGATP, t0
    sfence.vma
    .insn r 0x73, 0, 0x31, x0, x0, x0   # hfence.gvma
    li t3, 4
    csrw mstatus, s7
    beq t2, t3, 1f
    .insn r 0x73, 4, 0x36, s3, s2, x0   # hlv.d s3, (s2)
    j done
1:  .insn r 0x73, 4, 0x37, x0, s2, s3   # hsv.d s3, (s2)
    j done

both_stages:
    # The second stage maps RAM to itself and nothing else, so it tells every other address that the first one comes to.
    li t3, 10 << 60 | IDENTITY >> 12
    csrw HGATP, t3
    csrw VSATP, t0
    csrw satp, t0                       # by which QEMU tells a guest's page faults from its access faults
    li t3, 1 << 18                      # SUM
    csrw VSSTATUS, t3
    li t3, 1 << 8                       # SPVP
    csrs HSTATUS, t3
    sfence.vma
    .insn r 0x73, 0, 0x31, x0, x0, x0
    .insn r 0x73, 0, 0x11, x0, x0, x0   # hfence.vvma
    csrw mstatus, s7
    .insn r 0x73, 4, 0x36, s3, s2, x0
    j done
first_stage:
#endif
    csrw satp, t0
    sfence.vma
    csrw mstatus, s7
    beqz t2, load
    li t3, 1
    beq t2, t3, store
    csrw mepc, s2
    mret                                # ends in a trap, be it for what lies there
store:
    STORE s3, 0(s2)
    j done
load:
    LOAD s3, 0(s2)
#if __riscv_xlen == 32
    lw s8, 4(s2)
#endif

done:
    li t0, MACHINE                      # without MPRV
    csrw mstatus, t0
    STORE s5, CAUSE(s1)
    STORE s3, VALUE(s1)
    STORE s8, UPPER(s1)
#if __riscv_xlen == 64
    csrr t0, MTVAL2
    slli t0, t0, 2
    STORE t0, WHERE(s1)
#endif
    addi s1, s1, SIZE
    addi s6, s6, -1
    bnez s6, next
    fence rw, rw
    STORE zero, 0(s0)
    j wait

    .align 2
trap:
    csrr s5, mcause
    jr s4
