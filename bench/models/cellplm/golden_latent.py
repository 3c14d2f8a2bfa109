"""Golden cases of CellPLM's latent layer and decoder: the mixture's distributions, and the loss of pretraining."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from bench.models.cellplm.decoder import reconstruction
from bench.models.cellplm.golden import cells_of, network_of
from bench.models.cellplm.latent import weight_of_divergence
from bench.models.cellplm.network import CellPLMNetwork
from bench.models.cellplm.passes import Pass
from bench.models.golden import compare_gradients, gradients_of, run
from bench.verify.case import Case
from bench.verify.tolerances import ROUNDING

TOLERANCES = {  # case -> kind of output -> largest error, of numbers of size one unless the kind says relative
    "cellplm_gmvae": {"outputs": 2e-5, "losses, relative": 5e-6, "gradients": 2e-5},
    "cellplm_pretrain": {"outputs": 2e-5, "mean, relative": 2e-5, "losses, relative": 2e-6, "gradients": 2e-5},
}


def gmvae(case: Case) -> None:
    """Compare the mixture's distributions in evaluation and in training, its loss and gradients."""
    network, cells, compare = network_of(case), cells_of(case), _comparison(case)
    layer = network.latent["layers"][1]
    device, s = cells.device, case.settings
    evaluated = []
    for uniform in case["random.uniform_eval"].to(device):
        drawn = Pass(cells.counts, cells.genes, device, uniform=uniform)
        evaluated.append(run(case, lambda p: network.distribution(p).mean, drawn))
        clusters = run(case, lambda p: network.distribution(p).clusters, drawn).argmax(1)
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
    compare_gradients(case, gradients_of(network), TOLERANCES[case.name]["gradients"])


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
    compare_gradients(case, gradients_of(network), TOLERANCES[case.name]["gradients"])
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


def _comparison(case: Case) -> Callable[[str, Tensor], None]:
    return lambda name, found: case.compare(f"output.{name}", found, TOLERANCES[case.name]["outputs"])
