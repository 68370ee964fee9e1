"""The network in a pair of ncnn files, run by PyTorch: ncnn itself is not needed."""

from __future__ import annotations

from pathlib import Path

from hkdsr.memory import needed_for
from hkdsr.nets.base import Network
from hkdsr.nets.files.file_network import FileNetwork
from hkdsr.nets.files.ncnn.compact import as_compact
from hkdsr.nets.files.ncnn.graph import read_graph
from hkdsr.nets.files.openvino import read_pair
from hkdsr.nets.files.pickles import REMEDY


class NcnnNetwork(FileNetwork):
    """The network of a graph, for RGB in [0, 1]. Where layers are repeated as blocks, these can be tapped."""

    family = "ncnn"
    kind = "ncnn"
    without_taps = "has no row of like blocks that keep the size of their features"


def read_ncnn(path: Path) -> Network:
    """The network in ``path`` (the .param file) and the .bin file beside it: of the family ``compact`` if it is one.

    Raises HkdsrError, naming the file, if one of them cannot be read, is damaged, or has a layer of an unknown kind,
    and for a network that does not turn one image into one of 2, 3 or 4 times the size.
    """
    description, weights = read_pair(path)
    with needed_for(str(path), REMEDY):
        graph = read_graph(description, weights, str(path), path.with_suffix(".bin").name)
        compact = as_compact(graph)
    return compact or NcnnNetwork(graph, str(path), description + weights, {}, colour_range=1.0)
