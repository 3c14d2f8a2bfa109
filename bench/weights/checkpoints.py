"""Checkpoints that a user has: known as the published ones by their hashes, or converted under a name of their own."""

from pathlib import Path

from bench.core.errors import BenchError
from bench.core.families import families, family_of
from bench.datasets.sources import in_folder, sha256_of
from bench.weights.card import read_genes
from bench.weights.sources import convert_once, converted, known, published, stamp_of, target_of

KIND = "model with weights"


def of_model(model: str, path: Path | None = None, genes: Path | None = None, **options: bool) -> Path:
    """Return the converted file of a model: of the published weights, or of a checkpoint of your own.

    Parameters
    ----------
    model
        Name of a family, such as ``scbert``.
    path
        The checkpoint, or a folder that holds it and what belongs to it under the published names; None fetches the
        published files. Files that are the published ones become the published weights, whatever they are called.
    genes, options
        As in `own`.

    Raises
    ------
    BenchError
        As `published` and `own`.
    """
    if path is None:
        if genes or options:
            option = "--genes" if genes else f"--{next(iter(options))}"
            raise BenchError(f"{option} goes with a checkpoint of your own; name that with --path.")
        return published(_published_of(model))
    files = _files(model, path)
    if genes is None and not options:
        digests = [sha256_of(file) for file in files]
        for name in family_of(model, "converter", KIND).load("published"):
            if len(known()[name].sources) == len(files) and not _unlike(name, digests):
                return converted(name, files)
    return own(model, path, genes, **options)


def own(model: str, path: Path, genes: Path | None = None, **options: bool) -> Path:
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
        if option not in family_of(model, "converter", KIND).weights_options:
            having = [family.name for family in families().values() if option in family.weights_options]
            raise BenchError(f"--{option} is for {' and '.join(having) or 'no model'}, not for {model}; leave it out.")
    names = read_genes(Path(genes).expanduser()) if genes else None
    digests = [sha256_of(file) for file in files]
    stamp, given = stamp_of(digests, names), Path(path).expanduser()
    title = given.resolve().name if given.is_dir() else given.stem
    title = "_".join([model, *options]) if options else title
    published_as = _published_of(model)
    unlike = ", ".join(_unlike(published_as, digests)) or "nothing but the genes named with it"
    origin = f"a checkpoint of your own; not as in {published_as}: {unlike}"
    source = ", ".join(file.name for file in files)
    about = stamp | {"source": source, "licence": "not stated", "model": model, "origin": origin}
    return convert_once(target_of(f"{title}-{stamp['identity'][:8]}"), model, files, names, stamp, about, **options)


def _published_of(model: str) -> str:
    return next(iter(family_of(model, "converter", KIND).load("published")))


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
