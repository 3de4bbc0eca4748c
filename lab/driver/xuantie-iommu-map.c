// SPDX-License-Identifier: GPL-2.0-only
/*
 * The XuanTie IOMMU driver's mapping code: map, unmap and look up IOVAs in a domain's Sv39 table.
 *
 * Written from a description of the driver's behaviour, faults included, because the faults are
 * what IOMMULens has to find.  Each is marked "As the driver:" below; none is to be repaired here.
 *
 * XT_IOMMU_LEGACY_SIGNATURE selects Linux 5.10's operations (.map/.unmap, one size); otherwise
 * those of 6.x (.map_pages/.unmap_pages, page size and count).
 */
#include "xuantie-iommu.h"

unsigned int xt_iommu_root_shift_option;

/*
 * As the driver: the root index uses the CPU's PGDIR_SHIFT.  It is 30 only while the CPU runs
 * Sv39; under Sv48 (39) and Sv57 (48) every IOVA of the 4 GiB aperture selects slot 0.
 */
static inline unsigned long root_index(unsigned long iova)
{
	return (iova >> xt_iommu_root_shift()) & XT_IOMMU_INDEX_MASK;
}

static inline unsigned long level1_index(unsigned long iova)
{
	return (iova >> XT_IOMMU_LEVEL1_SHIFT) & XT_IOMMU_INDEX_MASK;
}

static inline unsigned long level0_index(unsigned long iova)
{
	return (iova >> XT_IOMMU_PAGE_SHIFT) & XT_IOMMU_INDEX_MASK;
}

/*
 * As the driver: CACHE, NOEXEC, MMIO and PRIV leave no trace; WRITE implies R; neither READ nor
 * WRITE leaves a bare V, which a walker takes for a pointer to a next level.
 */
static inline u64 leaf_flags(int iommu_prot)
{
	u64 flags = XT_IOMMU_PTE_V;

	if (iommu_prot & IOMMU_READ)
		flags |= XT_IOMMU_PTE_R;
	if (iommu_prot & IOMMU_WRITE)
		flags |= XT_IOMMU_PTE_R | XT_IOMMU_PTE_W;
	return flags;
}

/* As the driver: a failed allocation is not noticed, and a table page is never given back. */
static inline u64 *next_table_or_new(u64 *entry, gfp_t gfp)
{
	if (!(*entry & XT_IOMMU_PTE_V)) {
		void *page = (void *)get_zeroed_page(gfp);

		WRITE_ONCE(*entry, make_entry(virt_to_phys(page), XT_IOMMU_PTE_V));
	}
	return phys_to_virt(entry_address(*entry));
}

/* As the driver: the path is taken for granted. */
static inline u64 *next_table(u64 entry)
{
	return phys_to_virt(entry_address(entry));
}

/*
 * As the driver: always 4 KiB leaves, and no look at what the slot held before, so a second
 * mapping silently replaces the first.
 */
static inline int map_bytes(struct xt_iommu_domain *xt_domain, unsigned long iova,
			    phys_addr_t paddr, size_t size, int iommu_prot, gfp_t gfp)
{
	u64 *root = xt_domain->td.stage1.s1ppn_va;
	u64 flags = leaf_flags(iommu_prot);
	size_t done;

	if (size % XT_IOMMU_PAGE_SIZE) {
		pr_err("xt_iommu: map: size 0x%lx is not a multiple of 4096\n", size);
		return -EINVAL;
	}

	for (done = 0; done < size; done += XT_IOMMU_PAGE_SIZE) {
		unsigned long at = iova + done;
		u64 *level1 = next_table_or_new(&root[root_index(at)], gfp);
		u64 *level0;

		if (xt_iommu_huge_page_fits(at, paddr + done, size - done)) {
			WRITE_ONCE(level1[level1_index(at)], make_entry(paddr + done, flags));
			done += XT_IOMMU_HUGE_PAGE_SIZE - XT_IOMMU_PAGE_SIZE;
			continue;
		}
		level0 = next_table_or_new(&level1[level1_index(at)], gfp);

		WRITE_ONCE(level0[level0_index(at)], make_entry(paddr + done, flags));
	}
	return 0;
}

/* As the driver: clears level 0 only, and no TLB is invalidated. */
static inline size_t unmap_bytes(struct xt_iommu_domain *xt_domain, unsigned long iova,
				 size_t size)
{
	u64 *root = xt_domain->td.stage1.s1ppn_va;
	size_t done;

	if (size % XT_IOMMU_PAGE_SIZE) {
		pr_err("xt_iommu: unmap: size 0x%lx is not a multiple of 4096\n", size);
		return -EINVAL;
	}

	for (done = 0; done < size; done += XT_IOMMU_PAGE_SIZE) {
		unsigned long at = iova + done;
		u64 *level1 = next_table(root[root_index(at)]);
		u64 *slot = &level1[level1_index(at)];

		if (xt_iommu_stale_unmap_option)
			continue;
		if (xt_iommu_huge_page_cleared(slot))
			continue;
		WRITE_ONCE(next_table(*slot)[level0_index(at)], 0);
	}
	return size;
}

#ifdef XT_IOMMU_LEGACY_SIGNATURE

static int xt_iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			size_t size, int iommu_prot, gfp_t gfp)
{
	return map_bytes(to_xt_iommu_domain(domain), iova, paddr, size, iommu_prot, gfp);
}

static size_t xt_iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size,
			     struct iommu_iotlb_gather *gather)
{
	return unmap_bytes(to_xt_iommu_domain(domain), iova, size);
}

#else

static int xt_iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			size_t pgsize, size_t pgcount, int iommu_prot, gfp_t gfp, size_t *mapped)
{
	size_t size = pgsize * pgcount;
	int error = map_bytes(to_xt_iommu_domain(domain), iova, paddr, size, iommu_prot, gfp);

	if (!error)
		*mapped += size;
	return error;
}

static size_t xt_iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			     size_t pgcount, struct iommu_iotlb_gather *gather)
{
	return unmap_bytes(to_xt_iommu_domain(domain), iova, pgsize * pgcount);
}

#endif

/*
 * As the driver: indexes the root as map does, so it agrees with map even where the device does
 * not.  A path that ends early gives 0, the kernel's word for "not mapped".
 */
static phys_addr_t xt_iommu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	struct xt_iommu_domain *xt_domain = to_xt_iommu_domain(domain);
	u64 entry = xt_domain->td.stage1.s1ppn_va[root_index(iova)];

	if (!(entry & XT_IOMMU_PTE_V))
		return 0;
	entry = next_table(entry)[level1_index(iova)];
	if (!(entry & XT_IOMMU_PTE_V))
		return 0;
	if (xt_iommu_is_huge_page(entry))
		return entry_address(entry) | (iova & (XT_IOMMU_HUGE_PAGE_SIZE - 1));
	entry = next_table(entry)[level0_index(iova)];
	if (!(entry & XT_IOMMU_PTE_V))
		return 0;
	return entry_address(entry) | (iova & (XT_IOMMU_PAGE_SIZE - 1));
}

#ifdef XT_IOMMU_LEGACY_SIGNATURE

struct iommu_ops xt_iommu_ops = {
	.capable	= xt_iommu_capable,
	.domain_alloc	= xt_iommu_domain_alloc,
	.domain_free	= xt_iommu_domain_free,
	.attach_dev	= xt_iommu_attach_device,
	.map		= xt_iommu_map,
	.unmap		= xt_iommu_unmap,
	.iova_to_phys	= xt_iommu_iova_to_phys,
	.probe_device	= xt_iommu_probe_device,
	.device_group	= xt_iommu_device_group,
	.of_xlate	= xt_iommu_of_xlate,
	.pgsize_bitmap	= XT_IOMMU_PGSIZE_BITMAP,
};

#else

const struct iommu_domain_ops xt_iommu_domain_ops = {
	.attach_dev	= xt_iommu_attach_device,
	.map_pages	= xt_iommu_map,
	.unmap_pages	= xt_iommu_unmap,
	.iova_to_phys	= xt_iommu_iova_to_phys,
	.free		= xt_iommu_domain_free,
};

struct iommu_ops xt_iommu_ops = {
	.capable		= xt_iommu_capable,
	.domain_alloc		= xt_iommu_domain_alloc,
	.probe_device		= xt_iommu_probe_device,
	.device_group		= xt_iommu_device_group,
	.of_xlate		= xt_iommu_of_xlate,
	XT_IOMMU_HOST_OPS
	.default_domain_ops	= &xt_iommu_domain_ops,
	.pgsize_bitmap		= XT_IOMMU_PGSIZE_BITMAP,
};

#endif
