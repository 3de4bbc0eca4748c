// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver's own tables, as in Linux 6.13 to 7.0: every call writes pages of one size, and none
 * of them in contiguous groups.
 */
#include "iommu.h"

static struct riscv_iommu_domain *to_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct riscv_iommu_domain, domain);
}

static unsigned int page_level(size_t pgsize)
{
	return pgsize >= SZ_1G ? 2 : pgsize >= SZ_2M ? 1 : 0;
}

/* The entry for a page of this size, tables made on the way; NULL where a larger page is. */
static unsigned long *riscv_iommu_pte_alloc(struct riscv_iommu_domain *domain, unsigned long iova,
					    size_t pgsize, gfp_t gfp)
{
	unsigned int level = root_level(domain->pgd_mode);
	u64 *table = (u64 *)domain->pgd_root;

	for (;; level--) {
		u64 *pte = &table[(iova >> LEVEL_SHIFT(level)) & 511];

		if (level == page_level(pgsize))
			return (unsigned long *)pte;
		if (*pte & _PAGE_LEAF)
			return NULL;
		if (!(*pte & _PAGE_PRESENT))
			WRITE_ONCE(*pte, pte_of(virt_to_phys((void *)get_zeroed_page(gfp)),
						_PAGE_PRESENT));
		table = pte_table(*pte);
	}
}

/* The leaf of `iova`, whatever its size; NULL without one. */
static unsigned long *riscv_iommu_pte_fetch(struct riscv_iommu_domain *domain, unsigned long iova,
					    size_t *pte_pgsize)
{
	unsigned int level = root_level(domain->pgd_mode);
	u64 *table = (u64 *)domain->pgd_root;

	for (;; level--) {
		u64 *pte = &table[(iova >> LEVEL_SHIFT(level)) & 511];

		*pte_pgsize = 1UL << LEVEL_SHIFT(level);
		if (!(*pte & _PAGE_PRESENT))
			return NULL;
		if (*pte & _PAGE_LEAF)
			return (unsigned long *)pte;
		table = pte_table(*pte);
	}
}

lab_frame int riscv_iommu_map_pages(struct iommu_domain *iommu_domain, unsigned long iova,
				    phys_addr_t phys, size_t pgsize, size_t pgcount, int prot,
				    gfp_t gfp, size_t *mapped)
{
	struct riscv_iommu_domain *domain = to_domain(iommu_domain);
	u64 flags = _PAGE_PRESENT | _PAGE_READ | _PAGE_USER | _PAGE_ACCESSED;
	size_t size = 0;

	if (prot & IOMMU_WRITE)
		flags |= _PAGE_WRITE | _PAGE_DIRTY;
	while (pgcount--) {
		unsigned long *pte = riscv_iommu_pte_alloc(domain, iova + size, pgsize, gfp);

		if (!pte)
			return -EINVAL;
		WRITE_ONCE(*pte, pte_of(phys + size, flags));
		size += pgsize;
		*mapped = size;
	}
	return 0;
}

lab_frame size_t riscv_iommu_unmap_pages(struct iommu_domain *iommu_domain, unsigned long iova,
					 size_t pgsize, size_t pgcount,
					 struct iommu_iotlb_gather *gather)
{
	struct riscv_iommu_domain *domain = to_domain(iommu_domain);
	size_t size = pgsize * pgcount;
	size_t unmapped = 0;

	while (unmapped < size) {
		size_t pte_size;
		unsigned long *pte = riscv_iommu_pte_fetch(domain, iova + unmapped, &pte_size);

		if (!pte)
			break;
		WRITE_ONCE(*pte, 0);
		iommu_iotlb_gather_add_range(gather, iova + unmapped, pte_size);
		unmapped += pte_size;
	}
	return unmapped;
}
