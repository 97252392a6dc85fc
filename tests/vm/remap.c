// SPDX-License-Identifier: MIT
/*
 * Guest half of the first test of tests/vm/races: one CPU changes the memory map (it closes and opens
 * the memory window of a root port) while the other takes timer interrupts, each of which ends with a
 * write to the local APIC. Neither the driver nor the device is part of it: a QEMU that looks the
 * write up in a newer memory map than the one its TLB was filled from loses it, and then the guest
 * stands still for good (scripts/qemu-patches/tlb-section-pointer.patch).
 *
 *   remap ECAM PORT SECONDS     ECAM: base address; PORT: device number of the root port
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PCI_COMMAND        4
#define PCI_COMMAND_MEMORY 2

static volatile uint8_t *port;
static double end_time;
static unsigned long changes, sleeps;

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *change_map(void *arg)
{
	volatile uint16_t *command = (volatile uint16_t *)(port + PCI_COMMAND);

	(void)arg;
	stay_on(1);
	for (; seconds() < end_time; changes++) {
		*command &= (uint16_t)~PCI_COMMAND_MEMORY;
		*command |= PCI_COMMAND_MEMORY;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct timespec nap = {.tv_nsec = 20000};
	pthread_t t;
	void *p;
	int fd;

	if (argc != 4)
		return 2;
	fd = open("/dev/mem", O_RDWR | O_SYNC);
	if (fd < 0) {
		perror("/dev/mem");
		return 1;
	}
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 (off_t)(strtoull(argv[1], NULL, 0) + strtoull(argv[2], NULL, 0) * 0x8000));
	if (p == MAP_FAILED) {
		perror("configuration space");
		return 1;
	}
	port = p;
	end_time = seconds() + atof(argv[3]);
	pthread_create(&t, NULL, change_map, NULL);
	stay_on(0);
	for (; seconds() < end_time; sleeps++)
		nanosleep(&nap, NULL);
	pthread_join(t, NULL);
	printf("%lu changes of the memory map, %lu timer interrupts\n", changes, sleeps);
	return changes && sleeps ? 0 : 1;
}
