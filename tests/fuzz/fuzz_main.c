// SPDX-License-Identifier: MIT
/*
 * usage: fuzz_NAME [-runs=N] [-max_total_time=SECONDS] [-seed=N] [-max_len=BYTES] [FILE|FOLDER...]
 *
 * The driver of a fuzz target where there is no libFuzzer, with the options of libFuzzer it needs.
 * Every file is run once; then, until the runs (0: forever) or the seconds are used up, inputs made
 * of the files by random edits. It sees no coverage: it keeps what was found from being lost, and
 * looks a little around it. Without a limit only the files are run.
 *
 * An input that ends the program is left in crash-NAME, one that takes 100 s in timeout-NAME.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_SECONDS 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Of the sanitizers, when the program is built with one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct input {
	uint8_t *data;
	size_t size;
};

static struct input *corpus;
static size_t n_corpus;
static const char *name = "fuzz";
static const uint8_t *running;
static size_t running_size;
static uint64_t state;

static uint32_t rnd(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 20) % n);
}

/* Only calls that a signal handler may make. */
static void keep(const char *what)
{
	char path[64] = "";
	int fd;

	if (!running)
		return;
	strncat(path, what, 16);
	strncat(path, name, 32);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd >= 0 && write(fd, running, running_size) == (ssize_t)running_size) {
		static const char head[] = "\nfuzz: the input is in ", tail[] = "\n";

		if (write(2, head, sizeof(head) - 1) < 0 || write(2, path, strlen(path)) < 0 ||
		    write(2, tail, 1) < 0)
			_exit(1);
	}
	running = NULL;
}

static void died(void)
{
	keep("crash-");
}

static void on_signal(int sig)
{
	keep(sig == SIGALRM ? "timeout-" : "crash-");
	signal(sig == SIGALRM ? SIGABRT : sig, SIG_DFL);
	raise(sig == SIGALRM ? SIGABRT : sig);
}

static void run(const uint8_t *data, size_t size)
{
	/* Its own allocation, so that a read beyond the end is one beyond an object. */
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	running_size = size;
	running = copy;
	alarm(INPUT_SECONDS);
	if (LLVMFuzzerTestOneInput(copy, size)) {
		fprintf(stderr, "fuzz: the target did not return 0\n");
		abort();
	}
	alarm(0);
	running = NULL;
	free(copy);
}

static void load_file(const char *path)
{
	struct input in = {0};
	struct stat st;
	FILE *f = fopen(path, "rb");

	if (!f || fstat(fileno(f), &st)) {
		fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	in.size = (size_t)st.st_size;
	in.data = malloc(in.size + 1);
	corpus = realloc(corpus, (n_corpus + 1) * sizeof(*corpus));
	if (!in.data || !corpus || fread(in.data, 1, in.size, f) != in.size) {
		fprintf(stderr, "fuzz: cannot read %s\n", path);
		exit(2);
	}
	fclose(f);
	corpus[n_corpus++] = in;
}

static void load(const char *path)
{
	struct dirent **list;
	char file[4096];
	struct stat st;
	int n;

	if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
		load_file(path);
		return;
	}
	/* Sorted: one seed means the same inputs on every machine. */
	n = scandir(path, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			load_file(file);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static size_t mutate(uint8_t *buf, size_t size, size_t max)
{
	static const uint64_t special[] = {
		0,
		1,
		2,
		7,
		8,
		15,
		16,
		63,
		64,
		255,
		256,
		4095,
		4096,
		65535,
		65536,
		0x7fffffff,
		0x80000000u,
		0xffffffffu,
		0x7fffffffffffffffu,
		0x8000000000000000u,
		UINT64_MAX,
	};
	const size_t n_special = sizeof(special) / sizeof(special[0]);

	for (unsigned int k = 1 + rnd(6); k; k--) {
		size_t at = size ? rnd((uint32_t)size) : 0, n;
		const struct input *other;
		uint64_t v;

		switch (rnd(7)) {
		case 0:
			if (size)
				buf[at] ^= (uint8_t)(1u << rnd(8));
			break;
		case 1:
			if (size)
				buf[at] = (uint8_t)rnd(256);
			break;
		case 2: /* a number that is somebody's limit */
			n = (size_t)1 << rnd(4);
			v = special[rnd((uint32_t)n_special)] + (rnd(2) ? 0 : rnd(3) - 1ull);
			if (at + n <= size)
				memcpy(buf + at, &v, n);
			break;
		case 3: /* a piece is lost */
			n = size ? 1 + rnd((uint32_t)(size - at)) : 0;
			if (rnd(4))
				n = n > 16 ? 16 : n;
			memmove(buf + at, buf + at + n, size - at - n);
			size -= n;
			break;
		case 4: /* a piece comes twice */
			n = size ? 1 + rnd((uint32_t)(size - at)) : 0;
			n = n > max - size ? max - size : n;
			memmove(buf + at + n, buf + at, size - at);
			size += n;
			break;
		case 5:  /* a piece of another input, over what is there */
		default: /* or in between */
			other = n_corpus ? &corpus[rnd((uint32_t)n_corpus)] : NULL;
			if (!other || !other->size)
				break;
			n = 1 + rnd((uint32_t)other->size);
			v = rnd((uint32_t)(other->size - n + 1));
			if (rnd(2)) {
				n = n > max - size ? max - size : n;
				memmove(buf + at + n, buf + at, size - at);
				size += n;
			} else if (n > size - at) {
				n = size - at;
			}
			memcpy(buf + at, other->data + v, n);
			break;
		}
	}
	return size;
}

static bool number(const char *arg, const char *option, uint64_t *value)
{
	size_t n = strlen(option);

	if (strncmp(arg, option, n) != 0)
		return false;
	*value = strtoull(arg + n, NULL, 0);
	return true;
}

int main(int argc, char **argv)
{
	static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
	uint64_t runs = 0, seconds = 0, seed = 1, max_len = 4096, done = 0;
	bool bounded = true;
	const char *slash = strrchr(argv[0], '/');
	struct timespec start, now;
	uint8_t *buf;

	name = slash ? slash + 1 : argv[0];
	for (int i = 1; i < argc; i++) {
		if (number(argv[i], "-runs=", &runs))
			bounded = runs != 0;
		else if (number(argv[i], "-max_total_time=", &seconds) ||
			 number(argv[i], "-seed=", &seed) || number(argv[i], "-max_len=", &max_len))
			;
		else if (argv[i][0] == '-') {
			fprintf(stderr, "fuzz: no option %s here\n", argv[i]);
			return 2;
		} else {
			load(argv[i]);
		}
	}
	state = seed * 0x9e3779b97f4a7c15u | 1;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		/* The sanitizers report a bad access better than a handler could. */
		if (fatal[i] == SIGALRM || fatal[i] == SIGABRT || !__sanitizer_set_death_callback)
			signal(fatal[i], on_signal);
	}
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(died);
	for (size_t i = 0; i < n_corpus; i++) {
		run(corpus[i].data, corpus[i].size);
		if (corpus[i].size > max_len)
			max_len = corpus[i].size;
	}
	buf = malloc(max_len + 1);
	if (!buf)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (runs || seconds || !bounded) {
		const struct input *in = n_corpus ? &corpus[rnd((uint32_t)n_corpus)] : NULL;
		size_t size = in ? in->size : 0;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((runs && done >= runs) ||
		    (seconds && (uint64_t)(now.tv_sec - start.tv_sec) >= seconds))
			break;
		if (size)
			memcpy(buf, in->data, size);
		run(buf, mutate(buf, size, max_len));
		done++;
	}
	free(buf);
	printf("%s: %zu files, %" PRIu64 " inputs made of them, seed %" PRIu64 "\n", name, n_corpus,
	       done, seed);
	return 0;
}
