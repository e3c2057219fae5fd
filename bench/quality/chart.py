"""Learning curves as SVG, small multiples; readable on light and dark pages."""

from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 190, 120, 36, 72, 38, 52
# Of the lines, on white and on black.
COLORS = [("#0550ae", "#79c0ff"), ("#bc4c00", "#ffa657"), ("#1a7f37", "#56d364"), ("#8250df", "#d2a8ff"), ("#bf3989", "#ff9bce"),
          ("#6e7781", "#8b949e"), ("#9a6700", "#d29922"), ("#cf222e", "#ff7b72")]
STYLE = ("text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1f2328}.s{fill:#59636e;font-size:9px}"
         "path{fill:none;stroke-width:1.6;stroke-linejoin:round}.g{stroke:#d1d9e0;stroke-width:1}.z{stroke:#59636e;stroke-width:1}.d{stroke-dasharray:4 2.5}"
         + "".join(f".c{i}{{stroke:{light}}}" for i, (light, _) in enumerate(COLORS))
         + "@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.s{fill:#9198a1}.g{stroke:#30363d}.z{stroke:#9198a1}"
         + "".join(f".c{i}{{stroke:{dark}}}" for i, (_, dark) in enumerate(COLORS)) + "}")


def nice_step(span, n):
    """The smallest of 1, 2, 5, 10, 20, … with which at most n steps cover the span."""
    step = 1
    while step * n < span:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def signed(v):
    return f"{v:+g}".replace("-", "−") if v else "0"


def chart(title, description, panels, lines, columns=3):
    """panels: (name, labels, {line: values}); values are points above random, which is the line at zero. lines: (name, dashed)."""
    rows = -(-len(panels) // columns)
    width, height = columns * (WIDTH + GAP_X) + 8, TOP + rows * (HEIGHT + GAP_Y)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="t d">',
           f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc><style>{STYLE}</style>',
           f'<text x="8" y="18" style="font-size:14px;font-weight:600">{escape(title)}</text>']
    x, y = 8, 38
    for i, (name, dashed) in enumerate(lines):
        long = 40 + 6.2 * len(name)
        if x + long > width:
            x, y = 8, y + 16
        out.append(f'<path class="c{i}{" d" * dashed}" d="M{x} {y - 4}h22"/><text x="{x + 27}" y="{y}">{escape(name)}</text>')
        x += long
    for n, (name, labels, curves) in enumerate(panels):
        left, top = LEFT + n % columns * (WIDTH + GAP_X), TOP + 14 + n // columns * (HEIGHT + GAP_Y)
        every = [v for values in curves.values() for v in values] + [0]
        step = nice_step(max(every) - min(every), 4)
        low, high = step * (min(every) // step), step * -(-max(every) // step)
        first, end = labels[0], labels[-1]
        px = lambda v: round(left + (v - first) / (end - first) * WIDTH, 1)
        py = lambda v: round(top + (high - v) / ((high - low) or 1) * HEIGHT, 1)
        out.append(f'<text x="{left}" y="{top - 6}">{escape(name)}</text>')
        v = low
        while v <= high:
            out.append(f'<path class="{"z" if v == 0 else "g"}" d="M{left} {py(v)}h{WIDTH}"/><text class="s" x="{left - 4}" y="{py(v) + 3}" text-anchor="end">{signed(v)}</text>')
            v += step
        for v, anchor in ((first, "start"), (end, "end")):
            out.append(f'<text class="s" x="{px(v)}" y="{top + HEIGHT + 12}" text-anchor="{anchor}">{v}{" labels" * (anchor == "end")}</text>')
        for i, (line, dashed) in enumerate(lines):
            if line in curves:
                points = "L".join(f"{px(a)} {py(b)}" for a, b in zip(labels, curves[line]))
                out.append(f'<path class="c{i}{" d" * dashed}" d="M{points}"/>')
    return "\n".join(out + ["</svg>"]) + "\n"
