# SPDX-License-Identifier: MIT
# What the test VM needs of QEMU, and no more: with the default device list the build takes half as
# long again. Selected by --with-devices-x86_64=zhenwu. Without default devices a "default y" of a
# Kconfig counts for nothing, so the device is named here too.
CONFIG_ZHENWU=y
CONFIG_Q35=y
# PCIe root ports and switches: FLR, AER and hot-plug need the device behind a port
CONFIG_PCIE_PORT=y
CONFIG_XIO3130=y
# vIOMMU: DMA of the device through translation
CONFIG_VTD=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_RNG=y
# the benchmark's yardstick
CONFIG_NVME_PCI=y
CONFIG_ISA_DEBUG=y
CONFIG_TEST_DEVICES=y
