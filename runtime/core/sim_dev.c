// SPDX-License-Identifier: MIT
/* The sim transport: making a device, booting its firmware, its interrupt thread, its end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"
#include "zw_core.h"
#include "zw_profile.h"

#define DEFAULT_PROFILE "810e"
#define MAX_WORKERS     64
#define DEFAULT_WORKERS 8 /* at most, without being asked for */
#define BOOT_NS         60000000000
#define POLL_NS         200000     /* of the boot status */
#define IDLE_NS         1000000000 /* the interrupt thread looks at everything this often */

uint32_t zw_sim_read32(struct sim *sim, uint64_t reg)
{
	return (uint32_t)zw_device_mmio_read(sim->core, reg, 4);
}

uint64_t zw_sim_read64(struct sim *sim, uint64_t reg)
{
	return zw_device_mmio_read(sim->core, reg, 8);
}

void zw_sim_write32(struct sim *sim, uint64_t reg, uint32_t val)
{
	zw_device_mmio_write(sim->core, reg, val, 4);
}

void zw_sim_write64(struct sim *sim, uint64_t reg, uint64_t val)
{
	zw_device_mmio_write(sim->core, reg, val, 8);
}

unsigned int zw_sim_id_take(uint64_t *set, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (set[i / 64] >> i % 64 & 1)
			continue;
		set[i / 64] |= 1ull << i % 64;
		return i;
	}
	return n;
}

bool zw_sim_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / 1000000000),
		.tv_nsec = (long)(deadline_ns % 1000000000),
	};

	if (deadline_ns == ZW_FOREVER)
		return !pthread_cond_wait(cond, lock);
	if (deadline_ns <= 0)
		return false;
	return !pthread_cond_timedwait(cond, lock, &ts);
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

#define MAX_LINES 256 /* nobody reads more; a device that floods the log must not eat the memory */

void zw_sim_log(struct sim *sim, enum zw_dev_log_level level, const char *fmt, ...)
{
	struct sim_line *line;
	char text[512];
	va_list ap;
	int n;

	if (!sim->dev->log || level > sim->dev->log_level)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	line = malloc(sizeof(*line) + (size_t)n + 1);
	if (!line)
		return;
	line->next = NULL;
	line->level = level;
	memcpy(line->text, text, (size_t)n + 1);
	pthread_mutex_lock(&sim->irq_lock);
	if (sim->num_lines < MAX_LINES) {
		*sim->lines_end = line;
		sim->lines_end = &line->next;
		sim->num_lines++;
		line = NULL;
		pthread_cond_broadcast(&sim->irq_cond);
	}
	pthread_mutex_unlock(&sim->irq_lock);
	free(line);
}

/* irq_lock held; let go of while a line is said. */
static void say_lines(struct sim *sim)
{
	while (sim->lines) {
		struct sim_line *line = sim->lines;

		sim->lines = line->next;
		if (!sim->lines)
			sim->lines_end = &sim->lines;
		sim->num_lines--;
		pthread_mutex_unlock(&sim->irq_lock);
		zw_rt_log(sim->dev, line->level, "%s", line->text);
		free(line);
		pthread_mutex_lock(&sim->irq_lock);
	}
}

void zw_sim_lose(struct sim *sim, const char *why)
{
	if (atomic_exchange(&sim->lost, true))
		return;
	zw_sim_log(sim, ZW_DEV_LOG_ERROR, "device lost: %s", why);
	pthread_mutex_lock(&sim->lock);
	zw_sim_events_fire(sim);
	pthread_cond_broadcast(&sim->changed);
	pthread_mutex_unlock(&sim->lock);
}

bool zw_sim_alive(struct sim *sim)
{
	uint32_t status;
	char why[96];

	if (atomic_load(&sim->lost))
		return false;
	status = zw_sim_read32(sim, ZW_REG_BOOT_STATUS);
	if (status == ZW_BOOT_READY)
		return true;
	snprintf(why, sizeof(why), "boot status %u, trap cause 0x%x at 0x%" PRIx64, status,
		 zw_sim_read32(sim, ZW_REG_FW_TRAP_CAUSE) & ~ZW_FW_TRAPPED,
		 zw_sim_read64(sim, ZW_REG_FW_TRAP_PC));
	zw_sim_lose(sim, why);
	return false;
}

/* -- callbacks of the device, on its threads -------------------------------------------------- */

static void msix_raise(void *opaque, unsigned int function, unsigned int vector)
{
	struct sim *sim = opaque;

	pthread_mutex_lock(&sim->irq_lock);
	sim->irqs |= 1u << (vector % ZW_NUM_VECTORS);
	pthread_cond_broadcast(&sim->irq_cond);
	pthread_mutex_unlock(&sim->irq_lock);
}

static void device_log(void *opaque, enum zw_log_level level, const char *msg)
{
	static const enum zw_dev_log_level map[] = {
		[ZW_LOG_ERROR] = ZW_DEV_LOG_ERROR,
		[ZW_LOG_GUEST_ERROR] = ZW_DEV_LOG_WARN,
		[ZW_LOG_INFO] = ZW_DEV_LOG_INFO,
		[ZW_LOG_TRACE] = ZW_DEV_LOG_DEBUG,
	};
	struct sim *sim = opaque;

	zw_sim_log(sim, map[level], "device: %s", msg);
}

static void job_settled(void *opaque, const struct zw_settled_job *job)
{
	struct sim *sim = opaque;

	zw_sim_perf_job(sim, job);
	if (sim->trace.on)
		zw_sim_trace_job(sim, job);
}

static void *irq_main(void *opaque)
{
	const uint32_t mailbox = 1u << ZW_VECTOR_MBOX;
	struct sim *sim = opaque;

	pthread_mutex_lock(&sim->irq_lock);
	while (!sim->irq_stop) {
		uint32_t vectors;

		say_lines(sim);
		if (sim->irq_stop)
			break;
		vectors = sim->irqs & ~mailbox;
		if (!vectors &&
		    !zw_sim_cond_wait(&sim->irq_cond, &sim->irq_lock, zw_deadline(IDLE_NS)))
			vectors = ~mailbox; /* quiet for long: look whether all is well */
		else if (!vectors)
			continue;
		sim->irqs &= ~vectors;
		pthread_mutex_unlock(&sim->irq_lock);
		if (vectors == ~mailbox)
			zw_sim_alive(sim);
		zw_sim_queue_interrupt(sim, vectors);
		pthread_mutex_lock(&sim->irq_lock);
	}
	pthread_mutex_unlock(&sim->irq_lock);
	return NULL;
}

/* -- firmware --------------------------------------------------------------------------------- */

static int load_image(struct sim *sim, const char *asked, struct sim_region *image, uint32_t *bytes,
		      struct zw_error *err)
{
	const char *const places[] = {
		ZW_FIRMWARE_INSTALLED,
		"/lib/firmware/zhenwu/zhenwu_fw.bin",
#ifdef ZW_FIRMWARE_BUILT
		ZW_FIRMWARE_BUILT,
#endif
	};
	const char *path = asked ? asked : getenv("ZW_FIRMWARE");
	int fd = -1, ret = 0;
	struct stat st;
	size_t got = 0;

	if (path && *path) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return zw_rt_error(err, -errno, "sim: firmware %.150s: %s", path,
					   strerror(errno));
	}
	for (size_t i = 0; fd < 0 && i < sizeof(places) / sizeof(places[0]); i++) {
		path = places[i];
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return zw_rt_error(err, -ENOENT,
				   "sim: no firmware image; build it (make firmware) or name it in "
				   "ZW_FIRMWARE; looked for %s",
				   ZW_FIRMWARE_INSTALLED);
	if (fstat(fd, &st))
		ret = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > ZW_FW_MAX_SIZE)
		ret = -EINVAL;
	if (!ret)
		ret = zw_sim_region_new(sim, (uint64_t)st.st_size, image);
	while (!ret && got < (size_t)st.st_size) {
		ssize_t n = read(fd, image->ptr + got, (size_t)st.st_size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ret = n ? -errno : -EIO;
			zw_sim_region_free(sim, image);
			break;
		}
		got += (size_t)n;
	}
	close(fd);
	if (ret)
		return zw_rt_error(err, ret, "sim: firmware %.150s: %s", path,
				   ret == -EINVAL ? "not a file of 1 byte to 1 MiB"
						  : strerror(-ret));
	*bytes = (uint32_t)got;
	zw_rt_log(sim->dev, ZW_DEV_LOG_INFO, "sim: firmware %s", path);
	return 0;
}

static const char *boot_error_name(uint32_t error)
{
	static const char *const names[] = {
		[ZW_BOOT_ERR_NONE] = "no error",
		[ZW_BOOT_ERR_DMA] = "not readable by DMA",
		[ZW_BOOT_ERR_SIZE] = "size out of range",
		[ZW_BOOT_ERR_MAGIC] = "no firmware image (magic)",
		[ZW_BOOT_ERR_HEADER] = "unknown header version or size",
		[ZW_BOOT_ERR_ABI] = "built for another ABI",
		[ZW_BOOT_ERR_BOUNDS] = "segment or entry out of bounds",
		[ZW_BOOT_ERR_HASH] = "corrupt (SHA-256 differs)",
		[ZW_BOOT_ERR_RESERVED] = "reserved field not zero",
		[ZW_BOOT_ERR_FIRMWARE] = "the firmware refused to start",
	};

	return error < sizeof(names) / sizeof(names[0]) ? names[error] : "unknown error";
}

static int boot(struct sim *sim, const char *firmware, struct zw_error *err)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	int64_t deadline = zw_deadline(BOOT_NS);
	struct sim_region image = {0};
	uint32_t status, bytes = 0;
	int ret = load_image(sim, firmware, &image, &bytes, err);

	if (ret)
		return ret;
	zw_sim_write64(sim, ZW_REG_FW_ADDR, image.dma);
	zw_sim_write32(sim, ZW_REG_FW_SIZE, bytes);
	zw_sim_write32(sim, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	do {
		status = zw_sim_read32(sim, ZW_REG_BOOT_STATUS);
		if (status == ZW_BOOT_READY || status == ZW_BOOT_FAILED || status == ZW_BOOT_HALTED)
			break;
		nanosleep(&pause, NULL);
	} while (zw_deadline(0) < deadline);
	if (status == ZW_BOOT_FAILED) {
		uint32_t error = zw_sim_read32(sim, ZW_REG_BOOT_ERROR);

		ret = zw_rt_error(err, -EPROTO, "sim: firmware refused: %s (detail 0x%x)",
				  boot_error_name(error), zw_sim_read32(sim, ZW_REG_BOOT_DETAIL));
	} else if (status == ZW_BOOT_HALTED) {
		ret = zw_rt_error(err, -EPROTO, "sim: firmware trapped: cause %u at 0x%" PRIx64,
				  zw_sim_read32(sim, ZW_REG_FW_TRAP_CAUSE) & ~ZW_FW_TRAPPED,
				  zw_sim_read64(sim, ZW_REG_FW_TRAP_PC));
	} else if (status != ZW_BOOT_READY) {
		ret = zw_rt_error(err, -EPROTO, "sim: firmware did not come up (boot status %u)",
				  status);
	}
	/* on a failure the boot ROM may still be reading; it gets a bus error then */
	zw_sim_region_free(sim, &image);
	return ret;
}

/* -- opening and closing ---------------------------------------------------------------------- */

/* "96G", "512M", "4096k" or bytes. */
static bool parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "kmgt";
	unsigned long long v;
	unsigned int shift = 0;
	const char *u;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		u = strchr(units, *end | 0x20);
		if (!u || end[1])
			return false;
		shift = 10 * (unsigned int)(u - units + 1);
	}
	if (shift && v > UINT64_MAX >> shift)
		return false;
	*out = (uint64_t)v << shift;
	return true;
}

/* A built-in profile by name; a name with a slash is a profile file, read into *custom. */
static int choose_profile(const char *name, struct zw_profile *custom,
			  const struct zw_profile **profile, struct zw_error *err)
{
	char why[128];
	int ret;

	if (!strchr(name, '/')) {
		*profile = zw_profile_find(name);
		if (!*profile)
			return zw_rt_error(err, -EINVAL,
					   "sim: no chip profile \"%.60s\" (a profile file has a "
					   "slash in its name)",
					   name);
		return 0;
	}
	ret = zw_profile_load(name, custom, why, sizeof(why));
	if (ret)
		return zw_rt_error(err, ret, "sim: profile %s: %s", name, why);
	*profile = custom;
	return 0;
}

static int change_profile(const char *lines, struct zw_profile *custom,
			  const struct zw_profile **profile, struct zw_error *err)
{
	char why[128];

	if (*profile != custom)
		*custom = **profile;
	*profile = custom;
	if (zw_profile_change(lines, strlen(lines), custom, why, sizeof(why)))
		return zw_rt_error(err, -EINVAL, "sim: profile: %s", why);
	return 0;
}

/* Who does not say how tokens are routed has them all at the same experts. */
static void first_experts(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids)
{
	(void)opaque;
	(void)experts;
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t i = 0; i < k; i++)
			*ids++ = (int32_t)i;
}

/* Options and environment to the device's configuration; *custom is as long-lived as *cfg. */
static int configure(const struct zw_dev_options *opt, struct zw_device_config *cfg,
		     struct zw_profile *custom, struct zw_error *err)
{
	const char *name = opt->profile ? opt->profile : getenv("ZW_PROFILE");
	const char *hbm = getenv("ZW_HBM"), *workers = getenv("ZW_WORKERS");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char *end;
	int ret;

	if (!name || !*name)
		name = DEFAULT_PROFILE;
	ret = choose_profile(name, custom, &cfg->profile, err);
	if (!ret && opt->profile_lines)
		ret = change_profile(opt->profile_lines, custom, &cfg->profile, err);
	if (ret)
		return ret;
	cfg->timing_only = opt->flags & ZW_DEV_TIMING_ONLY;
	if (cfg->timing_only)
		cfg->route = opt->route ? opt->route : first_experts;
	cfg->routed = opt->routed;
	cfg->route_opaque = opt->route_opaque;
	cfg->hbm_size = opt->hbm_bytes;
	if (!cfg->hbm_size && hbm && *hbm && !parse_size(hbm, &cfg->hbm_size))
		return zw_rt_error(err, -EINVAL, "sim: ZW_HBM=%.40s is no size", hbm);
	if (!cfg->hbm_size)
		cfg->hbm_size = cfg->profile->hbm_bytes;
	if (cfg->hbm_size % (2u << 20))
		return zw_rt_error(err, -EINVAL, "sim: HBM size is no multiple of 2 MiB");
	cfg->hbm_backing_limit = opt->hbm_backing_limit;

	cfg->workers = cpus < 1 ? 1 : cpus > DEFAULT_WORKERS ? DEFAULT_WORKERS : (int)cpus;
	if (opt->workers == ZW_DEV_WORKERS_NONE) {
		cfg->workers = 0;
	} else if (opt->workers) {
		cfg->workers = opt->workers;
	} else if (workers && *workers) {
		long n = strtol(workers, &end, 10);

		if (*end || n < 0 || n > MAX_WORKERS)
			return zw_rt_error(err, -EINVAL, "sim: ZW_WORKERS=%.40s is not 0..%d",
					   workers, MAX_WORKERS);
		cfg->workers = (int)n;
	}
	if (cfg->workers < 0 || cfg->workers > MAX_WORKERS)
		return zw_rt_error(err, -EINVAL, "sim: number of workers is not 1..%d",
				   MAX_WORKERS);
	return 0;
}

static void destroy(struct sim *sim, bool irq_running)
{
	if (irq_running) {
		pthread_mutex_lock(&sim->irq_lock);
		sim->irq_stop = true;
		pthread_cond_broadcast(&sim->irq_cond);
		pthread_mutex_unlock(&sim->irq_lock);
		pthread_join(sim->irq_thread, NULL);
	}
	zw_sim_bridge_stop(sim);
	zw_sim_binds_stop(sim);
	if (sim->core)
		zw_device_free(sim->core); /* its threads are gone from here on */
	zw_sim_events_drop(sim);
	zw_sim_mbox_fini(sim);
	zw_sim_telemetry_fini(sim);
	zw_sim_mem_fini(sim);
	pthread_mutex_lock(&sim->irq_lock);
	say_lines(sim); /* what the end itself had to say */
	pthread_mutex_unlock(&sim->irq_lock);
	zw_sim_trace_fini(sim);
	pthread_mutex_destroy(&sim->perf.lock);
	pthread_cond_destroy(&sim->changed);
	pthread_cond_destroy(&sim->irq_cond);
	pthread_cond_destroy(&sim->bind_cond);
	pthread_mutex_destroy(&sim->lock);
	pthread_mutex_destroy(&sim->irq_lock);
	free(sim);
}

static void sim_close(struct zw_dev *dev)
{
	destroy(sim_of(dev), true);
}

static int sim_get_attrs(struct zw_dev *dev, struct zw_dev_attrs *a)
{
	struct sim *sim = sim_of(dev);
	uint64_t left;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	for (unsigned int i = 0; i < sizeof(a->profile_name); i += 4) {
		uint32_t word = zw_sim_read32(sim, ZW_REG_PROFILE_NAME + i);

		memcpy(a->profile_name + i, &word, 4);
	}
	a->profile_name[sizeof(a->profile_name) - 1] = '\0';
	a->profile = zw_sim_read32(sim, ZW_REG_PROFILE);
	a->caps = zw_sim_read32(sim, ZW_REG_CAPS);
	a->abi_version = zw_sim_read32(sim, ZW_REG_ABI_VERSION);
	a->fw_version = zw_sim_read32(sim, ZW_REG_FW_VERSION);
	a->hbm_size = zw_sim_read64(sim, ZW_REG_HBM_SIZE);
	a->hbm_visible = a->hbm_size;
	pthread_mutex_lock(&sim->hbm.lock);
	a->hbm_free = sim->hbm.available;
	pthread_mutex_unlock(&sim->hbm.lock);
	left = zw_device_backing_left(sim->core);
	if (left < a->hbm_free)
		a->hbm_free = left;
	a->va_bits = ZW_VA_BITS;
	a->page_size = ZW_PAGE_SIZE;
	a->max_queues = sim->num_queues;
	a->max_vms = sim->num_vms;
	a->max_ring_slots = 1u << ZW_RING_MAX_LOG2;
	a->max_priority = ZW_PRIO_REALTIME;
	for (unsigned int i = 0; i < sizeof(a->uuid); i += 4) {
		uint32_t word = zw_sim_read32(sim, ZW_REG_UUID + i);

		memcpy(a->uuid + i, &word, 4);
	}
	a->dtypes = zw_sim_read64(sim, ZW_REG_DTYPES);
	a->sram_size = zw_sim_read64(sim, ZW_REG_SRAM_SIZE);
	a->num_links = zw_sim_read32(sim, ZW_REG_NUM_LINKS);
	a->workers = sim->workers;
	a->va_start = dev->va_start;
	a->va_end = dev->va_end;
	a->timing_only = sim->timing_only;
	a->idle_watts = sim->idle_watts;
	a->tdp_watts = sim->tdp_watts;
	return 0;
}

static int sim_get_counters(struct zw_dev *dev, struct zw_dev_counters *c)
{
	struct sim *sim = sim_of(dev);

	if (atomic_load(&sim->lost))
		return -ENODEV;
	for (unsigned int i = 0; i < ZW_ENGINE_COUNT; i++)
		c->busy_ps[i] = zw_sim_read64(sim, ZW_PMU_BUSY_PS(i));
	c->hbm_read = zw_sim_read64(sim, ZW_PMU_HBM_READ);
	c->hbm_written = zw_sim_read64(sim, ZW_PMU_HBM_WRITTEN);
	c->sys_read = zw_sim_read64(sim, ZW_PMU_SYS_READ);
	c->sys_written = zw_sim_read64(sim, ZW_PMU_SYS_WRITTEN);
	c->packets = zw_sim_read64(sim, ZW_PMU_PACKETS);
	c->jobs = zw_sim_read64(sim, ZW_PMU_JOBS);
	c->faults = zw_sim_read64(sim, ZW_PMU_FAULTS);
	c->tlb_hits = zw_sim_read64(sim, ZW_PMU_TLB_HITS);
	c->tlb_misses = zw_sim_read64(sim, ZW_PMU_TLB_MISSES);
	c->fw_heartbeat = zw_sim_read32(sim, ZW_REG_FW_HEARTBEAT);
	return 0;
}

static const struct transport_ops sim_ops = {
	.name = "sim",
	.get_attrs = sim_get_attrs,
	.get_counters = sim_get_counters,
	.set_telemetry = zw_sim_set_telemetry,
	.read_telemetry = zw_sim_read_telemetry,
	.read_trace = zw_sim_read_trace,
	.close = sim_close,
	.bo_create = zw_sim_bo_create,
	.bo_from_ptr = zw_sim_bo_from_ptr,
	.bo_destroy = zw_sim_bo_destroy,
	.bo_map = zw_sim_bo_map,
	.bo_unmap = zw_sim_bo_unmap,
	.bo_wait = zw_sim_bo_wait,
	.bo_set_label = zw_sim_bo_set_label,
	.bo_export = zw_sim_bo_export,
	.bo_import = zw_sim_bo_import,
	.vm_create = zw_sim_vm_create,
	.vm_destroy = zw_sim_vm_destroy,
	.vm_map = zw_sim_vm_map,
	.vm_unmap = zw_sim_vm_unmap,
	.vm_bind = zw_sim_vm_bind,
	.vm_status = zw_sim_vm_status,
	.fence_create = zw_sim_fence_create,
	.fence_destroy = zw_sim_fence_destroy,
	.fence_wait = zw_sim_fence_wait,
	.fence_query = zw_sim_fence_query,
	.fence_signal = zw_sim_fence_signal,
	.fence_eventfd = zw_sim_fence_eventfd,
	.fence_foreign = zw_sim_fence_foreign,
	.queue_create = zw_sim_queue_create,
	.queue_destroy = zw_sim_queue_destroy,
	.queue_submit = zw_sim_queue_submit,
	.queue_get_error = zw_sim_queue_get_error,
	.queue_get_perf = zw_sim_queue_get_perf,
	.userq_create = zw_sim_userq_create,
	.userq_ring = zw_sim_userq_ring,
	.userq_wait = zw_sim_userq_wait,
	.userq_stop = zw_sim_userq_stop,
};

int zw_rt_sim_open(struct zw_dev *dev, const struct zw_dev_options *opt, struct zw_error *err)
{
	struct zw_host_ops host = {
		.dma_read = zw_sim_dma_read,
		.dma_write = zw_sim_dma_write,
		.msix_raise = msix_raise,
		.log = device_log,
		.job_settled = job_settled,
	};
	struct zw_device_config cfg = {0};
	struct zw_profile custom;
	char why[160] = "";
	struct sim *sim;
	int ret = configure(opt, &cfg, &custom, err);

	if (ret)
		return ret;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return zw_rt_error(err, -ENOMEM, "out of memory");
	sim->dev = dev;
	sim->lines_end = &sim->lines;
	sim->workers = (uint32_t)cfg.workers;
	sim->timing_only = cfg.timing_only;
	sim->idle_watts = cfg.profile->idle_watts;
	sim->tdp_watts = cfg.profile->tdp_watts;
	ret = zw_sim_mem_init(sim, cfg.hbm_size);
	if (ret) {
		free(sim);
		return zw_rt_error(err, ret, "out of memory");
	}
	pthread_mutex_init(&sim->lock, NULL);
	pthread_mutex_init(&sim->irq_lock, NULL);
	cond_init(&sim->changed);
	cond_init(&sim->irq_cond);
	cond_init(&sim->bind_cond);
	zw_sim_telemetry_init(sim);
	zw_sim_trace_init(sim, opt->flags & ZW_DEV_TRACE);
	pthread_mutex_init(&sim->perf.lock, NULL);
	cfg.settled_owned = true;
	if (sim->trace.on)
		host.packet_settled = zw_sim_trace_packet;

	sim->core = zw_device_new(&cfg, &host, sim, why, sizeof(why));
	if (!sim->core) {
		ret = zw_rt_error(err, -ENOMEM, "sim: cannot make the device: %s", why);
		goto fail;
	}
	sim->hbm_base = zw_device_hbm(sim->core);
	sim->num_queues = zw_sim_read32(sim, ZW_REG_NUM_QUEUES);
	sim->num_vms = zw_sim_read32(sim, ZW_REG_NUM_VMS);
	if (sim->num_queues > ZW_MAX_QUEUES || sim->num_vms > ZW_MAX_VMS) {
		ret = zw_rt_error(err, -EPROTO, "sim: the device claims %u queues and %u VMs",
				  sim->num_queues, sim->num_vms);
		goto fail;
	}
	ret = zw_sim_mbox_init(sim);
	if (ret) {
		zw_rt_error(err, ret, "out of memory");
		goto fail;
	}
	ret = boot(sim, opt->firmware, err);
	if (ret)
		goto fail;
	ret = pthread_create(&sim->irq_thread, NULL, irq_main, sim);
	if (ret) {
		ret = zw_rt_error(err, -ret, "sim: cannot start a thread: %s", strerror(ret));
		goto fail;
	}
	dev->priv = sim;
	dev->ops = &sim_ops;
	dev->va_start = SIM_VA_START;
	dev->va_end = SIM_VA_END;
	dev->transport = ZW_TRANSPORT_SIM;
	strcpy(dev->spec, "sim");
	return 0;

fail:
	destroy(sim, false);
	return ret;
}
