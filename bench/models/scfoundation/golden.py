"""Golden cases of scFoundation's network, computed with the very functions that encode and embed."""

from functools import partial

import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.golden import run, spread
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.checkpoint import architecture_of, part_of, shapes_of
from bench.models.scfoundation.encoder import EncoderSide
from bench.models.scfoundation.golden_inputs import matrix_of, values_of
from bench.models.scfoundation.inputs import Tokens
from bench.models.scfoundation.network import ScFoundationNetwork
from bench.verify.case import Case, size_of
from bench.verify.tolerances import or_bf16
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one
    "scfoundation_token_embed": {"embedding": 2e-5, "shares": 5e-6},
    "scfoundation_forward": {"outputs": 2e-5, "gathered": 0},
    "scfoundation_cell_embed": {"outputs": 2e-5},
    "scfoundation_ckpt_layout": {"outputs": 2e-5},
}
ROUNDED_OUTPUTS = 0.05  # largest error in bf16, of numbers of size one: up to 0.02 in the open cases


def architecture(case: Case) -> Architecture:
    """Return the sizes that a case tells."""
    s, encoder, decoder = case.settings, case.settings["encoder"], case.settings["decoder"]
    return Architecture(
        s["n_genes"],
        *(encoder[name] for name in ("hidden_dim", "depth", "heads", "ff_dim")),
        *(decoder[name] for name in ("hidden_dim", "depth", "heads", "dim_head", "nb_features")),
        s["bin_num"],
        s["bin_alpha"],
        encoder["dropout"],
        s["mask_token_id"],
        s["pad_token_id"],
    )


def network_of(case: Case, weights: dict[str, Tensor] | None = None) -> ScFoundationNetwork:
    """Return the network with the case's weights, every tensor of which is used."""
    network = ScFoundationNetwork(architecture(case))
    load_into(network, case.weights() if weights is None else weights)
    return network.to(case.backend.device).eval()


def token_embed(case: Case) -> None:
    """Compare the embedding of values, and of those that stand for hidden ones and padding."""
    embed, allowed = network_of(case).token_emb, TOLERANCES[case.name]
    for name, part, kind in (("embedding", embed, "embedding"), ("bin_weights", embed.shares, "shares")):
        found = run(case, part, case["input.values"])
        case.compare(f"output.{name}", found, or_bf16(case.backend, allowed[kind]))


def forward(case: Case) -> None:
    """Compare what is gathered, every layer of the encoder, the decoder and its predictions, padding included."""
    network, allowed = network_of(case), _tolerance(case)
    tokens, place, values = _whole(case, case["input.values"])
    last, there = case.settings["n_genes"] + 2, _there(tokens)
    gathered = {
        "values": spread(tokens.bins.cpu(), there, case.settings["pad_token_id"]),
        "positions": spread(tokens.genes.cpu(), there, last),
        "padding": ~there,
    }
    for name, found in gathered.items():
        case.compare(f"output.encoder_{name}", found, TOLERANCES[case.name]["gathered"])
    for number, x in enumerate(run(case, lambda t: torch.stack([*network.steps(t, last)]), tokens)):
        case.compare(f"output.encoder_layer{number}", _with_padding(x, there), allowed)
    encoded = run(case, lambda t: network.encode(t, last), tokens)
    case.compare("output.encoder", _with_padding(encoded, there), allowed)
    encodings = encoded[: len(tokens.genes)].to(case.backend.device)
    given = run(case, lambda t: network.decoder_input(t, encodings, place, values), tokens)
    case.compare("output.decoder_input", given, allowed)
    embedding = run(case, lambda t: network.gene_embedding(t, place, values), tokens)
    case.compare("output.gene_embedding", embedding, allowed)
    case.compare("output.prediction", run(case, lambda t: network(t, place, values), tokens), allowed)
    case.compare("output.gene_embedding_one_by_one", _one_by_one(case, network, case["input.values"]), allowed)


def cell_embed(case: Case) -> None:
    """Compare embeddings of cells, from counts, values and bulk samples, with both pools and two sets of weights."""
    rde = {name.removeprefix("weights_rde."): t for name, t in case.tensors.items() if name.startswith("weights_rde.")}
    other = EncoderSide(architecture(case))
    load_into(other, rde)
    networks = {"": network_of(case), "rde": other.to(case.backend.device).eval()}
    for name in sorted(case.outputs(("output.",))):
        how, kind = name.removeprefix("output.").rsplit(".", 1)
        matrix = matrix_of(case, how)
        if kind == "values":
            case.compare(name, matrix.toarray(), _tolerance(case))
            continue
        pool = "max" if "_max" in how else "all"
        network = networks["rde" if how.endswith("_rde") else ""]
        embed = partial(network.embed, pool=pool)
        found = torch.cat([run(case, embed, _tokens(case, row)) for row in matrix])
        case.compare(name, found, _tolerance(case))
        apart = float((run(case, embed, _tokens(case, matrix)) - found).abs().max())
        case.note(f"{name} of all cells at once", apart, _tolerance(case), size_of(found))


def layout(case: Case) -> None:
    """Compare what the three parts of a file in the published layout give, and its names with ours."""
    allowed, values = _tolerance(case), values_of(case["input.counts"], "F_f1")
    official = {name.removeprefix("model."): tuple(shape) for name, shape in case.about["official"]["names"].items()}
    different = official.items() ^ shapes_of(Architecture()).items()
    case.note("official names and shapes that are not ours", float(len(different)), 0)
    networks = {}
    for part, config in case.about["ckpt_config"].items():
        start = f"ckpt.{part}.state_dict."
        state = {name.removeprefix(start): t for name, t in case.tensors.items() if name.startswith(start)}
        tensors, told = part_of(
            case.folder / f"{case.name}.safetensors", {part: {"config": config, "state_dict": state}}, part
        )
        networks[part] = ScFoundationNetwork(architecture_of(tensors, told, dropout=0.0))
        load_into(networks[part], tensors)
        networks[part].to(case.backend.device).eval()
    for version, part in (("ce", "cell"), ("rde", "rde")):
        found = run(case, networks[part].embed, _tokens(case, values))
        case.compare(f"output.cell_{version}", found, allowed)
    network, n_genes = networks["gene"], case.settings["n_genes"]
    alone = _one_by_one(case, network, torch.from_numpy(values.toarray()))[:, :n_genes]
    case.compare("output.gene", alone, allowed)
    case.compare("output.gene_expression", run(case, network.predicted, alone), allowed)
    tokens, place, rest = _whole(case, torch.from_numpy(values.toarray()))
    together = run(case, lambda t: network.gene_embedding(t, place, rest), tokens)
    case.compare("output.gene_batch", together[:, :n_genes], allowed)


def _tokens(case: Case, values: sp.csr_matrix) -> Tokens:
    return Tokens.of(sp.csr_matrix(values), case.settings["pad_token_id"], case.backend.device)


def _whole(case: Case, values: Tensor) -> tuple[Tokens, Tensor, Tensor]:
    """Return the tokens of cells, and what else is not zero in them: places through the cells, and values."""
    found = sp.csr_matrix(values.numpy())
    rest = values.flatten()
    place = torch.nonzero(rest < 0)[:, 0]
    return _tokens(case, found), place.to(case.backend.device), rest[place].to(case.backend.device)


def _one_by_one(case: Case, network: ScFoundationNetwork, values: Tensor) -> Tensor:
    """Return the embeddings of genes of every cell alone."""
    cells = [_whole(case, cell[None]) for cell in values]
    return torch.cat([run(case, lambda _, c=cell: network.gene_embedding(*c), None) for cell in cells])


def _there(tokens: Tokens) -> Tensor:
    lengths = torch.tensor(tokens.lengths)
    return torch.arange(int(lengths.max())) < lengths[:, None]


def _with_padding(found: Tensor, there: Tensor) -> Tensor:
    """Return (cells, length, dim) of (n_tokens + n_cells, dim), whose last rows are those of padded positions."""
    placed = spread(found[: int(there.sum())], there)
    padded = found[int(there.sum()) :][:, None].expand_as(placed)
    return torch.where(there[..., None], placed, padded)


def _tolerance(case: Case) -> float:
    return or_bf16(case.backend, TOLERANCES[case.name]["outputs"], ROUNDED_OUTPUTS)
