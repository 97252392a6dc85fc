// SPDX-License-Identifier: MIT
#include "run_line.h"

#include <histedit.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run_line {
	EditLine *el; /* NULL: no terminal */
	History *history;
	char *buf;
	size_t cap;
};

static char *prompt(EditLine *el)
{
	(void)el;
	return (char *)"> ";
}

struct run_line *run_line_open(void)
{
	struct run_line *l = calloc(1, sizeof(*l));
	HistEvent ev;

	if (!l || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return l;
	setlocale(LC_CTYPE, "");
	l->el = el_init("zw-run", stdin, stdout, stderr);
	l->history = history_init();
	if (!l->el || !l->history) {
		run_line_close(l);
		return NULL;
	}
	history(l->history, &ev, H_SETSIZE, 1000);
	history(l->history, &ev, H_SETUNIQUE, 1);
	el_set(l->el, EL_PROMPT, prompt);
	el_set(l->el, EL_EDITOR, "emacs");
	el_set(l->el, EL_HIST, history, l->history);
	el_source(l->el, NULL);
	return l;
}

void run_line_close(struct run_line *l)
{
	if (!l)
		return;
	if (l->history)
		history_end(l->history);
	if (l->el)
		el_end(l->el);
	free(l->buf);
	free(l);
}

int run_line_interactive(const struct run_line *l)
{
	return l->el != NULL;
}

/* One line as it is typed; belongs to l. */
static const char *read_one(struct run_line *l, int *len)
{
	HistEvent ev;
	const char *p;
	ssize_t n;

	if (!l->el) {
		n = getline(&l->buf, &l->cap, stdin);
		*len = (int)n;
		return n > 0 ? l->buf : NULL;
	}
	p = el_gets(l->el, len);
	if (!p || *len <= 0)
		return NULL;
	if (strspn(p, " \t\n") < (size_t)*len)
		history(l->history, &ev, H_ENTER, p);
	return p;
}

char *run_line_read(struct run_line *l, size_t *len)
{
	char *line = NULL, *more;
	bool joined;

	*len = 0;
	do {
		int n = 0;
		const char *p = read_one(l, &n);

		if (!p)
			break;
		if (n && p[n - 1] == '\n')
			n--;
		joined = n && p[n - 1] == '\\';
		more = realloc(line, *len + (size_t)n + 1);
		if (!more)
			break;
		line = more;
		memcpy(line + *len, p, (size_t)n);
		*len += (size_t)n;
		if (joined)
			line[*len - 1] = '\n';
		line[*len] = '\0';
	} while (joined);
	return line;
}
