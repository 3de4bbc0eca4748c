// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver without its tables: registers, queues, device directory, domains.  Written from the
 * RISC-V IOMMU specification 1.0, whose sections the comments name.
 */
#include "iommu.h"

/* Chapter 5. */
#define REG_CAP		0x0
#define REG_DDTP	0x10
#define REG_CQB		0x18
#define REG_CQH		0x20
#define REG_CQT		0x24
#define REG_FQB		0x28
#define REG_FQH		0x30
#define REG_FQT		0x34
#define REG_CQCSR	0x48
#define REG_FQCSR	0x4c

/* 5.15, 5.16: enable and on. */
#define CSR_EN		(1U << 0)
#define CSR_ON		(1U << 16)

/* 5.5 */
#define DDTP_3LVL	4UL
#define DDTP_BUSY	(1UL << 4)

/* 5.3: device contexts of 64 bytes. */
#define CAP_MSI_FLAT	(1UL << 22)

/* A page each: 16 bytes a command (3.1), 32 bytes a fault record (3.2). */
#define CQ_LOG2SZ	8
#define FQ_LOG2SZ	7

/* 2.1: a device id is 7, 9 and 8 bits of index when contexts have 64 bytes: 23:15, 14:6, 5:0. */
#define DDT_VALID	(1UL << 0)
#define DC_WORDS	8
#define DC_TC_V		(1UL << 0)

/* 3.1 */
#define CMD_IOTINVAL_VMA	(1UL | 0UL << 7)
#define CMD_IOTINVAL_AV		(1UL << 10)
#define CMD_IOTINVAL_PSCID(id)	((u64)(id) << 12 | 1UL << 32)
#define CMD_IOFENCE_C		2UL
#define CMD_IODIR_INVAL_DDT	3UL
#define CMD_IODIR_DID(id)	((u64)(id) << 40 | 1UL << 33)

/* Requester id of lab_edu. */
#define EDU_DEVICE_ID	8U

#define PATIENCE	1000000U

struct riscv_iommu_device *riscv_iommu;

static const struct iommu_domain_ops riscv_iommu_paging_domain_ops = {
	.attach_dev	= riscv_iommu_attach_paging_domain,
#ifndef LAB_GENERIC_PT
	.map_pages	= riscv_iommu_map_pages,
	.unmap_pages	= riscv_iommu_unmap_pages,
#endif
	.iotlb_sync	= riscv_iommu_iotlb_sync,
};

const struct iommu_ops riscv_iommu_ops = {
	.default_domain_ops = &riscv_iommu_paging_domain_ops,
};

static u32 riscv_iommu_readl(u32 offset)
{
	return *(const volatile u32 *)(riscv_iommu->reg + offset);
}

static void riscv_iommu_writel(u32 value, u32 offset)
{
	asm volatile("fence" : : : "memory");
	*(volatile u32 *)(riscv_iommu->reg + offset) = value;
}

static u64 riscv_iommu_readq(u32 offset)
{
	return readq(riscv_iommu->reg + offset);
}

static void riscv_iommu_writeq(u64 value, u32 offset)
{
	asm volatile("fence" : : : "memory");
	writeq(value, riscv_iommu->reg + offset);
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	lab_print("iommulens guest: the IOMMU %s; stopping\n", what);
	lab_stop();
}

/* Base register: the page number in bits 53:10, the size's logarithm less 1 in bits 4:0. */
static void riscv_iommu_queue_enable(struct riscv_iommu_queue *queue, unsigned int log2size,
				     u32 base, u32 control)
{
	unsigned int patience = PATIENCE;

	queue->base = (void *)get_zeroed_page(GFP_KERNEL);
	queue->mask = (1U << log2size) - 1;
	riscv_iommu_writeq(pte_of(virt_to_phys(queue->base), log2size - 1), base);
	riscv_iommu_writel(CSR_EN, control);
	while (!(riscv_iommu_readl(control) & CSR_ON) && patience)
		patience--;
	must(patience, "does not turn a queue on");
}

static void riscv_iommu_cmd_send(u64 first, u64 second)
{
	struct riscv_iommu_queue *queue = &riscv_iommu->cmdq;
	u64 *command = (u64 *)queue->base + 2 * queue->tail;
	unsigned int patience = PATIENCE;

	command[0] = first;
	command[1] = second;
	queue->tail = (queue->tail + 1) & queue->mask;
	riscv_iommu_writel(queue->tail, REG_CQT);
	while (riscv_iommu_readl(REG_CQH) != queue->tail && patience)
		patience--;
	must(patience, "does not carry out a command");
}

static void riscv_iommu_iotlb_inval(struct riscv_iommu_domain *domain, unsigned long start,
				    unsigned long end)
{
	unsigned long iova;

	for (iova = start & PAGE_MASK; iova < end; iova += PAGE_SIZE)
		riscv_iommu_cmd_send(CMD_IOTINVAL_VMA | CMD_IOTINVAL_AV |
				     CMD_IOTINVAL_PSCID(domain->pscid), iova >> 2);
	riscv_iommu_cmd_send(CMD_IOFENCE_C, 0);
}

lab_frame void riscv_iommu_iotlb_sync(struct iommu_domain *iommu_domain,
				      struct iommu_iotlb_gather *gather)
{
	struct riscv_iommu_domain *domain =
		container_of(iommu_domain, struct riscv_iommu_domain, domain);

	if (gather->start < gather->end)
		riscv_iommu_iotlb_inval(domain, gather->start, gather->end);
}

/* Of the device with this id: the doublewords of its context. */
static u64 *riscv_iommu_get_dc(unsigned int device_id)
{
	u64 *table = riscv_iommu->ddt_root;
	int shift;

	for (shift = 15; shift >= 6; shift -= 9) {
		u64 *entry = &table[(device_id >> shift) & 511];

		if (!(*entry & DDT_VALID))
			WRITE_ONCE(*entry, pte_of(virt_to_phys((void *)get_zeroed_page(GFP_KERNEL)),
						  DDT_VALID));
		table = pte_table(*entry);
	}
	return table + (device_id & 63) * DC_WORDS;
}

static u64 first_stage(struct riscv_iommu_domain *domain)
{
#ifdef LAB_GENERIC_PT
	unsigned long top = domain->riscvpt.riscv_64pt.common.top_of_table;

	return ((top & 7) + 6) << 60 | virt_to_phys((void *)(top & ~7UL)) >> PAGE_SHIFT;
#else
	return (u64)domain->pgd_mode << 60 | virt_to_phys(domain->pgd_root) >> PAGE_SHIFT;
#endif
}

/* 2.1.4: the context last becomes valid, then the device forgets what it knows of it. */
static void riscv_iommu_iodir_update(unsigned int device_id, struct riscv_iommu_domain *domain)
{
	u64 *context = riscv_iommu_get_dc(device_id);

	WRITE_ONCE(context[2], (u64)domain->pscid << 12);
	WRITE_ONCE(context[3], first_stage(domain));
	asm volatile("fence" : : : "memory");
	WRITE_ONCE(context[0], DC_TC_V);
	riscv_iommu_cmd_send(CMD_IODIR_INVAL_DDT | CMD_IODIR_DID(device_id), 0);
	riscv_iommu_cmd_send(CMD_IOFENCE_C, 0);
}

lab_frame int riscv_iommu_attach_paging_domain(struct iommu_domain *iommu_domain,
					       struct device *dev)
{
	struct riscv_iommu_domain *domain =
		container_of(iommu_domain, struct riscv_iommu_domain, domain);
	struct riscv_iommu_info *info = kzalloc(sizeof(*info), GFP_KERNEL);

	dev->iommu = kzalloc(sizeof(*dev->iommu), GFP_KERNEL);
	dev->iommu->iommu_dev = &riscv_iommu->iommu;
	dev->iommu->priv = info;
	info->domain = domain;
	riscv_iommu_iodir_update(EDU_DEVICE_ID, domain);
	return 0;
}

struct iommu_domain *riscv_iommu_alloc_paging_domain(struct device *dev)
{
	struct riscv_iommu_domain *domain = kzalloc(sizeof(*domain), GFP_KERNEL);
	unsigned long root = get_zeroed_page(GFP_KERNEL);

	domain->domain.type = IOMMU_DOMAIN_DMA;
	domain->domain.ops = &riscv_iommu_paging_domain_ops;
	domain->pscid = 1;
#ifdef LAB_GENERIC_PT
	domain->domain.is_iommupt = true;
	domain->riscvpt.iommu.ops = &riscv_64_ops;
	domain->riscvpt.riscv_64pt.common.top_of_table = root | root_level(lab_options.iommu_mode);
#else
	domain->pgd_mode = lab_options.iommu_mode;
	domain->pgd_root = (unsigned long *)root;
#endif
	return &domain->domain;
}

u32 riscv_iommu_fltq_tail(void)
{
	return riscv_iommu_readl(REG_FQT);
}

/* In Linux an interrupt's thread.  Cause in bits 11:0, device id in 63:40 of a record (3.2). */
lab_frame void riscv_iommu_fltq_process(void)
{
	struct riscv_iommu_queue *queue = &riscv_iommu->fltq;
	u32 tail = riscv_iommu_fltq_tail();

	for (; queue->head != tail; queue->head = (queue->head + 1) & queue->mask) {
		const u64 *record = (const u64 *)queue->base + 4 * queue->head;

		lab_print("riscv_iommu: Fault %lu devid: 0x%lx iotval: %lx\n", record[0] & 0xfff,
			  record[0] >> 40, record[2]);
	}
	riscv_iommu_writel(queue->head, REG_FQH);
}

lab_frame void riscv_iommu_probe(struct device *dev)
{
	unsigned int patience = PATIENCE;

	riscv_iommu = kzalloc(sizeof(*riscv_iommu), GFP_KERNEL);
	riscv_iommu->dev = dev;
	riscv_iommu->reg = ioremap(RISCV_IOMMU_REGISTERS);
	riscv_iommu->caps = riscv_iommu_readq(REG_CAP);
	must(riscv_iommu->caps & CAP_MSI_FLAT, "has device contexts of 32 bytes");
	riscv_iommu_queue_enable(&riscv_iommu->cmdq, CQ_LOG2SZ, REG_CQB, REG_CQCSR);
	riscv_iommu_queue_enable(&riscv_iommu->fltq, FQ_LOG2SZ, REG_FQB, REG_FQCSR);

	riscv_iommu->ddt_root = (u64 *)get_zeroed_page(GFP_KERNEL);
	riscv_iommu_writeq(pte_of(virt_to_phys(riscv_iommu->ddt_root), DDTP_3LVL), REG_DDTP);
	while ((riscv_iommu_readq(REG_DDTP) & DDTP_BUSY) && patience)
		patience--;
	must(patience && (riscv_iommu_readq(REG_DDTP) & 0xf) == DDTP_3LVL,
	     "does not take a directory of three levels");
	iommu_device_register(&riscv_iommu->iommu, &riscv_iommu_ops, dev);
}
