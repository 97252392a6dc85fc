// SPDX-License-Identifier: MIT
#include "run_logprobs.h"

#include <errno.h>
#include <math.h>

/* The bytes as a JSON string: what is not UTF-8 becomes U+FFFD ("bytes" has them as they are). */
static void print_string(FILE *f, const uint8_t *p, size_t len)
{
	size_t n;

	fputc('"', f);
	for (size_t i = 0; i < len; i += n) {
		uint8_t c = p[i];
		bool ok;

		n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		ok = c < 0x80 || (c >= 0xc2 && c <= 0xf4 && n <= len - i);
		for (size_t k = 1; k < n && ok; k++)
			ok = (p[i + k] & 0xc0) == 0x80;
		/* Overlong forms, surrogates, and what is past U+10FFFF. */
		if (ok && ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xf0 && p[i + 1] < 0x90) ||
			   (c == 0xed && p[i + 1] >= 0xa0) || (c == 0xf4 && p[i + 1] >= 0x90)))
			ok = false;
		if (!ok) {
			fputs("\\ufffd", f);
			n = 1;
		} else if (c < 0x20 || c == 0x7f) {
			fprintf(f, "\\u%04x", c);
		} else {
			if (c == '"' || c == '\\')
				fputc('\\', f);
			fwrite(p + i, 1, n, f);
		}
	}
	fputc('"', f);
}

/* JSON has no -Infinity: an excluded token has null. */
static void print_one(FILE *f, const struct zw_tokenizer *tok, const struct zw_logprob *lp)
{
	const char *bytes = "";
	size_t len = 0;

	fprintf(f, "\"id\":%u", lp->id);
	if (tok && !zw_tokenizer_token(tok, lp->id, &bytes, &len, NULL)) {
		fputs(",\"token\":", f);
		print_string(f, (const uint8_t *)bytes, len);
		fputs(",\"bytes\":[", f);
		for (size_t i = 0; i < len; i++)
			fprintf(f, "%s%u", i ? "," : "", (uint8_t)bytes[i]);
		fputc(']', f);
	}
	if (isinf(lp->logprob))
		fputs(",\"logprob\":null", f);
	else
		fprintf(f, ",\"logprob\":%.9g", (double)lp->logprob);
}

int logprobs_print(FILE *f, const struct zw_tokenizer *tok, const struct zw_logprob *lp, size_t n)
{
	fputc('{', f);
	print_one(f, tok, &lp[0]);
	fputs(",\"top_logprobs\":[", f);
	for (size_t i = 1; i < n; i++) {
		fputs(i > 1 ? ",{" : "{", f);
		print_one(f, tok, &lp[i]);
		fputc('}', f);
	}
	fputs("]}\n", f);
	return fflush(f) || ferror(f) ? -EIO : 0;
}
