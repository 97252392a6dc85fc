// SPDX-License-Identifier: MIT
/*
 * What packets that do several primitives at once would cost on a chip that has a packet for each of these only. Packets
 * of one primitive are priced, not made: there are none, and results are rounded once in both cases. Rules:
 * Documentation/device/time.md.
 */
#include "zw_cp_int.h"

/* Between primitives: F32, which is what rounding once at the end takes. */
#define BETWEEN sizeof(float)

uint32_t zw_cp_primitives(const void *pkt)
{
	const union zw_cp_packet *p = pkt;

	switch (p->hdr.opcode) {
	case ZW_OP_RMSNORM: /* squares, their mean, its inverse root, x times that, times w */
		return 5;
	case ZW_OP_GATED_NORM: /* and silu of the gate, and the product */
		return 7;
	case ZW_OP_ROPE: /* halves exchanged, x times cosine, that times sine, their sum */
		return 4;
	case ZW_OP_SWIGLU: /* silu, times up */
		return 2;
	case ZW_OP_MUL_SIGMOID: /* sigmoid, x times that, plus residual */
		return p->mul_sigmoid.residual.dtype ? 3 : 2;
	default:
		return 1;
	}
}

/* What lies between them. */
struct primitives {
	uint64_t written;  /* bytes */
	uint64_t read;     /* the same, each time that it is read */
	uint64_t again;    /* of operands that are read a second time */
	uint64_t together; /* what has to stay for it to be found on the chip */
};

static uint64_t bytes_of(const struct zw_cp_exec *x, const struct zw_tensor *t)
{
	return zw_cp_bytes(t->dtype, zw_cp_tensor_count(t, x->rows));
}

static struct primitives norm(const struct zw_cp_exec *x, const struct zw_tensor *in, bool gated)
{
	uint64_t whole = zw_cp_tensor_count(in, x->rows) * BETWEEN;
	uint64_t row = whole / zw_cp_inner(in);

	return (struct primitives){
		/* squares, scaled; mean, inverse; w times that, silu */
		.written = (gated ? 4 : 2) * whole + 2 * row,
		.read = (gated ? 4 : 2) * whole + 2 * row,
		.again = bytes_of(x, in),
		.together = whole + bytes_of(x, in),
	};
}

static bool find(const struct zw_cp_exec *x, struct primitives *s)
{
	const union zw_cp_packet *p = x->pkt;
	uint64_t whole;

	switch (x->op->opcode) {
	case ZW_OP_RMSNORM:
		*s = norm(x, &p->rmsnorm.x, false);
		return true;
	case ZW_OP_GATED_NORM:
		*s = norm(x, &p->gated_norm.x, true);
		return true;
	case ZW_OP_ROPE:
		whole = zw_cp_tensor_count(&p->rope.x, x->rows) * BETWEEN;
		*s = (struct primitives){.written = 3 * whole,
					 .read = 3 * whole,
					 .again = bytes_of(x, &p->rope.x),
					 .together = 2 * whole + bytes_of(x, &p->rope.x)};
		return true;
	case ZW_OP_SWIGLU:
		whole = zw_cp_tensor_count(&p->swiglu.y, x->rows) * BETWEEN;
		*s = (struct primitives){.written = whole, .read = whole, .together = whole};
		return true;
	case ZW_OP_MUL_SIGMOID:
		whole = zw_cp_tensor_count(&p->mul_sigmoid.gate, x->rows) * BETWEEN;
		*s = (struct primitives){.written = whole, .read = whole, .together = whole};
		if (p->mul_sigmoid.residual.dtype) {
			whole = zw_cp_tensor_count(&p->mul_sigmoid.x, x->rows) * BETWEEN;
			s->written += whole;
			s->read += whole;
			s->together = whole > s->together ? whole : s->together;
		}
		return true;
	default:
		return false;
	}
}

void zw_cp_unfuse(struct zw_cp_exec *x)
{
	uint64_t room = x->profile->sram_bytes / 2 - x->profile->kv_sram_bytes, read, launches;
	struct zw_cp_cost *cost = &x->cost;
	struct primitives s;

	if (!find(x, &s))
		return;
	launches = zw_cp_mul_sat(x->profile->packet_ps, zw_cp_primitives(x->pkt) - 1);
	cost->fixed_ps = zw_cp_add_sat(cost->fixed_ps, launches);
	/* each of them is a stream */
	cost->lead_ps = zw_cp_add_sat(cost->lead_ps, launches);
	cost->hbm_written = zw_cp_add_sat(cost->hbm_written, s.written);
	read = zw_cp_add_sat(s.read, s.again);
	if (s.together <= room)
		cost->sram_read = zw_cp_add_sat(cost->sram_read, read);
	else
		cost->hbm_read = zw_cp_add_sat(cost->hbm_read, read);
}
