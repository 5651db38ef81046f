# SPDX-License-Identifier: Apache-2.0
"""Event samples: HDF5 files in and out, datasets that come with l1ml, generated stimuli."""
