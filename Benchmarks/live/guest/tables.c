/*
 * A bare-metal program for stock QEMU (-M virt -bios none): an Sv39 table with 2^PAGES_LOG2 leaves of 4 KiB in runs of 16 and
 * a hole, its tables shuffled in memory as a kernel leaves them. It uses no paging itself and runs in machine mode.
 */
typedef unsigned long u64;

#define PAGE_SIZE	4096UL
#define RUN		16UL
#define PAGES		(1UL << PAGES_LOG2)

#define TABLES_START	0x80200000UL
/* Enough for 2^21 pages, and no multiple of the stride: each table comes up once. */
#define TABLES_COUNT	8192UL
#define TABLES_STRIDE	3571UL

#define V	1UL
#define R	2UL
#define W	4UL

/* What a debugger asks for. */
u64 root;

static u64 taken;

static u64 *new_table(void)
{
	u64 *table = (u64 *)(TABLES_START + ++taken * TABLES_STRIDE % TABLES_COUNT * PAGE_SIZE);
	unsigned int index;

	for (index = 0; index < 512; index++)
		table[index] = 0;
	return table;
}

static u64 *next_table(u64 *entry)
{
	if (!*entry)
		*entry = (u64)new_table() >> 12 << 10 | V;
	return (u64 *)(*entry >> 10 << 12);
}

/* Stop here: everything is mapped, and nothing changes any more. */
__attribute__((noinline)) void mapped(void)
{
	asm volatile("" : : : "memory");
}

void start(void)
{
	u64 iova = 0x10000000, page = 0x100000, left, *top = new_table();

	for (left = PAGES; left; left--, iova += PAGE_SIZE, page++) {
		u64 *leaves = next_table(&next_table(&top[iova >> 30 & 511])[iova >> 21 & 511]);

		leaves[iova >> 12 & 511] = page << 10 | V | R | W;
		if (left % RUN == 1) {
			iova += PAGE_SIZE;
			page += 3;
		}
	}
	root = (u64)top;
	for (;;) {
		mapped();
		asm volatile("wfi");
	}
}

asm(".section .text.entry, \"ax\"\n"
    ".globl _start\n"
    "_start:\n"
    "	li sp, 0x80180000\n"
    "	j start\n");
