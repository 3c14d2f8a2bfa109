"""What readers see models and data called: short names, made longer until what differs reads differently."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

from bench.core.keys import digest
from bench.report.figures.style import ELSEWHERE, MODELS, PLAIN, is_known, label_of, series_of

LONGEST = 60  # characters of one part of a name


def one_line(text: object, longest: int = LONGEST) -> str:
    """Return a text as one printable line, its middle left out where it is too long for a figure."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else f"{line[: longest - 20]}…{line[-19:]}"


def told_apart(names: Mapping[Hashable, list[str]]) -> dict[Hashable, str]:
    """Return one name per key, each the first of its list that no other key goes by.

    Where the lists end before all names differ, hexadecimal digits over the key follow the last one.
    """
    forms = {key: [*of_key, f"{of_key[-1]} [{digest(key)[:6]}]"] for key, of_key in names.items()}
    places = dict.fromkeys(forms, 0)
    while True:
        shown = {key: forms[key][place] for key, place in places.items()}
        times = Counter(shown.values())
        longer = [key for key, place in places.items() if times[shown[key]] > 1 and place + 1 < len(forms[key])]
        if not longer:
            return shown
        for key in longer:
            places[key] += 1


def names_of(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return what readers see each (model, variant) called.

    A model from outside goes by its class; where two classes have one name, or a class has that of a model of this
    project, the modules that they are from are added.  Predictions that another tool has made go by the name that they
    were given.
    """
    pairs = list(dict.fromkeys(pairs))
    labels = told_apart({model: _labels(model) for model, _ in pairs})
    return told_apart({(model, variant): _series(labels[model], model, variant) for model, variant in pairs})


def _labels(model: str) -> list[str]:
    """Return what a model may be called, the shortest first; no model from outside has a name of one from here."""
    if model in MODELS:
        return [label_of(model)]
    module, colon, name = model.rpartition(":")
    parts = module.split(".") if colon else []
    longer = [f"{name} of {'.'.join(parts[-n:])}" for n in range(1, len(parts) + 1)]
    forms = [name, *longer] if colon else [model, f"model {model}"]
    return [form for form in map(one_line, forms) if not is_known(form)] or [f"model {one_line(model)}"]


def _series(label: str, model: str, variant: str) -> list[str]:
    if model == ELSEWHERE:
        forms = [one_line(variant), f"{label}: {one_line(variant) or 'not named'}"]
        return [form for form in forms if form and not is_known(form)]
    usual = label if variant in PLAIN else series_of(model, variant).replace(label_of(model), label, 1)
    return [one_line(usual, 2 * LONGEST), f"{label}, variant {one_line(variant) or 'not named'}"]
