// SPDX-License-Identifier: GPL-2.0-only
/*
 * The DMA calls of a device whose default domain is of type DMA: an IOVA is chosen, the page is
 * mapped there, the IOVA is the handle.
 */
#include "iommu.h"

/* IOVAs of a 32-bit device go down from here. */
#define IOVA_TOP	0x100000000UL

/* The field notes' first call mapped this page; taken when RAM reaches that far. */
#define FIELD_NOTES_PAGE	4397146112UL

/*
 * The ring's allocation flags reach the driver from 6.3 on; 5.10 mapped everything with GFP_ATOMIC.
 */
static gfp_t map_flags(gfp_t gfp)
{
#ifdef XT_IOMMU_LEGACY_SIGNATURE
	return GFP_ATOMIC;
#else
	return gfp;
#endif
}

int iommu_get_dma_cookie(struct iommu_domain *domain)
{
	struct iommu_dma_cookie *cookie = kzalloc(sizeof(*cookie), GFP_KERNEL);

	if (!cookie)
		return -ENOMEM;
	cookie->iovad.next = IOVA_TOP;
	domain->iova_cookie = cookie;
	return 0;
}

/* Aligned to its size, as Linux does; a returned single page goes out first. */
static unsigned long alloc_iova(struct iova_domain *iovad, size_t size)
{
	if (size == PAGE_SIZE && iovad->recycled_count)
		return iovad->recycled[--iovad->recycled_count];
	iovad->next = (iovad->next - size) & ~((PAGE_SIZE << get_order(size)) - 1);
	return iovad->next;
}

static void free_iova(struct iova_domain *iovad, unsigned long iova, size_t size)
{
	if (size == PAGE_SIZE && iovad->recycled_count < ARRAY_SIZE(iovad->recycled))
		iovad->recycled[iovad->recycled_count++] = iova;
}

static int dma_info_to_prot(enum dma_data_direction dir)
{
	if (dir == DMA_TO_DEVICE)
		return IOMMU_CACHE | IOMMU_READ;
	if (dir == DMA_FROM_DEVICE)
		return IOMMU_CACHE | IOMMU_WRITE;
	return IOMMU_CACHE | IOMMU_READ | IOMMU_WRITE;
}

static phys_addr_t alloc_dma_pages(size_t size)
{
	if (size == PAGE_SIZE)
		return lab_claim_page(FIELD_NOTES_PAGE) ? FIELD_NOTES_PAGE : lab_scattered_page();
	return lab_contiguous_pages(size >> PAGE_SHIFT, PAGE_SIZE << get_order(size), 0);
}

static lab_frame void *iommu_dma_alloc(struct device *dev, size_t size, dma_addr_t *handle,
				       gfp_t gfp)
{
	struct iommu_domain *domain = dev->iommu_group->domain;
	size_t bytes = (size + PAGE_SIZE - 1) & PAGE_MASK;
	unsigned long iova = alloc_iova(&domain->iova_cookie->iovad, bytes);
	phys_addr_t phys = alloc_dma_pages(bytes);

	if (iommu_map(domain, iova, phys, bytes, dma_info_to_prot(DMA_BIDIRECTIONAL),
		      map_flags(gfp)))
		return NULL;
	*handle = iova;
	return memset(phys_to_virt(phys), 0, bytes);
}

static lab_frame dma_addr_t __iommu_dma_map(struct device *dev, phys_addr_t phys, size_t size,
					    int prot, u64 dma_mask)
{
	struct iommu_domain *domain = dev->iommu_group->domain;
	size_t offset = phys & ~PAGE_MASK;
	size_t bytes = (offset + size + PAGE_SIZE - 1) & PAGE_MASK;
	unsigned long iova = alloc_iova(&domain->iova_cookie->iovad, bytes) & dma_mask;

	if (iommu_map(domain, iova, phys - offset, bytes, prot, GFP_ATOMIC))
		return ~0UL;
	return iova + offset;
}

static lab_frame void __iommu_dma_unmap(struct device *dev, dma_addr_t dma_addr, size_t size)
{
	struct iommu_domain *domain = dev->iommu_group->domain;
	size_t offset = dma_addr & ~PAGE_MASK;
	size_t bytes = (offset + size + PAGE_SIZE - 1) & PAGE_MASK;
	struct iommu_iotlb_gather gather;

	iommu_unmap_fast(domain, dma_addr - offset, bytes, &gather);
	free_iova(&domain->iova_cookie->iovad, dma_addr - offset, bytes);
}

static lab_frame dma_addr_t iommu_dma_map_page(struct device *dev, struct page *page,
					       unsigned long offset, size_t size,
					       enum dma_data_direction dir, unsigned long attrs)
{
	return __iommu_dma_map(dev, page_to_phys(page) + offset, size, dma_info_to_prot(dir),
			       *dev->dma_mask);
}

static lab_frame void iommu_dma_unmap_page(struct device *dev, dma_addr_t dma_handle, size_t size,
					   enum dma_data_direction dir, unsigned long attrs)
{
	__iommu_dma_unmap(dev, dma_handle, size);
}

const struct dma_map_ops iommu_dma_ops = {
	.alloc		= iommu_dma_alloc,
	.map_page	= iommu_dma_map_page,
	.unmap_page	= iommu_dma_unmap_page,
};

static lab_frame void *dma_alloc_attrs(struct device *dev, size_t size, dma_addr_t *dma_handle,
				       gfp_t flag, unsigned long attrs)
{
	return dev->dma_ops->alloc(dev, size, dma_handle, flag | __GFP_ZERO);
}

static lab_frame dma_addr_t dma_map_page_attrs(struct device *dev, struct page *page,
					       size_t offset, size_t size,
					       enum dma_data_direction dir, unsigned long attrs)
{
	return dev->dma_ops->map_page(dev, page, offset, size, dir, attrs);
}

static lab_frame void dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size,
					   enum dma_data_direction dir, unsigned long attrs)
{
	dev->dma_ops->unmap_page(dev, addr, size, dir, attrs);
}

lab_frame void *dma_alloc_coherent(struct device *dev, size_t size, dma_addr_t *dma_handle,
				   gfp_t gfp)
{
	return dma_alloc_attrs(dev, size, dma_handle, gfp, 0);
}

lab_frame dma_addr_t dma_map_page(struct device *dev, struct page *page, unsigned long offset,
				  size_t size, enum dma_data_direction dir)
{
	return dma_map_page_attrs(dev, page, offset, size, dir, 0);
}

lab_frame void dma_unmap_page(struct device *dev, dma_addr_t addr, size_t size,
			      enum dma_data_direction dir)
{
	dma_unmap_page_attrs(dev, addr, size, dir, 0);
}
