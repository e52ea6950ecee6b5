# SPDX-License-Identifier: BSD-3-Clause
"""The native engine: C++ kernels for the CPU, and how they are compiled and called."""
