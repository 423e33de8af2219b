"""PyTorch's faster dropout is dropout, and attention with it is attention."""

import pytest
import torch
from torch import nn

from jaxcompare.torch_side.models import BitDropout, BitDropoutAttention, DotProductAttention, build_model


def test_it_keeps_as_many_as_it_should_and_scales_them():
    torch.manual_seed(0)
    ones = torch.ones(401, 997, requires_grad=True)  # no multiple of four
    dropped = BitDropout(0.1)(ones)
    assert dropped.detach().unique().tolist() == pytest.approx([0, 1 / 0.9])
    # 400,000 draws: a standard deviation is 0.0005.
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.0025)
    for neighbours in (dropped[:, 1:] * dropped[:, :-1], dropped[1:] * dropped[:-1]):
        assert float((neighbours != 0).float().mean()) == pytest.approx(0.81, abs=0.004)
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped.detach())
    again = BitDropout(0.1)(ones)
    assert not torch.equal(again, dropped)


def test_it_changes_nothing_in_evaluation_or_at_rate_0():
    ones = torch.ones(5)
    assert BitDropout(0.5).eval()(ones) is ones
    assert BitDropout(0.0)(ones) is ones


@pytest.mark.parametrize("attention", [DotProductAttention, BitDropoutAttention])
def test_attention_is_multi_head_attention_and_drops_its_probabilities(attention):
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(32, 4, dropout=0.5, batch_first=True).eval()
    ours = attention(32, 4, dropout=0.5, batch_first=True).eval()
    ours.load_state_dict(reference.state_dict())
    tokens = torch.randn(3, 7, 32)
    expected = reference(tokens, tokens, tokens, need_weights=False)[0].detach()
    torch.testing.assert_close(ours(tokens)[0].detach(), expected)
    trained = torch.stack([ours.train()(tokens)[0].detach() for _ in range(2000)])
    assert float((trained[0] - expected).abs().max()) > 1e-3
    torch.testing.assert_close(trained.mean(0), expected, atol=0.03, rtol=0)


def test_a_vit_with_it_has_no_other_dropout():
    kinds = {type(module) for module in build_model("vit", bits=True).modules() if isinstance(module, nn.Dropout)}
    assert kinds == {BitDropout}
    rates = [module.p for module in build_model("vit", bits=True).modules() if isinstance(module, BitDropout)]
    assert rates == [0.1] * 12
