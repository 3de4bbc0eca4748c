// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of this Linux: lets the network card transmit and receive, and says on the console
 * what came of it. With lab.clear= it takes an entry away from under the IOMMU.
 *
 * Options are read from the kernel's command line; README.md lists them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
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

#define NIC_SYSFS	"/sys/bus/pci/devices/0000:00:01.0"
#define NIC_DEVICE_ID	0x8		/* bus 0, device 1, function 0 */

static char command_line[2048];
static int failures;

/* The number behind `name` (with its "=") on the command line, or `otherwise`. The last one counts. */
static unsigned long number(const char *name, unsigned long otherwise)
{
	size_t length = strlen(name);
	const char *word;

	for (word = command_line; *word; word += strcspn(word, " \n"), word += strspn(word, " \n"))
		if (!strncmp(word, name, length))
			otherwise = strtoul(word + length, NULL, 0);
	return otherwise;
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

/* Prints one step and its result, and hands the result on. errno is read first. */
static __attribute__((format(printf, 2, 3))) long step(long result, const char *format, ...)
{
	int error = errno;
	va_list list;

	printf("init: ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	if (result < 0) {
		failures++;
		printf(" -> %ld errno %d (%s)\n", result, error, strerror(error));
	} else {
		printf(" -> %ld\n", result);
	}
	return result;
}

/* The first line of a file; empty, and -1, where it cannot be read. */
static int read_line(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t length;

	text[0] = '\0';
	if (fd < 0)
		return -1;
	length = read(fd, text, size - 1);
	close(fd);
	if (length < 0)
		return -1;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

static void print_file(const char *path)
{
	char text[128];

	if (read_line(path, text, sizeof(text)) < 0)
		printf("init: %s: %s\n", path, strerror(errno));
	else
		printf("init: %s = %s\n", path, text);
}

/* ---- the IOMMU's tables ------------------------------------------------------------------ */

/*
 * RISC-V IOMMU specification 1.0, "Device-directory-table pointer", "Device-context fields" and "Process to
 * translate an IOVA"; the address is that of QEMU's virt, with iommu-sys=on.
 */
#define IOMMU_REGISTERS		0x3010000
#define IOMMU_DDTP		0x10
#define DDTP_MODE(ddtp)		((ddtp) & 0xf)
#define DDTP_MODE_1LVL		2
#define DDTP_MODE_3LVL		4
#define DC_WORDS		8	/* 64 bytes, as with MSI_FLAT */
#define DC_FSC			3
#define FSC_MODE(fsc)		((fsc) >> 60)
#define FSC_MODE_SV39		8
#define FSC_MODE_SV57		10
#define FSC_TABLE(fsc)		(((fsc) & 0xfffffffffff) << 12)
#define ENTRY_VALID		0x1
#define ENTRY_LEAF		0xe	/* any of R, W, X */
#define ENTRY_TABLE(entry)	(((entry) >> 10 & 0xfffffffffff) << 12)

/* Eight bytes of physical memory, for as long as the program runs; NULL and errno if that cannot be. */
static volatile uint64_t *physical(uint64_t address)
{
	static int memory = -1;
	char *page;

	if (memory < 0)
		memory = open("/dev/mem", O_RDWR);
	if (memory < 0)
		return NULL;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, address & ~0xfffUL);
	return page == MAP_FAILED ? NULL : (void *)(page + (address & 0xfff));
}

/*
 * Walks as the device does, from its registers on, and writes 0 over the leaf of `iova`. Neither the
 * kernel nor the device hears of it: no invalidation follows.
 */
static int clear_leaf(uint64_t iova)
{
	static const int shifts[] = { 0, 6, 15 };	/* DDI[0] to DDI[2] of a device id */
	volatile uint64_t *entry = physical(IOMMU_REGISTERS + IOMMU_DDTP);
	uint64_t table, fsc, value;
	int level;

	if (!entry)
		return -1;
	errno = ENOENT;
	if (DDTP_MODE(*entry) < DDTP_MODE_1LVL || DDTP_MODE(*entry) > DDTP_MODE_3LVL)
		return -1;
	level = DDTP_MODE(*entry) - DDTP_MODE_1LVL;
	for (table = ENTRY_TABLE(*entry); level > 0; level--) {
		entry = physical(table + (NIC_DEVICE_ID >> shifts[level] & 0x1ff) * 8);
		if (!entry || !(*entry & ENTRY_VALID))
			return -1;
		table = ENTRY_TABLE(*entry);
	}

	entry = physical(table + (NIC_DEVICE_ID & 0x3f) * DC_WORDS * 8);
	if (!entry || !(entry[0] & ENTRY_VALID))
		return -1;
	fsc = entry[DC_FSC];
	if (FSC_MODE(fsc) < FSC_MODE_SV39 || FSC_MODE(fsc) > FSC_MODE_SV57)
		return -1;
	table = FSC_TABLE(fsc);
	for (level = FSC_MODE(fsc) - FSC_MODE_SV39 + 2; level >= 0; level--) {
		table += (iova >> (12 + 9 * level) & 0x1ff) * 8;
		entry = physical(table);
		if (!entry)
			return -1;
		value = *entry;
		if (!(value & ENTRY_VALID))
			break;
		if (value & ENTRY_LEAF) {
			*entry = 0;
			printf("init: cleared the leaf at 0x%lx, it was 0x%lx\n", table, value);
			return 0;
		}
		table = ENTRY_TABLE(value);
	}
	errno = ENOENT;
	return -1;
}

/* ---- the network ------------------------------------------------------------------------- */

static long sent_by_card(void)
{
	char text[32];

	if (read_line("/sys/class/net/eth0/statistics/tx_packets", text, sizeof(text)) < 0)
		return -1;
	return strtol(text, NULL, 10);
}

static int set_up(int control)
{
	struct ifreq request = { .ifr_name = "eth0" };

	if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
		return -1;
	request.ifr_flags |= IFF_UP;
	return ioctl(control, SIOCSIFFLAGS, &request);
}

static int set_address(int control)
{
	struct ifreq request = { .ifr_name = "eth0" };
	struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(0x0a00020f);	/* 10.0.2.15 */
	return ioctl(control, SIOCSIFADDR, &request);
}

/* As `ethtool -G eth0 tx N`: the ring is allocated in this size when the interface goes up. */
static int set_transmit_ring(int control, unsigned int descriptors)
{
	struct ethtool_ringparam ring = { .cmd = ETHTOOL_GRINGPARAM };
	struct ifreq request = { .ifr_name = "eth0", .ifr_data = (void *)&ring };

	if (ioctl(control, SIOCETHTOOL, &request) < 0)
		return -1;
	ring.cmd = ETHTOOL_SRINGPARAM;
	ring.tx_pending = descriptors;
	return ioctl(control, SIOCETHTOOL, &request);
}

struct echo {
	struct icmphdr header;
	char payload[1000];
};

/* RFC 1071; the length is even. */
static uint16_t checksum(const void *data, size_t size)
{
	const uint16_t *words = data;
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < size / 2; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return ~(sum + (sum >> 16));
}

static void prepare(struct echo *echo, unsigned int sequence)
{
	memset(echo, 0, sizeof(*echo));
	echo->header.type = ICMP_ECHO;
	echo->header.un.echo.sequence = htons(sequence);
	memset(echo->payload, 'a' + sequence % 26, sizeof(echo->payload));
	echo->header.checksum = checksum(echo, sizeof(*echo));
}

/* How many replies have come since the last call, each byte as it was sent. */
static int count_replies(int socket)
{
	struct { struct iphdr ip; struct echo echo; } packet;
	struct echo sent;
	int count = 0;

	while (recv(socket, &packet, sizeof(packet), MSG_DONTWAIT) == (ssize_t)sizeof(packet)) {
		prepare(&sent, ntohs(packet.echo.header.un.echo.sequence));
		count += packet.echo.header.type == ICMP_ECHOREPLY &&
			 !memcmp(packet.echo.payload, sent.payload, sizeof(sent.payload));
	}
	return count;
}

/*
 * A broadcast and an echo request twice a second, to QEMU's own gateway. What the card never transmits is
 * accepted all the same, so the card's own count is printed beside it.
 */
static void run_net(void)
{
	unsigned long until = number("lab.seconds=", 0), ring = number("lab.ring=", 0);
	unsigned long clear = number("lab.clear=", 0), after = number("lab.clear_after=", 4);
	struct sockaddr_in everyone = { .sin_family = AF_INET, .sin_port = htons(9) }, gateway = everyone;
	static const char payload[1000] = "IOMMULens lab";
	struct stat ignored;
	int datagrams, echoes, on = 1, tries;
	long rounds = 0, replies = 0;
	struct echo echo;
	double start;

	for (tries = 0; tries < 50 && stat("/sys/class/net/eth0", &ignored); tries++)
		wait_ms(100);
	print_file(NIC_SYSFS "/iommu_group/type");
	datagrams = step(socket(AF_INET, SOCK_DGRAM, 0), "open a UDP socket");
	echoes = step(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "open an ICMP socket");
	if (datagrams < 0 || echoes < 0)
		return;
	if (ring && step(set_transmit_ring(datagrams, ring),
			 "give eth0 %lu transmit descriptors", ring) < 0)
		return;
	if (step(set_address(datagrams), "give eth0 10.0.2.15") < 0 ||
	    step(set_up(datagrams), "set eth0 up") < 0)
		return;
	setsockopt(datagrams, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	everyone.sin_addr.s_addr = htonl(0x0affffff);	/* 10.255.255.255: no router, no ARP */
	gateway.sin_addr.s_addr = htonl(0x0a000202);	/* 10.0.2.2 */

	for (start = seconds(); !until || seconds() - start < until; wait_ms(500)) {
		if (clear && seconds() - start >= after) {
			step(clear_leaf(clear), "clear the leaf of IOVA 0x%lx", clear);
			clear = 0;
		}
		prepare(&echo, ++rounds);
		if (sendto(datagrams, payload, sizeof(payload), MSG_DONTWAIT,
			   (struct sockaddr *)&everyone, sizeof(everyone)) < 0 ||
		    sendto(echoes, &echo, sizeof(echo), MSG_DONTWAIT, (struct sockaddr *)&gateway,
			   sizeof(gateway)) < 0)
			printf("init: net: round %ld was refused: %s\n", rounds, strerror(errno));
		replies += count_replies(echoes);
		if (rounds % 10 == 1)
			printf("init: net: %ld rounds, %ld packets sent by the card, %ld echoes received\n",
			       rounds, sent_by_card(), replies);
	}
	replies += count_replies(echoes);
	printf("init: net: %ld rounds, %ld packets sent by the card, %ld echoes received\n", rounds,
	       sent_by_card(), replies);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	step(mount("proc", "/proc", "proc", 0, NULL), "mount proc");
	step(mount("sysfs", "/sys", "sysfs", 0, NULL), "mount sysfs");
	step(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL), "mount devtmpfs");
	read_line("/proc/cmdline", command_line, sizeof(command_line));

	run_net();
	printf("init: net done, %d steps failed\n", failures);
	if (number("lab.poweroff=", 0)) {
		sync();
		reboot(RB_POWER_OFF);
	}
	for (;;)
		pause();
}
