// SPDX-License-Identifier: MIT
/* zw-stat: what a device is doing, sample by sample. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool_interrupt.h"
#include "tool_number.h"
#include "tool_output.h"
#include "zhenwu/zhenwu.h"

#define AT_ONCE 64u

static const char usage[] =
	"usage: zw-stat [--device SPEC] [--profile P] [--interval MS] [-n N] [--csv | --json]\n"
	"Power, temperature and what was busy, one line per sample of the device.\n"
	"  --device SPEC  auto, drm, drm:N or sim (default: auto)\n"
	"  --profile P    chip profile of the sim device; of a drm device, fail if it is another\n"
	"  --interval MS  between two samples, 1 to 60000 (default: 1000)\n"
	"  -n N           end after N samples (default: never)\n"
	"  --csv          all counters as they are, with a line of names\n"
	"  --json         the same, one JSON object per line\n"
	"Exit status: 0 well, 1 the device does not work or is not permitted, 2 usage, 130 "
	"Ctrl-C.\n";

enum format { FORMAT_TEXT, FORMAT_CSV, FORMAT_JSON };

#define AT(reg) (((reg)-ZW_REG_PMU) / 8)

/* One for each counter: check_stat sees that none is missing. */
static const char *const counter_names[ZW_PMU_COUNT] = {
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_CP))] = "busy_cp_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_TENSOR))] = "busy_tensor_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_VECTOR))] = "busy_vector_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_ATTN))] = "busy_attention_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_DMA))] = "busy_dma_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_DELTA))] = "busy_delta_ps",
	[AT(ZW_PMU_BUSY_PS(ZW_ENGINE_LINK))] = "busy_link_ps",
	[AT(ZW_PMU_BUSY_PS(7))] = "busy_7_ps",
	[AT(ZW_PMU_HBM_READ)] = "hbm_read_bytes",
	[AT(ZW_PMU_HBM_WRITTEN)] = "hbm_written_bytes",
	[AT(ZW_PMU_SYS_READ)] = "sys_read_bytes",
	[AT(ZW_PMU_SYS_WRITTEN)] = "sys_written_bytes",
	[AT(ZW_PMU_PACKETS)] = "packets",
	[AT(ZW_PMU_JOBS)] = "jobs",
	[AT(ZW_PMU_FAULTS)] = "faults",
	[AT(ZW_PMU_TLB_HITS)] = "tlb_hits",
	[AT(ZW_PMU_TLB_MISSES)] = "tlb_misses",
	[AT(ZW_PMU_SRAM_READ)] = "sram_read_bytes",
	[AT(ZW_PMU_SRAM_WRITTEN)] = "sram_written_bytes",
	[AT(ZW_PMU_LINK_READ)] = "link_read_bytes",
	[AT(ZW_PMU_LINK_WRITTEN)] = "link_written_bytes",
	[AT(ZW_PMU_ENERGY_PJ)] = "energy_pj",
	[AT(ZW_PMU_ECC_CORRECTED)] = "ecc_corrected",
	[AT(ZW_PMU_SETTLED_PS)] = "settled_ps",
	[AT(ZW_PMU_SETTLED_JOBS)] = "settled_jobs",
	[AT(ZW_PMU_SETTLED_PACKETS)] = "settled_packets",
	[AT(ZW_PMU_HBM_BUSY_PS)] = "hbm_busy_ps",
	[AT(ZW_PMU_SYS_READ_BUSY_PS)] = "sys_read_busy_ps",
	[AT(ZW_PMU_SYS_WRITTEN_BUSY_PS)] = "sys_written_busy_ps",
	[AT(ZW_PMU_WAIT_ENGINE_PS)] = "wait_engine_ps",
	[AT(ZW_PMU_WAIT_HBM_PS)] = "wait_hbm_ps",
	[AT(ZW_PMU_WAIT_PCIE_PS)] = "wait_pcie_ps",
	[AT(ZW_PMU_WAIT_TOKENS_PS)] = "wait_tokens_ps",
	[AT(ZW_PMU_WAIT_SEMAPHORE_PS)] = "wait_semaphore_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_CP))] = "settled_busy_cp_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_TENSOR))] = "settled_busy_tensor_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_VECTOR))] = "settled_busy_vector_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_ATTN))] = "settled_busy_attention_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_DMA))] = "settled_busy_dma_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_DELTA))] = "settled_busy_delta_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(ZW_ENGINE_LINK))] = "settled_busy_link_ps",
	[AT(ZW_PMU_SETTLED_BUSY_PS(7))] = "settled_busy_7_ps",
	[AT(ZW_PMU_CHIP_ENERGY_UJ)] = "chip_energy_uj",
	[AT(ZW_PMU_CAPPED_PS)] = "capped_ps",
};

/* -- for people ------------------------------------------------------------------------------- */

static void text_header(void)
{
	printf("%9s %8s %6s %4s %10s %6s %6s %6s %6s %6s %6s %6s %6s %9s %9s %8s %6s\n", "time s",
	       "W", "C", "cap", "sim ms", "cp %", "tens %", "vect %", "attn %", "dma %", "delt %",
	       "hbm %", "pcie %", "hbm MB", "pcie MB", "jobs", "lost");
}

struct delta {
	const struct zw_dev_sample *from, *to;
};

static uint64_t diff(const struct delta *d, uint32_t reg)
{
	uint64_t from = zw_dev_sample_counter(d->from, reg), to = zw_dev_sample_counter(d->to, reg);

	/* Nothing below what it was, whatever a device says. */
	return to > from ? to - from : 0;
}

static double percent(const struct delta *d, uint64_t ps)
{
	uint64_t all = diff(d, ZW_PMU_SETTLED_PS);

	return all ? 100.0 * (double)ps / (double)all : 0;
}

static void text_line(const struct delta *d, uint64_t start_ns, uint64_t lost)
{
	static const uint32_t engines[] = {ZW_ENGINE_CP,   ZW_ENGINE_TENSOR, ZW_ENGINE_VECTOR,
					   ZW_ENGINE_ATTN, ZW_ENGINE_DMA,    ZW_ENGINE_DELTA};
	const struct zw_dev_sample *s = d->to;
	uint64_t pcie = diff(d, ZW_PMU_SYS_READ_BUSY_PS),
		 back = diff(d, ZW_PMU_SYS_WRITTEN_BUSY_PS);

	printf("%9.3f %8.1f %6.1f %4s %10.3f", (double)(s->time_ns - start_ns) / 1e9,
	       s->power_mw / 1e3, s->temperature_mc / 1e3,
	       s->throttle & ZW_THROTTLE_POWER ? "yes" : "-",
	       (double)diff(d, ZW_PMU_SETTLED_PS) / 1e9);
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		printf(" %6.1f", percent(d, diff(d, ZW_PMU_SETTLED_BUSY_PS(engines[i]))));
	/* of the directions of PCIe the busier one */
	printf(" %6.1f %6.1f %9.1f %9.1f %8" PRIu64 " %6" PRIu64 "\n",
	       percent(d, diff(d, ZW_PMU_HBM_BUSY_PS)), percent(d, pcie > back ? pcie : back),
	       (double)(diff(d, ZW_PMU_HBM_READ) + diff(d, ZW_PMU_HBM_WRITTEN)) / 1e6,
	       (double)(diff(d, ZW_PMU_SYS_READ) + diff(d, ZW_PMU_SYS_WRITTEN)) / 1e6,
	       diff(d, ZW_PMU_JOBS), lost);
}

/* -- for programs ----------------------------------------------------------------------------- */

static void csv_header(void)
{
	printf("seq,time_ns,device_us,power_mw,temperature_mc,cap_mw,throttle,reset_count,lost");
	for (size_t i = 0; i < ZW_PMU_COUNT; i++)
		printf(",%s", counter_names[i]);
	putchar('\n');
}

static void csv_line(const struct zw_dev_sample *s, uint64_t lost)
{
	printf("%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%d,%u,%u,%u,%" PRIu64, s->seq, s->time_ns,
	       s->device_us, s->power_mw, s->temperature_mc, s->cap_mw, s->throttle, s->reset_count,
	       lost);
	for (uint32_t i = 0; i < ZW_PMU_COUNT; i++)
		printf(",%" PRIu64, zw_dev_sample_counter(s, ZW_REG_PMU + 8 * i));
	putchar('\n');
}

static void json_line(const struct zw_dev_sample *s, uint64_t lost)
{
	printf("{\"seq\": %" PRIu64 ", \"time_ns\": %" PRIu64 ", \"device_us\": %" PRIu64
	       ", \"power_mw\": %u, \"temperature_mc\": %d, \"cap_mw\": %u, \"throttle\": %u, "
	       "\"reset_count\": %u, \"lost\": %" PRIu64 ", \"counters\": {",
	       s->seq, s->time_ns, s->device_us, s->power_mw, s->temperature_mc, s->cap_mw,
	       s->throttle, s->reset_count, lost);
	for (uint32_t i = 0; i < ZW_PMU_COUNT; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", counter_names[i],
		       zw_dev_sample_counter(s, ZW_REG_PMU + 8 * i));
	puts("}}");
}

/* -- work ------------------------------------------------------------------------------------- */

static int fail(const char *what, int ret)
{
	fprintf(stderr, "zw-stat: %s: %s\n", what,
		ret == -EACCES       ? "not permitted: samples tell what others do (CAP_PERFMON)"
		: ret == -EOPNOTSUPP ? "driver, device or firmware have no samples"
				     : strerror(-ret));
	return 1;
}

/* Shows n samples; 0: until interrupted. The exit status. */
static int show(struct zw_dev *dev, uint32_t interval_us, uint64_t n, enum format format)
{
	static const struct zw_dev_sample nothing;
	struct zw_dev_sample s[AT_ONCE], before = nothing;
	uint64_t seq = 0, lost = 0, start_ns = (uint64_t)zw_deadline(0);
	int ret = zw_dev_set_telemetry(dev, interval_us);

	if (ret)
		return fail("no samples", ret);
	if (format == FORMAT_TEXT)
		text_header();
	else if (format == FORMAT_CSV)
		csv_header();
	for (uint64_t shown = 0; !n || shown < n;) {
		size_t max = n && n - shown < AT_ONCE ? (size_t)(n - shown) : AT_ONCE;
		uint64_t missing = 0;

		/* An end by Ctrl-C does not wait for a sample that is a minute away. */
		ret = zw_dev_read_telemetry(dev, s, max, sizeof(s[0]), &seq, &missing,
					    zw_deadline_ms(200));
		if (tool_interrupted())
			return EXIT_INTERRUPTED;
		if (ret < 0)
			return fail("no more samples", ret);
		lost += missing;
		for (int i = 0; i < ret; i++, shown++) {
			/* After a reset, and of the first, all there is. */
			bool anew = s[i].reset_count != before.reset_count;
			struct delta d = {anew ? &nothing : &before, &s[i]};

			if (format == FORMAT_CSV)
				csv_line(&s[i], lost);
			else if (format == FORMAT_JSON)
				json_line(&s[i], lost);
			else
				text_line(&d, start_ns, lost);
			before = s[i];
		}
		if (ret && fflush(stdout))
			break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"device", required_argument, NULL, 'd'},
		{"profile", required_argument, NULL, 'p'},
		{"interval", required_argument, NULL, 'i'},
		{"csv", no_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	struct zw_dev_options opt = {.size = sizeof(opt)};
	enum format format = FORMAT_TEXT;
	const char *spec = "auto";
	uint32_t interval_ms = 1000;
	struct zw_error err = {""};
	struct zw_dev *dev;
	uint64_t n = 0;
	int c, status;

	while ((c = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
		bool ok = true;

		switch (c) {
		case 'd':
			spec = optarg;
			break;
		case 'p':
			opt.profile = optarg;
			break;
		case 'i':
			ok = tool_parse_u32(optarg, 1, ZW_TELEMETRY_MAX_US / 1000, &interval_ms);
			break;
		case 'n':
			ok = tool_parse_u64(optarg, 1, UINT64_MAX, &n);
			break;
		case 'c':
		case 'j':
			ok = format == FORMAT_TEXT;
			format = c == 'c' ? FORMAT_CSV : FORMAT_JSON;
			break;
		case 'h':
			fputs(usage, stdout);
			return tool_finish("zw-stat", 0);
		case 'v':
			printf("zw-stat %u.%u.%u\n", zw_version() >> 16, zw_version() >> 8 & 0xff,
			       zw_version() & 0xff);
			return tool_finish("zw-stat", 0);
		default:
			ok = false;
		}
		if (!ok) {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (zw_dev_open(spec, &opt, &dev, &err)) {
		fprintf(stderr, "zw-stat: %s\n", err.msg);
		return 1;
	}
	tool_catch_interrupt(false);
	status = show(dev, interval_ms * 1000, n, format);
	zw_dev_close(dev);
	return tool_finish("zw-stat", status);
}
