"""Read a corpus, on disk or in a store; :mod:`collect.corpus.layout` says what lies in it."""

from collect.corpus.opening import Corpus, open
from collect.corpus.run import Run

__all__ = ["Corpus", "Run", "open"]
