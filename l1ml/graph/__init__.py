# SPDX-License-Identifier: Apache-2.0
"""The network: layers as the user knows them, and the tensor program that gives them exact meaning."""
