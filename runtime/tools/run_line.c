// SPDX-License-Identifier: MIT
#include "run_line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "read_text.h"

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

/* A line of what no person types, into l->buf: getline() has no limit. */
static int read_piped(struct run_line *l, size_t *len)
{
	int c = 0;

	for (size_t n = 0; c != '\n'; *len = n) {
		if (n == l->cap) {
			size_t cap = 2 * l->cap + 256;
			char *more = n < READ_TEXT_MAX ? realloc(l->buf, cap) : NULL;

			if (!more)
				return n < READ_TEXT_MAX ? -ENOMEM : -EFBIG;
			l->buf = more;
			l->cap = cap;
		}
		c = getc_unlocked(stdin);
		if (c == EOF)
			break;
		l->buf[n++] = (char)c;
	}
	return 0;
}

/* One line as it is typed, with its newline; belongs to l. *len 0: the end. */
static int read_one(struct run_line *l, const char **line, size_t *len)
{
	HistEvent ev;
	int n = 0, ret;

	*len = 0;
	if (!l->el) {
		ret = read_piped(l, len);
		*line = l->buf;
		return ret;
	}
	*line = el_gets(l->el, &n);
	if (!*line || n <= 0)
		return 0;
	*len = (size_t)n;
	if (strspn(*line, " \t\n") < *len)
		history(l->history, &ev, H_ENTER, *line);
	return 0;
}

int run_line_read(struct run_line *l, char **line, size_t *len)
{
	bool joined;

	*line = NULL;
	*len = 0;
	do {
		const char *p;
		size_t n;
		int ret = read_one(l, &p, &n);
		char *more;

		if (!ret && !n)
			break;
		if (!ret && *len + n > READ_TEXT_MAX)
			ret = -EFBIG;
		more = ret ? NULL : realloc(*line, *len + n + 1);
		if (!more) {
			free(*line);
			*line = NULL;
			return ret ? ret : -ENOMEM;
		}
		*line = more;
		if (p[n - 1] == '\n')
			n--;
		joined = n && p[n - 1] == '\\';
		memcpy(*line + *len, p, n);
		*len += n;
		if (joined)
			(*line)[*len - 1] = '\n';
		(*line)[*len] = '\0';
	} while (joined);
	return 0;
}
