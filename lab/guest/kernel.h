/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few words of a kernel that the driver and the guest use.  Names and meanings are Linux's so
 * that the driver compiles in both places and a debugger script meets what it meets there;
 * everything is as small as one CPU without interrupts allows.
 */
#ifndef LAB_KERNEL_H
#define LAB_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef unsigned long size_t;
typedef unsigned int gfp_t;
typedef u64 phys_addr_t;
typedef u64 dma_addr_t;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define EIO	5
#define ENOMEM	12
#define EINVAL	22

/* Own frame, arguments intact: what a breakpoint and a backtrace need at -O2. */
#define lab_frame __attribute__((noinline, noipa))

#define __iomem
#define offsetof(type, member)	__builtin_offsetof(type, member)
#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define WRITE_ONCE(x, value)	(*(volatile __typeof__(x) *)&(x) = (value))

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))
#define SZ_2M		0x200000UL
#define SZ_1G		0x40000000UL

/* Allocation flags as each era numbers them: __GFP_ATOMIC (0x200) went in 6.3. */
#define __GFP_ZERO	0x100U
#define GFP_KERNEL	0xcc0U
#ifdef XT_IOMMU_LEGACY_SIGNATURE
#define GFP_ATOMIC	0xa20U
#else
#define GFP_ATOMIC	0x820U
#endif

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name) { &(name), &(name) }

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list;
	list->prev = list;
}

static inline void list_add(struct list_head *entry, struct list_head *head)
{
	entry->next = head->next;
	entry->prev = head;
	head->next->prev = entry;
	head->next = entry;
}

static inline void list_del(struct list_head *entry)
{
	entry->next->prev = entry->prev;
	entry->prev->next = entry->next;
}

/* Locks have a size and a place in the structures, and nothing to do on one CPU. */
typedef struct {
	u32 slock;
} spinlock_t;

struct mutex {
	long owner;
	spinlock_t wait_lock;
	struct list_head wait_list;
};

static inline void spin_lock_init(spinlock_t *lock)
{
	lock->slock = 0;
}

#define spin_lock_irqsave(lock, flags)		do { (void)(lock); (flags) = 0; } while (0)
#define spin_unlock_irqrestore(lock, flags)	do { (void)(lock); (void)(flags); } while (0)

static inline void mutex_init(struct mutex *mutex)
{
	mutex->owner = 0;
	spin_lock_init(&mutex->wait_lock);
	INIT_LIST_HEAD(&mutex->wait_list);
}

static inline void mutex_lock(struct mutex *mutex)
{
	mutex->owner = 1;
}

static inline void mutex_unlock(struct mutex *mutex)
{
	mutex->owner = 0;
}

static inline u64 readq(const void *address)
{
	return *(const volatile u64 *)address;
}

static inline void writeq(u64 value, void *address)
{
	*(volatile u64 *)address = value;
}

/* paging.c: the CPU's own translation, decided at boot as Linux does since 5.17. */
extern bool pgtable_l4_enabled;
extern bool pgtable_l5_enabled;

#define PGDIR_SHIFT	(pgtable_l5_enabled ? 48U : pgtable_l4_enabled ? 39U : 30U)

#ifdef XT_IOMMU_LEGACY_SIGNATURE
/* Linux 5.10 has no kernel_map: debuggers find the linear map's offset in this. */
extern unsigned long va_pa_offset;
#define LINEAR_MAP_OFFSET va_pa_offset
#else
struct kernel_mapping {
	unsigned long page_offset;
	unsigned long virt_addr;
	u64 phys_addr;
	u64 size;
	unsigned long va_pa_offset;		/* linear map: KVA - PA */
	unsigned long va_kernel_pa_offset;	/* kernel image: KVA - PA */
};

extern struct kernel_mapping kernel_map;
#define LINEAR_MAP_OFFSET (kernel_map.va_pa_offset)
#endif

extern phys_addr_t phys_ram_base;

/* Where the image is linked and loaded; guest.lds says the same. */
#define KERNEL_LINK_ADDR	0xffffffff80000000UL
#define KERNEL_LOAD_ADDR	0x80200000UL

/* Physical addresses 0 to 2 MiB, just below the image: the device that ends QEMU is there. */
#define LOW_DEVICES_ADDR	(KERNEL_LINK_ADDR - SZ_2M)

static inline phys_addr_t virt_to_phys(const void *va)
{
	unsigned long address = (unsigned long)va;

	if (address >= KERNEL_LINK_ADDR)
		return address - KERNEL_LINK_ADDR + KERNEL_LOAD_ADDR;
	return address - LINEAR_MAP_OFFSET;
}

static inline void *phys_to_virt(phys_addr_t pa)
{
	return (void *)(pa + LINEAR_MAP_OFFSET);
}

/*
 * Page descriptors exist as addresses only: pfn -> page -> pfn is arithmetic, and nothing ever
 * reads through one, so the array behind `vmemmap` needs no memory.
 */
struct page {
	unsigned long words[8];
};

#define vmemmap ((struct page *)0xff1c000000000000UL)

static inline struct page *virt_to_page(const void *va)
{
	return vmemmap + (virt_to_phys(va) >> PAGE_SHIFT);
}

static inline phys_addr_t page_to_phys(const struct page *page)
{
	return (phys_addr_t)(page - vmemmap) << PAGE_SHIFT;
}

/* memory.c */
void lab_memory_init(void);
unsigned long get_zeroed_page(gfp_t gfp);
unsigned long __get_free_pages(gfp_t gfp, unsigned int order);
void *kzalloc(size_t size, gfp_t gfp);
void kfree(const void *object);
phys_addr_t lab_scattered_page(void);
phys_addr_t lab_contiguous_pages(size_t count, size_t alignment, size_t skew);
bool lab_claim_page(phys_addr_t pa);

static inline void *kcalloc(size_t count, size_t size, gfp_t gfp)
{
	return kzalloc(count * size, gfp);
}

static inline unsigned int get_order(size_t size)
{
	unsigned int order = 0;

	while ((PAGE_SIZE << order) < size)
		order++;
	return order;
}

void *memset(void *to, int value, size_t count);
void *memcpy(void *to, const void *from, size_t count);

/* console.c: usable before and after the page tables are on. */
void lab_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void lab_stop(void) __attribute__((noreturn));

#define pr_err(...)	lab_print(__VA_ARGS__)

/* options.c, paging.c: run at physical addresses, before the page tables are on. */
enum lab_cpu_mode {
	LAB_SV39 = 8,
	LAB_SV48 = 9,
	LAB_SV57 = 10,
};

#ifdef LAB_RISCV_IOMMU
/* Of the workload in riscv/main.c; accesses that work are in all. */
enum lab_step {
	LAB_ALL_STEPS,
	LAB_FAULTS,
	LAB_CONTIGUOUS,
	LAB_STALE,
};
#endif

struct lab_options {
	enum lab_cpu_mode cpu_mode;	/* satp.MODE */
#ifdef LAB_RISCV_IOMMU
	enum lab_cpu_mode iommu_mode;	/* DC.fsc.MODE, which has the same codes */
	enum lab_step step;
	bool faults_unread;
#else
	unsigned int root_shift;	/* root-shift=12 to 63; 0 for pgdir */
#endif
};

struct lab_memory {
	phys_addr_t start;
	u64 size;
};

extern struct lab_options lab_options;
extern struct lab_memory lab_memory;
extern char boot_command_line[256];

void lab_read_device_tree(const void *blob);
u64 lab_build_page_tables(void);
void lab_drop_identity_map(void);

#endif
