// SPDX-License-Identifier: MIT
/* Numbers: any, or between bounds, digit by digit. */
#include "grammar.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS          15 /* of a bounded number: as many as binary64 keeps apart */
#define INTEGER_DIGITS  18
#define FRACTION_DIGITS 17 /* of a number without bounds */
#define EXPONENT_DIGITS 2

/* Up to `most` digits more, at least `least`; the state behind them. */
static uint32_t digits(struct gr_builder *b, uint32_t from, unsigned int least, unsigned int most)
{
	uint32_t end = gr_state(b);

	for (unsigned int i = 0; i < most; i++) {
		uint32_t to = gr_state(b);

		if (i >= least)
			gr_empty(b, from, end);
		gr_bytes(b, from, '0', '9', to);
		from = to;
	}
	gr_empty(b, from, end);
	return end;
}

static uint32_t integer_part(struct gr_builder *b, uint32_t from)
{
	uint32_t start = gr_state(b), end = gr_state(b), first = gr_state(b);

	gr_empty(b, from, start);
	gr_bytes(b, from, '-', '-', start);
	gr_bytes(b, start, '0', '0', end);
	gr_bytes(b, start, '1', '9', first);
	gr_empty(b, digits(b, first, 0, INTEGER_DIGITS - 1), end);
	return end;
}

static void plain_number(struct gr_builder *b, uint32_t from, uint32_t to)
{
	uint32_t whole = integer_part(b, from), fraction = gr_state(b), sign = gr_state(b), e;

	gr_empty(b, whole, fraction);
	gr_empty(b, digits(b, gr_byte(b, whole, '.'), 1, FRACTION_DIGITS), fraction);
	gr_empty(b, fraction, to);
	e = gr_state(b);
	gr_bytes(b, fraction, 'e', 'e', e);
	gr_bytes(b, fraction, 'E', 'E', e);
	gr_empty(b, e, sign);
	gr_bytes(b, e, '+', '+', sign);
	gr_bytes(b, e, '-', '-', sign);
	gr_empty(b, digits(b, sign, 1, EXPONENT_DIGITS), to);
}

/* ---- bounds ---- */

/* A bound in decimal digits: no leading zeroes but for "0", no trailing ones in the fraction. */
struct decimal {
	bool there, open;
	char whole[20];
	unsigned int num_whole;
	char fraction[40];
	unsigned int num_fraction;
};

/* |v| by the shortest digits that are v again. */
static void to_decimal(struct gr_builder *b, double v, bool open, struct decimal *d)
{
	char text[400], *point;
	int places = 0;

	*d = (struct decimal){.there = true, .open = open};
	v = fabs(v);
	if (!(v < 1e18)) {
		gr_fail(b, -EOPNOTSUPP, "the bound %g at #%.80s is too large", v, b->place);
		return;
	}
	do {
		snprintf(text, sizeof(text), "%.*f", places, v);
	} while (strtod(text, NULL) != v && ++places < (int)sizeof(d->fraction));
	point = strchr(text, '.');
	d->num_whole = (unsigned int)(point ? point - text : (long)strlen(text));
	memcpy(d->whole, text, d->num_whole);
	if (point) {
		d->num_fraction = (unsigned int)strlen(point + 1);
		memcpy(d->fraction, point + 1, d->num_fraction);
	}
	if (places == (int)sizeof(d->fraction) ||
	    (d->num_fraction && d->num_whole + d->num_fraction > DIGITS))
		gr_fail(b, -EOPNOTSUPP, "the bound %.17g at #%.80s has more than %d digits", v,
			b->place, DIGITS);
}

struct range {
	struct gr_builder *b;
	const struct decimal *lo, *hi;
	unsigned int whole;     /* digits in front of the point */
	unsigned int most;      /* and behind it */
	uint32_t states[64][4]; /* by digits done, and which bounds are still equal; + 1 */
	uint32_t to;
};

static char digit_of(const struct range *r, const struct decimal *d, unsigned int i)
{
	if (i < r->whole)
		return d->whole[i];
	i -= r->whole;
	return i < d->num_fraction ? d->fraction[i] : '0';
}

/* Whether the number may end behind i digits, i >= whole. */
static bool may_end(const struct range *r, unsigned int i, bool lo, bool hi)
{
	bool lo_more = lo && r->lo->num_fraction > i - r->whole;
	bool hi_more = hi && r->hi->num_fraction > i - r->whole;

	/* Equal so far: shorter than the bound is below it, else it is the bound. */
	if (lo && (lo_more || r->lo->open))
		return false;
	return !(hi && !hi_more && r->hi->open);
}

static uint32_t state_of(struct range *r, unsigned int i, bool lo, bool hi);

static void digit_edges(struct range *r, uint32_t from, unsigned int i, bool lo, bool hi)
{
	char first = i == 0 && r->whole > 1 ? '1' : '0', least = first, most = '9';

	if (lo && digit_of(r, r->lo, i) > least)
		least = digit_of(r, r->lo, i);
	if (hi && digit_of(r, r->hi, i) < most)
		most = digit_of(r, r->hi, i);
	for (char d = least; d <= most; d++) {
		bool l = lo && d == digit_of(r, r->lo, i), h = hi && d == digit_of(r, r->hi, i);

		gr_bytes(r->b, from, (uint8_t)d, (uint8_t)d, state_of(r, i + 1, l, h));
	}
}

static uint32_t state_of(struct range *r, unsigned int i, bool lo, bool hi)
{
	uint32_t *known = &r->states[i][lo + 2 * hi], s, at;

	if (*known)
		return *known - 1;
	s = gr_state(r->b);
	*known = s + 1;
	if (i < r->whole) {
		digit_edges(r, s, i, lo, hi);
		return s;
	}
	if (may_end(r, i, lo, hi))
		gr_empty(r->b, s, r->to);
	if (i == r->whole + r->most)
		return s;
	at = i == r->whole ? gr_byte(r->b, s, '.') : s;
	digit_edges(r, at, i, lo, hi);
	return s;
}

/* Numbers without a sign between two bounds, of which either may be missing. */
static void magnitudes(struct gr_builder *b, const struct decimal *lo, const struct decimal *hi,
		       bool integer, uint32_t from, uint32_t to)
{
	unsigned int longest = integer ? INTEGER_DIGITS : DIGITS;

	for (unsigned int n = 1; n <= longest && !b->ret; n++) {
		struct range r = {.b = b, .lo = lo, .hi = hi, .whole = n, .to = to};

		if ((lo->there && n < lo->num_whole) || (hi->there && n > hi->num_whole))
			continue;
		r.most = integer ? 0 : DIGITS - n;
		gr_empty(b, from,
			 state_of(&r, 0, lo->there && n == lo->num_whole,
				  hi->there && n == hi->num_whole));
	}
}

/* Integers have no open bounds, and none that doubles cannot hold: those go one step inwards. */
static void to_integers(struct gr_bounds *r)
{
	if (r->has_min) {
		double min = ceil(r->min);

		if (r->open_min && min == r->min)
			min += 1;
		if (fabs(min) > 0x1p53)
			min = nextafter(min, INFINITY);
		r->min = min;
		r->open_min = false;
		if (min < -1e18 + 1)
			r->has_min = false; /* there are no integers of more digits */
	}
	if (r->has_max) {
		double max = floor(r->max);

		if (r->open_max && max == r->max)
			max -= 1;
		if (fabs(max) > 0x1p53)
			max = nextafter(max, -INFINITY);
		r->max = max;
		r->open_max = false;
		if (max > 1e18 - 1)
			r->has_max = false;
	}
}

void gr_number(struct gr_builder *b, const struct gr_bounds *given, bool integer, uint32_t from,
	       uint32_t to)
{
	const struct decimal none = {0};
	struct decimal zero = {.there = true, .whole = "0", .num_whole = 1};
	struct gr_bounds r = *given;
	struct decimal lo = none, hi = none;

	if (integer)
		to_integers(&r);
	if (!r.has_min && !r.has_max) {
		if (integer)
			gr_empty(b, integer_part(b, from), to);
		else
			plain_number(b, from, to);
		return;
	}
	if (r.has_min)
		to_decimal(b, r.min, r.open_min, &lo);
	if (r.has_max)
		to_decimal(b, r.max, r.open_max, &hi);
	if (!r.has_max || r.max >= 0)
		magnitudes(b, r.has_min && r.min >= 0 ? &lo : &zero, &hi, integer, from, to);
	/* Below zero the bounds change places; -0 is 0. */
	zero.open = r.has_max && r.max == 0 && r.open_max;
	if (!r.has_min || r.min < 0)
		magnitudes(b, r.has_max && r.max < 0 ? &hi : &zero, &lo, integer,
			   gr_byte(b, from, '-'), to);
}
