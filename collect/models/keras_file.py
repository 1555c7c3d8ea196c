"""Read the tensors of a file of weights that Keras keeps."""

from pathlib import Path

import numpy as np

from nowcast.types import UserError, first_line


def tensors(file: Path, key: str, where: str) -> dict[str, np.ndarray]:
    """The tensors of an HDF5 file, by their paths in it.

    Args:
        file: The file.
        key: What named it, for messages.
        where: Where a good one is found, for messages.

    Raises:
        UserError: The file cannot be read, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{key}: needs the package h5py: pip install 'weight-nowcaster[published]'"
        ) from None
    found: dict[str, np.ndarray] = {}

    def visit(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = np.asarray(item)

    try:
        with h5py.File(file) as held:
            held.visititems(visit)
    except OSError as error:
        raise UserError(
            f"{key}: is not an HDF5 file ({first_line(error)[:80]}); give {where}"
        ) from None
    return found
