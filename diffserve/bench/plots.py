"""The report's figures, as inline SVG: no scripts, no fonts, nothing to fetch. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffserve.bench.replies import Reply, Status
from diffserve.bench.summary import Bin
from diffserve.core import Outcome

WIDTH, HEIGHT = 720, 290
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 16, 48
NUM_DOTS_MAX = 4000
"""More would make the page heavy and the figure a blot: every n-th is drawn."""

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes of a figure.

    Attributes:
        x_max: Right end.
        y_max: Upper end.
        x_label: What and in which unit.
        y_label: What and in which unit.
    """

    x_max: float
    y_max: float
    x_label: str
    y_label: str

    def x(self, value: float) -> float:
        """Return the place of a value, pixels."""
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_max

    def y(self, value: float) -> float:
        """Return the place of a value, pixels."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, self.y_max) / self.y_max


def nice_step(largest: float, num_steps: int = 5) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides a range into a few."""
    rough = max(largest, 1e-9) / num_steps
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough)


def _ticks(largest: float) -> list[float]:
    step = nice_step(largest)
    return [step * number for number in range(int(largest / step + 1e-9) + 1)]


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, anchor: str, text: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{text}</text>'


def _svg(frame: Frame, body: Sequence[str], title: str) -> str:
    """Return a figure with its grid, axes and labels."""
    base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">']
    for value in _ticks(frame.y_max):
        y = frame.y(value)
        parts.append(_line("grid", LEFT, right, y, y))
        parts.append(_text("tick", LEFT - 8, y + 4, "end", f"{value:g}"))
    for value in _ticks(frame.x_max):
        x = frame.x(value)
        parts.append(_line("axis", x, x, base, base + 4))
        parts.append(_text("tick", x, base + 19, "middle", f"{value:g}"))
    parts += body
    parts.append(_line("axis", LEFT, right, base, base))
    parts.append(_text("label", (LEFT + right) / 2, HEIGHT - 6, "middle", frame.x_label))
    turned = f"translate(16 {(TOP + base) / 2:.0f}) rotate(-90)"
    label = _text("label", 0, 0, "middle", frame.y_label)
    parts.append(f'<g transform="{turned}">{label}</g>')
    return "".join([*parts, "</svg>"])


def over_time(bins: Sequence[Bin]) -> str:
    """Return stacked bars: what became of the queries, by when they arrived."""

    def rate(count: int, part: Bin) -> float:
        return count / part.width_s

    end_s = bins[-1].start_s + bins[-1].width_s
    tallest = max(rate(b.good + b.late + b.refused + b.lost, b) for b in bins)
    frame = Frame(end_s, 1.08 * max(tallest, 1e-3), "time of arrival, s", "queries per second")
    body = []
    for part in bins:
        x, below = frame.x(part.start_s), 0.0
        width = max(1.0, frame.x(part.start_s + part.width_s) - x - 1.0)
        for name in ("good", "late", "refused", "lost"):
            height = rate(getattr(part, name), part)
            if height:
                top = frame.y(below + height)
                body.append(
                    f'<rect class="{name}" x="{x + 0.5:.1f}" y="{top:.1f}" width="{width:.1f}" '
                    f'height="{frame.y(below) - top:.1f}"><title>{part.start_s:g} s: '
                    f"{getattr(part, name)} {name}</title></rect>"
                )
            below += height
    return _svg(frame, body, "what became of the queries over time")


def kind_of(reply: Reply) -> str:
    """Return how a reply is coloured."""
    if reply.status is not Status.ANSWERED:
        return "refused" if reply.status is Status.REFUSED else "lost"
    match reply.told.outcome:
        case Outcome.HEAVY:
            return "heavy"
        case Outcome.LIGHT:
            return "light"
        case Outcome.LIGHT_FALLBACK:
            return "fallback"
    return "answered"


def latencies(replies: Sequence[Reply], slo_s: float, duration_s: float) -> str:
    """Return a dot per query: when it arrived and how long it took."""
    largest = max((r.latency_s for r in replies), default=0.0)
    frame = Frame(duration_s, 1.08 * max(slo_s, largest), "time of arrival, s", "latency, s")
    step = max(1, math.ceil(len(replies) / NUM_DOTS_MAX))
    body = [
        f'<circle class="{kind_of(r)}" cx="{frame.x(r.arrival_s):.1f}" '
        f'cy="{frame.y(r.latency_s):.1f}" r="2.2"/>'
        for r in replies[::step]
    ]
    y = frame.y(slo_s)
    body.append(_line("slo", LEFT, WIDTH - RIGHT, y, y))
    body.append(_text("slo", WIDTH - RIGHT, y - 5, "end", "SLO"))
    return _svg(frame, body, "latency of every query over time")


def distribution(replies: Sequence[Reply], slo_s: float) -> str:
    """Return which share of all queries was answered within so many seconds."""
    answered = sorted(r.latency_s for r in replies if r.status is Status.ANSWERED)
    largest = max(answered, default=0.0)
    frame = Frame(1.08 * max(slo_s, largest), 100.0, "latency, s", "answered within, % of all")
    points = [(0.0, 0.0)]
    for number, latency_s in enumerate(answered, start=1):
        points.append((latency_s, 100.0 * (number - 1) / len(replies)))
        points.append((latency_s, 100.0 * number / len(replies)))
    step = max(1, len(points) // 800)
    kept = [*points[::step], points[-1], (frame.x_max, points[-1][1])]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in kept)
    x = frame.x(slo_s)
    body = [
        _line("slo", x, x, TOP, HEIGHT - BOTTOM),
        _text("slo", x - 5, TOP + 11, "end", "SLO"),
        f'<polyline class="curve" points="{path}"/>',
    ]
    return _svg(frame, body, "distribution of latencies")
