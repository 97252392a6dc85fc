// SPDX-License-Identifier: MIT
/* zw-smi: what accelerators there are, how they are, who uses them. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

#include "smi.h"
#include "tool_interrupt.h"
#include "tool_number.h"
#include "tool_output.h"
#include "zhenwu/zhenwu.h"

#define DEFAULT_PERIOD_MS 200u

static const char usage[] =
	"usage: zw-smi [-i DEV] [-l SECONDS] [-q | --query=FIELDS --format=csv | --json | "
	"--prometheus]\n"
	"       zw-smi [-i DEV] dmon | pmon [-d SECONDS] [-c N]\n"
	"       zw-smi [-i DEV] top [-d SECONDS] | fw | topo\n"
	"       zw-smi -i DEV reset\n"
	"Zhenwu accelerators of this machine: state, sensors, memory and the processes that use "
	"them.\n"
	"  -i, --id DEV      only this one: number of the node, PCI address or UUID\n"
	"  -l, --loop S      again every S seconds, until interrupted\n"
	"  -q                all there is, one line each\n"
	"  --query=FIELDS    these, with commas in between; --help-query lists them\n"
	"  --format=csv[,noheader][,nounits]\n"
	"  --json            everything, for programs\n"
	"  --prometheus      metrics for node_exporter's textfile collector\n"
	"  --period MS       time over which utilization is taken, 0 to 60000 (default: 200)\n"
	"  --root DIR        read below DIR, for tests\n"
	"  dmon, pmon        a line for each device, or process, every second (-d S, -c N times)\n"
	"  top               the same on a screen of its own\n"
	"  fw, topo          versions; how devices are connected\n"
	"  reset             function level reset: what is in HBM is lost; needs root\n"
	"Exit status: 0 well, 1 no such device or it failed, 2 usage, 130 Ctrl-C.\n";

enum view { VIEW_TABLE, VIEW_ALL, VIEW_CSV, VIEW_JSON, VIEW_PROMETHEUS };

struct options {
	const char *root, *which, *query;
	const char *command; /* NULL: a view */
	enum view view;
	bool header, units;
	uint32_t loop_s, delay_s, period_ms;
	uint64_t count; /* 0: for ever */
};

static struct smi_snapshot snapshot;

static int failed(const struct options *o, int ret)
{
	if (ret)
		fprintf(stderr, "zw-smi: %s\n", strerror(-ret));
	else if (o->which)
		fprintf(stderr, "zw-smi: there is no Zhenwu device %s\n", o->which);
	else
		fprintf(stderr, "zw-smi: there is no Zhenwu device\n");
	return 1;
}

/* 0, or the exit status after having said why. */
static int read_devices(const struct options *o, unsigned int period_ms)
{
	int ret = smi_read_rates(o->root, o->which, period_ms, &snapshot);

	if (!ret && snapshot.num_devices)
		return 0;
	smi_free(&snapshot);
	/* A machine without devices has no metrics; that is no failure of who collects them. */
	if (!ret && !o->which && o->view == VIEW_PROMETHEUS && !o->command)
		return 0;
	return failed(o, ret);
}

static int show_once(const struct options *o)
{
	/* Counters need no second look. */
	int ret = read_devices(o, o->view == VIEW_PROMETHEUS ? 0 : o->period_ms);

	if (ret)
		return ret;
	switch (o->view) {
	case VIEW_TABLE:
		smi_print_table(&snapshot);
		break;
	case VIEW_ALL:
		smi_print_all(&snapshot);
		break;
	case VIEW_CSV:
		smi_print_csv(&snapshot, o->query, o->header, o->units);
		break;
	case VIEW_JSON:
		ret = smi_print_json(&snapshot) ? 1 : 0;
		break;
	case VIEW_PROMETHEUS:
		smi_print_prometheus(&snapshot);
		break;
	}
	smi_free(&snapshot);
	return ret;
}

/* False when interrupted. */
static bool pause_s(uint32_t seconds)
{
	struct timespec ts = {(time_t)seconds, 0};

	while (!tool_interrupted() && nanosleep(&ts, &ts) && errno == EINTR)
		;
	return !tool_interrupted();
}

static int show(struct options *o)
{
	int ret = show_once(o);

	while (!ret && o->loop_s && !fflush(stdout)) {
		if (!pause_s(o->loop_s))
			return EXIT_INTERRUPTED;
		o->header = false;
		ret = show_once(o);
	}
	return ret;
}

static int monitor(const struct options *o, bool processes)
{
	for (uint64_t n = 0; !o->count || n < o->count; n++) {
		/* A header now and then, for screens that scroll. */
		bool header = n % 20 == 0;
		int ret = read_devices(o, o->delay_s * 1000);

		if (tool_interrupted()) {
			smi_free(&snapshot);
			return EXIT_INTERRUPTED;
		}
		if (ret)
			return ret;
		if (processes)
			smi_print_pmon(&snapshot, header);
		else
			smi_print_dmon(&snapshot, header);
		smi_free(&snapshot);
		if (fflush(stdout))
			break;
	}
	return 0;
}

static int reset(const struct options *o)
{
	char path[600];
	int fd, ret;

	ret = read_devices(o, 0);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/reset", snapshot.devices[0].path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ret = fd < 0 || write(fd, "1\n", 2) != 2 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (ret)
		fprintf(stderr, "zw-smi: NPU %u is not reset: %s\n", snapshot.devices[0].index,
			strerror(ret));
	else
		printf("NPU %u (%s) was reset\n", snapshot.devices[0].index,
		       snapshot.devices[0].bdf);
	smi_free(&snapshot);
	return ret ? 1 : 0;
}

static int command(struct options *o)
{
	int ret;

	if (!strcmp(o->command, "dmon") || !strcmp(o->command, "pmon"))
		return monitor(o, *o->command == 'p');
	if (!strcmp(o->command, "top"))
		return smi_top(o->root, o->which, o->delay_s * 1000);
	if (!strcmp(o->command, "reset"))
		return reset(o);
	ret = read_devices(o, 0);
	if (ret)
		return ret;
	if (!strcmp(o->command, "fw"))
		smi_print_firmware(&snapshot);
	else
		smi_print_topology(&snapshot);
	smi_free(&snapshot);
	return 0;
}

static bool is_command(const char *s)
{
	static const char *const commands[] = {"dmon", "pmon", "top", "fw", "topo", "reset"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(s, commands[i]))
			return true;
	return false;
}

static bool parse_format(const char *s, struct options *o)
{
	if (strncmp(s, "csv", 3))
		return false;
	for (s += 3; *s;) {
		size_t len = strcspn(s + 1, ",");

		if (*s != ',')
			return false;
		if (len == 8 && !strncmp(s + 1, "noheader", len))
			o->header = false;
		else if (len == 7 && !strncmp(s + 1, "nounits", len))
			o->units = false;
		else
			return false;
		s += 1 + len;
	}
	return true;
}

static int list_fields(void)
{
	for (size_t f = 0; f < smi_num_fields; f++)
		printf("%-20s %-4s %s\n", smi_fields[f].name, smi_fields[f].unit,
		       smi_fields[f].help);
	return tool_finish("zw-smi", 0);
}

static int version(void)
{
	printf("zw-smi %u.%u.%u\n", zw_version() >> 16, zw_version() >> 8 & 0xff,
	       zw_version() & 0xff);
	return tool_finish("zw-smi", 0);
}

static int bad_usage(void)
{
	fputs(usage, stderr);
	return 2;
}

/* One view only. */
static bool choose(struct options *o, enum view view)
{
	bool first = o->view == VIEW_TABLE;

	o->view = view;
	return first;
}

/* What belongs together and what does not. */
static bool consistent(const struct options *o, bool format, bool monitoring)
{
	if ((o->view == VIEW_CSV) != format)
		return false;
	if (!o->command)
		return !monitoring;
	if (o->view != VIEW_TABLE || o->loop_s)
		return false;
	if (!strcmp(o->command, "reset") && !o->which)
		return false;
	if (o->count && *o->command == 't')
		return false;
	return !monitoring || !strcmp(o->command, "dmon") || !strcmp(o->command, "pmon") ||
	       !strcmp(o->command, "top");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"id", required_argument, NULL, 'i'},     {"loop", required_argument, NULL, 'l'},
		{"query", required_argument, NULL, 'Q'},  {"format", required_argument, NULL, 'f'},
		{"json", no_argument, NULL, 'j'},         {"prometheus", no_argument, NULL, 'p'},
		{"period", required_argument, NULL, 'P'}, {"root", required_argument, NULL, 'r'},
		{"help-query", no_argument, NULL, 'F'},   {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},      {0},
	};
	struct options o = {.root = "",
			    .header = true,
			    .units = true,
			    .delay_s = 1,
			    .period_ms = DEFAULT_PERIOD_MS};
	bool format = false, monitoring = false;
	int c, status;

	while ((c = getopt_long(argc, argv, "i:l:qd:c:", options, NULL)) != -1) {
		bool ok = true;

		switch (c) {
		case 'i':
			o.which = optarg;
			break;
		case 'l':
			ok = tool_parse_u32(optarg, 1, 86400, &o.loop_s);
			break;
		case 'q':
			ok = choose(&o, VIEW_ALL);
			break;
		case 'Q':
			ok = choose(&o, VIEW_CSV);
			o.query = optarg;
			if (ok && !smi_check_query(optarg)) {
				fprintf(stderr,
					"zw-smi: no such field in \"%s\": see "
					"--help-query\n",
					optarg);
				return 2;
			}
			break;
		case 'f':
			ok = !format && parse_format(optarg, &o);
			format = true;
			break;
		case 'j':
			ok = choose(&o, VIEW_JSON);
			break;
		case 'p':
			ok = choose(&o, VIEW_PROMETHEUS);
			break;
		case 'P':
			ok = tool_parse_u32(optarg, 0, 60000, &o.period_ms);
			break;
		case 'd':
			ok = tool_parse_u32(optarg, 1, 3600, &o.delay_s);
			monitoring = true;
			break;
		case 'c':
			ok = tool_parse_u64(optarg, 1, UINT64_MAX, &o.count);
			monitoring = true;
			break;
		case 'r':
			o.root = optarg;
			break;
		case 'F':
			return list_fields();
		case 'h':
			fputs(usage, stdout);
			return tool_finish("zw-smi", 0);
		case 'v':
			return version();
		default:
			ok = false;
		}
		if (!ok)
			return bad_usage();
	}
	if (optind < argc && is_command(argv[optind]))
		o.command = argv[optind++];
	if (optind < argc || !consistent(&o, format, monitoring))
		return bad_usage();
	tool_catch_interrupt(false);
	status = o.command ? command(&o) : show(&o);
	return tool_finish("zw-smi", status);
}
