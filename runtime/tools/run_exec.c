// SPDX-License-Identifier: MIT
#include "run_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STDERR_MAX 4096

extern char **environ;

enum { IN, OUT, ERR, PIPES };

struct child {
	pid_t pid;
	int fd[PIPES]; /* our ends; -1: closed */
	const char *input;
	size_t left;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The signals that this process ignores or catches are the program's own again. */
static int spawn(char *const argv[], int theirs[PIPES], pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t reset, none;
	int ret;

	sigemptyset(&none);
	sigemptyset(&reset);
	sigaddset(&reset, SIGPIPE);
	sigaddset(&reset, SIGINT);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	for (int i = 0; i < PIPES; i++)
		posix_spawn_file_actions_adddup2(&fa, theirs[i], i);
	posix_spawnattr_setsigdefault(&attr, &reset);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETPGROUP);
	ret = posix_spawn(pid, argv[0], &fa, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return -ret;
}

static int start(char *const argv[], struct child *c)
{
	int theirs[PIPES] = {-1, -1, -1}, pair[2], ret = 0;

	for (int i = 0; i < PIPES; i++)
		c->fd[i] = -1;
	for (int i = 0; i < PIPES && !ret; i++) {
		ret = pipe2(pair, O_CLOEXEC) ? -errno : 0;
		if (ret)
			break;
		c->fd[i] = pair[i == IN];
		theirs[i] = pair[i != IN];
		fcntl(c->fd[i], F_SETFL, O_NONBLOCK);
	}
	if (!ret)
		ret = spawn(argv, theirs, &c->pid);
	for (int i = 0; i < PIPES; i++) {
		close_fd(&theirs[i]);
		if (ret)
			close_fd(&c->fd[i]);
	}
	return ret;
}

static void feed(struct child *c)
{
	ssize_t n = write(c->fd[IN], c->input, c->left);

	if (n > 0) {
		c->input += n;
		c->left -= (size_t)n;
	}
	/* A program need not read its input. */
	if (!c->left || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_fd(&c->fd[IN]);
}

static void drain(int *fd, char *buf, size_t *len, size_t max, bool *cut)
{
	char more[4096];
	ssize_t n = read(*fd, more, sizeof(more));
	size_t keep;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_fd(fd);
		return;
	}
	keep = (size_t)n < max - *len ? (size_t)n : max - *len;
	memcpy(buf + *len, more, keep);
	*len += keep;
	*cut |= keep < (size_t)n;
}

/* Until both outputs are closed and the program has ended; its children may hold the outputs open. */
static void tend(struct child *c, double end, size_t max, const volatile int *stop,
		 struct run_output *o)
{
	bool cut = false, ended = false;

	while (!ended || c->fd[OUT] >= 0 || c->fd[ERR] >= 0) {
		struct pollfd p[PIPES];
		double left = end - now();

		if (end > 0 && left <= 0)
			o->timed_out = true;
		if (*stop)
			o->interrupted = true;
		if (o->timed_out || o->interrupted)
			return;
		for (int i = 0; i < PIPES; i++)
			p[i] = (struct pollfd){c->fd[i], i == IN ? POLLOUT : POLLIN, 0};
		/* Short, because the end of a process wakes nobody here. */
		poll(p, PIPES, ended || (c->fd[OUT] < 0 && c->fd[ERR] < 0) ? 2 : 20);
		if (p[IN].revents && c->fd[IN] >= 0)
			feed(c);
		if (p[OUT].revents && c->fd[OUT] >= 0)
			drain(&c->fd[OUT], o->out, &o->out_len, max, &o->out_cut);
		if (p[ERR].revents && c->fd[ERR] >= 0)
			drain(&c->fd[ERR], o->err, &o->err_len, STDERR_MAX, &cut);
		if (!ended && waitpid(c->pid, &o->status, WNOHANG) == c->pid) {
			ended = true;
			c->pid = -c->pid;
		}
	}
}

int run_exec(char *const argv[], const char *input, size_t len, double seconds, size_t max,
	     const volatile int *stop, struct run_output *o)
{
	struct child c = {.input = input, .left = len};
	pid_t group;
	int ret;

	*o = (struct run_output){.out = malloc(max + 1), .err = malloc(STDERR_MAX + 1)};
	ret = o->out && o->err ? start(argv, &c) : -ENOMEM;
	if (ret) {
		run_output_free(o);
		return ret;
	}
	group = c.pid;
	tend(&c, seconds > 0 ? now() + seconds : 0, max, stop, o);
	/* What the program has left running goes with it. */
	kill(-group, SIGKILL);
	if (c.pid > 0)
		waitpid(c.pid, &o->status, 0);
	for (int i = 0; i < PIPES; i++)
		close_fd(&c.fd[i]);
	o->out[o->out_len] = o->err[o->err_len] = '\0';
	return 0;
}

void run_output_free(struct run_output *o)
{
	free(o->out);
	free(o->err);
	*o = (struct run_output){0};
}
