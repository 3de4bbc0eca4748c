// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's `edu`, a PCI device for teaching: its DMA engine copies between memory, through the IOMMU,
 * and a buffer of its own (QEMU, docs/specs/edu.rst).
 *
 * Every doubleword of the memory that is mapped for it holds its own physical address.  So what the
 * device read is where it read, and nothing has to be believed of tables or traces.  The CPU cannot
 * see the buffer: the device writes it to a page of its own, the window.
 */
#include "iommu.h"

/* The configuration of 00:01.0, and the start of the PCI window for 32-bit BARs. */
#define CONFIGURATION	(0x30000000UL + (1UL << 15))
#define BAR		0x40000000UL

#define PCI_COMMAND	0x4
#define PCI_COMMAND_ON	0x6U	/* memory space, bus master */
#define PCI_BAR0	0x10
#define EDU_ID		0x11e81234U

#define EDU_DMA_SOURCE	0x80
#define EDU_DMA_TARGET	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_COMMAND	0x98
#define EDU_DMA_RUN	(1UL << 0)
#define EDU_DMA_TO_RAM	(1UL << 1)
#define EDU_BUFFER	0x40000UL

/* `virt` counts time in 10 MHz; a transfer takes 0.1 s. */
#define PATIENCE	(100UL * 1000 * 1000)

/* No address has these bits. */
#define MARK		0xed00000000000000UL

struct device lab_edu = { .kobj = { .name = "0000:00:01.0" } };
struct lab_dma lab_dmas[64];
u32 lab_dma_count;

static void *edu;
static u64 *window;
static dma_addr_t window_iova;

static struct {
	phys_addr_t start;
	size_t pages;
} memory[16];
static unsigned int memory_count;

/* Pages that a device may be led to. */
phys_addr_t lab_dma_memory(size_t pages, size_t alignment)
{
	phys_addr_t start = lab_contiguous_pages(pages, alignment, 0);
	phys_addr_t at;

	if (memory_count == ARRAY_SIZE(memory)) {
		lab_print("iommulens guest: too many pieces of DMA memory; stopping\n");
		lab_stop();
	}
	for (at = start; at < start + (pages << PAGE_SHIFT); at += sizeof(u64))
		*(u64 *)phys_to_virt(at) = at;
	memory[memory_count].start = start;
	memory[memory_count++].pages = pages;
	return start;
}

void lab_edu_probe(phys_addr_t phys, dma_addr_t iova)
{
	void *configuration = ioremap(CONFIGURATION);

	if (*(volatile u32 *)configuration != EDU_ID) {
		lab_print("iommulens guest: 00:01.0 is no edu; stopping\n");
		lab_stop();
	}
	*(volatile u32 *)(configuration + PCI_BAR0) = BAR;
	*(volatile u16 *)(configuration + PCI_COMMAND) = PCI_COMMAND_ON;
	edu = ioremap(BAR);
	window = phys_to_virt(phys);
	window_iova = iova;
}

static u64 now(void)
{
	u64 time;

	asm volatile("rdtime %0" : "=r"(time));
	return time;
}

/* Copies a doubleword. */
static void transfer(u64 source, u64 target, u64 direction)
{
	u64 start = now();

	asm volatile("fence" : : : "memory");
	writeq(source, edu + EDU_DMA_SOURCE);
	writeq(target, edu + EDU_DMA_TARGET);
	writeq(sizeof(u64), edu + EDU_DMA_COUNT);
	writeq(direction | EDU_DMA_RUN, edu + EDU_DMA_COMMAND);
	while (readq(edu + EDU_DMA_COMMAND) & EDU_DMA_RUN) {
		if (now() - start > PATIENCE) {
			lab_print("iommulens guest: edu's DMA does not end; stopping\n");
			lab_stop();
		}
	}
	asm volatile("fence" : : : "memory");
}

/* Stop here after each of the accesses. */
lab_frame void lab_dma_done(const struct lab_dma *dma)
{
	asm volatile("" : : "r"(dma) : "memory");
}

static void done(dma_addr_t iova, bool write, phys_addr_t reached, u32 faults)
{
	struct lab_dma *dma = &lab_dmas[lab_dma_count++ % ARRAY_SIZE(lab_dmas)];

	*dma = (struct lab_dma){ iova, reached, write, faults };
	lab_dma_done(dma);
	if (!lab_options.faults_unread)
		riscv_iommu_fltq_process();
}

void lab_dma_read(dma_addr_t iova)
{
	u32 tail = riscv_iommu_fltq_tail();

	*window = MARK;
	transfer(iova, EDU_BUFFER, 0);
	transfer(EDU_BUFFER, window_iova, EDU_DMA_TO_RAM);
	done(iova, false, *window, riscv_iommu_fltq_tail() - tail);
}

/* Where in the memory for DMA `value` is, at the same place in a page; its own address is put back. */
static phys_addr_t find(u64 value, size_t offset)
{
	unsigned int i;
	phys_addr_t at;

	for (i = 0; i < memory_count; i++) {
		for (at = memory[i].start + offset;
		     at < memory[i].start + (memory[i].pages << PAGE_SHIFT); at += PAGE_SIZE) {
			if (readq(phys_to_virt(at)) == value) {
				writeq(at, phys_to_virt(at));
				return at;
			}
		}
	}
	return 0;
}

void lab_dma_write(dma_addr_t iova)
{
	u32 tail = riscv_iommu_fltq_tail();
	u64 value = MARK | lab_dma_count;

	*window = value;
	transfer(window_iova, EDU_BUFFER, 0);
	/* The window is in the memory for DMA, and must not be found. */
	*window = MARK;
	transfer(EDU_BUFFER, iova, EDU_DMA_TO_RAM);
	done(iova, true, find(value, iova & ~PAGE_MASK), riscv_iommu_fltq_tail() - tail);
}
