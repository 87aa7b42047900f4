"""Curves and bars as the geometry of an SVG; the template draws it in the colours of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from daskcluster.report.wording import power_of_ten

# Near the width of a phone: there letters keep their size, and on a desk they grow with the chart.
WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 28, 36

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A line across the chart, and what stands beside it."""

    at: float
    text: str


@dataclass(frozen=True)
class Series:
    """A curve, and points that need not lie on it."""

    name: str
    path: str
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """All in units of the SVG's view box."""

    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    marks: list[Tick] = field(default_factory=list)
    """Places on the x axis that are pointed out."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Axis:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low or 1.0)
        return round(self.start + share * (self.end - self.start), 2)


def curves(
    given: Sequence[tuple[str, Points, Points]], x_label: str, y_label: str, *,
    marks: Sequence[tuple[float, str]] = (), log: bool = False,
) -> Chart | None:  # fmt: skip
    """Curves of some names through points, with points besides; None where there are none.

    What is not finite, or of a logarithm not above 0, is left out.
    """
    kept = [(name, _finite(line, log), _finite(dots, log)) for name, line, dots in given]
    points = [point for _, line, dots in kept for point in (*line, *dots)]
    if not points:
        return None
    x = _Axis(*_range([p[0] for p in points]), LEFT + 8, WIDTH - RIGHT - 8)
    y_values, unit = _y_ticks([p[1] for p in points], log)
    y = _Axis(*_range([*(p[1] for p in points), *(v for v, _ in y_values)]), HEIGHT - BOTTOM, TOP)
    return Chart(
        x_label=x_label,
        y_label=f"{y_label}{unit}",
        x_ticks=[Tick(x.at(v), text) for v, text in _whole_ticks(x.low, x.high)],
        y_ticks=[Tick(y.at(v), text) for v, text in y_values],
        series=[Series(name, _path(line, x, y), _places(dots, x, y)) for name, line, dots in kept],
        marks=[Tick(x.at(v), text) for v, text in marks],
    )


def bars(values: Sequence[float], x_label: str, y_label: str) -> Chart:
    """A bar for each value, from 0, by its place."""
    ticks, unit = _y_ticks([0.0, *values], log=False)
    y = _Axis(0.0, max([*values, *(v for v, _ in ticks)]), HEIGHT - BOTTOM, TOP)
    x = _Axis(-0.5, len(values) - 0.5, LEFT, WIDTH - RIGHT)
    width = (WIDTH - RIGHT - LEFT) / len(values)
    return Chart(
        x_label=x_label,
        y_label=f"{y_label}{unit}",
        x_ticks=[Tick(x.at(v), text) for v, text in _whole_ticks(0, len(values) - 1)],
        y_ticks=[Tick(y.at(v), text) for v, text in ticks],
        bars=[
            Bar(round(x.at(i - 0.5), 2), y.at(v), round(width * 0.85, 2), HEIGHT - BOTTOM - y.at(v))
            for i, v in enumerate(values)
        ],
    )


def _finite(points: Points, log: bool) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    return [(x, math.log10(y)) for x, y in kept if y > 0] if log else kept


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.0 if high > low else 0.5 * max(abs(low), 1.0)
    return low - margin, high + margin


def _path(points: Points, x: _Axis, y: _Axis) -> str:
    return "M" + " L".join(f"{a} {b}" for a, b in _places(points, x, y)) if points else ""


def _places(points: Points, x: _Axis, y: _Axis) -> list[tuple[float, float]]:
    return [(x.at(a), y.at(b)) for a, b in points]


def _step(low: float, high: float, most: int) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that needs at most so many steps."""
    rough = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power >= rough * (1 - 1e-9))


def _steps(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _whole_ticks(low: float, high: float) -> list[tuple[float, str]]:
    step = max(round(_step(low, high, 8)), 1)
    return [(value, f"{value:,.0f}") for value in _steps(low, high, step)]


def _y_ticks(values: Sequence[float], log: bool) -> tuple[list[tuple[float, str]], str]:
    """Ticks, and the power of ten that they are in."""
    low, high = _range(values)
    if log:
        powers = _steps(math.floor(low), math.ceil(high), max(math.ceil((high - low) / 6), 1))
        return [(p, power_of_ten(round(p)) if p else "1") for p in powers], ""
    largest = max(abs(low), abs(high))
    power = 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0
    power = 0 if -3 <= power <= 3 and 0.01 <= largest < 1e5 else power
    step = _step(low, high, 5)
    unit = step / 10.0**power
    digits = next(d for d in range(20) if abs(round(unit, d) - unit) < 1e-6 * unit)
    ticks = [(v, f"{v / 10.0**power:,.{digits}f}") for v in _steps(low, high, step)]
    return ticks, f" ({power_of_ten(power)})" if power else ""
