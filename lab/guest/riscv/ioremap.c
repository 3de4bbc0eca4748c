// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices.  `virt` has all of them below RAM, in the first two GiB of physical addresses.
 */
#include "iommu.h"

/* Two leaves of 1 GiB, a GiB below those that paging.c has made for the image. */
#define DEVICES_ADDR	(KERNEL_LINK_ADDR - 4 * SZ_1G)
#define LARGEST_LEVEL	2U

#define SATP_PPN	((1UL << 44) - 1)

static u64 *largest_leaves(unsigned long va)
{
	unsigned int level = root_level(lab_options.cpu_mode);
	unsigned long satp;
	u64 *table;

	asm volatile("csrr %0, satp" : "=r"(satp));
	table = phys_to_virt((satp & SATP_PPN) << PAGE_SHIFT);
	for (; level > LARGEST_LEVEL; level--)
		table = pte_table(table[(va >> LEVEL_SHIFT(level)) & 511]);
	return &table[(va >> LEVEL_SHIFT(LARGEST_LEVEL)) & 511];
}

void *ioremap(phys_addr_t pa)
{
	u64 *leaves = largest_leaves(DEVICES_ADDR);
	unsigned int i;

	for (i = 0; i < 2; i++)
		leaves[i] = pte_of(i * SZ_1G, _PAGE_PRESENT | _PAGE_READ | _PAGE_WRITE |
					      _PAGE_ACCESSED | _PAGE_DIRTY);
	asm volatile("sfence.vma" : : : "memory");
	return (void *)(DEVICES_ADDR + pa);
}
