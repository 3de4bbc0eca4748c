/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's and the driver's structures, under the kernel's names.  The members that a debugger
 * follows on Linux are here; the rest is left out.  LAB_GENERIC_PT is Linux 7.2's shape of the
 * driver, which leaves its tables to generic_pt; without it, that of 6.13 to 7.0.
 */
#ifndef LAB_RISCV_IOMMU_H
#define LAB_RISCV_IOMMU_H

#include "kernel.h"

#define IOMMU_READ	(1 << 0)
#define IOMMU_WRITE	(1 << 1)
#define IOMMU_CACHE	(1 << 2)
#define IOMMU_NOEXEC	(1 << 3)

#define IOMMU_DOMAIN_DMA	3U

#define SZ_64K	0x10000UL

struct iommu_domain;
struct pt_iommu;

struct kobject {
	const char *name;
};

struct dev_iommu {
	struct iommu_device *iommu_dev;
	void *priv;
};

struct device {
	struct kobject kobj;
	struct dev_iommu *iommu;
};

struct iommu_iotlb_gather {
	unsigned long start;
	unsigned long end;
	size_t pgsize;
};

struct iommu_domain_ops {
	int (*attach_dev)(struct iommu_domain *domain, struct device *dev);
	int (*map_pages)(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr,
			 size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped);
	size_t (*unmap_pages)(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			      size_t pgcount, struct iommu_iotlb_gather *gather);
	void (*iotlb_sync)(struct iommu_domain *domain, struct iommu_iotlb_gather *gather);
};

struct iommu_ops {
	const struct iommu_domain_ops *default_domain_ops;
};

struct iommu_device {
	struct list_head list;
	const struct iommu_ops *ops;
	struct device *dev;
};

struct iommu_domain {
	unsigned int type;
	bool is_iommupt;
	const struct iommu_domain_ops *ops;
};

#ifdef LAB_GENERIC_PT

struct pt_iommu_ops {
	int (*map_range)(struct pt_iommu *iommu_table, dma_addr_t iova, phys_addr_t paddr,
			 dma_addr_t len, unsigned int prot, gfp_t gfp, size_t *mapped);
	size_t (*unmap_range)(struct pt_iommu *iommu_table, dma_addr_t iova, dma_addr_t len,
			      struct iommu_iotlb_gather *iotlb_gather);
};

struct pt_iommu {
	struct iommu_domain domain;
	const struct pt_iommu_ops *ops;
};

struct pt_common {
	unsigned long top_of_table;	/* the table, and its level in bits 2:0 */
};

struct pt_riscv_64 {
	struct pt_common common;
};

struct pt_iommu_riscv_64 {
	struct pt_iommu iommu;
	struct pt_riscv_64 riscv_64pt;
};

struct riscv_iommu_domain {
	union {
		struct iommu_domain domain;
		struct pt_iommu_riscv_64 riscvpt;
	};
	int pscid;
};

extern const struct pt_iommu_ops riscv_64_ops;

#else

struct riscv_iommu_domain {
	struct iommu_domain domain;
	int pscid;
	unsigned int pgd_mode;		/* as in DC.fsc: 8 for Sv39 to 10 for Sv57 */
	unsigned long *pgd_root;
};

#endif

struct riscv_iommu_queue {
	void *base;
	u32 mask;
	u32 head;
	u32 tail;
};

struct riscv_iommu_device {
	struct iommu_device iommu;
	struct device *dev;
	void __iomem *reg;
	u64 caps;
	u32 icvec;
	unsigned int irqs[4];		/* none: the guest polls */
	struct riscv_iommu_queue cmdq;
	struct riscv_iommu_queue fltq;
	u64 *ddt_root;
};

/* dev->iommu->priv */
struct riscv_iommu_info {
	struct riscv_iommu_domain *domain;
};

/*
 * Leaves and tables: Privileged Architecture, "Sv39/Sv48/Sv57 page table entry", which the first
 * stage has as well (RISC-V IOMMU specification 1.0, section 2.3.3).
 */
#define _PAGE_PRESENT		(1UL << 0)
#define _PAGE_READ		(1UL << 1)
#define _PAGE_WRITE		(1UL << 2)
#define _PAGE_EXEC		(1UL << 3)
#define _PAGE_USER		(1UL << 4)
#define _PAGE_ACCESSED		(1UL << 6)
#define _PAGE_DIRTY		(1UL << 7)
#define _PAGE_LEAF		(_PAGE_READ | _PAGE_WRITE | _PAGE_EXEC)
#define _PAGE_NAPOT		(1UL << 63)
#define _PAGE_PFN_SHIFT		10
#define _PAGE_PFN_MASK		(((1UL << 44) - 1) << _PAGE_PFN_SHIFT)

#define LEVEL_SHIFT(level)	(PAGE_SHIFT + 9 * (level))

static inline u64 pte_of(phys_addr_t pa, u64 flags)
{
	return pa >> PAGE_SHIFT << _PAGE_PFN_SHIFT | flags;
}

static inline u64 *pte_table(u64 pte)
{
	return phys_to_virt((pte & _PAGE_PFN_MASK) >> _PAGE_PFN_SHIFT << PAGE_SHIFT);
}

/* Level 0 holds the leaves of 4 KiB; the root of Sv39, whose code is 8, is at level 2. */
static inline unsigned int root_level(unsigned int mode)
{
	return mode - 6;
}

/* ioremap.c */
void *ioremap(phys_addr_t pa);

/* core.c */
extern struct list_head iommu_device_list;
void iommu_device_register(struct iommu_device *iommu, const struct iommu_ops *ops,
			   struct device *hwdev);
void iommu_iotlb_gather_add_range(struct iommu_iotlb_gather *gather, unsigned long iova,
				  size_t size);
int iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t size,
	      int prot, gfp_t gfp);
size_t iommu_unmap(struct iommu_domain *domain, unsigned long iova, size_t size);
size_t iommu_unmap_fast(struct iommu_domain *domain, unsigned long iova, size_t size,
			struct iommu_iotlb_gather *gather);

/* driver.c; `virt` has the IOMMU there with iommu-sys=on. */
#define RISCV_IOMMU_REGISTERS	0x3010000UL

extern struct riscv_iommu_device *riscv_iommu;
void riscv_iommu_probe(struct device *dev);
struct iommu_domain *riscv_iommu_alloc_paging_domain(struct device *dev);
int riscv_iommu_attach_paging_domain(struct iommu_domain *iommu_domain, struct device *dev);
void riscv_iommu_iotlb_sync(struct iommu_domain *iommu_domain, struct iommu_iotlb_gather *gather);
u32 riscv_iommu_fltq_tail(void);
void riscv_iommu_fltq_process(void);

/* tables-6.13.c */
int riscv_iommu_map_pages(struct iommu_domain *iommu_domain, unsigned long iova, phys_addr_t phys,
			  size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped);
size_t riscv_iommu_unmap_pages(struct iommu_domain *iommu_domain, unsigned long iova,
			       size_t pgsize, size_t pgcount, struct iommu_iotlb_gather *gather);

/* edu.c */
struct lab_dma {
	u64 iova;
	u64 reached;	/* the guest-physical address that was read or written; 0 when it was refused */
	u32 write;
	u32 faults;	/* records that the fault queue received meanwhile */
};

extern struct lab_dma lab_dmas[64];
extern u32 lab_dma_count;
extern struct device lab_edu;		/* 0000:00:01.0 */
void lab_edu_probe(phys_addr_t window, dma_addr_t window_iova);
phys_addr_t lab_dma_memory(size_t pages, size_t alignment);
void lab_dma_read(dma_addr_t iova);
void lab_dma_write(dma_addr_t iova);
void lab_dma_done(const struct lab_dma *dma);

#endif
