// SPDX-License-Identifier: GPL-2.0-only
/*
 * Console and power through OpenSBI.  Nothing here refers to an absolute address, so it works at
 * physical addresses before the page tables are on and at virtual ones afterwards.
 */
#include "kernel.h"

/* SBI: legacy extension 1 writes a character; "SRST" resets or shuts down. */
#define SBI_CONSOLE_PUTCHAR	1UL
#define SBI_SYSTEM_RESET	0x53525354UL
#define SBI_RESET_SHUTDOWN	0UL
#define SBI_REASON_FAILURE	1UL

static void sbi_call(unsigned long extension, unsigned long first, unsigned long second)
{
	register unsigned long a0 asm("a0") = first;
	register unsigned long a1 asm("a1") = second;
	register unsigned long a6 asm("a6") = 0;
	register unsigned long a7 asm("a7") = extension;

	asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
}

static void put_character(char c)
{
	if (c == '\n')
		sbi_call(SBI_CONSOLE_PUTCHAR, '\r', 0);
	sbi_call(SBI_CONSOLE_PUTCHAR, (unsigned char)c, 0);
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
	sbi_call(SBI_SYSTEM_RESET, SBI_RESET_SHUTDOWN, SBI_REASON_FAILURE);
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
