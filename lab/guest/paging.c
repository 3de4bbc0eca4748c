// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CPU's own page tables, laid out as riscv Linux lays out its own: the image at its linked
 * address, and all RAM in a linear map where KVA = PA + kernel_map.va_pa_offset.
 *
 * lab_build_page_tables runs at physical addresses.
 */
#include "kernel.h"

/* Privileged Architecture, "Sv39/Sv48/Sv57 page table entry".  A and D are set: no trap for them. */
#define PTE_V	(1UL << 0)
#define PTE_R	(1UL << 1)
#define PTE_W	(1UL << 2)
#define PTE_X	(1UL << 3)
#define PTE_A	(1UL << 6)
#define PTE_D	(1UL << 7)
#define PTE_RW	(PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)
#define PTE_RWX	(PTE_RW | PTE_X)

#define SATP_MODE_SHIFT	60

/* Where each mode's linear map begins in Linux 6.x. */
#define PAGE_OFFSET_SV39	0xffffffd800000000UL
#define PAGE_OFFSET_SV48	0xffffaf8000000000UL
#define PAGE_OFFSET_SV57	0xff60000000000000UL

/* The largest leaf: 1 GiB at level 2.  Terabyte leaves would have no use here. */
#define LARGEST_LEAF_LEVEL	2U

bool pgtable_l4_enabled;
bool pgtable_l5_enabled;
phys_addr_t phys_ram_base;

#ifdef XT_IOMMU_LEGACY_SIGNATURE
unsigned long va_pa_offset;
#else
struct kernel_mapping kernel_map;
#endif

extern char _image_start[], _image_end[];

typedef u64 table_t[512];

static table_t early_tables[32] __attribute__((aligned(4096)));
static unsigned int early_tables_used;

static u64 *new_table(void)
{
	if (early_tables_used == ARRAY_SIZE(early_tables)) {
		lab_print("iommulens guest: out of early page tables; stopping\n");
		lab_stop();
	}
	return early_tables[early_tables_used++];
}

static unsigned int level_shift(unsigned int level)
{
	return PAGE_SHIFT + 9 * level;
}

/* Maps with the largest leaves that alignment and size allow. */
static void map_range(u64 *root, unsigned int top_level, u64 va, phys_addr_t pa, u64 size,
		      u64 flags)
{
	while (size) {
		unsigned int level = top_level;
		u64 *table = root;
		u64 *entry;
		u64 leaf_size;

		for (;;) {
			entry = &table[(va >> level_shift(level)) & 511];
			leaf_size = 1UL << level_shift(level);
			if (level == 0 || (level <= LARGEST_LEAF_LEVEL && size >= leaf_size &&
					   !((va | pa) & (leaf_size - 1))))
				break;
			if (!(*entry & PTE_V))
				*entry = (u64)new_table() >> PAGE_SHIFT << 10 | PTE_V;
			table = (u64 *)(*entry >> 10 << PAGE_SHIFT);
			level--;
		}
		*entry = pa >> PAGE_SHIFT << 10 | flags;
		va += leaf_size;
		pa += leaf_size;
		size -= leaf_size;
	}
}

/*
 * Gives the value for satp.  The 1 GiB around the image is also mapped at its own address, for the
 * instructions between turning translation on and jumping to the linked address.
 */
u64 lab_build_page_tables(void)
{
	enum lab_cpu_mode mode = lab_options.cpu_mode;
	unsigned int top_level = mode == LAB_SV57 ? 4 : mode == LAB_SV48 ? 3 : 2;
	u64 page_offset = mode == LAB_SV57 ? PAGE_OFFSET_SV57 :
			  mode == LAB_SV48 ? PAGE_OFFSET_SV48 : PAGE_OFFSET_SV39;
	u64 image_size = ((u64)(_image_end - _image_start) + SZ_2M - 1) & ~(SZ_2M - 1);
	u64 *root = new_table();

	pgtable_l5_enabled = mode == LAB_SV57;
	pgtable_l4_enabled = mode != LAB_SV39;
	phys_ram_base = lab_memory.start;
#ifdef XT_IOMMU_LEGACY_SIGNATURE
	va_pa_offset = page_offset - phys_ram_base;
#else
	kernel_map.page_offset = page_offset;
	kernel_map.virt_addr = KERNEL_LINK_ADDR;
	kernel_map.phys_addr = KERNEL_LOAD_ADDR;
	kernel_map.size = _image_end - _image_start;
	kernel_map.va_pa_offset = page_offset - phys_ram_base;
	kernel_map.va_kernel_pa_offset = KERNEL_LINK_ADDR - KERNEL_LOAD_ADDR;
#endif

	map_range(root, top_level, KERNEL_LINK_ADDR, KERNEL_LOAD_ADDR, image_size, PTE_RWX);
	map_range(root, top_level, LOW_DEVICES_ADDR, 0, SZ_2M, PTE_RW);
	map_range(root, top_level, page_offset, lab_memory.start, lab_memory.size & PAGE_MASK,
		  PTE_RW);
	map_range(root, top_level, lab_memory.start, lab_memory.start, SZ_1G, PTE_RWX);

	return (u64)mode << SATP_MODE_SHIFT | (u64)root >> PAGE_SHIFT;
}

/* As in Linux, the low half belongs to user space and is empty once the kernel runs. */
void lab_drop_identity_map(void)
{
	unsigned int top_level = pgtable_l5_enabled ? 4 : pgtable_l4_enabled ? 3 : 2;

	early_tables[0][(lab_memory.start >> level_shift(top_level)) & 511] = 0;
	asm volatile("sfence.vma" : : : "memory");
}
