// SPDX-License-Identifier: GPL-2.0-only
/*
 * Physical memory, handed out in the same order at every boot.  Nothing is ever given back.
 *
 *   0x80000000  OpenSBI
 *   0x80200000  the image
 *   0x80400000  the block that stands for the IOMMU's registers (devices.c)
 *   0x80440000  small objects
 *   0x80800000  single pages, taken in scattered order
 *   middle      contiguous runs, upwards
 */
#include "kernel.h"

#define OBJECTS_START	0x80440000UL
#define OBJECTS_END	0x80800000UL
#define SCATTERED_START	0x80800000UL

/* A prime far from any power of two: consecutive pages land far apart. */
#define SCATTER_STRIDE	7919UL

extern char _image_end[];

static phys_addr_t next_object;
static phys_addr_t next_run;
static phys_addr_t runs_end;
static phys_addr_t claimed_page;
static u64 scattered_pages;
static u64 scattered_taken;

static void out_of(const char *what)
{
	lab_print("iommulens guest: out of %s; stopping\n", what);
	lab_stop();
}

void lab_memory_init(void)
{
	/* QEMU keeps the device tree at the end of RAM; the last 16 MiB stay untouched. */
	phys_addr_t end = lab_memory.start + lab_memory.size - (16UL << 20);
	/* The same pages whatever the memory's size, as long as it is 256 MiB or more. */
	phys_addr_t middle = lab_memory.size >= 256UL << 20 ? 0x88000000UL : 0x84000000UL;

	if (virt_to_phys(_image_end) > 0x80400000UL)
		out_of("room for the image");
	next_object = OBJECTS_START;
	next_run = middle;
	runs_end = end;
	scattered_pages = (middle - SCATTERED_START) >> PAGE_SHIFT;
	if (scattered_pages % SCATTER_STRIDE == 0)
		scattered_pages--;
}

void *kzalloc(size_t size, gfp_t gfp)
{
	void *object = phys_to_virt(next_object);

	size = (size + 15) & ~15UL;
	if (next_object + size > OBJECTS_END)
		out_of("small objects");
	next_object += size;
	return memset(object, 0, size);
}

void kfree(const void *object)
{
}

/* Stride and count have no common factor, so every page comes up exactly once. */
phys_addr_t lab_scattered_page(void)
{
	u64 index;

	if (scattered_taken == scattered_pages)
		out_of("single pages");
	index = ++scattered_taken * SCATTER_STRIDE % scattered_pages;
	return SCATTERED_START + (index << PAGE_SHIFT);
}

/* `count` pages in one piece, `skew` pages past a multiple of `alignment` bytes. */
phys_addr_t lab_contiguous_pages(size_t count, size_t alignment, size_t skew)
{
	phys_addr_t run = ((next_run + alignment - 1) & ~(alignment - 1)) + (skew << PAGE_SHIFT);
	phys_addr_t end = run + (count << PAGE_SHIFT);

	if (end > runs_end || (claimed_page >= run && claimed_page < end))
		out_of("contiguous pages");
	next_run = end;
	return run;
}

/* One page at a given address, if RAM reaches it and nothing else lives there. */
bool lab_claim_page(phys_addr_t pa)
{
	if (claimed_page || pa < next_run || pa >= runs_end)
		return false;
	claimed_page = pa;
	return true;
}

unsigned long get_zeroed_page(gfp_t gfp)
{
	return (unsigned long)memset(phys_to_virt(lab_scattered_page()), 0, PAGE_SIZE);
}

unsigned long __get_free_pages(gfp_t gfp, unsigned int order)
{
	size_t size = PAGE_SIZE << order;
	void *pages = phys_to_virt(lab_contiguous_pages(1UL << order, size, 0));

	if (gfp & __GFP_ZERO)
		memset(pages, 0, size);
	return (unsigned long)pages;
}
