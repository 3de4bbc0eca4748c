// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device assignment: a second domain takes the function over from its default domain, and IOVAs
 * are the caller's choice.  Names as in Linux's type-1 backend.
 */
#include "iommu.h"

struct vfio_domain {
	struct iommu_domain *domain;
	int prot;
};

static struct vfio_domain *vfio_domain;

u64 vfio_lost_pages;

/* As measured on VFIO_SET_IOMMU: two pages mapped at IOVA 0 and taken away one by one. */
static lab_frame void vfio_test_domain_fgsp(struct vfio_domain *domain)
{
	phys_addr_t pages = lab_contiguous_pages(2, 2 * PAGE_SIZE, 0);

	if (iommu_map(domain->domain, 0, pages, 2 * PAGE_SIZE,
		      IOMMU_READ | IOMMU_WRITE | domain->prot, GFP_KERNEL))
		return;
	iommu_unmap(domain->domain, 0, PAGE_SIZE);
	iommu_unmap(domain->domain, PAGE_SIZE, PAGE_SIZE);
}

lab_frame int vfio_iommu_attach_group(struct pci_dev *pdev)
{
	const struct iommu_ops *ops = pdev->dev.iommu->iommu_dev->ops;
	int error;

	vfio_domain = kzalloc(sizeof(*vfio_domain), GFP_KERNEL);
	vfio_domain->prot = IOMMU_CACHE;
	vfio_domain->domain = __iommu_domain_alloc(ops, IOMMU_DOMAIN_UNMANAGED);
	if (!vfio_domain->domain)
		return -EIO;
	error = iommu_attach_group(vfio_domain->domain, pdev->dev.iommu_group, &pdev->dev);
	if (error)
		return error;
	vfio_test_domain_fgsp(vfio_domain);
	return 0;
}

static lab_frame int vfio_iommu_map(struct vfio_domain *domain, dma_addr_t iova, phys_addr_t paddr,
				    size_t size, int prot)
{
	return iommu_map(domain->domain, iova, paddr, size, prot | domain->prot, GFP_KERNEL);
}

lab_frame int vfio_dma_do_map(unsigned long iova, phys_addr_t paddr, size_t size, int prot)
{
	return vfio_iommu_map(vfio_domain, iova, paddr, size, prot);
}

/*
 * Linux looks every page up to unpin it, and warns where the look-up finds nothing.  That is how
 * aliases show: one of two runs in the same slots was unmapped, and the other is gone as well.
 */
static lab_frame size_t vfio_unmap_unpin(struct vfio_domain *domain, unsigned long iova,
					 size_t size)
{
	size_t done;

	for (done = 0; done < size; done += PAGE_SIZE)
		if (!iommu_iova_to_phys(domain->domain, iova + done))
			vfio_lost_pages++;
	return iommu_unmap(domain->domain, iova, size);
}

lab_frame size_t vfio_dma_do_unmap(unsigned long iova, size_t size)
{
	return vfio_unmap_unpin(vfio_domain, iova, size);
}
