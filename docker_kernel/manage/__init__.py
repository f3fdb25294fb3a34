"""What %docker does, in the kernel of its own and in ordinary kernels (`docker_kernel_magics`)."""
