"""The images for arm64 under QEMU's user mode emulation: `make test-arm64`."""
