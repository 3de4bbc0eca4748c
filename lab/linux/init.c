// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of the lab's Linux: drives the network card, through the kernel's driver or
 * through VFIO, and says on the console what came of every step.
 *
 * Options are read from the kernel's command line (the kernel keeps unknown words with a dot to
 * itself, so they do not arrive as arguments); README.md lists them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NIC		"0000:00:01.0"
#define NIC_SYSFS	"/sys/bus/pci/devices/" NIC
#define ROOT_SHIFT	"/sys/module/xt_iommu/parameters/root_shift"

/* The IOMMU's registers: see lab/driver/xuantie-iommu.h; RESUME is one the driver does not know. */
#define XMMU_RESUME_PAGE	0x2c001000
#define XMMU_RESUME		0x18

#define SZ_2M	0x200000UL
#define SZ_4M	0x400000UL

static char command_line[2048];
static int failures;

/*
 * The value of `name` (with its "=") on the command line, or `otherwise`.  Said twice, the last one
 * counts, as with the kernel's own options.
 */
static const char *option(const char *name, const char *otherwise)
{
	static char values[16][64];
	static unsigned int used;
	const char *word = command_line;
	char *value = values[used % 16];
	bool found = false;
	size_t length = strlen(name);

	while (*word) {
		size_t end = strcspn(word, " \n");

		if (end >= length && !strncmp(word, name, length)) {
			snprintf(value, sizeof(values[0]), "%.*s", (int)(end - length),
				 word + length);
			found = true;
		}
		word += end;
		word += strspn(word, " \n");
	}
	if (!found)
		return otherwise;
	used++;
	return value;
}

static long number(const char *name, long otherwise)
{
	const char *value = option(name, NULL);

	return value ? strtol(value, NULL, 0) : otherwise;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void wait_ms(unsigned int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

/* Prints one step and its result, and hands the result on.  Keep errno untouched before it. */
static __attribute__((format(printf, 2, 3))) long step(long result, const char *format, ...)
{
	int error = errno;
	char text[160];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	if (result < 0) {
		failures++;
		printf("init: %-58s -> %ld  errno %d (%s)\n", text, result, error,
		       strerror(error));
	} else {
		printf("init: %-58s -> %ld\n", text, result);
	}
	return result;
}

static long write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	long written;
	int error;

	if (fd < 0)
		return -1;
	written = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return written;
}

static long read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	long length = -1;

	text[0] = '\0';
	if (fd < 0)
		return -1;
	length = read(fd, text, size - 1);
	close(fd);
	if (length < 0)
		return -1;
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = '\0';
	return length;
}

static void print_link(const char *path)
{
	char target[256];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	if (length < 0)
		printf("init: %s: %s\n", path, strerror(errno));
	else
		printf("init: %s = %.*s\n", path, (int)length, target);
}

/* ---- the network ------------------------------------------------------------------------- */

static long sent_by_card(void)
{
	char text[32];

	if (read_file("/sys/class/net/eth0/statistics/tx_packets", text, sizeof(text)) < 0)
		return -1;
	return strtol(text, NULL, 10);
}

static int set_flags(int control, bool up)
{
	struct ifreq request = { 0 };

	strcpy(request.ifr_name, "eth0");
	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return -1;
	if (up)
		request.ifr_flags |= IFF_UP;
	else
		request.ifr_flags &= ~IFF_UP;
	return ioctl(control, SIOCSIFFLAGS, &request);
}

static int set_address(int control)
{
	struct ifreq request = { 0 };
	struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;

	strcpy(request.ifr_name, "eth0");
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(0x0a00020f);	/* 10.0.2.15 */
	return ioctl(control, SIOCSIFADDR, &request);
}

/* An 8-byte write to the IOMMU's RESUME: clears a latched fault, which the driver never does. */
static long write_resume(void)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	char *page;

	if (fd < 0)
		return -1;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, XMMU_RESUME_PAGE);
	close(fd);
	if (page == MAP_FAILED)
		return -1;
	*(volatile uint64_t *)(page + XMMU_RESUME) = 1;
	munmap(page, 4096);
	return 0;
}

/*
 * Two broadcasts a second.  A datagram that the card never transmits is accepted all the same, so
 * the card's own count is printed beside it.
 */
static void run_net(void)
{
	long until = number("lab.seconds=", 0), repair = number("lab.repair=", 0);
	long resume = number("lab.resume=", 0);
	struct sockaddr_in everyone = { 0 };
	static const char payload[1000] = "IOMMULens lab";
	struct stat ignored;
	double start;
	int control, on = 1;
	long sent = 0, tries;

	if (number("lab.rescan=", 0)) {
		print_link(NIC_SYSFS "/iommu_group");
		step(write_file(NIC_SYSFS "/remove", "1"), "write 1 to devices/" NIC "/remove");
		step(write_file("/sys/bus/pci/rescan", "1"), "write 1 to /sys/bus/pci/rescan");
		print_link(NIC_SYSFS "/iommu_group");
	}
	for (tries = 0; tries < 50 && stat("/sys/class/net/eth0", &ignored); tries++)
		wait_ms(100);
	control = step(socket(AF_INET, SOCK_DGRAM, 0), "open a UDP socket");
	if (control < 0 || step(set_address(control), "give eth0 10.0.2.15") < 0 ||
	    step(set_flags(control, true), "set eth0 up") < 0)
		return;
	setsockopt(control, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	everyone.sin_family = AF_INET;
	everyone.sin_port = htons(9);
	everyone.sin_addr.s_addr = htonl(0x0affffff);	/* 10.255.255.255: no router, no ARP */

	for (start = seconds(); !until || seconds() - start < until; wait_ms(500)) {
		if (repair && seconds() - start >= repair) {
			/* Unmap with the old shift, map with the new one. */
			repair = 0;
			step(set_flags(control, false), "set eth0 down");
			step(write_file(ROOT_SHIFT, "30"), "write 30 to xt_iommu.root_shift");
			step(set_flags(control, true), "set eth0 up");
		}
		if (resume && seconds() - start >= resume) {
			resume = 0;
			step(write_resume(), "write 1 to the IOMMU's RESUME");
		}
		if (sendto(control, payload, sizeof(payload), 0, (struct sockaddr *)&everyone,
			   sizeof(everyone)) < 0) {
			printf("init: net: a datagram was refused: %s\n", strerror(errno));
			continue;
		}
		if (++sent % 10 == 1)
			printf("init: net: %ld datagrams given to eth0, %ld packets sent by the card\n",
			       sent, sent_by_card());
	}
	printf("init: net: %ld datagrams given to eth0, %ld packets sent by the card\n", sent,
	       sent_by_card());
}

/* ---- VFIO -------------------------------------------------------------------------------- */

struct assigned {
	int container;
	int group;
	int device;
	uint64_t config;	/* offsets of the regions in the device's file */
	uint64_t bar0;
};

static void bind_to_vfio(void)
{
	print_link(NIC_SYSFS "/driver");
	print_link(NIC_SYSFS "/iommu_group");
	step(write_file(NIC_SYSFS "/driver_override", "vfio-pci"),
	     "write vfio-pci to driver_override");
	step(write_file(NIC_SYSFS "/driver/unbind", NIC), "write " NIC " to driver/unbind");
	step(write_file("/sys/bus/pci/drivers_probe", NIC), "write " NIC " to drivers_probe");
	print_link(NIC_SYSFS "/driver");
}

static bool open_container(struct assigned *nic)
{
	char link[256], path[300], value[8];
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };
	ssize_t length;

	nic->container = step(open("/dev/vfio/vfio", O_RDWR), "open /dev/vfio/vfio");
	if (nic->container < 0)
		return false;
	step(ioctl(nic->container, VFIO_GET_API_VERSION), "VFIO_GET_API_VERSION");
	step(ioctl(nic->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU),
	     "VFIO_CHECK_EXTENSION VFIO_TYPE1_IOMMU");
	step(ioctl(nic->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU),
	     "VFIO_CHECK_EXTENSION VFIO_TYPE1v2_IOMMU");

	length = readlink(NIC_SYSFS "/iommu_group", link, sizeof(link) - 1);
	if (length < 0) {
		step(-1, "readlink " NIC "/iommu_group");
		return false;
	}
	link[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	nic->group = step(open(path, O_RDWR), "open %s", path);
	if (nic->group < 0)
		return false;
	step(ioctl(nic->group, VFIO_GROUP_GET_STATUS, &status), "VFIO_GROUP_GET_STATUS");
	printf("init: group flags 0x%x (1 viable, 2 container set)\n", status.flags);
	if (step(ioctl(nic->group, VFIO_GROUP_SET_CONTAINER, &nic->container),
		 "VFIO_GROUP_SET_CONTAINER") < 0)
		return false;

	read_file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", value,
		  sizeof(value));
	printf("init: vfio_iommu_type1.allow_unsafe_interrupts = %s\n", value);
	if (step(ioctl(nic->container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU),
		 "VFIO_SET_IOMMU type 1 (VFIO_TYPE1_IOMMU)") < 0)
		return false;
	step(ioctl(nic->container, VFIO_IOMMU_GET_INFO, &info), "VFIO_IOMMU_GET_INFO");
	printf("init: info flags 0x%x iova_pgsizes 0x%llx\n", info.flags,
	       (unsigned long long)info.iova_pgsizes);
	return true;
}

static uint64_t region_offset(struct assigned *nic, unsigned int index, const char *name)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (step(ioctl(nic->device, VFIO_DEVICE_GET_REGION_INFO, &info),
		 "VFIO_DEVICE_GET_REGION_INFO %s", name) < 0)
		return 0;
	return info.offset;
}

static bool open_device(struct assigned *nic)
{
	uint16_t command = 0;

	nic->device = step(ioctl(nic->group, VFIO_GROUP_GET_DEVICE_FD, NIC),
			   "VFIO_GROUP_GET_DEVICE_FD " NIC);
	if (nic->device < 0)
		return false;
	nic->config = region_offset(nic, VFIO_PCI_CONFIG_REGION_INDEX, "configuration");
	nic->bar0 = region_offset(nic, VFIO_PCI_BAR0_REGION_INDEX, "BAR 0");

	/* PCI command register: memory space and bus master. */
	if (pread(nic->device, &command, 2, nic->config + 4) != 2) {
		step(-1, "read the PCI command register");
		return false;
	}
	command |= 6;
	return step(pwrite(nic->device, &command, 2, nic->config + 4),
		    "write 0x%x to the PCI command register", command) == 2;
}

static void write_register(struct assigned *nic, uint64_t offset, uint32_t value)
{
	if (pwrite(nic->device, &value, 4, nic->bar0 + offset) != 4)
		step(-1, "write 0x%x to the card's register 0x%lx", value, offset);
}

/* `size` bytes on a 2 MiB border, in small or huge pages, every page its own memory. */
static char *new_memory(size_t size, bool huge)
{
	char *whole = mmap(NULL, size + SZ_2M, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *memory;

	if (whole == MAP_FAILED) {
		step(-1, "mmap");
		return NULL;
	}
	memory = (char *)(((uintptr_t)whole + SZ_2M - 1) & ~(SZ_2M - 1));
	if (madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0)
		step(-1, "madvise");
	memset(memory, 0, size);
	return memory;
}

static long map(struct assigned *nic, char *memory, uint64_t iova, uint64_t size, const char *why)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};

	return step(ioctl(nic->container, VFIO_IOMMU_MAP_DMA, &request),
		    "VFIO_IOMMU_MAP_DMA iova 0x%lx size 0x%lx%s", iova, size, why);
}

static void unmap(struct assigned *nic, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request),
		.iova = iova,
		.size = size,
	};

	step(ioctl(nic->container, VFIO_IOMMU_UNMAP_DMA, &request),
	     "VFIO_IOMMU_UNMAP_DMA iova 0x%lx size 0x%lx", iova, size);
	printf("init: unmapped size 0x%llx\n", (unsigned long long)request.size);
}

/*
 * The card's transmit descriptor (82574 datasheet, "Legacy Transmit Descriptor Format"): buffer,
 * length and command, status.
 */
struct descriptor {
	uint64_t buffer;
	uint32_t command;	/* bits 15:0 length; bit 24 EOP, 25 IFCS, 27 RS */
	uint32_t status;	/* bit 0 DD, written by the card when it is done */
};

#define DESCRIPTOR_EOP_IFCS_RS	0x0b000000U
#define DESCRIPTOR_DD		1U

/* A ring at the beginning of `memory`; the frame it sends is at `iova` plus one page. */
static void prepare_ring(char *memory, uint64_t iova)
{
	volatile struct descriptor *ring = (void *)memory;

	memset(memory + 4096, 0xff, 64);
	ring->buffer = iova + 4096;
	ring->command = DESCRIPTOR_EOP_IFCS_RS | 64;
	ring->status = 0;
}

static bool completed(char *memory)
{
	return ((volatile struct descriptor *)memory)->status & DESCRIPTOR_DD;
}

/* Makes the card read the descriptor at `iova`, send its frame, and write the status back. */
static void transmit(struct assigned *nic, uint64_t iova)
{
	write_register(nic, 0x0400, 0);			/* TCTL: off */
	write_register(nic, 0x3800, (uint32_t)iova);	/* TDBAL */
	write_register(nic, 0x3804, iova >> 32);	/* TDBAH */
	write_register(nic, 0x3808, 128);		/* TDLEN: eight descriptors */
	write_register(nic, 0x3810, 0);			/* TDH */
	write_register(nic, 0x3818, 0);			/* TDT */
	write_register(nic, 0x0400, 0xa);		/* TCTL: enable, pad short packets */
	write_register(nic, 0x3818, 1);
	wait_ms(50);
}

static void transmit_and_tell(struct assigned *nic, char *memory, uint64_t iova, const char *when)
{
	prepare_ring(memory, iova);
	transmit(nic, iova);
	printf("init: dma: the card reads a descriptor at iova 0x%lx%s: %s\n", iova, when,
	       completed(memory) ? "done, status written back" : "NO ANSWER");
}

static void close_all(struct assigned *nic)
{
	if (nic->device > 0)
		step(close(nic->device), "close device");
	step(ioctl(nic->group, VFIO_GROUP_UNSET_CONTAINER), "VFIO_GROUP_UNSET_CONTAINER");
	step(close(nic->group), "close group");
	step(close(nic->container), "close container");
}

struct window {
	uint64_t iova;
	char *memory;
};

/* Three windows: one in the first GiB, one in the last, one that no huge page of IOVAs fits. */
static void run_vfio_map(void)
{
	struct window windows[] = { { 0x10000000, NULL }, { 0xc0000000, NULL }, { 0x20001000, NULL } };
	bool huge = !strcmp(option("lab.memory=", "4k"), "huge");
	struct assigned nic = { 0 };
	unsigned int i;

	bind_to_vfio();
	if (!open_container(&nic))
		return;
	/* The kernel turns huge pages off by itself where there is less than 512 MiB of memory. */
	if (huge)
		step(write_file("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
		     "write madvise to transparent_hugepage/enabled");
	printf("init: memory behind the windows: %s\n",
	       huge ? "huge pages where the kernel has them" : "4 KiB pages");
	for (i = 0; i < 3; i++) {
		windows[i].memory = new_memory(SZ_4M, huge);
		if (windows[i].memory)
			map(&nic, windows[i].memory, windows[i].iova, SZ_4M, "");
	}
	if (!open_device(&nic))
		return;
	for (i = 0; i < 3; i++)
		transmit_and_tell(&nic, windows[i].memory, windows[i].iova, "");
	transmit_and_tell(&nic, windows[0].memory, windows[0].iova, " again");

	printf("init: two requests that must be refused\n");
	map(&nic, windows[0].memory, 0x100000000, SZ_4M, " (past the aperture)");
	map(&nic, windows[0].memory, 0x30000800, SZ_4M, " (unaligned)");
	failures -= 2;

	/* Stop here, or wait here with lab.hold=1, to see the tables with everything mapped. */
	if (number("lab.hold=", 0)) {
		printf("init: holding the mappings\n");
		for (;;)
			pause();
	}
	for (i = 0; i < 3; i++)
		unmap(&nic, windows[i].iova, SZ_4M);
	if (number("lab.after_unmap=", 0))
		transmit_and_tell(&nic, windows[0].memory, windows[0].iova, " after its unmap");
	close_all(&nic);
}

/* Two windows that differ in nothing but the GiB, and so are one under a wrong root shift. */
static void run_vfio_alias(void)
{
	struct window windows[] = { { 0x10000000, NULL }, { 0x50000000, NULL } };
	struct assigned nic = { 0 };
	unsigned int i, from;

	bind_to_vfio();
	if (!open_container(&nic))
		return;
	for (i = 0; i < 2; i++) {
		windows[i].memory = new_memory(SZ_4M, false);
		if (!windows[i].memory ||
		    map(&nic, windows[i].memory, windows[i].iova, SZ_4M, "") < 0)
			return;
	}
	if (!open_device(&nic))
		return;
	/* Both rings name the window the card works in: whichever it reads, it leads nowhere else. */
	for (from = 0; from < 2; from++) {
		for (i = 0; i < 2; i++)
			prepare_ring(windows[i].memory, windows[from].iova);
		transmit(&nic, windows[from].iova);
		for (i = 0; i < 2; i++)
			printf("init: dma: the card works at iova 0x%lx: the memory of 0x%lx was %s\n",
			       windows[from].iova, windows[i].iova,
			       completed(windows[i].memory) ? "written" : "left alone");
	}
	if (number("lab.hold=", 0)) {
		printf("init: holding the mappings\n");
		for (;;)
			pause();
	}
	printf("init: unmapping; under a wrong root shift the kernel warns once for every page\n");
	for (i = 0; i < 2; i++)
		unmap(&nic, windows[i].iova, SZ_4M);
	close_all(&nic);
}

/* Nothing but what VFIO says to the IOMMU. */
static void run_vfio_unsafe(void)
{
	struct assigned nic = { 0 };

	bind_to_vfio();
	if (open_container(&nic))
		close_all(&nic);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "net", run_net },
		{ "vfio-map", run_vfio_map },
		{ "vfio-alias", run_vfio_alias },
		{ "vfio-unsafe", run_vfio_unsafe },
	};
	const char *mode;
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	step(mount("proc", "/proc", "proc", 0, NULL), "mount proc");
	step(mount("sysfs", "/sys", "sysfs", 0, NULL), "mount sysfs");
	step(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL), "mount devtmpfs");
	read_file("/proc/cmdline", command_line, sizeof(command_line));

	mode = option("lab.mode=", "idle");
	printf("init: mode %s\n", mode);
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(mode, modes[i].name))
			break;
	if (i < sizeof(modes) / sizeof(modes[0])) {
		modes[i].run();
	} else if (strcmp(mode, "idle")) {
		printf("init: unknown mode '%s' (known: net vfio-map vfio-alias vfio-unsafe idle)\n",
		       mode);
		failures++;
	}
	printf("init: %s done, %d steps failed\n", mode, failures);

	if (number("lab.poweroff=", 0)) {
		sync();
		reboot(RB_POWER_OFF);
	}
	for (;;)
		pause();
}
