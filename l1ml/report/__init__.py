# SPDX-License-Identifier: Apache-2.0
"""The report of a project: Markdown, JSON and plots from the facts that the build left."""
