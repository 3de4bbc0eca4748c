// SPDX-License-Identifier: GPL-2.0-only
/*
 * What stands between a requester id and a page table: the two-level device table, the
 * translation descriptors, and the attach that joins a device to a domain.
 */
#include "xuantie-iommu.h"

struct xt_iommu_device *xt_iommu;
u32 rsid_split;

int xt_iommu_init_device_table(struct xt_iommu_device *iommu)
{
	struct xt_iommu_devtab_cfg *cfg = &iommu->devtab_cfg;

	rsid_split = readq(iommu->base + XT_IOMMU_RSIDDIV);
	if (rsid_split)
		iommu->features |= XT_IOMMU_FEAT_2LVL_DEVTAB;

	/* Linear: 4096 entries of 8 bytes, eight pages.  Two levels: 16 pointers, one page. */
	if (iommu->features & XT_IOMMU_FEAT_2LVL_DEVTAB) {
		cfg->num_l1_ents = 1U << (XT_IOMMU_RSID_BITS - rsid_split);
		cfg->l1_desc = kcalloc(cfg->num_l1_ents, sizeof(*cfg->l1_desc), GFP_KERNEL);
		if (!cfg->l1_desc)
			return -ENOMEM;
		cfg->devtab = (u64 *)get_zeroed_page(GFP_KERNEL);
	} else {
		size_t bytes = sizeof(u64) << XT_IOMMU_RSID_BITS;

		cfg->num_l1_ents = 1U << XT_IOMMU_RSID_BITS;
		cfg->devtab = (u64 *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, get_order(bytes));
	}
	if (!cfg->devtab)
		return -ENOMEM;
	cfg->devtab_dma = virt_to_phys(cfg->devtab);
	return 0;
}

void xt_iommu_enable(struct xt_iommu_device *iommu)
{
	writeq(iommu->devtab_cfg.devtab_dma, iommu->base + XT_IOMMU_DTBASE);
	writeq(XT_IOMMU_ENABLE, iommu->base + XT_IOMMU_IOMMUINTEN);
	writeq(XT_IOMMU_ENABLE, iommu->base + XT_IOMMU_IOMMUCAPEN);
}

/* A level-2 table appears when its first requester does; the others stay zero. */
static u64 *device_table_slot(struct xt_iommu_device *iommu, u32 rsid)
{
	struct xt_iommu_devtab_cfg *cfg = &iommu->devtab_cfg;
	struct xt_iommu_devtab_l1_desc *desc;

	if (!(iommu->features & XT_IOMMU_FEAT_2LVL_DEVTAB))
		return &cfg->devtab[rsid];

	desc = &cfg->l1_desc[rsid >> rsid_split];
	if (!desc->l2ptr) {
		desc->l2ptr = (u64 *)get_zeroed_page(GFP_KERNEL);
		if (!desc->l2ptr)
			return NULL;
		desc->l2ptr_dma = virt_to_phys(desc->l2ptr);
		WRITE_ONCE(cfg->devtab[rsid >> rsid_split], desc->l2ptr_dma);
	}
	return &desc->l2ptr[rsid & ((1U << rsid_split) - 1)];
}

/* The root table and the TD appear at the domain's first attach. */
static int finalise_domain(struct xt_iommu_domain *xt_domain, struct xt_iommu_device *iommu)
{
	struct xt_iommu_stage1 *stage1 = &xt_domain->td.stage1;
	struct xt_iommu_td_cfg *tdcfg = &xt_domain->td.tdcfg;

	if (xt_domain->iommu)
		return 0;

	tdcfg->tdtab = (u64 *)get_zeroed_page(GFP_KERNEL);
	stage1->s1ppn_va = (u64 *)get_zeroed_page(GFP_KERNEL);
	if (!tdcfg->tdtab || !stage1->s1ppn_va)
		return -ENOMEM;

	tdcfg->tdtab_dma = virt_to_phys(tdcfg->tdtab);
	stage1->s1ppn = virt_to_phys(stage1->s1ppn_va) >> XT_IOMMU_PAGE_SHIFT;
	stage1->asid = 0;
	stage1->s1mode = XT_IOMMU_TD_MODE_SV39;
	xt_domain->iommu = iommu;
	return 0;
}

static void write_descriptor(const struct xt_iommu_domain *xt_domain)
{
	const struct xt_iommu_stage1 *stage1 = &xt_domain->td.stage1;
	u64 *words = xt_domain->td.tdcfg.tdtab;

	WRITE_ONCE(words[2], 0);
	WRITE_ONCE(words[1], 0);
	WRITE_ONCE(words[0], (u64)stage1->s1mode << XT_IOMMU_TD_MODE_SHIFT |
			     (u64)stage1->asid << XT_IOMMU_TD_ASID_SHIFT |
			     (stage1->s1ppn & XT_IOMMU_TD_PPN_MASK));
}

int xt_iommu_attach_device(struct iommu_domain *domain, struct device *dev)
{
	struct xt_iommu_domain *xt_domain = to_xt_iommu_domain(domain);
	struct xt_iommu_master *master = dev->iommu->priv;
	unsigned long flags;
	u64 *slot;
	int error;

	mutex_lock(&xt_domain->init_mutex);
	error = finalise_domain(xt_domain, master->iommu);
	if (!error)
		write_descriptor(xt_domain);
	mutex_unlock(&xt_domain->init_mutex);
	if (error)
		return error;

	slot = device_table_slot(master->iommu, master->rsid);
	if (!slot)
		return -ENOMEM;

	if (master->domain) {
		spin_lock_irqsave(&master->domain->devices_lock, flags);
		list_del(&master->domain_head);
		spin_unlock_irqrestore(&master->domain->devices_lock, flags);
	}
	master->domain = xt_domain;
	spin_lock_irqsave(&xt_domain->devices_lock, flags);
	list_add(&master->domain_head, &xt_domain->devices);
	spin_unlock_irqrestore(&xt_domain->devices_lock, flags);

	WRITE_ONCE(*slot, (xt_domain->td.tdcfg.tdtab_dma & XT_IOMMU_DTE_ADDRESS) |
			  XT_IOMMU_DTE_F | XT_IOMMU_DTE_V);
	return 0;
}

struct iommu_domain *xt_iommu_domain_alloc(unsigned int type)
{
	struct xt_iommu_domain *xt_domain;

	if (type != IOMMU_DOMAIN_DMA && type != IOMMU_DOMAIN_UNMANAGED)
		return NULL;

	xt_domain = kzalloc(sizeof(*xt_domain), GFP_KERNEL);
	if (!xt_domain)
		return NULL;
	if (XT_IOMMU_HOST_NEW_DOMAIN(&xt_domain->domain, type)) {
		kfree(xt_domain);
		return NULL;
	}

	spin_lock_init(&xt_domain->devices_lock);
	mutex_init(&xt_domain->pgt_mutex);
	mutex_init(&xt_domain->init_mutex);
	INIT_LIST_HEAD(&xt_domain->devices);
	xt_domain->domain.geometry.aperture_start = 0;
	xt_domain->domain.geometry.aperture_end = XT_IOMMU_APERTURE_END;
	xt_domain->domain.geometry.force_aperture = true;
	xt_domain->domain.pgsize_bitmap = XT_IOMMU_PGSIZE_BITMAP;
	return &xt_domain->domain;
}

/* As the driver: the table pages stay allocated. */
void xt_iommu_domain_free(struct iommu_domain *domain)
{
	kfree(to_xt_iommu_domain(domain));
}
