# SPDX-License-Identifier: Apache-2.0
"""What each layer means, one module per family; `l1ml.graph.model` names them all."""
