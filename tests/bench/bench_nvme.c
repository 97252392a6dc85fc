// SPDX-License-Identifier: MIT
/*
 * Round trips of a block device, the yardstick beside which the device's jobs are measured: QEMU's
 *NVMe on null-co does no work at all, so what is left is the cost of a doorbell, an interrupt and a
 *wake-up.
 *
 *	bench_nvme DEVICE [--seconds S]
 *
 * 4 KiB direct reads at changing offsets, one at a time and 32 in flight (Linux AIO by its system
 * calls). Prints one JSON object: p50 and p99 in microseconds at queue depth 1, reads per second
 * at both depths.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_samples.h"

#define BLOCK 4096u
#define DEPTH 32

/* Offsets far enough apart that nothing on the way could merge two reads. */
static off_t next_offset(uint64_t blocks, uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (off_t)((*state >> 20) % blocks * BLOCK);
}

/* Returns the number of samples taken, or -errno. */
static long depth_one(int fd, void *buf, uint64_t blocks, uint64_t duration, uint64_t *samples)
{
	uint64_t state = 1, end = now_ns() + duration, t0, t1;
	size_t n = 0;

	do {
		t0 = now_ns();
		if (pread(fd, buf, BLOCK, next_offset(blocks, &state)) != (ssize_t)BLOCK)
			return errno ? -errno : -EIO;
		t1 = now_ns();
		samples[n++] = t1 - t0;
	} while (t1 < end && n < MAX_SAMPLES);
	return (long)n;
}

/* Returns reads per second at queue depth DEPTH, or a negative errno. */
static double depth_many(int fd, char *bufs, uint64_t blocks, uint64_t duration)
{
	struct iocb cb[DEPTH], *list[DEPTH];
	struct io_event ev[DEPTH];
	uint64_t state = 1, start, end, t, done = 0;
	aio_context_t ctx = 0;
	double rate;
	long n, i;

	if (syscall(SYS_io_setup, DEPTH, &ctx))
		return -errno;
	memset(cb, 0, sizeof(cb));
	for (i = 0; i < DEPTH; i++) {
		cb[i].aio_fildes = (uint32_t)fd;
		cb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		cb[i].aio_buf = (uint64_t)(uintptr_t)(bufs + (size_t)i * BLOCK);
		cb[i].aio_nbytes = BLOCK;
		cb[i].aio_data = (uint64_t)i;
		cb[i].aio_offset = next_offset(blocks, &state);
		list[i] = &cb[i];
	}
	start = now_ns();
	end = start + duration;
	n = DEPTH;
	rate = 0;
	for (;;) {
		if (syscall(SYS_io_submit, ctx, n, list) != n) {
			rate = errno ? -errno : -EIO;
			break;
		}
		n = syscall(SYS_io_getevents, ctx, 1, DEPTH, ev, NULL);
		if (n < 1) {
			rate = n < 0 ? -errno : -EIO;
			break;
		}
		for (i = 0; i < n; i++) {
			struct iocb *c = &cb[ev[i].data];

			if (ev[i].res != (int64_t)BLOCK) {
				rate = -EIO;
				break;
			}
			c->aio_offset = next_offset(blocks, &state);
			list[i] = c;
		}
		if (rate < 0)
			break;
		done += (uint64_t)n;
		t = now_ns();
		if (t >= end) {
			rate = (double)done * 1e9 / (double)(t - start);
			break;
		}
	}
	/* Waits for what is still in flight. */
	syscall(SYS_io_destroy, ctx);
	return rate;
}

int main(int argc, char **argv)
{
	double seconds = 2, rate;
	uint64_t bytes = 0, sum = 0, *samples;
	char *bufs;
	long n, i;
	int fd;

	if (argc == 4 && !strcmp(argv[2], "--seconds"))
		seconds = atof(argv[3]);
	else if (argc != 2)
		seconds = 0;
	if (!(seconds > 0)) {
		fprintf(stderr, "usage: bench_nvme DEVICE [--seconds S]\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) || bytes < BLOCK) {
		fprintf(stderr, "bench_nvme: %s: %s\n", argv[1],
			fd < 0 || errno ? strerror(errno) : "empty");
		return 1;
	}
	samples = malloc(sizeof(*samples) * MAX_SAMPLES);
	bufs = aligned_alloc(BLOCK, BLOCK * DEPTH);
	if (!samples || !bufs) {
		fprintf(stderr, "bench_nvme: out of memory\n");
		return 1;
	}
	/* Warm-up: code of the path is translated by the emulator once. */
	depth_one(fd, bufs, bytes / BLOCK, 200000000u, samples);
	n = depth_one(fd, bufs, bytes / BLOCK, (uint64_t)(seconds * 1e9), samples);
	rate = depth_many(fd, bufs, bytes / BLOCK, (uint64_t)(seconds * 1e9));
	if (n <= 0 || rate < 0) {
		fprintf(stderr, "bench_nvme: read: %s\n", strerror(n <= 0 ? (int)-n : (int)-rate));
		return 1;
	}
	for (i = 0; i < n; i++)
		sum += samples[i];
	qsort(samples, (size_t)n, sizeof(*samples), by_value);
	printf("{\"nvme_qd1_p50_us\": %.1f, \"nvme_qd1_p99_us\": %.1f, \"nvme_qd1_per_s\": %.0f, "
	       "\"nvme_qd%d_per_s\": %.0f}\n",
	       (double)samples[n / 2] / 1e3, (double)samples[n * 99 / 100] / 1e3,
	       (double)n * 1e9 / (double)sum, DEPTH, rate);
	free(bufs);
	free(samples);
	close(fd);
	return 0;
}
