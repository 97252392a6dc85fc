// SPDX-License-Identifier: MIT
/* SHA-256 against the vectors of NIST (FIPS 180-4 examples and the CAVP short and long messages).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "zw_sha256.h"

static void hex(const uint8_t digest[ZW_SHA256_SIZE], char out[65])
{
	for (int i = 0; i < ZW_SHA256_SIZE; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void test_vectors(void **state)
{
	static const struct {
		const char *msg, *digest;
	} t[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"\xd3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
		{"\x11\xaf", "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"},
		{"\xb4\x19\x0e",
		 "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
		 "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};
	uint8_t d[ZW_SHA256_SIZE];
	char got[65];

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		zw_sha256(t[k].msg, strlen(t[k].msg), d);
		hex(d, got);
		assert_string_equal(got, t[k].digest);
	}
}

static void test_million(void **state)
{
	struct zw_sha256_ctx ctx;
	uint8_t d[ZW_SHA256_SIZE];
	char chunk[1000], got[65];

	memset(chunk, 'a', sizeof(chunk));
	zw_sha256_init(&ctx);
	for (int i = 0; i < 1000; i++)
		zw_sha256_update(&ctx, chunk, sizeof(chunk));
	zw_sha256_final(&ctx, d);
	hex(d, got);
	assert_string_equal(got,
			    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The way a message is cut must not matter, for every length around the padding's edges. */
static void test_pieces(void **state)
{
	uint8_t msg[200], whole[ZW_SHA256_SIZE], parts[ZW_SHA256_SIZE];

	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)(i * 7 + 3);
	for (size_t len = 0; len <= sizeof(msg); len++) {
		zw_sha256(msg, len, whole);
		for (size_t step = 1; step < 70; step += 9) {
			struct zw_sha256_ctx ctx;

			zw_sha256_init(&ctx);
			for (size_t at = 0; at < len; at += step)
				zw_sha256_update(&ctx, msg + at, at + step < len ? step : len - at);
			zw_sha256_update(&ctx, NULL, 0);
			zw_sha256_final(&ctx, parts);
			assert_memory_equal(whole, parts, sizeof(whole));
		}
	}
}

/*
 * Lengths at which the padding changes shape, checked as one: the digest of the digests of
 * 0, 1, ... 128 bytes of 0x5a, computed by OpenSSL.
 */
static void test_padding(void **state)
{
	struct zw_sha256_ctx all;
	uint8_t msg[128], d[ZW_SHA256_SIZE];
	char got[65];

	memset(msg, 0x5a, sizeof(msg));
	zw_sha256_init(&all);
	for (size_t len = 0; len <= sizeof(msg); len++) {
		zw_sha256(msg, len, d);
		zw_sha256_update(&all, d, sizeof(d));
	}
	zw_sha256_final(&all, d);
	hex(d, got);
	assert_string_equal(got,
			    "ade69f30b2e3aad6c0889015e7662811c635342b937713bd78a04860387c14e4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_million),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_padding),
	};

	return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}
