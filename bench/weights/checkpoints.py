"""Checkpoints that a user has: known as the published ones by their hashes, or converted under a name of their own."""

from pathlib import Path

from bench.core.errors import BenchError
from bench.core.families import Family, families, family_of
from bench.datasets.sources import in_folder, sha256_of
from bench.weights.card import read_genes
from bench.weights.sources import convert_once, converted, known, published, stamp_of, target_of

KIND = "model with weights"


def of_model(
    model: str, path: Path | None = None, genes: Path | None = None, *, accepted: bool = False, **options: bool | str
) -> Path:
    """Return the converted file of a model: of the published weights, or of a checkpoint of your own.

    Parameters
    ----------
    model
        Name of a family, such as ``scbert``.
    path
        The checkpoint, or a folder that holds it and what belongs to it under the published names; None fetches the
        published files. Files that are the published ones become the published weights, whatever they are called.
    accepted
        As in `published`.
    genes, options
        As in `own`; of several sets of weights in a published file, ``part`` says which.

    Raises
    ------
    BenchError
        As `published` and `own`.
    """
    part, others = options.get("part"), {option: value for option, value in options.items() if option != "part"}
    if path is None:
        if genes or others:
            option = "--genes" if genes else f"--{next(iter(others))}"
            raise BenchError(f"{option} goes with a checkpoint of your own; name that with --path.")
        return published(_published_of(model, part), accepted=accepted)
    files = _files(model, path)
    found = None if genes or others else _known_as(model, files, part)
    if found:
        return converted(found, files, accepted=accepted)
    return own(model, path, genes, **options)


def own(model: str, path: Path, genes: Path | None = None, **options: bool | str) -> Path:
    """Return the converted file of a checkpoint of your own, of whatever depth, width and genes.

    Parameters
    ----------
    model
        Name of a family, such as ``scbert``.
    path
        The checkpoint: safetensors, or what ``torch.save`` wrote, with the published files that belong to it beside it.
        Or a folder that holds them under the published names.
    genes
        Text file of the gene symbols in the order of the positions, one a line; None for the published order, or if
        the checkpoint's own files say it.
    options
        Of the family's converter, such as ``continual=True`` for scGPT's continual pretraining, which is refused
        otherwise; the file is named after them.

    Raises
    ------
    BenchError
        If the checkpoint is not one of this model, or the genes do not fit it.
    """
    files = _files(model, path)
    for option in options:
        if option not in _settings_of(family_of(model, "converter", KIND)):
            having = [family.name for family in families().values() if option in _settings_of(family)]
            raise BenchError(f"--{option} is for {' and '.join(having) or 'no model'}, not for {model}; leave it out.")
    names = read_genes(Path(genes).expanduser()) if genes else None
    digests = [sha256_of(file) for file in files]
    stamp, given = stamp_of(digests, names, options.get("part", "")), Path(path).expanduser()
    title = given.resolve().name if given.is_dir() else given.stem
    words = [value if isinstance(value, str) else option for option, value in options.items()]
    title = "_".join([model, *words]) if options else title
    published_as = _published_of(model)
    unlike = ", ".join(_unlike(published_as, digests)) or "nothing but the genes named with it"
    origin = f"a checkpoint of your own; not as in {published_as}: {unlike}"
    source = ", ".join(file.name for file in files)
    about = stamp | {"source": source, "licence": "not stated", "model": model, "origin": origin}
    return convert_once(target_of(f"{title}-{stamp['identity'][:8]}"), model, files, names, stamp, about, **options)


def _published_of(model: str, part: str | None = None) -> str:
    """Return the name of a model's published weights: the first ones, or those of a part of its file."""
    entries = family_of(model, "converter", KIND).load("published")
    return next((name for name, entry in entries.items() if part and entry.part == part), next(iter(entries)))


def _known_as(model: str, files: list[Path], part: str | None) -> str | None:
    """Return the name of the published weights that files of the user's are, if they are some."""
    digests = [sha256_of(file) for file in files]
    for name, entry in family_of(model, "converter", KIND).load("published").items():
        if part in (None, entry.part) and len(entry.sources) == len(files) and not _unlike(name, digests):
            return name
    return None


def _settings_of(family: Family) -> set[str]:
    """Return what the switches of a family tell its converter."""
    return {name for option in family.weights_options.values() for name in option.settings}


def _files(model: str, path: Path) -> list[Path]:
    """Return the user's files of one checkpoint, the one with the tensors first."""
    sources = known()[_published_of(model)].sources
    names = [source.known_as or source.name for source in sources]
    path = Path(path).expanduser()
    if not path.exists():
        raise BenchError(f"--path {path} is not there; give the checkpoint, or the folder with {', '.join(names)}.")
    folder, first = (path, in_folder(sources[0], path)) if path.is_dir() else (path.parent, path)
    files = [first, *(in_folder(source, folder) for source in sources[1:])]
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise BenchError(
            f"{folder} has no {' and no '.join(lacking)}. A checkpoint of {model} is {', '.join(names)} in one folder: "
            "copy what is missing from where it is from."
        )
    return files


def _unlike(name: str, digests: list[str]) -> list[str]:
    """Return which of the files are not the published ones."""
    pairs = zip(known()[name].sources, digests, strict=True)
    return [source.name for source, digest in pairs if source.sha256 != digest]
