// SPDX-License-Identifier: GPL-2.0-only
/*
 * The layer between those who want memory mapped and the driver, under the kernel's function names.
 */
#include "iommu.h"

struct list_head iommu_device_list = LIST_HEAD_INIT(iommu_device_list);

void iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			   struct device *hwdev)
{
	iommu->ops = ops;
	iommu->dev = hwdev;
	list_add(&iommu->list, &iommu_device_list);
}

static void gather_init(struct iommu_iotlb_gather *gather)
{
	gather->start = ~0UL;
	gather->end = 0;
	gather->pgsize = 0;
}

/* `end` is the last address, as in Linux. */
void iommu_iotlb_gather_add_range(struct iommu_iotlb_gather *gather, unsigned long iova,
				  size_t size)
{
	if (iova < gather->start)
		gather->start = iova;
	if (iova + size - 1 > gather->end)
		gather->end = iova + size - 1;
}

#ifdef LAB_GENERIC_PT

static lab_frame int iommu_map_nosync(struct iommu_domain *domain, unsigned long iova,
				      phys_addr_t paddr, size_t size, int prot, gfp_t gfp)
{
	struct pt_iommu *pt = container_of(domain, struct pt_iommu, domain);
	size_t mapped = 0;

	return pt->ops->map_range(pt, iova, paddr, size, prot, gfp, &mapped);
}

static lab_frame size_t __iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size,
				      struct iommu_iotlb_gather *iotlb_gather)
{
	struct pt_iommu *pt = container_of(domain, struct pt_iommu, domain);

	return pt->ops->unmap_range(pt, iova, size, iotlb_gather);
}

#else

/* Two of the sizes that the driver offers in 6.13, and each request is of one of them. */
static size_t iommu_pgsize(unsigned long addresses)
{
	return addresses & (SZ_2M - 1) ? PAGE_SIZE : SZ_2M;
}

static lab_frame int iommu_map_nosync(struct iommu_domain *domain, unsigned long iova,
				      phys_addr_t paddr, size_t size, int prot, gfp_t gfp)
{
	size_t pgsize = iommu_pgsize(iova | paddr | size);
	size_t mapped = 0;

	return domain->ops->map_pages(domain, iova, paddr, pgsize, size / pgsize, prot, gfp,
				      &mapped);
}

static lab_frame size_t __iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size,
				      struct iommu_iotlb_gather *iotlb_gather)
{
	size_t pgsize = iommu_pgsize(iova | size);

	return domain->ops->unmap_pages(domain, iova, pgsize, size / pgsize, iotlb_gather);
}

#endif

lab_frame int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			size_t size, int prot, gfp_t gfp)
{
	return iommu_map_nosync(domain, iova, paddr, size, prot, gfp);
}

/* The device may go on with what it has cached until somebody invalidates what was gathered. */
lab_frame size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
				  struct iommu_iotlb_gather *gather)
{
	gather_init(gather);
	return __iommu_unmap(domain, iova, size, gather);
}

lab_frame size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	struct iommu_iotlb_gather gather;
	size_t unmapped = iommu_unmap_fast(domain, iova, size, &gather);

	domain->ops->iotlb_sync(domain, &gather);
	return unmapped;
}
