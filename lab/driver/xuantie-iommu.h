/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The XuanTie IOMMU driver's structures, registers and entry bits.
 *
 * Glossary, used throughout lab/driver:
 *   IOVA         the address that a device puts on the bus
 *   root         the level-2 table of an Sv39 I/O page table (levels count down to 0 = leaf)
 *   DTE          device table entry: one 8-byte word per requester id, points at a TD
 *   TD           translation descriptor: three 8-byte words, points at the root
 *   rsid         PCI requester id, bus << 8 | devfn
 *
 * The same files serve two hosts.  "xuantie-iommu-environment.h" brings the kernel's words (u64,
 * container_of, get_zeroed_page, ...): the bare-metal guest has its own in lab/guest; a Linux
 * build puts one on the include path that includes the linux/ headers.
 */
#ifndef XUANTIE_IOMMU_H
#define XUANTIE_IOMMU_H

#include "xuantie-iommu-environment.h"

/*
 * Registers, byte offsets from xt_iommu_device.base; all are 64 bits wide.
 * FTVAL is where this driver looks for it: the device has IOMMUCAUSE at 0x20 and its FTVAL at
 * 0x28.  The disagreement is part of what is studied, so it is kept.
 */
#define XT_IOMMU_IOMMUCAP	0x0000
#define XT_IOMMU_RSIDDIV	0x0008
#define XT_IOMMU_ERSIDDIV	0x0010
#define XT_IOMMU_DTBASE		0x0018
#define XT_IOMMU_FTVAL		0x0020
#define XT_IOMMU_IOMMUCAPEN	0x1000
#define XT_IOMMU_IOMMUINTEN	0x1008

/* IOMMUCAPEN, IOMMUINTEN: bit 0 turns it on. */
#define XT_IOMMU_ENABLE		1UL

/* xt_iommu_device.features */
#define XT_IOMMU_FEAT_2LVL_DEVTAB	(1U << 0)

/*
 * The driver's device table covers 12-bit requester ids although the device decodes 16: buses 16
 * and above index past it.
 */
#define XT_IOMMU_RSID_BITS	12

/* DTE: bits 63:3 address of the TD, bit 2 first stage on, bit 1 second stage on, bit 0 valid. */
#define XT_IOMMU_DTE_V		(1UL << 0)
#define XT_IOMMU_DTE_S		(1UL << 1)
#define XT_IOMMU_DTE_F		(1UL << 2)
#define XT_IOMMU_DTE_ADDRESS	(~7UL)

/* TD: word 0 first stage, word 1 second stage, word 2 device configuration. */
#define XT_IOMMU_TD_WORDS	3
#define XT_IOMMU_TD_MODE_SHIFT	60	/* bits 63:60, numbered as satp.MODE */
#define XT_IOMMU_TD_ASID_SHIFT	44	/* bits 59:44 */
#define XT_IOMMU_TD_PPN_MASK	((1UL << 44) - 1)
#define XT_IOMMU_TD_MODE_SV39	8

/* Sv39 page table entry: PPN in bits 53:10, flags below.  X, U, G, A and D are never set. */
#define XT_IOMMU_PTE_V		(1UL << 0)
#define XT_IOMMU_PTE_R		(1UL << 1)
#define XT_IOMMU_PTE_W		(1UL << 2)
#define XT_IOMMU_PTE_PPN_SHIFT	10
#define XT_IOMMU_PTE_PPN_MASK	((1UL << 44) - 1)

#define XT_IOMMU_PAGE_SHIFT	12
#define XT_IOMMU_PAGE_SIZE	(1UL << XT_IOMMU_PAGE_SHIFT)
#define XT_IOMMU_INDEX_BITS	9
#define XT_IOMMU_INDEX_MASK	((1UL << XT_IOMMU_INDEX_BITS) - 1)
#define XT_IOMMU_LEVEL1_SHIFT	21
#define XT_IOMMU_HUGE_PAGE_SIZE	(1UL << XT_IOMMU_LEVEL1_SHIFT)

/*
 * What the driver advertises: 4 KiB, 2 MiB and 1 GiB.  It writes 4 KiB leaves whatever size it
 * is asked for.
 */
#define XT_IOMMU_PGSIZE_BITMAP	0x40201000UL

#define XT_IOMMU_APERTURE_END	0xffffffffUL

struct xt_iommu_stage1 {
	u64 s1ppn;
	u64 *s1ppn_va;
	u16 asid;
	u16 s1mode;
};

struct xt_iommu_td_cfg {
	u64 *tdtab;
	dma_addr_t tdtab_dma;
};

struct xt_iommu_td {
	struct xt_iommu_stage1 stage1;
	struct xt_iommu_td_cfg tdcfg;
};

struct xt_iommu_devtab_l1_desc {
	u64 *l2ptr;
	dma_addr_t l2ptr_dma;
};

struct xt_iommu_devtab_cfg {
	u64 *devtab;
	dma_addr_t devtab_dma;
	u32 num_l1_ents;
	struct xt_iommu_devtab_l1_desc *l1_desc;
};

struct xt_iommu_device {
	struct device *dev;
	void __iomem *base;
	u32 features;
	int num_irq;
	int irq;
	struct iommu_device iommu;
	struct xt_iommu_devtab_cfg devtab_cfg;
};

struct xt_iommu_domain {
	struct xt_iommu_device *iommu;
	spinlock_t devices_lock;
	struct mutex pgt_mutex;
	struct mutex init_mutex;
	struct list_head devices;
	struct iommu_domain domain;
	struct xt_iommu_td td;
};

/* One per requester; dev->iommu->priv points at it. */
struct xt_iommu_master {
	struct device *dev;
	struct xt_iommu_device *iommu;
	struct xt_iommu_domain *domain;
	struct list_head domain_head;
	u32 rsid;
};

extern struct xt_iommu_device *xt_iommu;
extern u32 rsid_split;

/*
 * The shift of the root index, set before the first domain is attached: 0 leaves the driver with
 * the CPU's PGDIR_SHIFT, which is the bug; 30 is Sv39's; any other is another driver's mistake.
 * One binary does all.
 */
extern unsigned int xt_iommu_root_shift_option;

static inline unsigned int xt_iommu_root_shift(void)
{
	return xt_iommu_root_shift_option ? xt_iommu_root_shift_option : PGDIR_SHIFT;
}

/*
 * Faults that this driver does not have and a lab may want, each a variable where the host's
 * environment defines XT_IOMMU_LAB_SWITCHES and false, at no cost, where it does not.
 *
 * huge_page: a 2 MiB leaf wherever one fits.  stale_unmap: unmap leaves every entry as it is.
 */
#ifdef XT_IOMMU_LAB_SWITCHES
extern bool xt_iommu_huge_page_option;
extern bool xt_iommu_stale_unmap_option;
#else
#define xt_iommu_huge_page_option	false
#define xt_iommu_stale_unmap_option	false
#endif

/* What a host adds to the operations, and to a new domain of the given type (0 or an error). */
#ifndef XT_IOMMU_HOST_OPS
#define XT_IOMMU_HOST_OPS
#endif
#ifndef XT_IOMMU_HOST_NEW_DOMAIN
#define XT_IOMMU_HOST_NEW_DOMAIN(domain, type)	0
#endif

static inline u64 make_entry(phys_addr_t pa, u64 flags)
{
	return (pa >> XT_IOMMU_PAGE_SHIFT) << XT_IOMMU_PTE_PPN_SHIFT | flags;
}

static inline phys_addr_t entry_address(u64 entry)
{
	return ((entry >> XT_IOMMU_PTE_PPN_SHIFT) & XT_IOMMU_PTE_PPN_MASK)
		<< XT_IOMMU_PAGE_SHIFT;
}

static inline bool xt_iommu_huge_page_fits(unsigned long iova, phys_addr_t pa, size_t size)
{
	return xt_iommu_huge_page_option && size >= XT_IOMMU_HUGE_PAGE_SIZE &&
	       !((iova | pa) & (XT_IOMMU_HUGE_PAGE_SIZE - 1));
}

static inline bool xt_iommu_is_huge_page(u64 level1_entry)
{
	return xt_iommu_huge_page_option && (level1_entry & XT_IOMMU_PTE_R);
}

/* True when no level-0 table is below: the leaf goes with its first page, the others find none. */
static inline bool xt_iommu_huge_page_cleared(u64 *slot)
{
	if (!xt_iommu_huge_page_option || (*slot && !xt_iommu_is_huge_page(*slot)))
		return false;
	WRITE_ONCE(*slot, 0);
	return true;
}

static inline struct xt_iommu_domain *to_xt_iommu_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct xt_iommu_domain, domain);
}

/* xuantie-iommu-map.c */
extern struct iommu_ops xt_iommu_ops;
#ifndef XT_IOMMU_LEGACY_SIGNATURE
extern const struct iommu_domain_ops xt_iommu_domain_ops;
#endif

/* xuantie-iommu-tables.c */
int xt_iommu_init_device_table(struct xt_iommu_device *iommu);
void xt_iommu_enable(struct xt_iommu_device *iommu);
int xt_iommu_attach_device(struct iommu_domain *domain, struct device *dev);
struct iommu_domain *xt_iommu_domain_alloc(unsigned int type);
void xt_iommu_domain_free(struct iommu_domain *domain);

/* The host's part: how devices and their requester ids are found differs between the two. */
#ifdef XT_IOMMU_LEGACY_SIGNATURE
bool xt_iommu_capable(enum iommu_cap cap);
#else
bool xt_iommu_capable(struct device *dev, enum iommu_cap cap);
#endif
struct iommu_device *xt_iommu_probe_device(struct device *dev);
struct iommu_group *xt_iommu_device_group(struct device *dev);
int xt_iommu_of_xlate(struct device *dev, struct of_phandle_args *args);

#endif
