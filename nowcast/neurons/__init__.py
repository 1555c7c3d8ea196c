"""The neuron graph of a network: its neurons are nodes, its weights are edges.

It is what NiNo (Knyazev et al., ICLR 2025, §4) passes messages over.
"""

from nowcast.neurons.build import neuron_graph
from nowcast.neurons.graph import Block, Graph

__all__ = ["Block", "Graph", "neuron_graph"]
