// SPDX-License-Identifier: MIT
/* Running: budget, stop requests, coherency of the decode cache, snapshots, threads, hostile code.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include "rv_harness.h"

static void test_config(void **state)
{
	struct hart *h = *state;
	struct zw_rv_config c;
	struct zw_rv *rv;

#define BAD(change)                                                                                \
	do {                                                                                       \
		c = h->cfg;                                                                        \
		change;                                                                            \
		assert_int_equal(zw_rv_new(&c, &rv), -EINVAL);                                     \
		assert_null(rv);                                                                   \
	} while (0)
	BAD(c.ram = NULL);
	BAD(c.ram = h->ram + 1);
	BAD(c.ram_base += 4);
	BAD(c.ram_size = 0);
	BAD(c.ram_size -= 4);
	BAD(c.ram_size = ZW_RV_RAM_MAX + 8);
	BAD(c.ram_base = UINT64_MAX - 7);
	BAD(c.mtime = NULL);
	zw_rv_free(NULL);

	/* a bus with nothing on it, and RAM at 0 */
	c = h->cfg;
	c.bus = (struct zw_rv_bus_ops){0};
	c.clint = false;
	c.mtime = NULL;
	c.trap = NULL;
	c.ram_base = 0;
	assert_int_equal(zw_rv_new(&c, &rv), 0);
	emit(h, ADDI(10, 0, 1));
	emit(h, LW(12, 11, 0));
	zw_rv_set_reg(rv, 11, CLINT);
	assert_int_equal(zw_rv_run(rv, 10), ZW_RV_STOP_HALT);
	assert_u64(zw_rv_reg(rv, 10), 1);
	assert_u64(zw_rv_pc(rv), 4);
	zw_rv_free(rv);
}

/* while (true) x10++, in two instructions */
static void emit_count_loop(struct hart *h)
{
	emit(h, ADDI(10, 10, 1));
	emit(h, JAL(0, -4));
}

static void test_budget(void **state)
{
	struct hart *h = *state;
	static const uint64_t budgets[] = {0, 1, 2, 3, 1023, 1024, 1025, 5000};
	uint64_t done = 0;

	emit_count_loop(h);
	for (size_t k = 0; k < sizeof(budgets) / sizeof(budgets[0]); k++) {
		step(h, budgets[k]);
		done += budgets[k];
		assert_u64(csr(h, ZW_RV_CSR_MINSTRET), done);
		assert_u64(csr(h, ZW_RV_CSR_MCYCLE), done);
		assert_u64(reg(h, 10), (done + 1) / 2);
	}

	/* a program that does nothing but trap uses it up as well */
	hart_clear(h);
	emit(h, ECALL);
	poke(h, HANDLER, 4, MRET);
	set_csr(h, ZW_RV_CSR_MTVEC, HANDLER);
	step(h, 10001);
	assert_u64(csr(h, ZW_RV_CSR_MCYCLE), 10001);
	assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 5000);

	/* and one that stops at every instruction to look around */
	hart_clear(h);
	emit(h, CSRRSI(0, ZW_RV_CSR_MIE, 8));
	emit(h, FENCE_I);
	emit(h, SW(0, 11, 0));
	emit(h, JAL(0, -12));
	zw_rv_set_reg(h->rv, 11, MMIO);
	step(h, 4003);
	assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 4003);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 12);
}

static void test_stop(void **state)
{
	struct hart *h = *state;

	emit_count_loop(h);
	zw_rv_request_stop(h->rv);
	zw_rv_request_stop(h->rv);
	assert_true(zw_rv_wake_pending(h->rv));
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_EXTERNAL);
	assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 0);
	assert_false(zw_rv_wake_pending(h->rv));
	step(h, 10);

	/* a parked hart is stopped too */
	hart_clear(h);
	emit(h, WFI);
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_WFI);
	zw_rv_request_stop(h->rv);
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_EXTERNAL);
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_WFI);
}

static void *stopper(void *arg)
{
	struct hart *h = arg;
	volatile uint64_t *count = (void *)(h->ram + (DATA - RAM_BASE));

	while (!__atomic_load_n(count, __ATOMIC_RELAXED))
		sched_yield();
	zw_rv_request_stop(h->rv);
	return NULL;
}

static void test_stop_thread(void **state)
{
	struct hart *h = *state;
	pthread_t t;

	emit(h, ADDI(10, 10, 1));
	emit(h, SD(10, 11, 0));
	emit(h, JAL(0, -8));
	zw_rv_set_reg(h->rv, 11, DATA);
	assert_int_equal(pthread_create(&t, NULL, stopper, h), 0);
	assert_int_equal(zw_rv_run(h->rv, UINT64_MAX), ZW_RV_STOP_EXTERNAL);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(reg(h, 10) > 0);
}

static void test_fence_i(void **state)
{
	struct hart *h = *state;
	/* at FUNC: addi a0,a0,1; ret. The loop overwrites the first with addi a0,a0,16. */
	const uint64_t func = RAM_BASE + 0x400;

	emit(h, JALR(1, 12, 0));
	emit(h, SW(13, 12, 0));
	emit(h, JALR(1, 12, 0)); /* stale: allowed, and what the cache does */
	emit(h, FENCE_I);
	emit(h, JALR(1, 12, 0));
	poke(h, func, 4, ADDI(10, 10, 1));
	poke(h, func + 4, 4, JALR(0, 1, 0));
	zw_rv_set_reg(h->rv, 12, func);
	zw_rv_set_reg(h->rv, 13, ADDI(10, 10, 16));
	step(h, 3);
	assert_u64(reg(h, 10), 1);
	step(h, 4);
	assert_u64(reg(h, 10), 2);
	step(h, 4);
	assert_u64(reg(h, 10), 18);

	/* FENCE.I on the very page that is executed goes on behind itself */
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 20);
}

static void test_invalidate(void **state)
{
	struct hart *h = *state;
	/* the only instruction that reaches into a page of the cache, from the one before */
	const uint64_t edge = RAM_BASE + 0x5000 - 2;
	uint32_t insn = JAL(0, -4), other = JAL(0, -8);

	for (int how = 0; how < 4; how++) {
		hart_clear(h);
		poke(h, edge - 8, 4, ADDI(10, 10, 0xff));
		poke(h, edge - 4, 4, ADDI(10, 10, 1));
		poke(h, edge, 4, insn);
		zw_rv_set_pc(h->rv, edge - 4);
		step(h, 1000);
		assert_u64(reg(h, 10), 500);
		/* only the half behind the boundary differs */
		assert_int_equal(insn & 0xffff, other & 0xffff);
		poke(h, edge + 2, 2, other >> 16);
		if (how == 0)
			zw_rv_invalidate(h->rv, edge + 2, 1);
		else if (how == 1)
			zw_rv_invalidate(h->rv, RAM_BASE, RAM_SIZE);
		else if (how == 2)
			zw_rv_invalidate(h->rv, 0, UINT64_MAX);
		else /* around it, which must not help */
			zw_rv_invalidate(h->rv, RAM_BASE + 0x6000, 0x1000);
		step(h, 4);
		assert_u64(reg(h, 10), how == 3 ? 502 : 501 + 0x100);
	}
	/* ranges that are empty or elsewhere, including at the ends of the address space */
	zw_rv_invalidate(h->rv, RAM_BASE, 0);
	zw_rv_invalidate(h->rv, 0, RAM_BASE);
	zw_rv_invalidate(h->rv, RAM_BASE + RAM_SIZE, 8);
	zw_rv_invalidate(h->rv, UINT64_MAX, UINT64_MAX);
	zw_rv_invalidate(h->rv, RAM_BASE + RAM_SIZE - 1, UINT64_MAX);
	zw_rv_invalidate(h->rv, RAM_BASE - 1, 1);
	step(h, 2);
	assert_u64(reg(h, 10), 503);
}

/* DMA by a store to a device register: new code is there when the next instruction is fetched. */
static void dma_code(struct hart *h)
{
	poke(h, RAM_BASE + 8, 4, ADDI(10, 10, 0x100));
	zw_rv_invalidate(h->rv, RAM_BASE + 8, 4);
}

static void test_invalidate_from_bus(void **state)
{
	struct hart *h = *state;

	emit(h, NOP);
	emit(h, SW(0, 11, 0));
	emit(h, ADDI(10, 10, 1));
	emit(h, JAL(0, -12));
	zw_rv_set_reg(h->rv, 11, MMIO);
	step(h, 4);
	assert_u64(reg(h, 10), 1);
	h->on_store = dma_code;
	step(h, 4);
	assert_u64(reg(h, 10), 0x101);
}

#define ROUNDS 2000

/*
 * Another thread rewrites an instruction of a loop that is being executed. When the store of the
 * new code and its invalidation are done, the hart must execute the new one from the next look on.
 */
static void *patcher(void *arg)
{
	struct hart *h = arg;
	uint32_t *word = (void *)(h->ram + 0x300);
	volatile uint64_t *seen = (void *)(h->ram + 0x8000);

	for (uint32_t k = 1; k <= ROUNDS; k++) {
		__atomic_store_n(word, ADDI(10, 0, (int)(k & 0x7ff)), __ATOMIC_RELAXED);
		zw_rv_invalidate(h->rv, RAM_BASE + 0x300, 4);
		while (__atomic_load_n(seen, __ATOMIC_RELAXED) != (k & 0x7ff))
			sched_yield();
	}
	zw_rv_request_stop(h->rv);
	return NULL;
}

static void test_invalidate_thread(void **state)
{
	struct hart *h = *state;
	pthread_t t;

	poke(h, RAM_BASE + 0x300, 4, ADDI(10, 0, 0));
	poke(h, RAM_BASE + 0x304, 4, SD(10, 11, 0));
	poke(h, RAM_BASE + 0x308, 4, JAL(0, -8));
	zw_rv_set_pc(h->rv, RAM_BASE + 0x300);
	zw_rv_set_reg(h->rv, 11, DATA);
	assert_int_equal(pthread_create(&t, NULL, patcher, h), 0);
	assert_int_equal(zw_rv_run(h->rv, UINT64_MAX), ZW_RV_STOP_EXTERNAL);
	assert_int_equal(pthread_join(t, NULL), 0);
}

/* The host and the firmware add to the same word; nothing may get lost, by AMO or by LR/SC. */
static void *adder(void *arg)
{
	for (int k = 0; k < 20000; k++)
		__atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void test_shared_atomics(void **state)
{
	struct hart *h = *state;

	for (int lrsc = 0; lrsc < 2; lrsc++) {
		pthread_t t;

		hart_clear(h);
		if (lrsc) {
			emit(h, AMO(2, 2, 12, 10, 0));
			emit(h, ADD(12, 12, 11));
			emit(h, AMO(3, 2, 12, 10, 12));
			emit(h, BNE(12, 0, -12));
		} else {
			emit(h, AMO(0, 2, 0, 10, 11));
		}
		emit(h, ADDI(13, 13, -1));
		emit(h, BNE(13, 0, lrsc ? -20 : -8));
		emit(h, EBREAK);
		zw_rv_set_reg(h->rv, 10, DATA);
		zw_rv_set_reg(h->rv, 11, 1);
		zw_rv_set_reg(h->rv, 13, 20000);
		assert_int_equal(pthread_create(&t, NULL, adder, h->ram + (DATA - RAM_BASE)), 0);
		assert_int_equal(zw_rv_run(h->rv, UINT64_MAX), ZW_RV_STOP_HALT);
		assert_int_equal(pthread_join(t, NULL), 0);
		assert_u64(peek(h, DATA, 4), 40000);
	}
}

/* A parked hart and the thread that wakes it, as the device does it. */
struct parking {
	struct hart *h;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static void *waker(void *arg)
{
	struct parking *p = arg;
	uint64_t *acks = (void *)(p->h->ram + 0x8000);

	for (uint64_t k = 1; k <= 200; k++) {
		pthread_mutex_lock(&p->lock);
		zw_rv_set_irq(p->h->rv, ZW_RV_IRQ_MEI, true);
		pthread_cond_signal(&p->cond);
		pthread_mutex_unlock(&p->lock);
		while (__atomic_load_n(acks, __ATOMIC_RELAXED) != k)
			sched_yield();
	}
	pthread_mutex_lock(&p->lock);
	zw_rv_request_stop(p->h->rv);
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void lower_mei(struct hart *h)
{
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MEI, false);
}

static void test_park(void **state)
{
	struct hart *h = *state;
	struct parking p = {h, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
	enum zw_rv_stop why;
	pthread_t t;

	emit(h, WFI);
	emit(h, JAL(0, -4));
	/* handler: lower the line by a store to the device, count, return */
	h->at = HANDLER;
	emit(h, SW(0, 11, 0));
	emit(h, ADDI(12, 12, 1));
	emit(h, SD(12, 10, 0));
	emit(h, MRET);
	h->on_store = lower_mei;
	zw_rv_set_reg(h->rv, 10, DATA);
	zw_rv_set_reg(h->rv, 11, MMIO);
	set_csr(h, ZW_RV_CSR_MTVEC, HANDLER);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MEI);
	set_csr(h, ZW_RV_CSR_MSTATUS, 8);

	assert_int_equal(pthread_create(&t, NULL, waker, &p), 0);
	while ((why = zw_rv_run(h->rv, UINT64_MAX)) == ZW_RV_STOP_WFI) {
		pthread_mutex_lock(&p.lock);
		while (!zw_rv_wake_pending(h->rv))
			pthread_cond_wait(&p.cond, &p.lock);
		pthread_mutex_unlock(&p.lock);
	}
	assert_int_equal(why, ZW_RV_STOP_EXTERNAL);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_u64(reg(h, 12), 200);
	assert_int_equal(h->traps, 200);
}

static void test_snapshot(void **state)
{
	struct hart *h = *state;
	struct zw_rv_state a, b, end1, end2;
	struct zw_rv_halt info;
	uint8_t *ram = malloc(RAM_SIZE);

	assert_non_null(ram);
	assert_int_equal(sizeof(a), ZW_RV_STATE_WORDS * sizeof(uint64_t));

	/* in the middle of a reservation and of a handler, with every register in use */
	for (unsigned n = 1; n < 32; n++)
		zw_rv_set_reg(h->rv, n, n * 0x0101010101010101);
	zw_rv_set_reg(h->rv, 10, DATA);
	set_csr(h, ZW_RV_CSR_MTVEC, HANDLER | 1);
	set_csr(h, ZW_RV_CSR_MSCRATCH, 77);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MTI);
	emit(h, ECALL);
	h->at = HANDLER;
	emit(h, AMO(2, 2, 12, 10, 0));
	emit(h, AMO(3, 2, 13, 10, 11));
	emit(h, WFI);
	step(h, 2);
	zw_rv_get_state(h->rv, &a);
	memcpy(ram, h->ram, RAM_SIZE);
	assert_u64(a.version, ZW_RV_STATE_VERSION);
	assert_u64(a.flags, ZW_RV_STATE_IN_TRAP | ZW_RV_STATE_RESERVED);
	assert_int_equal(zw_rv_run(h->rv, 5), ZW_RV_STOP_WFI);
	zw_rv_get_state(h->rv, &end1);
	assert_u64(end1.flags, ZW_RV_STATE_IN_TRAP | ZW_RV_STATE_WAITING);
	assert_u64(end1.x[13], 0);

	/* into another hart, from the same point */
	memcpy(h->ram, ram, RAM_SIZE);
	zw_rv_free(h->rv);
	assert_int_equal(zw_rv_new(&h->cfg, &h->rv), 0);
	assert_int_equal(zw_rv_set_state(h->rv, &a), 0);
	zw_rv_get_state(h->rv, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(zw_rv_run(h->rv, 5), ZW_RV_STOP_WFI);
	zw_rv_get_state(h->rv, &end2);
	assert_memory_equal(&end1, &end2, sizeof(a));

	/* a parked one stays parked, a halted one halted */
	zw_rv_reset(h->rv, RAM_BASE);
	assert_int_equal(zw_rv_set_state(h->rv, &end2), 0);
	assert_int_equal(zw_rv_run(h->rv, 5), ZW_RV_STOP_WFI);
	zw_rv_reset(h->rv, DATA + 0x100);
	assert_int_equal(zw_rv_run(h->rv, 5), ZW_RV_STOP_HALT);
	zw_rv_get_state(h->rv, &a);
	zw_rv_reset(h->rv, RAM_BASE);
	assert_int_equal(zw_rv_set_state(h->rv, &a), 0);
	assert_int_equal(zw_rv_run(h->rv, 5), ZW_RV_STOP_HALT);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_u64(info.cause, ZW_RV_CAUSE_ILLEGAL);
	assert_u64(info.epc, DATA + 0x100);

	/* bad ones are refused and change nothing; wild CSR values are cut to what exists */
	zw_rv_get_state(h->rv, &a);
	b = end1;
	b.version++;
	assert_int_equal(zw_rv_set_state(h->rv, &b), -EINVAL);
	b = end1;
	b.flags |= 1u << 7;
	assert_int_equal(zw_rv_set_state(h->rv, &b), -EINVAL);
	b = end1;
	b.flags |= ZW_RV_STATE_RESERVED;
	b.lr_size = 16;
	assert_int_equal(zw_rv_set_state(h->rv, &b), -EINVAL);
	zw_rv_get_state(h->rv, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	memset(&b, 0xff, sizeof(b));
	b.version = ZW_RV_STATE_VERSION;
	b.flags = 0;
	assert_int_equal(zw_rv_set_state(h->rv, &b), 0);
	assert_u64(reg(h, 0), 0);
	assert_u64(zw_rv_pc(h->rv), UINT64_MAX - 1);
	assert_u64(csr(h, ZW_RV_CSR_MSTATUS), 0x1888);
	assert_u64(csr(h, ZW_RV_CSR_MIE), ZW_RV_IRQ_ALL);
	assert_u64(csr(h, ZW_RV_CSR_MTVEC), UINT64_MAX - 2);
	free(ram);
}

static uint64_t rng(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/*
 * Firmware that is noise: RAM full of random bits, registers that point into and around RAM. It
 * must stay within RAM (the sanitizers watch) and within its budget, whatever it does.
 */
static void test_hostile(void **state)
{
	struct hart *h = *state;
	uint64_t s = 0x9e3779b97f4a7c15;

	for (int round = 0; round < 300; round++) {
		uint64_t *words = (void *)h->ram, before;

		hart_clear(h);
		for (size_t k = 0; k < RAM_SIZE / 8; k++)
			words[k] = rng(&s);
		/* more of what decodes: base opcodes in half of the rounds */
		for (size_t k = 0; round & 1 && k < RAM_SIZE / 4; k++) {
			static const uint8_t op[] = {0x03, 0x13, 0x23, 0x2f, 0x33, 0x3b,
						     0x63, 0x67, 0x6f, 0x73, 0x0f, 0x17};
			uint8_t *p = h->ram + 4 * k;

			*p = (uint8_t)(op[rng(&s) % sizeof(op)] | (*p & 0x80));
		}
		for (unsigned n = 1; n < 32; n++) {
			uint64_t around[] = {RAM_BASE, RAM_BASE + RAM_SIZE, CLINT, MMIO, 0, DATA};

			zw_rv_set_reg(h->rv, n,
				      around[rng(&s) % 6] + rng(&s) % 4096 - rng(&s) % 4096);
		}
		set_csr(h, ZW_RV_CSR_MTVEC, RAM_BASE + (rng(&s) & 0xfffc) + (rng(&s) & 1));
		set_csr(h, ZW_RV_CSR_MIE, rng(&s));
		set_csr(h, ZW_RV_CSR_MSTATUS, rng(&s));
		zw_rv_set_irq(h->rv, (uint32_t)rng(&s), true);
		zw_rv_set_pc(h->rv, RAM_BASE + (rng(&s) & 0xffff));
		before = csr(h, ZW_RV_CSR_MCYCLE);
		for (int k = 0; k < 20; k++) {
			struct zw_rv_halt info;

			zw_rv_run(h->rv, 100);
			/* go on behind a halt */
			if (zw_rv_halt_info(h->rv, &info)) {
				struct zw_rv_state st;

				zw_rv_get_state(h->rv, &st);
				st.flags = 0;
				st.pc = RAM_BASE + (rng(&s) & 0xffff);
				assert_int_equal(zw_rv_set_state(h->rv, &st), 0);
			}
		}
		/* unless the noise wrote the counter, the budget bounds it */
		if (csr(h, ZW_RV_CSR_MCYCLE) >= before && csr(h, ZW_RV_CSR_MCYCLE) < 1u << 30)
			assert_true(csr(h, ZW_RV_CSR_MCYCLE) - before <= 2000);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, hart_setup, hart_teardown)
	const struct CMUnitTest tests[] = {
		T(test_config),
		T(test_budget),
		T(test_stop),
		T(test_stop_thread),
		T(test_fence_i),
		T(test_invalidate),
		T(test_invalidate_from_bus),
		T(test_invalidate_thread),
		T(test_shared_atomics),
		T(test_park),
		T(test_snapshot),
		T(test_hostile),
	};

	return cmocka_run_group_tests_name("rv-run", tests, NULL, NULL);
}
