// SPDX-License-Identifier: GPL-2.0-only
/*
 * The workload: the same mappings and accesses, in the same order, at every boot.
 */
#include "iommu.h"

#ifdef LAB_GENERIC_PT
#define KERNEL_VERSION	"7.2.0"
#else
#define KERNEL_VERSION	"6.13.0"
#endif

/* Debuggers tell the kernel's era, and with it the flags' numbering, from this. */
const char linux_banner[] __attribute__((used)) =
	"Linux version " KERNEL_VERSION "-iommulens-guest (lab@iommulens) (riscv64-linux-gnu-gcc) #1\n";

#define WINDOW		0xfffff000UL
#define READ_ONLY	0xffffe000UL
#define WRITE_ONLY	0xffffd000UL
#define UNREAD		0xffffc000UL	/* for reading only, and never read */
#define RING		0xfffe0000UL	/* 64 KiB */
#define RETURNED	0xfffd0000UL
#define KEPT		0xfffd1000UL
#define NO_LEAF		0xfffcf000UL	/* tables down to level 0, and no entry */
#define LARGE		0xff800000UL	/* 2 MiB */
#define NO_TABLE	0xd0000000UL

static struct device iommu_platform_device = { .kobj = { .name = "3010000.iommu" } };
static struct iommu_domain *domain;

/* Stop here to set up before the driver is first called: no map call has been made. */
lab_frame void lab_workload_started(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here after accesses that work: 4 KiB for reading, 4 KiB for writing, 2 MiB. */
lab_frame void lab_accesses_done(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here after accesses that are refused: no table, no leaf, writes to pages for reading. */
lab_frame void lab_faults_done(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here after accesses to 64 KiB that one call has mapped. */
lab_frame void lab_contiguous_done(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here after accesses to two pages that were unmapped: one invalidated, one not. */
lab_frame void lab_stale_done(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here to examine the final tables; nothing changes after it. */
lab_frame void lab_workload_done(void)
{
	asm volatile("" : : : "memory");
}

static phys_addr_t map(unsigned long iova, size_t size, int prot)
{
	phys_addr_t paddr = lab_dma_memory(size >> PAGE_SHIFT, size);

	if (iommu_map(domain, iova, paddr, size, prot, GFP_KERNEL)) {
		lab_print("iommulens guest: iommu_map of 0x%lx failed; stopping\n", iova);
		lab_stop();
	}
	return paddr;
}

static lab_frame void lab_access(void)
{
	map(READ_ONLY, PAGE_SIZE, IOMMU_READ);
	map(WRITE_ONLY, PAGE_SIZE, IOMMU_WRITE | IOMMU_NOEXEC);
	map(UNREAD, PAGE_SIZE, IOMMU_READ);
	map(LARGE, SZ_2M, IOMMU_READ | IOMMU_WRITE);
	lab_dma_read(READ_ONLY + 0x18);
	lab_dma_write(WRITE_ONLY + 0x20);
	lab_dma_read(LARGE + 0x123458);
}

static lab_frame void lab_fault(void)
{
	lab_dma_read(NO_TABLE + 0x40);
	lab_dma_read(NO_LEAF + 0x48);
	lab_dma_write(UNREAD + 0x50);
	/* Cached by a read: QEMU refuses the write all the same, but queues no fault. */
	lab_dma_write(READ_ONLY + 0x58);
}

static lab_frame void lab_contiguous(void)
{
	map(RING, SZ_64K, IOMMU_READ | IOMMU_WRITE);
	lab_dma_read(RING);
	lab_dma_read(RING + 3 * PAGE_SIZE + 0x10);
	lab_dma_read(RING + 8 * PAGE_SIZE + 0x18);
	lab_dma_write(RING + 15 * PAGE_SIZE + 0x20);
}

static lab_frame void lab_stale(void)
{
	struct iommu_iotlb_gather never_synced;

	map(RETURNED, PAGE_SIZE, IOMMU_READ | IOMMU_WRITE);
	map(KEPT, PAGE_SIZE, IOMMU_READ | IOMMU_WRITE);
	lab_dma_read(RETURNED + 0x60);
	lab_dma_read(KEPT + 0x68);
	iommu_unmap(domain, RETURNED, PAGE_SIZE);
	iommu_unmap_fast(domain, KEPT, PAGE_SIZE, &never_synced);
	lab_dma_read(RETURNED + 0x70);
	lab_dma_read(KEPT + 0x78);
}

static bool asked_for(enum lab_step step)
{
	return lab_options.step == LAB_ALL_STEPS || lab_options.step == step;
}

lab_frame void start_kernel(void)
{
	lab_drop_identity_map();
	lab_memory_init();
	riscv_iommu_probe(&iommu_platform_device);
	domain = riscv_iommu_alloc_paging_domain(&lab_edu);
	riscv_iommu_attach_paging_domain(domain, &lab_edu);
	lab_print("iommulens guest: driver of Linux " KERNEL_VERSION ", IOMMU at 0x%lx, directory at 0x%lx\n",
		  RISCV_IOMMU_REGISTERS, virt_to_phys(riscv_iommu->ddt_root));

	lab_workload_started();
	lab_edu_probe(map(WINDOW, PAGE_SIZE, IOMMU_READ | IOMMU_WRITE), WINDOW);
	lab_access();
	lab_accesses_done();
	if (asked_for(LAB_FAULTS)) {
		lab_fault();
		lab_faults_done();
	}
	if (asked_for(LAB_CONTIGUOUS)) {
		lab_contiguous();
		lab_contiguous_done();
	}
	if (asked_for(LAB_STALE)) {
		lab_stale();
		lab_stale_done();
	}
	lab_print("done: %u accesses\n", lab_dma_count);
	lab_workload_done();
	for (;;)
		asm volatile("wfi");
}
