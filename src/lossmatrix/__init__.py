# SPDX-License-Identifier: BSD-3-Clause
"""Losses, decisions and metrics for classifiers whose mistakes do not all cost the same."""
