/* Interrupt handlers, each with its own way to the registers of its device. */

typedef unsigned long u64;
typedef unsigned int u32;

struct device {
	void *owner;
	volatile char *base;
	u32 features;
	volatile char *other;
	struct device *next;
};

/* As the kernel's: a load that no other may pass. */
static inline u64 readq(const volatile void *address)
{
	u64 value = *(const volatile u64 *)address;

	__asm__ volatile("fence i, ir" ::: "memory");
	return value;
}

static inline void writeq(u64 value, volatile void *address)
{
	__asm__ volatile("fence w, o" ::: "memory");
	*(volatile u64 *)address = value;
}

int allowed(void *state);
void report(void *owner, const char *format, ...);

__attribute__((noinline)) int allowed(void *state)
{
	return *(volatile int *)state;
}

__attribute__((noinline)) void report(void *owner, const char *format, ...)
{
	*(void *volatile *)owner = (void *)format;
}

/* Reads only when it may say so, in a block that compilers move behind the end. */
int seldom(int irq, void *data)
{
	struct device *device = data;

	if (__builtin_expect(allowed(device->owner), 0))
		report(device->owner, "fault at 0x%lx\n", readq(device->base + 0x20));
	return 1;
}

/* Reads two, and writes a third. */
int both(int irq, void *data)
{
	struct device *device = data;
	u64 cause = readq(device->base + 0x20);

	report(device->owner, "cause %lx at 0x%lx\n", cause & 0xffff, readq(device->base + 0x28));
	writeq(1, device->base + 0x1018);
	return 1;
}

/* Which of two it reads depends on what it finds. */
int either(int irq, void *data)
{
	struct device *device = data;

	report(device->owner, "0x%lx\n",
	       device->features & 1 ? readq(device->base + 0x30) : readq(device->base + 0x1008));
	return 1;
}

/* Polls in a loop. */
int loop(int irq, void *data)
{
	struct device *device = data;

	for (int tries = 0; tries < 8; tries++)
		if (readq(device->base + 0x8))
			return 1;
	return 0;
}

/* Its own first argument, another member, another device: none of the registers that are asked for. */
int elsewhere(int irq, void *data)
{
	struct device *device = data;

	report(device->owner, "%lx %lx %lx\n", readq((void *)(u64)irq), readq(device->other + 0x28),
	       readq(device->next->base + 0x40));
	return 1;
}

/* By an offset that is worked out. */
int computed(int irq, void *data)
{
	struct device *device = data;

	report(device->owner, "%lx\n", readq(device->base + device->features * 8));
	return 1;
}

int capable(void)
{
	return 0;
}
