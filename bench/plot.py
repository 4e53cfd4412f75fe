"""Bars on a logarithmic scale as SVG, without any library."""
import html
import math

COLOURS = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2"]
BAR, GAP, LEFT, WIDTH = 9, 10, 120, 640


def bars(title, series):
    """`series`: {name: {label: value}}, values above zero. Bars start at 1: to the right more, to the left less."""
    values = [value for points in series.values() for value in points.values()]
    labels = list(dict.fromkeys(label for points in series.values() for label in points))
    low = math.floor(min(0, *(math.log10(v) for v in values))) if values else 0
    high = math.ceil(max(1, *(math.log10(v) for v in values))) if values else 1

    def x(value):
        return LEFT + WIDTH * (math.log10(value) - low) / (high - low)

    top = 30 + 16 * len(series)
    group = BAR * len(series) + GAP
    bottom = top + group * len(labels)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 50}" height="{bottom + 30}" font-family="sans-serif" '
           'font-size="11">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14">{html.escape(title)}</text>']
    for s, name in enumerate(series):
        out += [f'<rect x="10" y="{26 + 16 * s}" width="10" height="10" fill="{COLOURS[s % len(COLOURS)]}"/>',
                f'<text x="26" y="{35 + 16 * s}">{html.escape(name.replace("`", ""))}</text>']
    for power in range(low, high + 1):
        for step in range(1, 10):
            if power == high and step > 1:
                break
            at = x(step * 10**power)
            strong = step == 1
            out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}" stroke="{"#888" if strong else "#ddd"}"/>')
            if strong:
                out.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{10**power:g}×</text>')
    for l, label in enumerate(labels):
        y = top + GAP / 2 + group * l
        out.append(f'<text x="{LEFT - 8}" y="{y + BAR * len(series) / 2 + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
        for s, points in enumerate(series.values()):
            if label not in points:
                continue
            begin, end = sorted((x(1), x(points[label])))
            out += [f'<rect x="{begin:.1f}" y="{y + BAR * s:.1f}" width="{max(end - begin, 1):.1f}" height="{BAR - 1}" '
                    f'fill="{COLOURS[s % len(COLOURS)]}"/>',
                    f'<text x="{end + 3:.1f}" y="{y + BAR * s + 7:.1f}" font-size="8">{points[label]:.3g}</text>']
    return "\n".join([*out, "</svg>"]) + "\n"
