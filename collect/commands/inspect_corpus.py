"""Show what a corpus holds, check that it is whole, and draw how its weights move."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from collect.commands.cli import command
from collect.commands.typed import argument, fitting
from collect.corpus_config import InspectCorpusConfig
from nowcast import text
from nowcast.paths import check_writable
from nowcast.types import UserError

if TYPE_CHECKING:
    from collect.corpus.places import Place


def main(config: InspectCorpusConfig) -> None:
    """Print what the corpus holds, verify it where asked to, and draw pictures."""
    from tqdm import tqdm  # here: --help needs none of what these import

    from collect import corpus
    from collect.corpus import inspection, places
    from collect.corpus.run import trained

    place = places.at(config.corpus)
    pictures = where(config.pictures, place)
    opened = corpus.open(place)
    if not opened.runs:
        raise UserError(
            f"corpus={config.corpus!r} holds no finished run; let {text.command('collect')}"
            " finish one"
        )
    print(*text.align(inspection.table(opened)), sep="\n")
    print(f"hash: {opened.hash}")
    if config.verify:
        for run in tqdm(opened.runs, unit="run", desc="verify"):
            inspection.verify(run)
        print(f"verified: every snapshot of {len(opened)} runs is what was recorded")
    drawable = [run for run in opened.runs if run.band is None]
    first = {trained(run.config): run for run in reversed(drawable)}.values()
    chosen = drawable if config.every_run else list(first)
    if not drawable:
        print("pictures: none, for the runs hold inner products and no weights (record=gram)")
    elif pictures is None:
        print(
            "pictures: none, for they can be written neither beside the corpus nor here; give"
            " pictures=…"
        )
    else:
        for run in tqdm(chosen, unit="run", desc="draw"):
            inspection.draw(run, pictures, per_operation=config.weights, seed=config.seed)
        print(f"pictures: {pictures} ({2 * len(chosen)} of them)")
    forecaster = fitting(run.band for run in opened.runs)
    corpus_is = argument("corpus", config.corpus)
    print(f"next: {text.command('meta_train')} {corpus_is} {forecaster} bundle=bundles/mine")


def where(given: str | None, place: "Place") -> Path | None:
    """The folder for the pictures: the given one, one beside the corpus, or one here.

    None where neither of the last two can be written.
    """
    if given:
        check_writable(f"pictures={given!r}", Path(given))
        return Path(given)
    name = f"{str(place).rsplit('/')[-1]}-pictures"
    for folder in ([place.with_name(name)] if isinstance(place, Path) and place.name else []) + [
        Path(name)
    ]:
        with suppress(UserError):
            check_writable("pictures", folder)
            return folder
    return None


def start() -> None:
    """Run the command."""
    command("inspect_corpus", InspectCorpusConfig, main)
