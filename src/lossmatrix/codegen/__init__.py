# SPDX-License-Identifier: BSD-3-Clause
"""A formula becomes arithmetic, and arithmetic becomes the text of a kernel."""
