"""Write a report's explanations: what was trained, how it was judged, how to read each table."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate import cells, chosen_rates, metrics
from evaluate.protocol import BUDGET, HONEST, ROBUST, target_metric


def setting(results: Mapping[str, Any]) -> str:
    """What was trained, in a sentence or two, and which forecasters were fitted on this task."""
    about, seeds = results["about"], len(results["protocol"]["seeds"])
    first = (
        f"{about['task']}{_more(about['more'])}, {about['epochs']} epochs of"
        f" {about['steps_per_epoch']} steps, a snapshot every {about['record_every']} steps,"
        f" {seeds} paired seed{'s' * (seeds > 1)}, {protocol(results)} protocol."
    )
    left = (
        [f"Left out, because their weights were not given: {', '.join(about['left_out'])}."]
        if about["left_out"]
        else []
    )
    return " ".join(
        [first, *_spacing(results), *(line for line in about["seen"] if "ALREADY" in line), *left]
    )


def protocol(results: Mapping[str, Any]) -> str:
    """The name of the protocol that was asked for.

    ``results["protocol"]`` says ``honest`` for the robust and the budget protocol too, because they
    judge runs in the same way.
    """
    own = [name for name in (ROBUST, BUDGET) if name in results]
    return own[0] if own else str(results["protocol"]["name"])


def _spacing(results: Mapping[str, Any]) -> list[str]:
    """Sentences on the arms whose windows take every second snapshot, every third, and so on."""
    found: dict[int, list[str]] = {}
    for row in results["arms"]:
        jump = row["settings"]["jump"]
        if row["settings"]["forecaster"] and jump["every"] > 1:
            found.setdefault(jump["every"], []).append(row["name"])
    return [
        f"Windows of snapshots {every} apart: {', '.join(names)}."
        for every, names in sorted(found.items())
    ]


def _more(more: Mapping[str, Any]) -> str:
    """The settings of a task in words, in brackets; empty without any."""
    words = []
    for key, value in more.items():
        if key == "task_config":
            key, value = "task", {k: v for k, v in value.items() if k != "_target_"}
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        if value != "":
            words.append(f"{key} {value}".replace("_", " ").replace(" name ", " "))
    return f" ({'; '.join(words)})" if words else ""


def method(results: Mapping[str, Any]) -> list[str]:
    """The paragraphs that explain how the comparison was made."""
    protocol, metric = results["protocol"], metrics.of(results)[0]
    first, last = (metrics.splits(results)[place] for place in (0, -1))
    lines = [
        "Paired: all arms of a seed share initial weights and the order of the data, and are equal"
        " until the first jump (to rounding, where seeds train as one program)."
    ]
    if own := [row["name"] for row in results["arms"] if row["settings"].get("model")]:
        lines += [f"{', '.join(own)}: another network, which shares the order of the data alone."]
    calibration = len(protocol["calibration_seeds"])
    if protocol["name"] == HONEST:
        lines += [
            (
                f"Targets come from {calibration} calibration seeds of the bases alone (seeds"
                f" {protocol['calibration_seeds']}), and were written down before any other arm"
                " ran. A base's targets are its median values after 50, 75 and 95 % of its length."
                f" A run reaches a target when the mean of {protocol['smoothing']} consecutive"
                f" values is at or {'below' if metric.better == 'lower' else 'above'} it; a run"
                " that never does counts with its full length."
            ),
            f"Runs are judged by their {metric.name} on the {first} split as they go on"
            + (
                f"; the {last} split is read once, at the end."
                if last != first
                else ", the only one that the task has."
            ),
        ]
    else:
        crossed = target_metric(results).name
        lines.append(
            f"By the WNN paper's protocol: a run reaches the target at the first snapshot with this"
            f" {crossed} on the {last} split, measured before a jump where there is one. This"
            " protocol judges on a split that should be read once, and ignores the dip after a"
            " jump: compare these numbers only with the paper's."
        )
    return [
        *lines,
        *chosen_rates.method(results, metric, first),
        *_mixed(results),
        (
            "Speed-up: the geometric mean over seeds of the paired ratio, with Student's 95 %"
            " t-interval of the log-ratio. Steps, epochs and seconds are taken to scatter at least"
            " as much as the distance between two evaluations allows. The printed interval decides:"
            " bold, colour and words show a difference where it excludes 1 (or 0, for differences)."
            " A ratio above 1 that is marked ≤, below 1 that is marked ≥, or marked ~ or ≈ shows"
            " nothing."
            " Intervals are not corrected for the number of arms: of twenty arms without effect,"
            " one is expected to show a difference. Runs that diverged count with their full"
            " length."
        ),
        (
            f"Final {metric.name}: the last smoothed value, in the median over seeds; its"
            f" {metric.compare} is paired by seed. Equal seconds: both runs are compared at the"
            " time when the faster one ends."
        ),
        (
            "Seconds are those of training: steps, the history of snapshots, and jumps, but neither"
            f" compilation nor evaluation. {SHARED} {BOUND}"
        ),
    ]


def versions(results: Mapping[str, Any]) -> str:
    """The versions of the packages, and the machines, on one line."""
    machines = [one for one in results["machines"] if one != "None"]
    return ", ".join(
        [*(f"{name} {version}" for name, version in results["versions"].items()), *machines]
    )


SHARED = (
    f"{cells.SHARED} marks seconds of runs that did not have the machine to themselves: read them"
    " as no more than a hint (workers=1 measures them)."
)
BOUND = (
    "≥, ≤ and ~: runs that do not reach the target count with their whole length. ≥: only runs of"
    " the base do not, and the true ratio can only be larger. ≤: only runs of the arm, and it can"
    " only be smaller. ~: runs of both, and it may be either."
)
BEYOND = (
    "≥, ≤ and ~: seeds whose final value lies beyond the base's longest or shortest runs count with"
    " that length. ≥: the true ratio can only be larger; ≤: only smaller; ~: it may be either."
)


def metrics_table(results: Mapping[str, Any]) -> str:
    """The paragraph that explains the table of all metrics."""
    kinds = {
        "ratio": "paired ratios (×; above 1: the arm is better)",
        "difference": "paired differences, the arm's value less its base's (with a sign)",
    }
    used = dict.fromkeys(kinds[metric.compare] for metric in metrics.of(results))
    said = " and ".join(used)
    return (
        f"{said[0].upper()}{said[1:]}, with 95 % t-intervals. Equal seconds: both runs are compared"
        " at the time when the faster one ends."
    )


EVERYTHING = (
    "The same runs, all compared at one base's target. A tuned base alone gains over a constant"
    " rate, and so does every arm over the tuned base. So an arm's gain over a constant rate may"
    " come from the tuned rate, and not from the arm."
)
SWEEP = (
    "Arms over bases that differ only in their learning rate: what each arm gains over each base,"
    " with 95 % intervals (above 1: faster, better). A higher rate may gain as much without any"
    " arm: the tables below compare every arm with every base."
)
JUMPS = (
    "The change of the metric at a jump: its value right after the jump over (or less) its value"
    " right before, in the median and at worst over all jumps of all runs. Steps to recover: until"
    " an evaluation shows a value as good as before the jump; a jump after which none does counts"
    " to the end of the run."
)


FOREST = (
    "Each arm over its own base, with 95 % intervals. At the right: how many runs reached the"
    " target. Blue: faster; red: slower; grey: the interval shows no difference."
)
FORECASTS = (
    "The absolute error of the forecasts over that of the last value, by operation, on the runs of"
    " the base, which never jump. Below 1 a forecast is better than the last value. The windows are"
    " those of the arm's jumps; geometric means over seeds with 95 % intervals. A forecaster is"
    " missing if no window and its horizon fit into such a run."
)


def target(results: Mapping[str, Any], base: str) -> str:
    """The sentence on the headline's target of a base."""
    headline = results["protocol"]["headline"]
    value = results["targets"][base][headline]
    if results["protocol"]["name"] != HONEST:
        return (
            f"Target: {metrics.splits(results)[-1]} {target_metric(results).name} {value:g}, first"
            " crossing, before a jump."
        )
    metric, split = metrics.of(results)[0], metrics.splits(results)[0]
    return (
        f"Target: {split} {metric.name} {metrics.number(value)}, where {base} is after"
        f" {float(headline):.0%} of its length."
    )


def curves(results: Mapping[str, Any]) -> str:
    """The paragraph that explains the picture of the runs."""
    protocol = results["protocol"]["name"]
    when, metric = "after" if protocol == HONEST else "before", target_metric(results)
    loss = metric.better == "lower" and metric.compare == "ratio"
    beyond = (
        " Values above twice the initial one, or not finite, leave the panel; the table of jumps"
        " has their size."
    )
    return (
        f"Median and quartiles over seeds, measured {when} a jump where there is one. Triangles:"
        " jumps. Dashed: the target. Dots: the median crossing, where most runs cross."
        + beyond
        * loss
    )


def costs(results: Mapping[str, Any]) -> str:
    """The paragraph that explains the table of costs."""
    said = "Medians over seeds. ms a jump: what a step with a jump takes beyond the step before."
    said += " Compiling: or reading back what an earlier command compiled."
    if not results["seconds_comparable"]:
        said += f" {cells.SHARED}: not all of these runs had the machine to themselves."
    if results["cost"]:
        said += (
            " Pays after: the seconds of the meta-training and of training its corpus, divided by"
            " the seconds that it saves in each run on the way to the target."
        )
    return said


def notes(results: Mapping[str, Any], lines: Sequence[str]) -> list[str]:
    """Notes on runs from different machines, and on the signs that occur in these lines."""
    beyond = BEYOND if BUDGET in results else BOUND
    said = {cells.SHARED: SHARED, "≥": beyond, "≤": beyond, "~ ": beyond}
    marks = dict.fromkeys(
        meaning for sign, meaning in said.items() if any(sign in line for line in lines)
    )
    return [f"- {note}" for note in [*_mixed(results), *marks]]


def _mixed(results: Mapping[str, Any]) -> list[str]:
    """A warning if an arm and its base trained on different machines with the same seed."""
    machines = {
        name: [run.get("machine") for run in runs] for name, runs in results["curves"].items()
    }
    apart = []
    for row in results["arms"]:
        places = zip(
            results["protocol"]["seeds"],
            machines[row["name"]],
            machines[row["over"] or row["name"]],
            strict=True,
        )
        if seeds := [str(seed) for seed, own, base in places if own != base]:
            apart.append(f"{row['name']} (seed {', '.join(seeds)})")
    if not apart:
        return []
    return [
        "Trained on another machine than the base, or on another number of cores:"
        f" {', '.join(apart)}. Where that rounds otherwise runs part at the first step and not at"
        " the first jump, so that two runs alone would differ too: remove one of the two from"
        " runs/ and give the command again."
    ]


def commands_as_markdown(commands: Sequence[str]) -> list[str]:
    """The commands that produce the results again, as lines of Markdown; empty if unknown."""
    known = [command for command in commands if command]
    return ["", "```bash", *known, "```"] if known else []
