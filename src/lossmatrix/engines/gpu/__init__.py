# SPDX-License-Identifier: BSD-3-Clause
"""The Triton kernels: loops over rows into which a printed formula and kinds of costs are put.

Nothing here is imported before a call needs it. The modules are written in Triton's language: a
function under ``@triton.jit`` runs on a GPU, or on the CPU in Triton's interpreter.
"""
