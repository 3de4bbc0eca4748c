// SPDX-License-Identifier: GPL-2.0-only
/*
 * The flattened device tree: where RAM is, and /chosen/bootargs with the guest's options.
 * Runs at physical addresses.  Layout: Devicetree Specification 0.4, chapter 5.
 */
#include "kernel.h"

#define FDT_MAGIC	0xd00dfeedU
#define FDT_BEGIN_NODE	1U
#define FDT_END_NODE	2U
#define FDT_PROP	3U
#define FDT_NOP		4U

#ifdef LAB_RISCV_IOMMU
struct lab_options lab_options = { .cpu_mode = LAB_SV57, .iommu_mode = LAB_SV57 };
#else
struct lab_options lab_options = { .cpu_mode = LAB_SV57, .root_shift = 0 };
#endif
struct lab_memory lab_memory;
char boot_command_line[256];

static u32 be32(const void *at)
{
	const u8 *byte = at;

	return (u32)byte[0] << 24 | (u32)byte[1] << 16 | (u32)byte[2] << 8 | byte[3];
}

static u64 be64(const void *at)
{
	return (u64)be32(at) << 32 | be32((const u8 *)at + 4);
}

static bool starts_with(const char *string, const char *prefix)
{
	while (*prefix)
		if (*string++ != *prefix++)
			return false;
	return true;
}

/* One option against one spelling: `text` ends at a blank or at the string's end. */
static bool option_is(const char *text, const char *spelling)
{
	while (*spelling)
		if (*text++ != *spelling++)
			return false;
	return *text == '\0' || *text == ' ';
}

#ifdef LAB_RISCV_IOMMU

#define KNOWN_OPTIONS \
	"cpu=sv39|sv48|sv57 iommu=sv39|sv48|sv57 step=all|faults|contiguous|stale faults=read|unread"

static bool parse_riscv_option(const char *text)
{
	if (option_is(text, "iommu=sv39"))
		lab_options.iommu_mode = LAB_SV39;
	else if (option_is(text, "iommu=sv48"))
		lab_options.iommu_mode = LAB_SV48;
	else if (option_is(text, "iommu=sv57"))
		lab_options.iommu_mode = LAB_SV57;
	else if (option_is(text, "step=all"))
		lab_options.step = LAB_ALL_STEPS;
	else if (option_is(text, "step=faults"))
		lab_options.step = LAB_FAULTS;
	else if (option_is(text, "step=contiguous"))
		lab_options.step = LAB_CONTIGUOUS;
	else if (option_is(text, "step=stale"))
		lab_options.step = LAB_STALE;
	else if (option_is(text, "faults=read"))
		lab_options.faults_unread = false;
	else if (option_is(text, "faults=unread"))
		lab_options.faults_unread = true;
	else
		return false;
	return true;
}

#else

#define KNOWN_OPTIONS	"root-shift=pgdir|12...63 cpu=sv39|sv48|sv57"

/* The value of "root-shift=12" to "root-shift=63"; 0 for anything else. */
static unsigned int root_shift(const char *text)
{
	static const char name[] = "root-shift=";

	if (!starts_with(text, name))
		return 0;
	text += sizeof(name) - 1;
	if (text[0] < '1' || text[0] > '6' || text[1] < '0' || text[1] > '9' ||
	    (text[2] != '\0' && text[2] != ' '))
		return 0;
	return (text[0] - '0') * 10 + (text[1] - '0');
}

#endif

static void parse_option(const char *text)
{
	char word[64];
	unsigned int length;

#ifdef LAB_RISCV_IOMMU
	if (parse_riscv_option(text)) {
		return;
	} else
#else
	if (option_is(text, "root-shift=pgdir")) {
		lab_options.root_shift = 0;
	} else if (root_shift(text) >= 12 && root_shift(text) <= 63) {
		lab_options.root_shift = root_shift(text);
	} else
#endif
	if (option_is(text, "cpu=sv39")) {
		lab_options.cpu_mode = LAB_SV39;
	} else if (option_is(text, "cpu=sv48")) {
		lab_options.cpu_mode = LAB_SV48;
	} else if (option_is(text, "cpu=sv57")) {
		lab_options.cpu_mode = LAB_SV57;
	} else {
		for (length = 0; length < sizeof(word) - 1; length++) {
			if (text[length] == '\0' || text[length] == ' ')
				break;
			word[length] = text[length];
		}
		word[length] = '\0';
		lab_print("iommulens guest: unknown option '%s' (known: " KNOWN_OPTIONS "); stopping\n",
			  word);
		lab_stop();
	}
}

static void parse_command_line(const char *text)
{
	while (*text) {
		while (*text == ' ')
			text++;
		if (*text)
			parse_option(text);
		while (*text && *text != ' ')
			text++;
	}
}

/*
 * Nodes of interest are children of the root, /chosen and /memory@..., so depth 2 counting the
 * root.  QEMU's `virt` writes two address and two size cells there.
 */
void lab_read_device_tree(const void *blob)
{
	const u8 *tree = blob;
	const u8 *at;
	const char *strings;
	unsigned int depth = 0;
	bool in_chosen = false;
	bool in_memory = false;

	if (be32(tree) != FDT_MAGIC) {
		lab_print("iommulens guest: no device tree at 0x%lx; stopping\n",
			  (unsigned long)blob);
		lab_stop();
	}
	at = tree + be32(tree + 8);
	strings = (const char *)tree + be32(tree + 12);

	for (;;) {
		u32 token = be32(at);

		at += 4;
		if (token == FDT_BEGIN_NODE) {
			const char *name = (const char *)at;
			unsigned int length = 0;

			depth++;
			in_chosen = depth == 2 && option_is(name, "chosen");
			in_memory = depth == 2 && starts_with(name, "memory@");
			while (name[length])
				length++;
			at += (length + 1 + 3) & ~3U;
		} else if (token == FDT_END_NODE) {
			depth--;
			in_chosen = false;
			in_memory = false;
		} else if (token == FDT_PROP) {
			u32 length = be32(at);
			const char *name = strings + be32(at + 4);
			const u8 *value = at + 8;

			if (in_chosen && option_is(name, "bootargs")) {
				if (length > sizeof(boot_command_line)) {
					lab_print("iommulens guest: the options are longer than %lu bytes; stopping\n",
						  sizeof(boot_command_line) - 1);
					lab_stop();
				}
				memcpy(boot_command_line, value, length);
			} else if (in_memory && option_is(name, "reg") && length >= 16) {
				lab_memory.start = be64(value);
				lab_memory.size = be64(value + 8);
			}
			at += 8 + ((length + 3) & ~3U);
		} else if (token != FDT_NOP) {
			break;
		}
	}

	if (lab_memory.start != 0x80000000UL || lab_memory.size < 128UL << 20) {
		lab_print("iommulens guest: needs at least 128 MiB of RAM at 0x80000000, has 0x%lx bytes at 0x%lx; stopping\n",
			  (unsigned long)lab_memory.size, (unsigned long)lab_memory.start);
		lab_stop();
	}
	parse_command_line(boot_command_line);
}
