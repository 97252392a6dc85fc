/* SPDX-License-Identifier: MIT */
/*
 * Entry of the control-core firmware. The boot ROM has loaded the segments and zeroed .bss.
 *
 * mtvec stays zero: the firmware takes no interrupts (it polls, and sleeps in WFI, which a pending enabled
 * interrupt ends without a trap). So any trap is a bug; the core then halts, and the host reads cause and pc
 * in FW_TRAP_CAUSE and FW_TRAP_PC.
 */
	.section .text.start, "ax"
	.globl _start
_start:
	.option push
	.option norelax
	la	gp, __global_pointer$
	.option pop
	la	sp, __stack_top
	csrw	mtvec, zero
	call	fw_main
1:	wfi
	j	1b
