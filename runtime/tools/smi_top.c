// SPDX-License-Identifier: MIT
/* zw-smi top: devices with a history of how busy they were, and processes, busiest first. */
#include <curses.h>
#include <locale.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smi.h"
#include "tool_interrupt.h"

#define HISTORY 120

/* How busy each device was, permille, oldest first; -1 before there was any. */
struct history {
	unsigned int index;
	int16_t v[HISTORY];
};

static struct history *history_of(struct history all[SMI_MAX_DEVICES], const struct smi_device *d)
{
	for (size_t i = 0; i < SMI_MAX_DEVICES; i++)
		if (all[i].index == d->index)
			return &all[i];
	for (size_t i = 0; i < SMI_MAX_DEVICES; i++) {
		if (all[i].index == UINT32_MAX) {
			all[i].index = d->index;
			return &all[i];
		}
	}
	return NULL;
}

static void draw_history(const struct history *h, int width)
{
	static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const plain[] = {" ", ".", ".", ":", ":", "-", "=", "#", "#"};
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");

	if (width > HISTORY)
		width = HISTORY;
	for (int i = HISTORY - width; i < HISTORY; i++) {
		/* What is more than nothing is seen. */
		int level = h->v[i] <= 0 ? 0 : 1 + h->v[i] * 7 / 1000;

		addstr(utf8 ? bars[level] : plain[level]);
	}
}

static int busiest(const void *a, const void *b)
{
	const struct smi_process *x = *(const struct smi_process *const *)a,
				 *y = *(const struct smi_process *const *)b;

	if (x->busy_permille.v != y->busy_permille.v)
		return x->busy_permille.v > y->busy_permille.v ? -1 : 1;
	if (x->hbm != y->hbm)
		return x->hbm > y->hbm ? -1 : 1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static unsigned int index_of(const struct smi_snapshot *s, const char *bdf)
{
	for (size_t i = 0; i < s->num_devices; i++)
		if (!strcmp(s->devices[i].bdf, bdf))
			return s->devices[i].index;
	return 0;
}

static void draw_processes(const struct smi_snapshot *s)
{
	const struct smi_process **order = calloc(s->num_processes + 1, sizeof(*order));

	attron(A_REVERSE);
	printw("%-4s %8s %6s %12s %12s %-20s\n", "NPU", "PID", "UTIL", "HBM MiB", "MEM MiB",
	       "PROCESS");
	attroff(A_REVERSE);
	if (!order)
		return;
	for (size_t i = 0; i < s->num_processes; i++)
		order[i] = &s->processes[i];
	qsort(order, s->num_processes, sizeof(*order), busiest);
	for (size_t i = 0; i < s->num_processes && getcury(stdscr) < LINES - 1; i++) {
		const struct smi_process *p = order[i];

		printw("%-4u %8u %5.1f%% %12.1f %12.1f %-.30s\n", index_of(s, p->bdf), p->pid,
		       (double)p->busy_permille.v / 10, (double)p->hbm / 1048576,
		       (double)p->memory / 1048576, p->name);
	}
	free(order);
}

static void draw(const struct smi_snapshot *s, struct history all[SMI_MAX_DEVICES])
{
	erase();
	attron(A_BOLD);
	printw("zw-smi top - %zu devices, %zu processes (q ends)\n\n", s->num_devices,
	       s->num_processes);
	attroff(A_BOLD);
	for (size_t i = 0; i < s->num_devices && getcury(stdscr) < LINES - 3; i++) {
		static const size_t len = SMI_TEXT;
		char busy[SMI_TEXT], power[SMI_TEXT], temperature[SMI_TEXT], used[SMI_TEXT],
			total[SMI_TEXT];
		const struct smi_device *d = &s->devices[i];
		struct history *h = history_of(all, d);

		smi_field_text(smi_field_find("utilization", 11), d, busy, len);
		smi_field_text(smi_field_find("power.draw", 10), d, power, len);
		smi_field_text(smi_field_find("temperature", 11), d, temperature, len);
		smi_field_text(smi_field_find("memory.used", 11), d, used, len);
		smi_field_text(smi_field_find("memory.total", 12), d, total, len);
		printw("NPU%-3u %-10.10s %-9.9s %6s%% %8s W %6s C %10s / %s MiB\n", d->index,
		       d->profile, d->health, busy, power, temperature, used, total);
		if (!h)
			continue;
		memmove(h->v, h->v + 1, sizeof(h->v) - sizeof(h->v[0]));
		h->v[HISTORY - 1] = d->busy_permille.have ? (int16_t)d->busy_permille.v : -1;
		addstr("       |");
		draw_history(h, COLS - 10 > 0 ? COLS - 10 : 0);
		addstr("|\n");
	}
	addch('\n');
	draw_processes(s);
	refresh();
}

int smi_top(const char *root, const char *which, unsigned int period_ms)
{
	static struct smi_snapshot snapshots[2];
	static struct history all[SMI_MAX_DEVICES];
	size_t now = 0;
	int key = ERR, ret;

	for (size_t i = 0; i < SMI_MAX_DEVICES; i++) {
		all[i].index = UINT32_MAX;
		for (size_t j = 0; j < HISTORY; j++)
			all[i].v[j] = -1;
	}
	ret = smi_read(root, which, &snapshots[now]);
	if (ret || !snapshots[now].num_devices) {
		smi_free(&snapshots[now]);
		fprintf(stderr, "zw-smi: %s\n", ret ? strerror(-ret) : "no such device");
		return 1;
	}
	setlocale(LC_CTYPE, "");
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !newterm(NULL, stdout, stdin)) {
		fprintf(stderr, "zw-smi: top needs a terminal\n");
		smi_free(&snapshots[now]);
		return 1;
	}
	cbreak();
	noecho();
	curs_set(0);
	timeout((int)period_ms);
	/* The locale is for the bars only: numbers are printed as everywhere else. */
	while (key != 'q' && key != 'Q' && !ret && !tool_interrupted()) {
		draw(&snapshots[now], all);
		key = getch();
		smi_free(&snapshots[!now]);
		ret = smi_read(root, which, &snapshots[!now]);
		if (!ret)
			smi_rates(&snapshots[now], &snapshots[!now]);
		now = !now;
	}
	endwin();
	smi_free(&snapshots[0]);
	smi_free(&snapshots[1]);
	if (ret)
		fprintf(stderr, "zw-smi: %s\n", strerror(-ret));
	return ret ? 1 : tool_interrupted() ? EXIT_INTERRUPTED : 0;
}
