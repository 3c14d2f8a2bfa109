"""Golden cases of CellPLM's network: forward passes, embeddings, both latent layers, pretraining loss, fine-tuning."""

import re
from fnmatch import fnmatchcase

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.cellplm import finetuning
from bench.models.cellplm.decoder import reconstruction
from bench.models.cellplm.finetuning import Batch, Draws, Hiding, Rates, Trainer
from bench.models.cellplm.latent import weight_of_divergence
from bench.models.cellplm.network import UNUSED, Architecture, CellPLMNetwork
from bench.models.cellplm.passes import Pass, chunks, groups, known_columns
from bench.training.device import autocast
from bench.verify.case import Case
from bench.verify.tolerances import BF16, ROUNDING, after_training
from bench.weights import load_into

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "cellplm_forward": {"outputs": 2e-5},
    "cellplm_embed": {"outputs": 2e-5},
    "cellplm_context": {"outputs": 2e-5},
    "cellplm_annotate": {"outputs": 2e-5, "metrics": 1e-6},
    "cellplm_gmvae": {"outputs": 2e-5, "losses, relative": 5e-6},
    "cellplm_pretrain": {"outputs": 2e-5, "mean, relative": 2e-5, "losses, relative": 2e-6},
    "cellplm_finetune": {"logits": 5e-5, "loss": 1e-5, "grad_norm, relative": 1e-5, "final": 2e-5},
    "cellplm_finetune_masked": {"logits": 5e-5, "loss": 1e-5, "grad_norm, relative": 1e-5, "final": 2e-5, "masks": 0},
    "cellplm_schedule": {"relative": 1e-12},
    "cellplm_preprocess": {"integers": 0, "features": 2e-5},
    "cellplm_hvg": {"columns": 0, "relative": 1e-6},
    "cellplm_mask": {"masks": 0},
    "cellplm_layout": {"names": 0, "table": 1e-6},
}


def network_of(case: Case) -> CellPLMNetwork:
    """Return the network with the case's weights; those that the authors never read are not in it."""
    weights, s = weights_of(case), case.settings
    sizes = Architecture.of(weights, s["n_heads"], dropout=s["dropout"], attention_dropout=s["dropout"])
    network = CellPLMNetwork(sizes)
    if "head.mlp.1.weight" in weights:
        network.classify_into(len(weights["head.mlp.1.weight"]), seed=0)
    load_into(network, weights, allow_unused=UNUSED)
    return network.to(case.backend.device).eval()


def weights_of(case: Case) -> dict[str, Tensor]:
    """Return the weights that a case borrows, less those it drops, and its own in their place."""
    own = {n.removeprefix("weights."): t for n, t in case.tensors.items() if n.startswith("weights.")}
    dropped = case.about.get("weights_drop", [])
    borrowed = {n: t for n, t in case.weights().items() if not any(fnmatchcase(n, p) for p in dropped)}
    return borrowed | own


def cells_of(case: Case, counts: Tensor | None = None, genes: Tensor | None = None) -> Pass:
    """Return counts of the case, of genes in the vocabulary's order unless it says which, as one pass."""
    counts = case["input.counts"] if counts is None else counts
    if genes is None:
        genes = case.tensors.get("input.gene_index", torch.arange(counts.shape[1]))
    return Pass(sp.csr_matrix(counts.numpy().astype(np.float32)), genes.numpy(), torch.device(case.backend.device))


def forward(case: Case) -> None:
    """Compare every stage of a pass, and embeddings of other compositions of it."""
    network, cells, n = network_of(case), cells_of(case), len(case["input.counts"])
    compare = _comparison(case)
    compare("features", cells.features(network.embedder.feat_enc.emb))
    with torch.no_grad(), _precision(case):
        x = network.embedder(cells)
        compare("embedder", x)
        for number, layer in enumerate(network.encoder["layers"]):
            x = layer(x)
            compare(f"layer{number}", x)
        compare("pre_latent", network.encode(cells))
        compare("log_variance_raw", network.latent["layers"][1].hid_2sigma(network.encode(cells)))
    everything = cells_of(case, case["input.counts_all_genes"], torch.arange(case["input.counts_all_genes"].shape[1]))
    passes = {
        "latent": np.arange(n),
        "latent_permuted": case["input.permutation"].numpy(),
        "latent_each_cell_twice": np.repeat(np.arange(n), 2),
        "latent_first5": np.arange(len(case["output.latent_first5"])),
        "latent_single_cell": np.arange(1),
    }
    for name, rows in passes.items():
        compare(name, _embedded(case, network, cells, rows))
    compare("latent_all_genes", _embedded(case, network, everything, np.arange(len(everything))))


def embed(case: Case) -> None:
    """Compare embeddings as the authors extract them, with and without batches, in chunks."""
    network, compare = network_of(case), _comparison(case)
    columns, genes = known_columns(case.about["gene_names"], case.about["vocabulary"])
    cells = cells_of(case, case["input.counts"][:, columns], torch.from_numpy(genes))
    batches = np.array(case.about["batch_names"])
    for name in case.outputs(("output.",)):
        kind = name.removeprefix("output.")
        most = int(kind.rpartition("chunks_of_")[2]) if "chunks_of_" in kind else 0
        found = torch.zeros(len(cells), network.architecture.latent)
        for group in groups(batches if kind.startswith("by_batch") else None, len(cells)):
            for rows in chunks(group, most):
                found[rows] = _embedded(case, network, cells, rows)
        compare(kind, found)


def context(case: Case) -> None:
    """Compare embeddings of the same cells in other company."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    n = len(case["output.latent_query_only"])
    alone = Pass(cells.counts[:n], cells.genes, cells.device, alone=True)
    compare("latent_alone_one_by_one", _run(case, network.embed, alone))
    for name in case.outputs(("output.latent_",)) - {"output.latent_alone_one_by_one"}:
        kind = name.removeprefix("output.latent_")
        compare(f"latent_{kind}", _embedded(case, network, cells, case[f"input.rows_{kind}"].numpy())[:n])


def annotate(case: Case) -> None:
    """Compare logits of the same cells in three compositions of their pass, and the metrics' formulas."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    rows = case["input.test_rows"].numpy()
    compare("logits_all_cells", _run(case, network, cells)[rows])
    some = cells.with_counts(cells.counts[rows])
    compare("logits_test_cells_only", _run(case, network, some))
    alone = Pass(some.counts, some.genes, some.device, alone=True)
    compare("logits_test_cells_one_by_one", _run(case, network, alone))
    found = _macro(case["input.metric_labels"].numpy(), case["input.metric_predictions"].numpy())
    case.compare("output.metrics", found, TOLERANCES[case.name]["metrics"])


def gmvae(case: Case) -> None:
    """Compare the mixture's distributions in evaluation and in training, its loss and gradients."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    layer = network.latent["layers"][1]
    device, s = cells.device, case.settings
    evaluated = []
    for uniform in case["random.uniform_eval"].to(device):
        drawn = Pass(cells.counts, cells.genes, device, uniform=uniform)
        evaluated.append(_run(case, lambda p: network.distribution(p).mean, drawn))
        clusters = _run(case, lambda p: network.distribution(p).clusters, drawn).argmax(1)
        case.note("output.eval_cluster", float((clusters != case["output.eval_cluster"][len(evaluated) - 1]).sum()), 0)
    compare("eval_embedding", torch.stack(evaluated))
    network.train()
    x = network.encode(cells)
    found = layer(x, case["random.uniform_train"].to(device))
    z, logits = layer.sample(found, case["random.noise_train"].to(device)), layer.logits(x)
    named = {"y": found.clusters, "z": z, "mean": found.mean, "var": found.variance}
    named |= {"y_mean": found.prior_mean, "y_var": found.prior_variance}
    for name, tensor in {"pre_latent": x, "logits": logits, **{f"train_{n}": t for n, t in named.items()}}.items():
        compare(name, tensor)
    terms = layer.terms(found, z, logits)
    relative = TOLERANCES[case.name]["losses, relative"]
    case.compare("output.loss_terms", torch.stack(terms), relative, relative=True)
    weights = s["w_li"], s["w_en"]
    least = map(float, re.findall(r"lamda ([\d.]+)", case.about["tensors"]["output.train_loss"]["what"]))
    losses = [layer.loss(terms, weights, bound) for bound in least]
    case.compare("output.train_loss", torch.stack(losses), relative, relative=True)
    losses[1].backward()
    _compare_gradients(case, _gradients(network))


def pretrain(case: Case) -> None:
    """Compare the pretraining loss for given masks and weights of the divergence, its gradients, and the decoder."""
    network, device = network_of(case).train(), torch.device(case.backend.device)
    counts, kept = case["input.counts"].float(), case["random.kept_cells"]
    hide = case["random.input_mask"].bool()
    batch, dataset = case["input.batch"][kept].to(device), case["input.dataset"][kept].to(device)
    shown = counts[kept].masked_fill(hide, 0)
    case.compare("output.masked_counts", shown, 0)
    compare, told = _comparison(case), TOLERANCES[case.name]
    losses, divergences = [], []
    for weight in case["input.kl_weight"].tolist():
        network.zero_grad()
        x = network.encode(cells_of(case, shown))
        layer = network.latent["layers"][1]
        found = layer(x)
        z = layer.sample(found, case["random.latent_noise"].to(device))
        mean = network.decoder(z, batch, dataset)
        divergences.append(layer.loss(found, weight))
        true = counts[kept].to(device)
        loss = divergences[-1] + reconstruction(true, mean, network.decoder.dispersion, hide.to(device))
        loss.backward()
        losses.append(loss.detach())
    compare("pre_latent", x)
    compare("z", z)
    case.compare("output.mean", mean, told["mean, relative"], relative=True)
    case.compare("output.dispersion", network.decoder.dispersion, told["mean, relative"], relative=True)
    case.compare("output.loss", torch.stack(losses), told["losses, relative"], relative=True)
    case.compare("output.latent_loss", torch.stack(divergences), told["losses, relative"], relative=True)
    _compare_gradients(case, _gradients(network))
    passes = map(int, re.findall(r"\d+", case.about["tensors"]["output.kl_weight_schedule"]["what"]))
    case.compare("output.kl_weight_schedule", [*map(weight_of_divergence, passes)], ROUNDING, relative=True)
    _compare_evaluated(case, network.eval())


def _compare_evaluated(case: Case, network: CellPLMNetwork) -> None:
    counts, told = case["input.counts"].float().to(case.backend.device), TOLERANCES[case.name]
    measured, losses = case["input.gene_mask"].to(counts.device), []
    with torch.no_grad():
        z = network.embed(cells_of(case))
        for kind, covariates in (("with", ("input.batch", "input.dataset")), ("without", ())):
            mean = network.decoder(z, *(case[name].to(counts.device) for name in covariates))
            name = f"output.eval_mean_{kind}_covariates"
            case.compare(name, mean[: len(case[name])], told["mean, relative"], relative=True)
            for genes in (slice(None), measured):
                of = (counts[:, genes], mean[:, genes], network.decoder.dispersion[genes])
                losses.append(reconstruction(*of))
    case.compare("output.eval_loss", torch.stack(losses), told["losses, relative"], relative=True)


def finetune(case: Case) -> None:
    """Compare the steps of a fine-tuning, its choice of an epoch, and what it predicts in the end."""
    batches = _batches(case, groups(case["input.batch"].numpy(), len(case["input.batch"])))
    recorded, best = _Recorded(case), None
    for epoch, order in enumerate(case["random.batch_order"].tolist()):
        recorded.epoch(epoch, [batches[number] for number in order], batches)
        f1 = recorded.validated[-1]["f1_score"]
        if best is None or f1 >= best[0]:  # of equals the latest
            best = f1, epoch, _predicted(case, recorded.network, batches)
    for name in recorded.validated[0]:
        found = [metrics[name] for metrics in recorded.validated]
        case.compare(f"output.valid_{name}", found, _trained(case, "loss"))
    case.note("epoch that was chosen", float(best[1] != case.about["best_epoch"]), 0)
    predictions = best[2].argmax(1)
    case.compare("output.predictions", predictions, 0)
    scored = case["input.split"].numpy() == 2
    found = _macro(case["input.labels"].numpy()[scored], predictions.numpy()[scored])
    case.compare("output.test_scores", found, _trained(case, "loss"))
    recorded.compare(_predicted(case, recorded.network, batches))


def finetune_masked(case: Case) -> None:
    """Compare cells kept, counts hidden and the steps of a fine-tuning with both."""
    (batch,), recorded, s = _batches(case, groups(None, len(case["input.labels"]))), _Recorded(case), case.settings
    hiding = Hiding(*(s[name] for name in ("drop_node_rate", "mask_node_rate", "mask_feature_rate", "max_batch_size")))
    kept, masks = [], []
    for epoch in range(s["epochs"]):
        permutation, nodes, uniform = (
            case[f"random.{name}"][epoch].numpy() for name in ("cell_permutation", "node_permutation", "uniform")
        )
        draws = Draws(permutation, nodes, lambda counts, u=uniform: u[counts.tocoo().coords])
        recorded.epoch(epoch, [finetuning.drawn(batch, hiding, draws)], [batch])
        kept.append(permutation[: finetuning.n_kept(len(permutation), hiding.cells, hiding.most)])
        where = finetuning.chosen(nodes, hiding.masked_cells)[:, None]
        masks.append(finetuning.hidden(uniform, where, hiding.values))
    case.compare("output.kept_cells", np.stack(kept), TOLERANCES[case.name]["masks"])
    case.compare("output.input_mask", np.stack(masks), TOLERANCES[case.name]["masks"])
    for name, told in (("output.valid_loss", "loss"), ("output.valid_f1", "f1_score")):
        case.compare(name, [found[told] for found in recorded.validated], _trained(case, "loss"))
    recorded.compare(_predicted(case, recorded.network, [batch]))


def schedule(case: Case) -> None:
    """Compare the rates of both groups, given the losses of the batches."""
    s, losses = case.settings, case["input.losses"].tolist()
    network = CellPLMNetwork(Architecture(4, 8, 1, 1, 8, 8, decoder=0, dropout=0))
    network.classify_into(2, seed=0)
    trainer = Trainer(network, _rates(s))
    found = []
    for number, loss in enumerate(losses):
        if number % s["batches_per_epoch"] == 0:
            trainer.begin(number // s["batches_per_epoch"])
        found.append(trainer.lr)
        trainer.plateau.step(loss)
    case.compare("output.lr", found, TOLERANCES[case.name]["relative"], relative=True)


class _Recorded:
    """The steps of a fine-tuning of a case, with the gradients of each before they are cut."""

    def __init__(self, case: Case):
        self.case, self.network = case, network_of(case)
        self.trainer = Trainer(self.network, _rates(case.settings), case.backend.precision)
        self.steps, self.validated = [], []
        self.start = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.gradients = {name: [] for name, _ in self.network.named_parameters()}
        for name, parameter in self.network.named_parameters():
            parameter.register_post_accumulate_grad_hook(lambda p, n=name: self.gradients[n].append(p.grad.clone()))

    def epoch(self, number: int, batches: list[Batch], all_batches: list[Batch]) -> None:
        self.steps += self.trainer.epoch(number, batches)
        self.validated.append(_validated(self.case, self.network, all_batches))

    def compare(self, last: Tensor) -> None:
        case, of_norm = self.case, [g for n, g in self.gradients.items() if n.startswith("pre_latent_norm.")]
        found = {"loss": [s.loss for s in self.steps], "grad_norm": [s.norm for s in self.steps]}
        norms = [torch.stack([grad.norm() for grad in step]).norm() for step in zip(*of_norm, strict=True)]
        found["pre_latent_norm_grad_norm"] = norms
        for name in found.keys() & {name.removeprefix("output.") for name in case.outputs(("output.",))}:
            relative = name.endswith("grad_norm")
            allowed = _trained(case, "grad_norm, relative" if relative else "loss")
            case.compare(f"output.{name}", found[name], allowed, relative=relative)
        case.compare("output.lr", [step.lr for step in self.steps], ROUNDING, relative=True)
        for number, step in enumerate(self.steps):
            if f"output.logits_step{number}" in case.tensors:
                case.compare(f"output.logits_step{number}", step.logits, _trained(case, "logits"))
        case.compare("output.final_logits", last, _trained(case, "logits"))
        state = self.network.state_dict()
        for name in case.outputs(("final.",)):
            case.compare(name, state[name.removeprefix("final.")], _trained(case, "final"))
        _compare_gradients(case, {name: found[0] for name, found in self.gradients.items() if found})
        kept = [n for n in case.about.get("unchanged_parameters", []) if n in state]
        moved = [name for name in kept if not torch.equal(self.start[name], state[name])]
        case.note("unchanged parameters changed", float(len(moved)), 0)


def _batches(case: Case, rows: list[np.ndarray]) -> list[Batch]:
    cells, labels = cells_of(case), case["input.labels"].numpy()
    trains = case["input.split"].numpy() == 0
    return [Batch(cells.with_counts(cells.counts[some]), labels[some], trains[some]) for some in rows]


def _predicted(case: Case, network: CellPLMNetwork, batches: list[Batch]) -> Tensor:
    """Return the logits of all cells in their order, each batch in one pass."""
    network.eval()
    of = case.tensors.get("input.batch")
    rows = groups(None if of is None else of.numpy(), len(case["input.labels"]))
    found = torch.zeros(len(case["input.labels"]), case.settings["classes"])
    for some, batch in zip(rows, batches, strict=True):
        found[some] = _run(case, network, batch.cells)
    return found


def _validated(case: Case, network: CellPLMNetwork, batches: list[Batch]) -> dict[str, float]:
    """Return the mean over batches of the loss of their validation cells, and metrics of all of them."""
    logits, labels = _predicted(case, network, batches), case["input.labels"]
    validates = case["input.split"] == 1
    of = case.tensors.get("input.batch", torch.zeros(len(labels), dtype=torch.long))
    some = [validates & (of == batch) for batch in of.unique()]
    losses = [torch.nn.functional.cross_entropy(logits[s], labels[s]).item() for s in some if s.any()]
    metrics = _macro(labels[validates].numpy(), logits[validates].argmax(1).numpy())
    return {
        "loss": float(np.mean(losses)),
        **dict(zip(("acc", "f1_score", "precision", "recall"), metrics, strict=True)),
    }


def _macro(labels: np.ndarray, predictions: np.ndarray) -> list[float]:
    """Return what the authors call accuracy, F1, precision and recall."""
    found = finetuning.macro(labels, predictions, int(max(labels.max(), predictions.max())) + 1)
    return [found[name] for name in ("macro_recall", "macro_f1", "macro_precision", "macro_recall")]


def _rates(s: dict) -> Rates:
    told = {"lr": s["lr"], "embedder_lr": s["embedder_lr"]}
    names = {"decay": "wd", "embedder_decay": "embedder_wd", "warmup": "warm_up_epochs", "clip": "clip_norm"}
    names |= {"patience": "patience", "factor": "factor"}
    return Rates(**told | {ours: s[theirs] for ours, theirs in names.items() if theirs in s})


def _compare_gradients(case: Case, gradients: dict[str, Tensor]) -> None:
    """Compare gradients, whose errors are shares of the largest entry of their tensor."""
    for name in case.outputs(("grad_step0.",)):
        found, expected = gradients[name.removeprefix("grad_step0.")].cpu(), case[name]
        allowed = BF16 if case.backend.precision == "bf16" else 2e-5
        case.note(name, float((found - expected).abs().max() / expected.abs().max()), allowed)


def _gradients(network: CellPLMNetwork) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _comparison(case: Case):
    """Return a function that compares an output by its name within the case's tolerance of outputs."""
    allowed = BF16 if case.backend.precision == "bf16" else TOLERANCES[case.name]["outputs"]
    return lambda name, found: case.compare(f"output.{name}", found, allowed)


def _trained(case: Case, kind: str) -> float:
    return after_training(case.backend, TOLERANCES[case.name][kind])


def _embedded(case: Case, network: CellPLMNetwork, cells: Pass, rows: np.ndarray) -> Tensor:
    return _run(case, network.embed, cells.with_counts(cells.counts[rows]))


def _run(case: Case, run, cells: Pass) -> Tensor:
    """Return what a part of the network says, on the CPU."""
    with torch.no_grad(), _precision(case):
        return run(cells).float().cpu()


def _precision(case: Case):
    return autocast(torch.device(case.backend.device), case.backend.precision)
