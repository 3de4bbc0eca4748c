// SPDX-License-Identifier: GPL-2.0-only
/*
 * Console through OpenSBI, power through QEMU's test device.  Nothing here refers to an absolute
 * address of the image, so it works at physical addresses before the page tables are on and at
 * virtual ones afterwards.
 */
#include "kernel.h"

/* SBI: legacy extension 1 writes a character. */
#define SBI_CONSOLE_PUTCHAR	1UL

/*
 * `virt`'s "sifive,test" device ends QEMU with the status that is written above 0x3333.  SBI's
 * system reset would be the portable way, but OpenSBI 1.1 ends QEMU with 0 whatever the reason.
 */
#define TEST_DEVICE		0x100000UL
#define TEST_DEVICE_FAIL	(1U << 16 | 0x3333U)

static void put_character(char c)
{
	register unsigned long a0 asm("a0") = (unsigned char)c;
	register unsigned long a7 asm("a7") = SBI_CONSOLE_PUTCHAR;

	asm volatile("ecall" : "+r"(a0) : "r"(a7) : "a1", "memory");
}

static void put_string(const char *string)
{
	while (*string)
		put_character(*string++);
}

static void put_number(unsigned long value, unsigned int base)
{
	char digits[20];
	unsigned int count = 0;

	do {
		unsigned int digit = value % base;

		digits[count++] = digit < 10 ? '0' + digit : 'a' + digit - 10;
		value /= base;
	} while (value);
	while (count)
		put_character(digits[--count]);
}

/* Knows %s, %u, %lu and %lx. */
void lab_print(const char *format, ...)
{
	__builtin_va_list arguments;

	__builtin_va_start(arguments, format);
	for (; *format; format++) {
		bool is_long;

		if (*format != '%') {
			put_character(*format);
			continue;
		}
		format++;
		is_long = *format == 'l';
		if (is_long)
			format++;
		if (*format == 's')
			put_string(__builtin_va_arg(arguments, const char *));
		else if (*format == 'x' && is_long)
			put_number(__builtin_va_arg(arguments, unsigned long), 16);
		else if (*format == 'u' && is_long)
			put_number(__builtin_va_arg(arguments, unsigned long), 10);
		else if (*format == 'u')
			put_number(__builtin_va_arg(arguments, unsigned int), 10);
	}
	__builtin_va_end(arguments);
}

/* Ends QEMU with a failure status, so that whoever booted the guest notices. */
void lab_stop(void)
{
	unsigned long satp;
	unsigned long device;

	asm volatile("csrr %0, satp" : "=r"(satp));
	device = satp ? LOW_DEVICES_ADDR + TEST_DEVICE : TEST_DEVICE;
	*(volatile u32 *)device = TEST_DEVICE_FAIL;
	for (;;)
		asm volatile("wfi");
}

void lab_trap(unsigned long cause, unsigned long pc, unsigned long value)
{
	lab_print("iommulens guest: trap: scause 0x%lx, sepc 0x%lx, stval 0x%lx; stopping\n",
		  cause, pc, value);
	lab_stop();
}

void lab_mode_refused(void)
{
	lab_print("iommulens guest: this CPU does not implement the mode that cpu= asks for; stopping\n");
	lab_stop();
}

/* The compiler may call these two whatever the source says. */
void *memset(void *to, int value, size_t count)
{
	u8 *at = to;

	while (count--)
		*at++ = value;
	return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
	u8 *at = to;
	const u8 *source = from;

	while (count--)
		*at++ = *source++;
	return to;
}
