/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From OpenSBI (S-mode, translation off, a1 = device tree) to start_kernel at the linked address.
 * Everything before the jump runs at physical addresses; all references are relative to pc.
 */
	.section .text.start, "ax", @progbits

	.globl _start
	.type _start, @function
_start:
	.cfi_startproc
	.cfi_undefined ra
	csrw	sie, zero
	la	t0, trap_entry
	csrw	stvec, t0
	la	t0, _bss_start
	la	t1, _bss_end
1:	bgeu	t0, t1, 2f
	sd	zero, 0(t0)
	addi	t0, t0, 8
	j	1b
2:	la	sp, boot_stack_top
	mv	a0, a1
	call	lab_read_device_tree
	call	lab_build_page_tables
	mv	s0, a0

	/* The identity map of the page tables keeps this code running across the switch. */
	sfence.vma
	csrw	satp, s0
	sfence.vma
	csrr	t0, satp
	beq	t0, s0, 3f
	call	lab_mode_refused

	/* The same instructions, now at the linked address. */
3:	la	t0, kernel_entry
	li	t1, 0xffffffff80000000 - 0x80200000
	add	t0, t0, t1
	jr	t0
	.cfi_endproc
	.size _start, . - _start

	.type kernel_entry, @function
kernel_entry:
	.cfi_startproc
	.cfi_undefined ra
	la	t0, trap_entry
	csrw	stvec, t0
	la	sp, boot_stack_top
	call	start_kernel
1:	wfi
	j	1b
	.cfi_endproc
	.size kernel_entry, . - kernel_entry

	/* Nothing in this guest traps on purpose: say where, and stop. */
	.balign 4
	.type trap_entry, @function
trap_entry:
	.cfi_startproc
	.cfi_undefined ra
	csrr	a0, scause
	csrr	a1, sepc
	csrr	a2, stval
	la	sp, boot_stack_top
	call	lab_trap
	.cfi_endproc
	.size trap_entry, . - trap_entry

	.section .bss
	.balign 4096
boot_stack:
	.skip	16384
boot_stack_top:
