"""FusedSelfAttention against nn.MultiheadAttention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mkbackbones import apply_manifold_key, fold_manifold_keys
from mkbackbones.attention.self_attention import FusedSelfAttention


def stock_attention(batch_first=True, **args):
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **args)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    return attention


@settings(max_examples=60, deadline=None)
@given(
    batch_first=st.booleans(),
    bias=st.booleans(),
    batched=st.booleans(),
    need_weights=st.booleans(),
    average=st.booleans(),
    attn_mask=st.sampled_from([None, 'bool', 'float', 'heads']),
    padding=st.sampled_from([None, 'bool', 'float']),
    dropout=st.sampled_from([0.0, 0.4]),
    training=st.booleans(),
    num=st.integers(1, 5),
)
def test_same_call_same_results(
    batch_first, bias, batched, need_weights, average, attn_mask, padding, dropout, training, num
):
    torch.manual_seed(0)
    stock = stock_attention(batch_first, bias=bias, dropout=dropout).train(training)
    ours = FusedSelfAttention(stock)
    batch = 3 if batched else 1
    x = torch.randn(batch, num, 8) if batch_first else torch.randn(num, batch, 8)
    x = x if batched else x.squeeze(0 if batch_first else 1)
    masks = {
        None: None,
        'bool': torch.ones(num, num).triu(1).bool(),
        'float': torch.randn(num, num),
        'heads': torch.randn(batch * 2, num, num),
    }
    paddings = {
        None: None,
        'bool': torch.arange(num).expand(batch, -1) > 2,
        'float': torch.randn(batch, num),
    }
    if (attn_mask == 'bool' and padding == 'float') or (padding == 'bool' and attn_mask != 'bool'):
        padding = None  # nn.MultiheadAttention warns of mixed types
    mask, pad = masks[attn_mask], paddings[padding]
    if pad is not None and not batched:
        pad = pad[0]
    args = dict(
        attn_mask=mask, key_padding_mask=pad, need_weights=need_weights,
        average_attn_weights=average,
    )  # fmt: skip
    results = []
    for attention in (stock, ours):
        torch.manual_seed(1)
        results.append(attention(x, x, x, **args))
    (wanted, wanted_weights), (out, weights) = results
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-5)
    assert (weights is None) == (wanted_weights is None)
    if weights is not None:
        torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize('bias', [True, False])
def test_state_dict_of_the_stock_layer_loads_and_comes_back(bias):
    stock = stock_attention(bias=bias)
    ours = FusedSelfAttention(stock_attention(bias=bias))
    ours.load_state_dict(stock.state_dict(), strict=True)
    back = ours.to_multihead(ours.qkv)
    assert back.state_dict().keys() == stock.state_dict().keys()
    for name, value in back.state_dict().items():
        assert torch.equal(value, stock.state_dict()[name])


def test_cross_attention_is_refused():
    attention = FusedSelfAttention(stock_attention())
    x = torch.randn(1, 4, 8)
    for args in ((x, x + 1, x), (x, x, x + 1), (x, x[:, :2], x[:, :2])):
        with pytest.raises(ValueError, match='only self-attention'):
            attention(*args)


class Encoder(nn.Module):
    def __init__(self, **args):
        super().__init__()
        self.attn = stock_attention(**args)

    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('kind', ['LinearK', 'VanillaK'])
def test_folding_gives_the_stock_layer_back(bias, kind):
    model = Encoder(bias=bias).eval()
    x = torch.randn(2, 4, 8)
    with torch.no_grad():
        stock = model(x)
        act = {} if kind == 'LinearK' else dict(act_cfg=None)
        apply_manifold_key(model, dict(type=kind, **act))
        torch.testing.assert_close(model(x), stock, rtol=0, atol=1e-5)
        for parameter in model.attn.qkv.key.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        before = model(x)
        assert fold_manifold_keys(model) == []
    assert type(model.attn) is nn.MultiheadAttention and not model.attn.training
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)
