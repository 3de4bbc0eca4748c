/* SPDX-License-Identifier: GPL-2.0-only */
/* The driver's environment in Linux 6.1. */
#ifndef XUANTIE_IOMMU_ENVIRONMENT_H
#define XUANTIE_IOMMU_ENVIRONMENT_H

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#define XT_IOMMU_LAB_SWITCHES

/* Linux has one more operation: the core calls it once a device's default domain is known. */
void xt_iommu_probe_finalize(struct device *dev);
#define XT_IOMMU_HOST_OPS	.probe_finalize = xt_iommu_probe_finalize,

/* A DMA cookie of the driver's own, beside the core's; see xt_iommu.dma_cookie. */
extern bool xt_iommu_dma_cookie_option;
int iommu_get_dma_cookie(struct iommu_domain *domain);
#define XT_IOMMU_HOST_NEW_DOMAIN(domain, type) \
	(xt_iommu_dma_cookie_option && (type) == IOMMU_DOMAIN_DMA ? \
	 iommu_get_dma_cookie(domain) : 0)

#endif
