// SPDX-License-Identifier: MIT
/*
 * Guest half of tests/vm/races: two CPUs reset the device in every way, take it out of its slot and
 * boot nonsense on it, at random and without regard to each other. Configuration space, registers
 * and HBM are reached through /dev/mem (iomem=relaxed), so the kernel does not notice.
 *
 *   races ECAM PORT SECONDS SEED     ECAM: base address; PORT: device number of the root port
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "zhenwu/zw_regs.h"

#define HBM_BYTES (16u << 20) /* of the aperture, dirtied */
#define PATIENCE  120.0

static volatile uint8_t *port, *dev, *regs, *hbm;
static unsigned int port_exp, dev_exp;
static uint32_t bars[6];
static double end_time;

static struct worker {
	uint64_t seed;
	unsigned long flr, bus, driver, boot, unplug, work;
} workers[2];

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint32_t rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*s >> 33);
}

static uint32_t r32(volatile uint8_t *p, unsigned int off)
{
	return *(volatile uint32_t *)(p + off);
}

static void w32(volatile uint8_t *p, unsigned int off, uint32_t val)
{
	*(volatile uint32_t *)(p + off) = val;
}

static uint16_t r16(volatile uint8_t *p, unsigned int off)
{
	return *(volatile uint16_t *)(p + off);
}

static void w16(volatile uint8_t *p, unsigned int off, uint16_t val)
{
	*(volatile uint16_t *)(p + off) = val;
}

static void *map(int fd, uint64_t addr, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)addr);

	if (p == MAP_FAILED) {
		fprintf(stderr, "races: /dev/mem at 0x%llx: %m\n", (unsigned long long)addr);
		exit(1);
	}
	return p;
}

static unsigned int find_exp(volatile uint8_t *cfg)
{
	unsigned int at = cfg[0x34];

	for (int i = 0; at && i < 48; i++, at = cfg[at + 1])
		if (cfg[at] == 0x10)
			return at;
	fprintf(stderr, "races: no PCI Express capability\n");
	exit(1);
}

static void enable(void)
{
	for (int i = 0; i < 6; i++)
		w32(dev, 0x10 + 4 * i, bars[i]);
	w16(dev, 4, 6);
}

static void slot_power(bool on)
{
	uint16_t ctl = r16(port, port_exp + 0x18) & ~0x700;

	w16(port, port_exp + 0x18, ctl | (on ? 0x100 : 0x700));
}

static void act(struct worker *w)
{
	uint16_t ctl;

	switch (rnd(&w->seed) % 16) {
	case 0:
	case 1:
	case 2:
		ctl = r16(dev, dev_exp + 8);
		if (ctl != 0xffff) {
			w16(dev, dev_exp + 8, ctl | 0x8000);
			w->flr++;
		}
		break;
	case 3:
	case 4:
		ctl = r16(port, 0x3e);
		w16(port, 0x3e, ctl | 0x40);
		w16(port, 0x3e, ctl & ~0x40);
		w->bus++;
		break;
	case 5:
		w32(regs, ZW_REG_RESET, ZW_RESET_KEY);
		w->driver++;
		break;
	case 6:
	case 7:
		w32(regs, ZW_REG_FW_ADDR, rnd(&w->seed) % (256u << 20));
		w32(regs, ZW_REG_FW_SIZE, rnd(&w->seed) % (1u << 20));
		w32(regs, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
		w->boot++;
		break;
	case 8:
		slot_power(false);
		w->unplug++;
		break;
	case 9:
	case 10:
		slot_power(true);
		break;
	case 11:
	case 12:
		for (unsigned int i = 0; i < 64; i++)
			w32(hbm, rnd(&w->seed) % HBM_BYTES & ~3u, i + 1);
		w->work++;
		break;
	default:
		enable();
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((int)(w - workers), &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (seconds() < end_time)
		act(w);
	return NULL;
}

/* Back in the slot, out of reset and what it was. */
static bool comes_back(void)
{
	double end = seconds() + PATIENCE;

	while (seconds() < end) {
		slot_power(true);
		if (r32(dev, 0) == (ZW_PCI_DEVICE_ID << 16 | ZW_PCI_VENDOR_ID)) {
			enable();
			if (r32(regs, ZW_REG_MAGIC) == ZW_MAGIC && !r32(regs, ZW_REG_RESET_STATUS))
				return true;
		}
		usleep(20000);
	}
	return false;
}

int main(int argc, char **argv)
{
	pthread_t t[2];
	uint64_t ecam;
	int fd, bus;

	if (argc != 5)
		return 2;
	ecam = strtoull(argv[1], NULL, 0);
	fd = open("/dev/mem", O_RDWR | O_SYNC);
	if (fd < 0) {
		perror("/dev/mem");
		return 1;
	}
	port = map(fd, ecam + strtoull(argv[2], NULL, 0) * 0x8000, 4096);
	bus = port[0x19];
	dev = map(fd, ecam + ((uint64_t)bus << 20), 4096);
	if (r32(dev, 0) != (ZW_PCI_DEVICE_ID << 16 | ZW_PCI_VENDOR_ID)) {
		fprintf(stderr, "races: no device on bus %d: 0x%x\n", bus, r32(dev, 0));
		return 1;
	}
	port_exp = find_exp(port);
	dev_exp = find_exp(dev);
	for (int i = 0; i < 6; i++)
		bars[i] = r32(dev, 0x10 + 4 * i);
	regs = map(fd, (bars[0] & ~15u) | (uint64_t)bars[1] << 32, 1 << 20);
	hbm = map(fd, (bars[2] & ~15u) | (uint64_t)bars[3] << 32, HBM_BYTES);
	w16(port, 4, r16(port, 4) | 6);
	enable();
	end_time = seconds() + atof(argv[3]);
	for (int i = 0; i < 2; i++) {
		workers[i].seed = strtoull(argv[4], NULL, 0) * 2 + (unsigned int)i;
		pthread_create(&t[i], NULL, worker_main, &workers[i]);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		printf("CPU %d: %lu FLR, %lu bus resets, %lu driver resets, %lu boots, %lu times "
		       "power off, "
		       "%lu times work\n",
		       i, workers[i].flr, workers[i].bus, workers[i].driver, workers[i].boot,
		       workers[i].unplug, workers[i].work);
	}
	if (!comes_back()) {
		printf("the device does not come back: id 0x%x, MAGIC 0x%x, RESET_STATUS %u\n",
		       r32(dev, 0), r32(regs, ZW_REG_MAGIC), r32(regs, ZW_REG_RESET_STATUS));
		return 1;
	}
	return 0;
}
