"""Plots as SVG, written by hand: nothing to install, and the same data give the same file."""
import html
import math

WIDTH, LEFT, RIGHT, ROW, TOP = 860, 190, 20, 34, 44
COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d5a97", "#5c6b73")
FONT = 'font-family="sans-serif" font-size="12"'


def _text(x, y, text, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {extra}>{html.escape(text)}</text>'


def _ms(v):
    return f"{v / 1000:g} s" if v >= 1000 else f"{v:g} ms"


def _document(height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}">\n<rect width="100%" height="100%" fill="white"/>\n' +
            "\n".join(parts) + "\n</svg>\n")


class Axis:
    """ms, logarithmic or from 0."""

    def __init__(self, low, high, log):
        self.low, self.high, self.log = low, high, log

    def x(self, v):
        if self.log:
            part = math.log(max(v, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = v / self.high
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        if self.log:
            e = math.floor(math.log10(self.low))
            return [m * 10 ** k for k in range(e, 7) for m in (1, 2, 5)
                    if self.low <= m * 10 ** k <= self.high]
        step = 10 ** math.floor(math.log10(self.high))
        step = next(s for s in (step / 5, step / 2, step, step * 2) if self.high / s <= 10)
        return [k * step for k in range(int(self.high / step) + 1)]

    def draw(self, bottom):
        for t in self.ticks():
            x = self.x(t)
            yield f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
            yield _text(x, bottom + 16, _ms(t), "middle", 'fill="#555"')


def distribution(title, series):
    """series: [(label, [ms])]: a row of dots for each, its median as a bar."""
    every = [v for _, values in series for v in values]
    axis = Axis(min(every) / 1.3, max(every) * 1.3, True)
    bottom = TOP + ROW * len(series)
    parts = [_text(12, 22, title, extra='font-weight="bold"'), *axis.draw(bottom)]
    for i, (label, values) in enumerate(series):
        y, colour = TOP + ROW * i + ROW / 2, COLOURS[i % len(COLOURS)]
        parts.append(_text(LEFT - 10, y + 4, f"{label} (n={len(values)})", "end"))
        for k, v in enumerate(values):
            spread = (k * 7 % 11 - 5) * 1.4
            parts.append(f'<circle cx="{axis.x(v):.1f}" cy="{y + spread:.1f}" r="3" fill="{colour}" '
                         f'fill-opacity="0.45"/>')
        middle = axis.x(sorted(values)[len(values) // 2])
        parts.append(f'<line x1="{middle:.1f}" y1="{y - 13:.1f}" x2="{middle:.1f}" y2="{y + 13:.1f}" '
                     f'stroke="{colour}" stroke-width="3"/>')
    return _document(bottom + 28, parts)


def timeline(title, steps, words):
    """steps: [(phase, from, to)]: one bar below the other, as the episode went."""
    axis = Axis(0, steps[-1][2] * 1.12, False)
    bottom = TOP + 20 * len(steps)
    parts = [_text(12, 22, title, extra='font-weight="bold"'), *axis.draw(bottom)]
    for i, (phase, begin, end) in enumerate(steps):
        y, colour = TOP + 20 * i, COLOURS[i % len(COLOURS)]
        width = max(axis.x(end) - axis.x(begin), 1)
        parts.append(f'<rect x="{axis.x(begin):.1f}" y="{y + 2}" width="{width:.1f}" height="15" '
                     f'fill="{colour}"/>')
        parts.append(_text(LEFT - 10, y + 14, phase.replace("_", " "), "end"))
        note = f"+{end - begin:.0f} ms"
        parts.append(_text(axis.x(end) + 5, y + 14, note))
    return _document(bottom + 28, parts)


def lines(title, across, series):
    """series: [(label, [(x, y)])]: a line through its points for each, both axes from 0."""
    height, bottom = 340, 300
    across_axis = Axis(0, max(x for _, points in series for x, _ in points) * 1.08, False)
    high = max(y for _, points in series for _, y in points) * 1.1

    def y_of(v):
        return bottom - v / high * (bottom - TOP)

    parts = [_text(12, 22, title, extra='font-weight="bold"')]
    for t in Axis(0, high, False).ticks():
        parts.append(f'<line x1="{LEFT}" y1="{y_of(t):.1f}" x2="{WIDTH - RIGHT}" y2="{y_of(t):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y_of(t) + 4, f"{t:g}", "end", 'fill="#555"'))
    for x in sorted({x for _, points in series for x, _ in points}):
        parts.append(_text(across_axis.x(x), bottom + 16, f"{x:g}", "middle", 'fill="#555"'))
    parts.append(_text(WIDTH - RIGHT, bottom + 32, across, "end", 'fill="#555"'))
    for i, (label, points) in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{across_axis.x(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across_axis.x(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(12, TOP + 20 + 18 * i, label, extra=f'fill="{colour}"'))
    return _document(height, parts)
