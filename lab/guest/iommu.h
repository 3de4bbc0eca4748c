/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices, IOMMU domains and the DMA calls, under the kernel's names.  The members that a debugger
 * follows on Linux are here; the rest is left out.
 */
#ifndef LAB_IOMMU_H
#define LAB_IOMMU_H

#include "kernel.h"

#define IOMMU_READ	(1 << 0)
#define IOMMU_WRITE	(1 << 1)
#define IOMMU_CACHE	(1 << 2)
#define IOMMU_NOEXEC	(1 << 3)
#define IOMMU_MMIO	(1 << 4)
#define IOMMU_PRIV	(1 << 5)

#define IOMMU_DOMAIN_UNMANAGED	1U
#define IOMMU_DOMAIN_DMA	3U

enum iommu_cap {
	IOMMU_CAP_CACHE_COHERENCY,
	IOMMU_CAP_NOEXEC,
};

enum dma_data_direction {
	DMA_BIDIRECTIONAL = 0,
	DMA_TO_DEVICE = 1,
	DMA_FROM_DEVICE = 2,
};

struct kobject {
	const char *name;
};

struct dev_iommu {
	struct iommu_device *iommu_dev;
	void *priv;
};

struct device {
	struct kobject kobj;
	struct device *parent;
	const struct dma_map_ops *dma_ops;
	u64 *dma_mask;
	struct iommu_group *iommu_group;
	struct dev_iommu *iommu;
};

struct pci_dev {
	u8 bus_number;
	unsigned int devfn;
	u16 vendor;
	u16 device;
	struct device dev;
};

struct of_phandle_args {
	int args_count;
	u32 args[1];
};

struct iommu_domain;
struct iommu_group;

struct iommu_iotlb_gather {
	unsigned long start;
	unsigned long end;
	size_t pgsize;
};

#ifdef XT_IOMMU_LEGACY_SIGNATURE

struct iommu_ops {
	bool (*capable)(enum iommu_cap cap);
	struct iommu_domain *(*domain_alloc)(unsigned int type);
	void (*domain_free)(struct iommu_domain *domain);
	int (*attach_dev)(struct iommu_domain *domain, struct device *dev);
	int (*map)(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size,
		   int prot, gfp_t gfp);
	size_t (*unmap)(struct iommu_domain *domain, unsigned long iova, size_t size,
			struct iommu_iotlb_gather *gather);
	phys_addr_t (*iova_to_phys)(struct iommu_domain *domain, dma_addr_t iova);
	struct iommu_device *(*probe_device)(struct device *dev);
	struct iommu_group *(*device_group)(struct device *dev);
	int (*of_xlate)(struct device *dev, struct of_phandle_args *args);
	unsigned long pgsize_bitmap;
};

typedef struct iommu_ops lab_domain_ops;

#else

struct iommu_domain_ops {
	int (*attach_dev)(struct iommu_domain *domain, struct device *dev);
	int (*map_pages)(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			 size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped);
	size_t (*unmap_pages)(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			      size_t pgcount, struct iommu_iotlb_gather *gather);
	phys_addr_t (*iova_to_phys)(struct iommu_domain *domain, dma_addr_t iova);
	void (*free)(struct iommu_domain *domain);
};

struct iommu_ops {
	bool (*capable)(struct device *dev, enum iommu_cap cap);
	struct iommu_domain *(*domain_alloc)(unsigned int type);
	struct iommu_device *(*probe_device)(struct device *dev);
	struct iommu_group *(*device_group)(struct device *dev);
	int (*of_xlate)(struct device *dev, struct of_phandle_args *args);
	const struct iommu_domain_ops *default_domain_ops;
	unsigned long pgsize_bitmap;
};

typedef struct iommu_domain_ops lab_domain_ops;

#endif

struct iommu_device {
	struct list_head list;
	const struct iommu_ops *ops;
	struct device *dev;
};

struct iommu_domain_geometry {
	dma_addr_t aperture_start;
	dma_addr_t aperture_end;
	bool force_aperture;
};

/* IOVAs go down from the top; a returned single page is the next to be given out. */
struct iova_domain {
	unsigned long next;
	unsigned int recycled_count;
	unsigned long recycled[512];
};

struct iommu_dma_cookie {
	struct iova_domain iovad;
};

struct iommu_domain {
	unsigned int type;
	const lab_domain_ops *ops;
	unsigned long pgsize_bitmap;
	struct iommu_domain_geometry geometry;
	struct iommu_dma_cookie *iova_cookie;
};

struct iommu_group {
	const char *name;
	int id;
	struct iommu_domain *default_domain;
	struct iommu_domain *domain;
};

struct dma_map_ops {
	void *(*alloc)(struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp);
	dma_addr_t (*map_page)(struct device *dev, struct page *page, unsigned long offset,
			       size_t size, enum dma_data_direction dir, unsigned long attrs);
	void (*unmap_page)(struct device *dev, dma_addr_t handle, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
};

/*
 * The guest's own record of every call it made into the driver, in order: what a debugger's log
 * of the same boot must agree with.
 */
struct lab_statistics {
	u64 map_calls;
	u64 unmap_calls;
	u64 pages_mapped;
	u64 pages_unmapped;
};

struct lab_call {
	struct iommu_domain *domain;
	u64 iova;
	u64 paddr;		/* 0 for an unmap */
	u64 pgsize;		/* the size under the 5.10 signature, with pgcount 1 */
	u64 pgcount;
	u32 prot;
	u32 gfp;
	u32 unmap;		/* 1 for an unmap */
};

extern struct lab_statistics lab_statistics;
extern struct lab_call lab_calls[4096];
extern u32 lab_call_count;

/* iommu-core.c */
extern struct list_head iommu_device_list;
int iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			  struct device *hwdev);
int iommu_probe_device(struct device *dev);
struct iommu_domain *__iommu_domain_alloc(const struct iommu_ops *ops, unsigned int type);
int iommu_attach_group(struct iommu_domain *domain, struct iommu_group *group,
		       struct device *dev);
int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size,
	      int prot, gfp_t gfp);
size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size);
size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
			struct iommu_iotlb_gather *gather);
phys_addr_t iommu_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova);

/* dma.c */
extern const struct dma_map_ops iommu_dma_ops;
int iommu_get_dma_cookie(struct iommu_domain *domain);
void *dma_alloc_coherent(struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp);
dma_addr_t dma_map_page(struct device *dev, struct page *page, unsigned long offset, size_t size,
			enum dma_data_direction dir);
void dma_unmap_page(struct device *dev, dma_addr_t handle, size_t size,
		    enum dma_data_direction dir);

/* devices.c */
extern struct pci_dev lab_nic;			/* 0000:00:01.0 */
extern struct pci_dev lab_assigned;		/* 0000:00:02.0 */
extern struct pci_dev lab_unattached;		/* 0000:00:03.0, no domain */
void lab_device_reset(void);
int xt_iommu_device_probe(struct device *dev);
void lab_probe_devices(void);

/* e1000e.c */
void lab_nic_open(void);
void lab_nic_transmit(unsigned int count);
void lab_nic_clean_transmitted(unsigned int count);
void lab_nic_receive(unsigned int count);

/* vfio.c */
extern u64 vfio_lost_pages;	/* pages found unmapped when their unmap came */
int vfio_iommu_attach_group(struct pci_dev *pdev);
int vfio_dma_do_map(unsigned long iova, phys_addr_t paddr, size_t size, int prot);
size_t vfio_dma_do_unmap(unsigned long iova, size_t size);

/* main.c: where debuggers stop. */
void lab_workload_started(void);
void lab_workload_first_map_done(void);
void lab_workload_done(void);

#endif
