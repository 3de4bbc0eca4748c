// SPDX-License-Identifier: GPL-2.0-only
/*
 * An MSI controller without interrupt remapping, as far as the kernel can tell.
 *
 * VFIO refuses an IOMMU without interrupt remapping only where some MSI interrupt domain exists
 * that cannot remap either.  QEMU's `virt` with a PLIC has no MSI domain at all, so the check
 * passes for want of anything to check.  xt_iommu.msi_domain=1 registers a domain with the MSI
 * flag and no interrupts behind it: nobody looks it up, but irq_domain_check_msi_remap() sees a
 * machine such as one with an MSI controller would be.
 */
#include <linux/init.h>
#include <linux/irqdomain.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "xt_iommu."

static bool msi_domain;
module_param(msi_domain, bool, 0444);

static const struct irq_domain_ops xt_lab_msi_domain_ops = { };

static int __init xt_lab_msi_domain_init(void)
{
	struct fwnode_handle *fwnode;
	struct irq_domain *domain;

	if (!msi_domain)
		return 0;
	fwnode = irq_domain_alloc_named_fwnode("xt-lab-msi");
	if (!fwnode)
		return -ENOMEM;
	domain = irq_domain_create_linear(fwnode, 1, &xt_lab_msi_domain_ops, NULL);
	if (!domain) {
		irq_domain_free_fwnode(fwnode);
		return -ENOMEM;
	}
	domain->flags |= IRQ_DOMAIN_FLAG_MSI;
	pr_info("xt_iommu: lab: registered an MSI interrupt domain without remapping\n");
	return 0;
}
device_initcall(xt_lab_msi_domain_init);
