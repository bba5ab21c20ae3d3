"""Recall against latency, drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from azpg.errors import UsageError
from azpg_provision.index.evaluation import Evaluation, K

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png", ".pdf")
_APART = (24.0, 14.0)
"""Pixels between two labels, beside and above each other."""


def writable(path: Path) -> None:
    """Raises `UsageError` if no figure could be written there: before the work, not after it."""
    if path.suffix not in FORMATS:
        raise UsageError(f"--plot {path}: a figure's file ends with {', '.join(FORMATS)}.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--plot {path} cannot be written: name a file in a folder that you may write to.")


def draw(evaluations: Sequence[Evaluation], path: Path, column: str) -> None:
    """Writes a figure of the indexes of `column`, in the format that the path's ending names (svg, png, pdf).

    Raises `OSError` where it cannot be written.
    """
    import matplotlib  # noqa: PLC0415 - half a second

    matplotlib.use("agg")
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for evaluation in evaluations:
        medians = [point.median for point in evaluation.points]
        (line,) = axes.plot(
            medians, [point.recall for point in evaluation.points], marker="o", label=evaluation.index
        )
        axes.axvline(
            evaluation.exact.median,
            color=line.get_color(),
            linewidth=1,
            linestyle="--",
            label=f"exact, {evaluation.definition.opclass}",
        )
    first = evaluations[0]
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", which="minor", labelsize=7)
    lowest = min(point.recall for evaluation in evaluations for point in evaluation.points)
    axes.set_ylim(min(0.9, lowest - 0.02), 1.03)
    axes.set_xlabel("milliseconds per search (median)")
    axes.set_ylabel(f"recall@{K}")
    settings = ", ".join(dict.fromkeys(evaluation.setting for evaluation in evaluations))
    axes.set_title(
        f"{column}\n{first.rows:,} rows, {first.questions} questions; numbers: {settings}", fontsize=10
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.draw_without_rendering()  # from then on it is known where on the figure a point is
    _label(axes, evaluations)
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # texts stay texts
        figure.savefig(path)


def _label(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    """Writes each point's value above it, unless that would stand upon another's."""
    taken: list[tuple[float, float]] = []
    for evaluation in evaluations:
        for point in evaluation.points:
            x, y = axes.transData.transform((point.median, point.recall))
            if any(abs(x - one) < _APART[0] and abs(y - other) < _APART[1] for one, other in taken):
                continue
            taken.append((x, y))
            axes.annotate(
                str(point.value),
                (point.median, point.recall),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8,
            )
