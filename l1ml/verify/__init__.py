# SPDX-License-Identifier: Apache-2.0
"""Runs a framework's own model beside the emulator, layer by layer; the framework stays in a process of its own."""
