"""Names beside the points of a scatter, where there is room for them."""

from collections.abc import Iterable, Iterator
from itertools import product

from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

REACH = (7, 13, 20, 28)  # points between a mark and its name, the nearest first
SIDES = [("right", -1, 0), ("left", 1, 0), ("right", -0.7, 0.7), ("left", 0.7, 0.7)]
SIDES += [("right", -0.7, -0.7), ("left", 0.7, -0.7), ("center", 0, 1), ("center", 0, -1)]
START = {"left": 0, "right": 1, "center": 0.5}  # share of a name that is left of where it is put
MARK = 4.5  # half of a mark, in points
EDGE = 2  # points between a name and the edge
NEAR = REACH[1]  # farther off, a line leads from the name to its mark


def name_points(axis, points: Iterable[tuple[float, float, str, str]], size: float = 8) -> list[str]:
    """Write names beside points so that none covers another name, a mark or the edge; return those without room.

    The layout of the figure must be done, for a name is measured where it will stand.

    Parameters
    ----------
    axis
        With its final limits.
    points
        Place in data units, name and its colour; the first ones find room first.  A mark without a name keeps its
        place free.
    size
        Of the names, in points.
    """
    points = list(points)
    left_out, per_point = [], axis.figure.dpi / 72
    inside, half = axis.get_window_extent().padded(-EDGE * per_point), MARK * per_point
    marks = [axis.transData.transform((x, y)) for x, y, *_ in points]
    taken = [Bbox([mark - half, mark + half]) for mark in marks]
    for (x, y, name, colour), mark in zip(points, marks, strict=True):
        if not name:
            continue
        for offset, side, box in _places(axis, mark, _extent(axis, name, size)):
            if _within(box, inside) and not any(box.overlaps(other) for other in taken):
                taken.append(box.padded(per_point))  # letters are set to whole pixels
                _write(axis, name, (x, y), offset, ha=side, color=colour, size=size)
                break
        else:
            left_out.append(name)
    return left_out


def _extent(axis, name: str, size: float) -> tuple[float, float]:
    """Return width and height of a name in pixels."""
    text = axis.text(0, 0, name, size=size)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _places(axis, mark, extent: tuple[float, float]) -> Iterator[tuple[tuple[float, float], str, Bbox]]:
    """Yield where a name may stand, the best place first: offset in points, alignment, and what it covers in pixels."""
    (width, height), per_point = extent, axis.figure.dpi / 72
    for reach, (side, right, up) in product(REACH, SIDES):
        x, y = mark[0] + right * reach * per_point, mark[1] + up * reach * per_point
        low = x - START[side] * width, y - height / 2
        yield (right * reach, up * reach), side, Bbox.from_bounds(*low, width, height)


def _write(axis, name: str, place, offset, **text) -> None:
    far = max(map(abs, offset)) > NEAR
    line = {"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkA": 0, "shrinkB": 3} if far else None
    label = axis.annotate(name, place, offset, textcoords="offset points", va="center", arrowprops=line, **text)
    label.set(zorder=4, in_layout=False, path_effects=[withStroke(linewidth=2.5, foreground="white")])


def _within(box: Bbox, outer: Bbox) -> bool:
    return box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
