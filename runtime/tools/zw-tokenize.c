// SPDX-License-Identifier: MIT
/* zw-tokenize: text to token ids and back. No device is needed: see zw-tokenize(1). */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm.h>

#include "read_text.h"
#include "small_files.h"
#include "tool_output.h"

static const char usage_text[] =
	"usage: zw-tokenize -m MODEL [-p TEXT | -f FILE] [--ids | --count] [--no-added] "
	"[--no-template]\n"
	"       zw-tokenize -m MODEL --decode IDS.json [--skip-special]\n"
	"\n"
	"  -m, --model MODEL   folder with tokenizer.json, that file alone, or GGUF file\n"
	"  -p, --prompt TEXT   the text; without it and -f standard input\n"
	"  -f, --file FILE     the same from a file; - is standard input\n"
	"      --ids           print a JSON list of ids; default is one line for each token\n"
	"      --count         print how many there are\n"
	"      --no-added      added tokens in the text are text\n"
	"      --no-template   put nothing around the text\n"
	"      --decode F      the other way: a JSON list of ids to text\n"
	"      --skip-special  leave special tokens out\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 done, 1 failure, 2 usage.\n";

struct args {
	const char *model, *prompt, *file, *decode;
	uint32_t flags;
	bool ids, count, skip_special;
};

static int fail(const char *msg)
{
	fprintf(stderr, "zw-tokenize: %s\n", msg);
	return EXIT_FAILURE;
}

/* Printable ASCII as it is, everything else as \xNN: tokens are often not whole characters. */
static void print_bytes(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '\\' || c == '"')
			printf("\\%c", c);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c >= 0x20 && c < 0x7f)
			putchar(c);
		else
			printf("\\x%02x", c);
	}
}

static void print_tokens(const struct zw_tokenizer *tok, const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *bytes = "";
		uint32_t flags = 0;
		size_t len = 0;

		zw_tokenizer_token(tok, ids[i], &bytes, &len, &flags);
		printf("%8u  \"", ids[i]);
		print_bytes(bytes, len);
		printf("\"%s\n", flags & ZW_TOKEN_SPECIAL ? "  special"
				 : flags & ZW_TOKEN_ADDED ? "  added"
							  : "");
	}
}

static void print_list(const uint32_t *ids, size_t n)
{
	putchar('[');
	for (size_t i = 0; i < n; i++)
		printf("%s%u", i ? ", " : "", ids[i]);
	puts("]");
}

static int encode(const struct args *a, const struct zw_tokenizer *tok)
{
	const char *path = a->file ? a->file : "-", *text = a->prompt;
	size_t len = text ? strlen(text) : 0, n;
	char *read = NULL;
	struct zw_error err;
	uint32_t *ids;
	int ret;

	if (!text) {
		ret = read_text(path, READ_TEXT_MAX, &read, &len);
		if (ret) {
			fprintf(stderr, "zw-tokenize: %s: %s\n", path, strerror(-ret));
			return EXIT_FAILURE;
		}
		text = read;
	}
	ret = zw_tokenizer_encode(tok, text, len, a->flags, &ids, &n, &err);
	free(read);
	if (ret)
		return fail(err.msg);
	if (a->count)
		printf("%zu\n", n);
	else if (a->ids)
		print_list(ids, n);
	else
		print_tokens(tok, ids, n);
	free(ids);
	return 0;
}

static int decode(const struct args *a, const struct zw_tokenizer *tok)
{
	struct zw_detokenizer *d;
	struct zw_error err;
	const char *text;
	uint32_t *ids;
	size_t n, len;
	int ret = 0;

	if (ids_read_json(a->decode, &ids, &n, &err))
		return fail(err.msg);
	if (zw_detokenizer_open(tok, a->skip_special ? ZW_DECODE_SKIP_SPECIAL : 0, &d)) {
		free(ids);
		return fail("out of memory");
	}
	for (size_t i = 0; i <= n && !ret; i++) {
		ret = i < n ? zw_detokenizer_push(d, ids[i], &text, &len)
			    : zw_detokenizer_flush(d, &text, &len);
		if (ret == -ENOENT)
			fprintf(stderr, "zw-tokenize: %s: %u is no token\n", a->decode, ids[i]);
		else if (ret)
			fail("out of memory");
		else
			fwrite(text, 1, len, stdout);
	}
	zw_detokenizer_close(d);
	free(ids);
	return ret ? EXIT_FAILURE : 0;
}

enum { OPT_IDS = 256, OPT_COUNT, OPT_NO_ADDED, OPT_NO_TEMPLATE, OPT_DECODE, OPT_SKIP, OPT_VERSION };

static const struct option options[] = {
	{"model", required_argument, NULL, 'm'},
	{"prompt", required_argument, NULL, 'p'},
	{"file", required_argument, NULL, 'f'},
	{"ids", no_argument, NULL, OPT_IDS},
	{"count", no_argument, NULL, OPT_COUNT},
	{"no-added", no_argument, NULL, OPT_NO_ADDED},
	{"no-template", no_argument, NULL, OPT_NO_TEMPLATE},
	{"decode", required_argument, NULL, OPT_DECODE},
	{"skip-special", no_argument, NULL, OPT_SKIP},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* -1: go on; otherwise the exit status. */
static int parse_args(struct args *a, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "m:p:f:h", options, NULL)) != -1) {
		switch (opt) {
		case 'm':
			a->model = optarg;
			break;
		case 'p':
			a->prompt = optarg;
			break;
		case 'f':
			a->file = optarg;
			break;
		case OPT_IDS:
			a->ids = true;
			break;
		case OPT_COUNT:
			a->count = true;
			break;
		case OPT_NO_ADDED:
			a->flags |= ZW_ENCODE_NO_ADDED;
			break;
		case OPT_NO_TEMPLATE:
			a->flags |= ZW_ENCODE_NO_TEMPLATE;
			break;
		case OPT_DECODE:
			a->decode = optarg;
			break;
		case OPT_SKIP:
			a->skip_special = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return tool_finish("zw-tokenize", 0);
		case OPT_VERSION:
			printf("zw-tokenize %d.%d.%d\n", ZW_VERSION_MAJOR, ZW_VERSION_MINOR,
			       ZW_VERSION_PATCH);
			return tool_finish("zw-tokenize", 0);
		default:
			return 2; /* getopt has said why */
		}
	}
	if (optind < argc || !a->model || !!a->prompt + !!a->file + !!a->decode > 1 ||
	    (a->ids && a->count) || (a->decode && (a->ids || a->count || a->flags)) ||
	    (a->skip_special && !a->decode)) {
		fprintf(stderr, "zw-tokenize: options are missing or do not go together "
				"(zw-tokenize --help)\n");
		return 2;
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct args a = {0};
	struct zw_tokenizer *tok;
	struct zw_error err;
	int ret = parse_args(&a, argc, argv);

	if (ret >= 0)
		return ret;
	if (zw_tokenizer_open(a.model, &tok, &err))
		return fail(err.msg);
	ret = a.decode ? decode(&a, tok) : encode(&a, tok);
	zw_tokenizer_close(tok);
	return tool_finish("zw-tokenize", ret);
}
