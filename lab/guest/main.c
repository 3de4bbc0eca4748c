// SPDX-License-Identifier: GPL-2.0-only
/*
 * The workload: the same calls, in the same order, with the same addresses at every boot.
 */
#include "xuantie-iommu.h"

#ifdef XT_IOMMU_LEGACY_SIGNATURE
#define SIGNATURE	"5.10"
#define KERNEL_VERSION	"5.10.4"
#else
#define SIGNATURE	"6.x"
#define KERNEL_VERSION	"6.4.0"
#endif

/* Debuggers tell the kernel's era, and with it the flags' numbering, from this. */
const char linux_banner[] __attribute__((used)) =
	"Linux version " KERNEL_VERSION "-iommulens-guest (lab@iommulens) (riscv64-linux-gnu-gcc) #1\n";

/* Equal low 30 bits in each of the four GiB: under a wrong root shift they are one address. */
static const unsigned long gib_bases[] = { 0x10000000, 0x50000000, 0x90000000, 0xd0000000 };

#define LAST_PAGE_OF_GIB(iova)	(((iova) & ~(SZ_1G - 1)) + SZ_1G - PAGE_SIZE)
#define FIRST_PAGE_OF_GIB(iova)	((iova) & ~(SZ_1G - 1))

/*
 * Stop here to set up before the driver is first called: the page tables of the CPU are on, the
 * devices are attached, and no map call has been made.
 */
lab_frame void lab_workload_started(void)
{
	asm volatile("" : : : "memory");
}

/*
 * Stop here to see the field notes' moment: exactly one page is mapped, IOVA 0xfffff000 of
 * 0000:00:01.0.
 */
lab_frame void lab_workload_first_map_done(void)
{
	asm volatile("" : : : "memory");
}

/* Stop here to examine the final tables; nothing changes after it. */
lab_frame void lab_workload_done(void)
{
	asm volatile("" : : : "memory");
}

static void must(int error, const char *what)
{
	if (!error)
		return;
	lab_print("iommulens guest: %s failed; stopping\n", what);
	lab_stop();
}

static void assign(unsigned long iova, size_t pages, phys_addr_t paddr, int prot)
{
	must(vfio_dma_do_map(iova, paddr, pages << PAGE_SHIFT, prot), "vfio_dma_do_map");
}

static void withdraw(unsigned long iova, size_t pages)
{
	must(vfio_dma_do_unmap(iova, pages << PAGE_SHIFT) != pages << PAGE_SHIFT,
	     "vfio_dma_do_unmap");
}

/*
 * Short runs of the network card in the three lower GiB, with every kind of prot that names READ
 * or WRITE.  Every second one crosses a 2 MiB border.  No two share their low 30 bits, so this
 * domain has no aliases even under a wrong root shift: only slots differ.
 */
static lab_frame void lab_map_lower_gibs(void)
{
	static const int prots[] = {
		IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
		IOMMU_READ | IOMMU_CACHE,
		IOMMU_WRITE | IOMMU_CACHE,
		IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO | IOMMU_NOEXEC,
		IOMMU_READ | IOMMU_PRIV,
		IOMMU_WRITE,
	};
	static const size_t lengths[] = { 1, 4, 3, 8 };
	struct iommu_domain *domain = lab_nic.dev.iommu_group->domain;
	unsigned int i;

	for (i = 0; i < 24; i++) {
		unsigned long gib = i % 3 * SZ_1G;
		unsigned long iova = gib + 0x01000000 + i * SZ_2M - (i & 1 ? 2 * PAGE_SIZE : 0);
		size_t pages = lengths[i % ARRAY_SIZE(lengths)];

		must(iommu_map(domain, iova, lab_contiguous_pages(pages, PAGE_SIZE, 1),
			       pages << PAGE_SHIFT, prots[i % ARRAY_SIZE(prots)], GFP_KERNEL),
		     "iommu_map");
	}
}

/*
 * A guest's memory as VFIO maps it.  Physical runs are skewed against the IOVA where 4 KiB pages
 * are wanted, and aligned with it where the core is to offer 2 MiB pages.
 */
static lab_frame void lab_assign_memory(void)
{
	static const size_t crossing[] = { 512, 192, 160, 256 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(gib_bases); i++)
		assign(gib_bases[i], 16, lab_contiguous_pages(16, PAGE_SIZE, i + 1),
		       IOMMU_READ | IOMMU_WRITE);

	/* Across the 2 MiB border at base + 0x200000. */
	for (i = 0; i < ARRAY_SIZE(gib_bases); i++)
		assign(gib_bases[i] + 0x180000, crossing[i],
		       lab_contiguous_pages(crossing[i], SZ_2M, 3 + i),
		       IOMMU_READ | IOMMU_WRITE);

	for (i = 0; i < ARRAY_SIZE(gib_bases); i++)
		assign(gib_bases[i] + 0x1000000, 64, lab_contiguous_pages(64, PAGE_SIZE, 5),
		       i & 1 ? IOMMU_READ : IOMMU_WRITE);

	for (i = 0; i < ARRAY_SIZE(gib_bases); i++) {
		assign(FIRST_PAGE_OF_GIB(gib_bases[i]), 1, lab_scattered_page(), IOMMU_READ);
		assign(LAST_PAGE_OF_GIB(gib_bases[i]), 1, lab_scattered_page(),
		       IOMMU_READ | IOMMU_WRITE);
	}

	/* 2097152 x 1, 2097152 x 2, and 4096 x 4 + 2097152 x 1 + 4096 x 2 in one request. */
	assign(0x50800000, 512, lab_contiguous_pages(512, SZ_2M, 0), IOMMU_READ | IOMMU_WRITE);
	assign(0xd0c00000, 1024, lab_contiguous_pages(1024, SZ_2M, 0), IOMMU_READ | IOMMU_WRITE);
	assign(0x90ffc000, 518, lab_contiguous_pages(518, SZ_2M, 508), IOMMU_READ | IOMMU_WRITE);

	/* 2 MiB aligned by IOVA alone: 4096 x 512. */
	assign(0x14000000, 512, lab_contiguous_pages(512, SZ_2M, 1), IOMMU_READ | IOMMU_WRITE);
}

/* Unmaps do not follow the shape of the maps; then some of the IOVAs carry new pages. */
static lab_frame void lab_reassign_memory(void)
{
	unsigned int i;

	withdraw(0x10000000, 8);
	withdraw(0x10008000, 8);
	withdraw(0x50000000, 4);	/* the same low 30 bits as the two above */
	withdraw(0x50800000, 256);	/* a 2 MiB page in two halves */
	withdraw(0x50900000, 256);
	withdraw(0x14000000, 512);	/* 512 small pages in one 2 MiB call */
	withdraw(0x91000000, 16);
	withdraw(0x91010000, 16);
	withdraw(0xd0180000, 256);	/* split at the 2 MiB border */

	assign(0x10000000, 16, lab_contiguous_pages(16, PAGE_SIZE, 7), IOMMU_READ);
	for (i = 0; i < 8; i++)
		assign(0x50800000 + i * 3 * PAGE_SIZE, 1, lab_scattered_page(),
		       IOMMU_READ | IOMMU_WRITE);
	assign(0xd0180000, 32, lab_contiguous_pages(32, SZ_2M, 9), IOMMU_READ | IOMMU_WRITE);
}

static const char *cpu_mode_name(void)
{
	return pgtable_l5_enabled ? "sv57" : pgtable_l4_enabled ? "sv48" : "sv39";
}

lab_frame void start_kernel(void)
{
	lab_drop_identity_map();
	xt_iommu_root_shift_option = lab_options.root_shift;
	lab_print("iommulens guest: %s, root shift %u, %s signature\n", cpu_mode_name(),
		  xt_iommu_root_shift(), SIGNATURE);

	lab_memory_init();
	lab_probe_devices();
	lab_print("iommulens guest: registers (plain RAM) at 0x%lx, device table at 0x%lx\n",
		  virt_to_phys(xt_iommu->base), xt_iommu->devtab_cfg.devtab_dma);

	lab_workload_started();
	lab_nic_open();
	lab_map_lower_gibs();
	lab_nic_transmit(24);
	must(vfio_iommu_attach_group(&lab_assigned), "vfio_iommu_attach_group");
	lab_assign_memory();
	lab_nic_clean_transmitted(10);
	lab_nic_receive(48);
	lab_nic_transmit(6);
	lab_reassign_memory();

	if (vfio_lost_pages)
		lab_print("vfio: %lu pages had no mapping left when they were unmapped\n",
			  vfio_lost_pages);
	lab_print("done: %lu map calls, %lu unmap calls, %lu pages mapped\n",
		  lab_statistics.map_calls, lab_statistics.unmap_calls,
		  lab_statistics.pages_mapped);
	lab_workload_done();
	for (;;)
		asm volatile("wfi");
}
