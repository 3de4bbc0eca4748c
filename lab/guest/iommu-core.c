// SPDX-License-Identifier: GPL-2.0-only
/*
 * The layer between the DMA calls and the driver, under the kernel's function names so that a
 * backtrace reads as it does on Linux: it picks page sizes, splits, and calls the operations.
 */
#include "iommu.h"

struct list_head iommu_device_list = LIST_HEAD_INIT(iommu_device_list);

struct lab_statistics lab_statistics;
struct lab_call lab_calls[4096];
u32 lab_call_count;

static void record(struct lab_call call)
{
	if (lab_call_count == ARRAY_SIZE(lab_calls)) {
		lab_print("iommulens guest: lab_calls is full; stopping\n");
		lab_stop();
	}
	lab_calls[lab_call_count++] = call;
}

int iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			  struct device *hwdev)
{
	iommu->ops = ops;
	iommu->dev = hwdev;
	list_add(&iommu->list, &iommu_device_list);
	return 0;
}

struct iommu_domain *__iommu_domain_alloc(const struct iommu_ops *ops, unsigned int type)
{
	struct iommu_domain *domain = ops->domain_alloc(type);

	if (!domain)
		return NULL;
	domain->type = type;
	domain->pgsize_bitmap = ops->pgsize_bitmap;
#ifdef XT_IOMMU_LEGACY_SIGNATURE
	domain->ops = ops;
#else
	domain->ops = ops->default_domain_ops;
#endif
	if (type == IOMMU_DOMAIN_DMA && iommu_get_dma_cookie(domain))
		return NULL;
	return domain;
}

int iommu_attach_group(struct iommu_domain *domain, struct iommu_group *group, struct device *dev)
{
	int error = domain->ops->attach_dev(domain, dev);

	if (!error)
		group->domain = domain;
	return error;
}

/* There is one IOMMU, so the device's operations are those of the list's only member. */
int iommu_probe_device(struct device *dev)
{
	struct iommu_device *iommu = container_of(iommu_device_list.next, struct iommu_device, list);
	const struct iommu_ops *ops = iommu->ops;
	struct iommu_group *group;

	dev->iommu->iommu_dev = ops->probe_device(dev);
	group = ops->device_group(dev);
	if (!dev->iommu->iommu_dev || !group)
		return -ENOMEM;
	dev->iommu_group = group;
	group->default_domain = __iommu_domain_alloc(ops, IOMMU_DOMAIN_DMA);
	if (!group->default_domain)
		return -ENOMEM;
	dev->dma_ops = &iommu_dma_ops;
	return iommu_attach_group(group->default_domain, group, dev);
}

/*
 * The largest advertised page size that fits in `size` and divides every address in `addresses`
 * (their bitwise or), and how many such pages to take before a larger size could serve: that is
 * only the case where the IOVA and the physical address stand equally within the larger page.
 */
static size_t iommu_pgsize(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			   size_t size, size_t *count)
{
	unsigned long addresses = iova | paddr;
	size_t best = 0;
	size_t larger = 0;
	unsigned int bit;

	for (bit = PAGE_SHIFT; bit < 64; bit++) {
		size_t candidate = 1UL << bit;

		if (!(domain->pgsize_bitmap & candidate))
			continue;
		if (candidate <= size && !(addresses & (candidate - 1))) {
			best = candidate;
		} else {
			larger = candidate;
			break;
		}
	}

	if (larger && !((iova ^ paddr) & (larger - 1))) {
		size_t until_border = larger - (iova & (larger - 1));

		if (until_border + larger <= size)
			size = until_border;
	}
	*count = size / best;
	return best;
}

#ifdef XT_IOMMU_LEGACY_SIGNATURE

/* 5.10 has no page count: one call per page, and no __iommu_map_pages between. */
static lab_frame int __iommu_map(struct iommu_domain *domain, unsigned long iova,
				 phys_addr_t paddr, size_t size, int prot, gfp_t gfp)
{
	const struct iommu_ops *ops = domain->ops;

	while (size) {
		size_t count;
		size_t pgsize = iommu_pgsize(domain, iova, paddr, size, &count);
		int error;

		record((struct lab_call){ domain, iova, paddr, pgsize, 1, prot, gfp, 0 });
		error = ops->map(domain, iova, paddr, pgsize, prot, gfp);
		if (error)
			return error;
		lab_statistics.map_calls++;
		lab_statistics.pages_mapped += pgsize >> PAGE_SHIFT;
		iova += pgsize;
		paddr += pgsize;
		size -= pgsize;
	}
	return 0;
}

static lab_frame size_t __iommu_unmap(struct iommu_domain *domain, unsigned long iova,
				      size_t size, struct iommu_iotlb_gather *gather)
{
	const struct iommu_ops *ops = domain->ops;
	size_t unmapped = 0;

	while (unmapped < size) {
		size_t count;
		size_t pgsize = iommu_pgsize(domain, iova, iova, size - unmapped, &count);
		size_t done;

		record((struct lab_call){ domain, iova, 0, pgsize, 1, 0, 0, 1 });
		done = ops->unmap(domain, iova, pgsize, gather);
		lab_statistics.unmap_calls++;
		if (!done)
			break;
		lab_statistics.pages_unmapped += done >> PAGE_SHIFT;
		iova += done;
		unmapped += done;
	}
	return unmapped;
}

#else

static lab_frame int __iommu_map_pages(struct iommu_domain *domain, unsigned long iova,
				       phys_addr_t paddr, size_t size, int prot, gfp_t gfp,
				       size_t *mapped)
{
	const struct iommu_domain_ops *ops = domain->ops;
	size_t count;
	size_t pgsize = iommu_pgsize(domain, iova, paddr, size, &count);
	int error;

	record((struct lab_call){ domain, iova, paddr, pgsize, count, prot, gfp, 0 });
	error = ops->map_pages(domain, iova, paddr, pgsize, count, prot, gfp, mapped);
	lab_statistics.map_calls++;
	lab_statistics.pages_mapped += *mapped >> PAGE_SHIFT;
	return error;
}

static lab_frame int __iommu_map(struct iommu_domain *domain, unsigned long iova,
				 phys_addr_t paddr, size_t size, int prot, gfp_t gfp)
{
	while (size) {
		size_t mapped = 0;
		int error = __iommu_map_pages(domain, iova, paddr, size, prot, gfp, &mapped);

		if (error)
			return error;
		iova += mapped;
		paddr += mapped;
		size -= mapped;
	}
	return 0;
}

static lab_frame size_t __iommu_unmap_pages(struct iommu_domain *domain, unsigned long iova,
					    size_t size, struct iommu_iotlb_gather *iotlb_gather)
{
	const struct iommu_domain_ops *ops = domain->ops;
	size_t count;
	size_t pgsize = iommu_pgsize(domain, iova, iova, size, &count);
	size_t done;

	record((struct lab_call){ domain, iova, 0, pgsize, count, 0, 0, 1 });
	done = ops->unmap_pages(domain, iova, pgsize, count, iotlb_gather);
	lab_statistics.unmap_calls++;
	lab_statistics.pages_unmapped += done >> PAGE_SHIFT;
	return done;
}

static lab_frame size_t __iommu_unmap(struct iommu_domain *domain, unsigned long iova,
				      size_t size, struct iommu_iotlb_gather *iotlb_gather)
{
	size_t unmapped = 0;

	while (unmapped < size) {
		size_t done = __iommu_unmap_pages(domain, iova + unmapped, size - unmapped,
						  iotlb_gather);

		if (!done)
			break;
		unmapped += done;
	}
	return unmapped;
}

#endif

lab_frame int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			size_t size, int prot, gfp_t gfp)
{
	if ((iova | paddr | size) & ~PAGE_MASK) {
		pr_err("iommu: unaligned: iova 0x%lx pa 0x%lx size 0x%lx\n", iova, paddr, size);
		return -EINVAL;
	}
	return __iommu_map(domain, iova, paddr, size, prot, gfp);
}

static void gather_init(struct iommu_iotlb_gather *gather)
{
	gather->start = ~0UL;
	gather->end = 0;
	gather->pgsize = 0;
}

lab_frame size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
				  struct iommu_iotlb_gather *gather)
{
	gather_init(gather);
	return __iommu_unmap(domain, iova, size, gather);
}

lab_frame size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	struct iommu_iotlb_gather gather;

	gather_init(&gather);
	return __iommu_unmap(domain, iova, size, &gather);
}

phys_addr_t iommu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	return domain->ops->iova_to_phys(domain, iova);
}
