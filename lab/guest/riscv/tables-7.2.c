// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables as generic_pt keeps them for the driver, Linux 7.2: one length a call, and at every
 * place the largest leaf that fits, groups of 64 KiB included (Svnapot).
 */
#include "iommu.h"

#define GROUP_ENTRIES	(SZ_64K / PAGE_SIZE)
#define GROUP_PFN	8UL	/* the low page number bits of a group of 16 entries: 1000 */

static u64 *top_table(struct pt_iommu *iommu_table, unsigned int *level)
{
	struct pt_iommu_riscv_64 *table =
		container_of(iommu_table, struct pt_iommu_riscv_64, iommu);
	unsigned long top = table->riscv_64pt.common.top_of_table;

	*level = top & 7;
	return (u64 *)(top & ~7UL);
}

static bool fits(u64 addresses, dma_addr_t len, size_t size)
{
	return !(addresses & (size - 1)) && len >= size;
}

static u64 leaf_flags(unsigned int prot)
{
	u64 flags = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;

	if (prot & IOMMU_READ)
		flags |= _PAGE_READ;
	if (prot & IOMMU_WRITE)
		flags |= _PAGE_READ | _PAGE_WRITE | _PAGE_DIRTY;
	if (!(prot & IOMMU_NOEXEC))
		flags |= _PAGE_EXEC;
	return flags;
}

/* The entry of `iova` at `wanted`, tables made on the way. */
static u64 *make_entry(struct pt_iommu *iommu_table, dma_addr_t iova, unsigned int wanted,
		       gfp_t gfp)
{
	unsigned int level;
	u64 *table = top_table(iommu_table, &level);

	for (;; level--) {
		u64 *pte = &table[(iova >> LEVEL_SHIFT(level)) & 511];

		if (level == wanted)
			return pte;
		if (!(*pte & _PAGE_PRESENT))
			WRITE_ONCE(*pte, pte_of(virt_to_phys((void *)get_zeroed_page(gfp)),
						_PAGE_PRESENT));
		table = pte_table(*pte);
	}
}

static lab_frame int riscv_64_map_range(struct pt_iommu *iommu_table, dma_addr_t iova,
					phys_addr_t paddr, dma_addr_t len, unsigned int prot,
					gfp_t gfp, size_t *mapped)
{
	u64 flags = leaf_flags(prot);

	while (len) {
		size_t size = PAGE_SIZE;
		u64 *pte;
		unsigned int i;

		if (fits(iova | paddr, len, SZ_2M)) {
			size = SZ_2M;
			pte = make_entry(iommu_table, iova, 1, gfp);
			WRITE_ONCE(*pte, pte_of(paddr, flags));
		} else if (fits(iova | paddr, len, SZ_64K)) {
			size = SZ_64K;
			pte = make_entry(iommu_table, iova, 0, gfp);
			for (i = 0; i < GROUP_ENTRIES; i++)
				WRITE_ONCE(pte[i], pte_of(paddr + (GROUP_PFN << PAGE_SHIFT),
							  flags | _PAGE_NAPOT));
		} else {
			pte = make_entry(iommu_table, iova, 0, gfp);
			WRITE_ONCE(*pte, pte_of(paddr, flags));
		}
		iova += size;
		paddr += size;
		len -= size;
		*mapped += size;
	}
	return 0;
}

static lab_frame size_t riscv_64_unmap_range(struct pt_iommu *iommu_table, dma_addr_t iova,
					     dma_addr_t len,
					     struct iommu_iotlb_gather *iotlb_gather)
{
	size_t unmapped = 0;

	while (unmapped < len) {
		unsigned int level;
		u64 *table = top_table(iommu_table, &level);
		u64 *pte = &table[((iova + unmapped) >> LEVEL_SHIFT(level)) & 511];
		size_t size;

		while ((*pte & _PAGE_PRESENT) && !(*pte & _PAGE_LEAF)) {
			table = pte_table(*pte);
			level--;
			pte = &table[((iova + unmapped) >> LEVEL_SHIFT(level)) & 511];
		}
		if (!(*pte & _PAGE_PRESENT))
			break;
		size = 1UL << LEVEL_SHIFT(level);
		if (*pte & _PAGE_NAPOT) {
			unsigned int i;

			/* A part of a group cannot go alone. */
			pte = (u64 *)((unsigned long)pte & ~(GROUP_ENTRIES * sizeof(*pte) - 1));
			for (i = 0; i < GROUP_ENTRIES; i++)
				WRITE_ONCE(pte[i], 0);
			size = SZ_64K;
		} else {
			WRITE_ONCE(*pte, 0);
		}
		iommu_iotlb_gather_add_range(iotlb_gather, (iova + unmapped) & ~(size - 1), size);
		unmapped += size;
	}
	return unmapped;
}

const struct pt_iommu_ops riscv_64_ops = {
	.map_range	= riscv_64_map_range,
	.unmap_range	= riscv_64_unmap_range,
};
