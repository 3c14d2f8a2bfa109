"""Dropout drops the share asked for, keeps the mean, and depends on torch's generator alone."""

import pytest
import torch

from bench.models.layers.dropout import Dropout, kept

N = 1_000_003  # no multiple of four


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share, dtype):
    torch.manual_seed(3)
    found = kept((N,), share, dtype)
    assert found.dtype == dtype
    rate = (found == 0).double().mean().item()
    assert rate == pytest.approx(share, abs=4 * (share * (1 - share) / N) ** 0.5 + 2**-17)
    scale = found.double().max().item()
    assert set(found.unique().double().tolist()) == {0.0, scale}
    assert scale == pytest.approx(1 / (1 - share), rel=2e-5 / (1 - share) + torch.finfo(dtype).eps)


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_shares_that_would_be_rounded_to_none_or_all_stay_between(share):
    torch.manual_seed(0)
    found = kept((4_000_000,), share, torch.float32)
    assert torch.isfinite(found).all()
    assert (found == 0).double().mean().item() == pytest.approx(round(share), abs=1e-4)
    assert found.mean().item() == pytest.approx(1, abs=1)
    assert 0 < (found == 0).sum() < len(found)


def test_neighbours_rows_and_draws_are_independent():
    torch.manual_seed(0)
    dropped = torch.stack([kept((1000, 1000), 0.2, torch.float32) == 0 for _ in range(2)]).double() - 0.2
    pairs = [dropped[:, :, 1:] * dropped[:, :, :-1], dropped[:, 1:] * dropped[:, :-1], dropped[0] * dropped[1]]
    pairs += [dropped[..., 4:] * dropped[..., :-4]]  # four are drawn at once
    for product in pairs:
        assert abs(product.mean().item()) < 5 * 0.16 / product.numel() ** 0.5


def test_equal_seeds_drop_the_same_and_others_do_not():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(kept((3, 50), 0.4, torch.float32))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_what_is_dropped_gets_no_gradient_and_evaluation_drops_nothing():
    layer, x = Dropout(0.3), torch.randn(40, 5).requires_grad_()
    out = layer(x)
    out.sum().backward()
    assert torch.equal(x.grad == 0, out == 0)
    torch.testing.assert_close(x.grad[out != 0], torch.full_like(x.grad, 1 / 0.7)[out != 0], rtol=1e-4, atol=0)
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x
