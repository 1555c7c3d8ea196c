"""What there is to choose in a group of configurations."""

from pathlib import Path

from hydra.core.config_store import ConfigStore


def choices(configs: Path, group: str) -> list[str]:
    """The names that a group takes, sorted: those of its files, and those without one.

    Parts of arms that are products have no file.

    Args:
        configs: The folder of all configurations.
        group: The group, such as ``model``, whose folder may have folders: ``small/lenet``.
    """
    folder = configs / group
    files = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")}
    return sorted(files | _stored(group))


def _stored(group: str) -> set[str]:
    if group.startswith("hydra"):
        return set()  # plugins store launchers there
    try:
        return {name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)}
    except OSError:
        return set()
