# SPDX-License-Identifier: MIT
# Entry points for people. The kernel module is described in Kbuild (which the kernel's build prefers
# over this file), native code in meson.build, firmware in firmware/Makefile.

SHELL := /bin/bash
ROOT := $(CURDIR)
BUILD := build
S := scripts

# make run
MODEL ?= tests/models/qwen3next-agent
PROMPT ?= The driver allocates a buffer object and
MAX_TOKENS ?= 64
PROFILE ?= 810e
# What the stored model is asked besides: a question that takes a tool.
QUESTION ?= Please add up 6, 61, 66947 and 51594.
QUESTION_ARGS = $(if $(filter tests/models/qwen3next-agent,$(MODEL)),--model "$(MODEL)" --chat --single-turn \
	--tools "$(ROOT)/$(BUILD)/native/tests/agent/tools" --prompt "$$ZW_QUESTION")

# make agent CALLS=100 DRAFT=mtp
CALLS ?= 1000
DRAFT ?= none
# make fidelity, make claims
SILICON ?= tests/fidelity/h100-sxm.json
JSON ?=
SENSITIVITY ?=
export PROFILE

# make vm QEMU_ARGS="-m 4G", make kselftest TESTS="bo vm", make modules KDIR=/lib/modules/...,
# make check-debug KERNEL=next, make fuzz FUZZ=cmd TIME=600
QEMU_ARGS ?=
TESTS ?=
KERNEL ?= vm
FUZZ ?= device
TIME ?= 0
KDIR ?=
DESTDIR ?=
PREFIX ?= /usr/local

.DEFAULT_GOAL := help
.PHONY: help packages run run-sim agent check check-debug fuzz vm kselftest bench fidelity claims modules firmware \
	native native-asan native-tsan qemu kselftest-build install deb check-deb clean distclean-cache lint

help:
	@echo 'Zhenwu: device model, firmware, driver and runtime of an LLM accelerator.'
	@echo
	@echo '  make run               build everything, boot the test VM, let a model write on the device'
	@echo '                         PROMPT="..." MODEL=dir MAX_TOKENS=n PROFILE=810e|m890|c12|a100-80g|h100-sxm'
	@echo '  make check             all tests: native, compile checks, models, and in the VM'
	@echo
	@echo '  make run-sim           the same prompt in one process: no VM, no root'
	@echo '  make agent             one conversation of CALLS=1000 tool calls in the VM, of chains that the stored model can'
	@echo '                         follow; DRAFT=mtp or ngram: with drafts'
	@echo '  make vm                a shell in the VM with the driver loaded; QEMU_ARGS="..."'
	@echo '  make kselftest         the driver tests in the VM; TESTS="name..." picks some'
	@echo '  make check-debug       the driver tests on a kernel with KASAN, lockdep, kmemleak and more,'
	@echo '                         without and with an IOMMU; KERNEL=vm|next TESTS="name..."'
	@echo '  make check-deb         installs the packages, uses them in a VM, purges them; as root'
	@echo '  make fuzz              fuzzes until stopped: FUZZ=device|cmd|tokenizer|... TIME=seconds'
	@echo '  make bench             benchmarks: a table, and JSON in build/bench/'
	@echo '  make fidelity          simulated times against measured ones; SILICON=rows.json PROFILE=name|file JSON=file;'
	@echo '                         SENSITIVITY=1: what moves when a coefficient doubles or halves'
	@echo '  make claims            what the press claims of the chips, as experiments; PROFILE=name|file JSON=file'
	@echo
	@echo '  make qemu              QEMU with the device       (build/qemu)'
	@echo '  make firmware          the control core firmware  (build/firmware)'
	@echo '  make modules           zhenwu.ko for the VM kernel (build/modules/vm); KDIR=dir for another'
	@echo '  make native            libraries, tools, tests    (build/native)'
	@echo '  make install           runtime, headers and firmware; DESTDIR= PREFIX=, KDIR= adds the module'
	@echo '  make deb               Debian packages            (build/deb)'
	@echo '  make lint              clang-format, sparse, checkpatch where available'
	@echo '  make clean             removes build/'
	@echo '  make distclean-cache   removes the cache of downloads and of QEMU'
	@echo
	@echo 'Logs of long steps are in build/logs. Downloads and the QEMU build are cached in'
	@echo '$${XDG_CACHE_HOME:-~/.cache}/zhenwu. Packages come from apt (scripts/bootstrap).'

# What a VM run needs, in one go: whoever has to ask someone else for packages gets one list.
packages:
	@$(S)/bootstrap native firmware modules qemu vm

firmware:
	@$(S)/bootstrap firmware
	@$(S)/build-step firmware

modules:
	@$(S)/bootstrap modules
ifneq ($(KDIR),)
	@$(S)/build-module "$(KDIR)" custom
else
	@$(S)/build-module vm
endif

native:
	@$(S)/bootstrap native
	@$(S)/build-step native

native-asan:
	@$(S)/bootstrap native
	@$(S)/build-step native-asan

native-tsan:
	@$(S)/bootstrap native
	@$(S)/build-step native-tsan

qemu:
	@$(S)/bootstrap qemu
	@$(S)/build-qemu

kselftest-build:
	@$(S)/bootstrap native
	@$(S)/build-step kselftest

run: packages qemu firmware modules native
	@tests/vm/run model --model "$(MODEL)" --prompt "$$ZW_PROMPT" --max-tokens "$(MAX_TOKENS)" \
		$(if $(QUESTION_ARGS),--then $(QUESTION_ARGS))

run-sim: firmware native
	@$(BUILD)/native/runtime/tools/zw-run --device sim --profile "$(PROFILE)" --model "$(MODEL)" \
		--prompt "$$ZW_PROMPT" --max-tokens "$(MAX_TOKENS)"
	$(if $(QUESTION_ARGS),@$(BUILD)/native/runtime/tools/zw-run --device sim --profile "$(PROFILE)" $(QUESTION_ARGS))

agent: packages qemu firmware modules native
	@tests/agent/run --calls "$(CALLS)" --draft "$(DRAFT)" $(if $(AGENT_MODEL),--model "$(AGENT_MODEL)")

# Through the environment: a prompt may hold quotes.
run run-sim: export ZW_PROMPT = $(PROMPT)
run run-sim: export ZW_QUESTION = $(QUESTION)

vm: packages qemu firmware modules native
	@tests/vm/run shell -- $(QEMU_ARGS)

kselftest: packages qemu firmware modules kselftest-build
	@tests/vm/run kselftest $(TESTS)

bench: packages qemu firmware modules native
	@$(S)/bench

# The default of PROFILE is that of runs.
fidelity:
	@$(S)/bootstrap native
	@$(S)/build-step fidelity
	@tests/fidelity/$(if $(SENSITIVITY),sensitivity.py,fidelity.py) "$(SILICON)" $(if $(JSON),--json "$(JSON)") \
		$(if $(SENSITIVITY),,--svg "$(BUILD)/fidelity.svg") --profile "$(if $(filter file default undefined,$(origin PROFILE)),h100-sxm,$(PROFILE))"
ifeq ($(origin SILICON)$(origin PROFILE)$(SENSITIVITY),filefile)
	@for rows in a100-80g a100-80g-llama a100-80g-serving; do echo; echo "$$rows:"; \
		tests/fidelity/fidelity.py tests/fidelity/$$rows.json --profile a100-80g || exit; done
endif

claims:
	@$(S)/bootstrap native
	@$(S)/build-step claims
	@tests/claims/claims.py --profile "$(PROFILE)" --svg "$(BUILD)/claims.svg" $(if $(JSON),--json "$(JSON)")

check: packages qemu firmware modules native native-asan native-tsan kselftest-build
	@$(S)/check

check-debug: packages qemu firmware kselftest-build
	@$(S)/check-debug "$(KERNEL)" $(TESTS)

fuzz: firmware
	@$(S)/bootstrap native
	@$(S)/fuzz "$(FUZZ)" "$(TIME)"

lint:
	@$(S)/bootstrap lint modules
	@$(S)/lint

install: firmware native
	@$(S)/install-all "$(DESTDIR)" "$(PREFIX)" "$(KDIR)"

deb: qemu
	@$(S)/bootstrap native firmware deb
	@$(S)/build-deb

check-deb: deb
	@$(S)/bootstrap check-deb vm
	@tests/packages/run

clean:
	rm -rf $(BUILD)

distclean-cache: clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/zhenwu"
