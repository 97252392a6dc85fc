/* SPDX-License-Identifier: MIT */
/* Adds two matrices on a Zhenwu device: cc matrix_add.c $(pkg-config --cflags --libs libzhenwu) */
#include <stdio.h>
#include <string.h>
#include <zhenwu/zhenwu.h>
enum { ROWS = 3, COLS = 4 };
enum { A = 0, B = 1024, Y = 2048, RESULT = 3072, CMD = 4096, BYTES = 8192 }; /* in the buffer */
static int add(struct zw_dev *dev)
{
	struct zw_queue *queue = NULL;
	struct zw_buffer buf = {0};
	struct zw_vm *vm = NULL;
	struct zw_cmd cmd;
	int ret;

	/* An address space, device memory in it that the CPU can reach, and a queue. */
	if ((ret = zw_vm_create(dev, &vm)) ||
	    (ret = zw_buffer_create(vm, BYTES, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, &buf)) ||
	    (ret = zw_queue_create(vm, NULL, &queue)))
		goto out;
	char *mem = buf.ptr;
	for (int i = 0; i < ROWS * COLS; i++) {
		((float *)(mem + A))[i] = (float)i;
		((float *)(mem + B))[i] = 100.0f;
	}
	/* The command buffer: y = a + b. Operands are tensors at device addresses. */
	struct zw_tensor ta = zw_tensor_2d(ZW_DTYPE_F32, buf.va + A, ROWS, COLS);
	struct zw_tensor tb = zw_tensor_2d(ZW_DTYPE_F32, buf.va + B, ROWS, COLS);
	struct zw_tensor ty = zw_tensor_2d(ZW_DTYPE_F32, buf.va + Y, ROWS, COLS);
	zw_cmd_init_fixed(&cmd, mem + CMD, BYTES - CMD);
	if ((ret = zw_cmd_add(&cmd, &ta, &tb, &ty, 0, 0)))
		goto out;
	/* Submit, and wait for at most ten seconds. */
	if ((ret = zw_queue_run(queue, buf.va + CMD, cmd.used, buf.va + RESULT,
				zw_deadline_ms(10000))))
		goto out;
	for (int i = 0; i < ROWS * COLS; i++)
		printf("%g%c", ((float *)(mem + Y))[i], i % COLS == COLS - 1 ? '\n' : ' ');
	struct zw_job_result *res = (struct zw_job_result *)(mem + RESULT);
	printf("%.3f us of simulated time\n", (res->end_ps - res->start_ps) / 1e6);
out:
	zw_queue_destroy(queue);
	zw_buffer_destroy(&buf);
	zw_vm_destroy(vm);
	return ret;
}

int main(int argc, char **argv)
{
	struct zw_error err = {""};
	struct zw_dev *dev;
	int ret = zw_dev_open(argc > 1 ? argv[1] : "auto", NULL, &dev, &err);

	if (!ret && (ret = add(dev)))
		snprintf(err.msg, sizeof(err.msg), "%s", strerror(-ret));
	if (ret)
		fprintf(stderr, "matrix_add: %s\n", err.msg);
	zw_dev_close(dev);
	return ret ? 1 : 0;
}
