"""What is recorded of a trial beside what came out of it now: values, labels, and what may have made a difference."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.protocol import place, predicted
from bench.protocol.attempt import Result
from bench.protocol.beside import PREDICTIONS

ROUNDING = 1e-5  # relative: committed values have six digits
CAUSES = ("weights_sha256", "device", "processor", "threads", "versions", "commit")  # the strongest first
MADE_BY = ("processor", "threads", "versions", "commit")  # written beside the values
POINT = ["metric", "class", "epoch"]


def compared(recorded: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Return one row per metric of a record, with how far the values of a second run are from it.

    What a metric counts in seconds is a cost and is left out, as is a metric that the record does not have.

    Parameters
    ----------
    recorded, again
        Rows of one trial, as `bench.protocol.columns` has them.

    Returns
    -------
    ``metric``; ``values`` and ``equal``, how many values there are (of cell types, of epochs) and how many of these
    are equal to the digits that records have; ``recorded`` and ``again``, the two that are furthest apart, and
    ``difference``, the latter minus the former: nan where only one of the two runs has the value.
    """
    both = _values(recorded, "recorded").merge(_values(again, "again"), how="left", on=POINT)
    both = both[~both["metric"].str.endswith("_s")]
    both["difference"] = both["again"] - both["recorded"]
    both["equal"] = np.isclose(both["again"], both["recorded"], rtol=ROUNDING, atol=0, equal_nan=True)
    return pd.DataFrame([_furthest(metric, table) for metric, table in both.groupby("metric", sort=False)])


def _values(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return where each value stands, an epoch of -1 where there is none, and the value under this name."""
    rows = rows[[*POINT, "value"]].fillna({"class": "", "epoch": -1}).rename(columns={"value": name})
    return rows.astype({"epoch": float, name: float})


def _furthest(metric: str, values: pd.DataFrame) -> dict[str, Any]:
    distance = values["difference"].abs().where(~values["equal"], 0.0).fillna(np.inf)
    furthest = values.loc[distance.idxmax(), ["recorded", "again", "difference"]]
    return {"metric": metric, "values": len(values), "equal": int(values["equal"].sum())} | furthest.to_dict()


def labels_differ(experiment: str, key: str, again: Result) -> float:
    """Return the share of the scored cells, 0-1, that a second run gave another type; nan where that is not known.

    Large files of predictions are not committed.
    """
    path = place.committed_folder() / experiment / f"{key}{PREDICTIONS}"
    if again.predictions is None or not path.is_file():
        return np.nan
    cells, before = predicted.load(path)
    now = pd.Series(again.predictions.predicted, index=np.asarray(again.cells).astype(str))
    return float((now.reindex(cells).to_numpy() != before.predicted).mean())


def reasons(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Return what was not the same in two runs of a trial and can change its values, the strongest first."""
    found = []
    for column in CAUSES:
        before, now = _shown(recorded.get(column)), _shown(again.get(column))
        if column == "versions":
            found += _versions(before, now)
        elif before != now:
            found.append(f"{column} {_short(column, before)} → {_short(column, now)}")
    return found


def _versions(before: str, now: str) -> list[str]:
    """Return the packages whose versions differ."""
    one, other = (dict(part.rsplit(" ", 1) for part in text.split("; ") if " " in part) for text in (before, now))
    names = list(dict.fromkeys([*one, *other]))
    pairs = {name: (one.get(name, "unknown"), other.get(name, "missing")) for name in names}
    return [f"{name} {first} → {second}" for name, (first, second) in pairs.items() if first != second]


def _short(column: str, text: str) -> str:
    return text[:8] if column.endswith("sha256") else text


def _shown(value: Any) -> str:
    """Return a value of a record as text; threads are a number."""
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return "unknown"
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
