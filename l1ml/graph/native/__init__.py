# SPDX-License-Identifier: Apache-2.0
"""The compiled emulator: C++ for the machine it runs on, built once and cached."""
