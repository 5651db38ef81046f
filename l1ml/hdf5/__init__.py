# SPDX-License-Identifier: Apache-2.0
"""HDF5 files of unknown origin, read by a process of their own: a damaged one ends that process, not the user's."""
