/* SPDX-License-Identifier: MIT */
/* What work costs: a card over the years it is used, and its energy. No host, cooling or staff. */
#ifndef ZW_TOOL_COST_H
#define ZW_TOOL_COST_H

#define TOOL_COST_YEARS 4.0 /* by default */

struct tool_cost {
	double price;       /* of a card */
	double power_price; /* of a kWh */
	double years;       /* that a card is used */
};

/* Cards for so many seconds together, and joules; in the currency of the prices. */
static inline double tool_cost(const struct tool_cost *c, double card_seconds, double joules)
{
	return c->price / (c->years * 365.25 * 24 * 3600) * card_seconds +
	       joules / 3.6e6 * c->power_price;
}

#endif
