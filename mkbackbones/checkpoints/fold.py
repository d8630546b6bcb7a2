"""Fold the linear manifold keys of a trained checkpoint: what is left needs no mkbackbones."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..attention.inject import fold_manifold_keys
from .read import find_prefix, read_weights
from .report import CheckpointError, Entry
from .source import unwrap
from .write import is_manifold, write_weights

#: In these namings a backbone is kept within its detector or segmentor; in the others alone.
WHOLE = ('mmdet', 'mmseg', 'mmpretrain')


@dataclass
class Folded:
    """A folded checkpoint.

    Args:
        state (dict[str, Tensor]): Weights in the naming that was asked for.
        meta (dict): The checkpoint's ``meta``, with the stock backbone in its config.
        backbone_cfg (dict, optional): The stock backbone for a config; None for timm and the
            official codes.
        layers (list[str]): The layers that were folded.
        entries (list[Entry]): What was left out.
    """

    state: dict[str, Tensor]
    meta: dict = field(default_factory=dict)
    backbone_cfg: dict | None = None
    layers: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def fold_checkpoint(
    checkpoint: Mapping, naming: str, model_cfg: dict | None = None, scope: str | None = None
) -> Folded:
    """Fold a checkpoint's manifold keys and give its backbone another library's names.

    Args:
        checkpoint (Mapping): A checkpoint of mmengine's runner, or a state dict, of a backbone or a
            whole detector or segmentor.
        naming (str): ``mmdet``, ``mmseg`` and ``mmpretrain`` keep the whole model, ``timm`` and
            ``official`` the backbone alone.
        model_cfg (dict, optional): The ``model`` of the config; by default the one that the
            checkpoint stores.
        scope (str, optional): The ``default_scope`` of the config.

    Returns:
        Folded: The weights. A stock backbone loads its part strictly.

    Raises:
        CheckpointError: If a key is not linear, the config is missing or does not fit, or the
            naming cannot hold the backbone.
    """
    state = unwrap(checkpoint)
    prefix = find_prefix(state)
    inside = {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}
    layers = sorted({n.split('.qkv.')[0] + '.qkv' for n in inside if is_manifold(n)})
    if not layers:
        raise CheckpointError(
            'the checkpoint has no manifold keys to fold; python -m mkbackbones convert-checkpoint '
            'translates it as it is'
        )
    meta = dict(checkpoint.get('meta') or {}) if 'state_dict' in checkpoint else {}
    text = meta.pop('cfg', None)
    settings = read_settings(text) if isinstance(text, str) else {}
    if model_cfg is None:
        model_cfg, scope = settings.get('model'), settings.get('default_scope')
    facts: dict[str, Any] = {}
    if model_cfg is not None:
        backbone = fold_model(inside, find_backbone(model_cfg), scope)
        inside = backbone.state_dict()
        family = getattr(backbone, 'family', None)
        facts = family.facts(backbone) if family else {}
    elif all(is_plain_linear(inside, layer) for layer in layers):
        inside = fold_plain(inside, layers)
    else:
        raise CheckpointError(
            'weights alone do not tell whether charts are linear, and the checkpoint stores no '
            'config; give the config as the first argument'
        )
    outside = {name: value for name, value in state.items() if not name.startswith(prefix)}
    return written(inside, outside, naming, prefix, facts, meta, settings, layers)


def written(
    inside: dict[str, Tensor],
    outside: dict[str, Tensor],
    naming: str,
    prefix: str,
    facts: dict[str, Any],
    meta: dict[str, Any],
    settings: dict[str, Any],
    layers: list[str],
) -> Folded:
    """Give a folded backbone another library's names.

    Args:
        inside (dict[str, Tensor]): Weights of the backbone, without manifold keys.
        outside (dict[str, Tensor]): Those of the rest, under the model's names.
        naming (str): See :func:`fold_checkpoint`.
        prefix (str): What the names of the backbone begin with in the model.
        facts (dict): What the family says of the backbone, for its config.
        meta (dict): The checkpoint's ``meta``, without its config.
        settings (dict): Assignments of that config.
        layers (list[str]): The layers that were folded.

    Raises:
        CheckpointError: If the naming cannot hold the backbone.
    """
    weights = read_weights(fill_biases(inside))
    result = write_weights(weights, naming)
    stock = weights.family.stock_config(weights, naming, **facts) if naming in WHOLE else None
    entries = weights.entries
    if naming in WHOLE:
        result = {**{prefix + name: value for name, value in result.items()}, **outside}
        if stock and prefix == 'backbone.' and isinstance(settings.get('model'), dict):
            settings = without_imports(with_backbone(settings, stock))
            meta['cfg'] = Config(settings).pretty_text
    else:
        meta = {}
        parts = sorted({f'{name.split(".")[0]}.*' for name in outside})
        entries += [Entry('dropped', part, 'outside the backbone') for part in parts]
    return Folded(result, meta, stock, layers, entries)


def fold_model(state: dict[str, Tensor], backbone_cfg: dict, scope: str | None) -> nn.Module:
    """Build a backbone, load its weights and fold its keys.

    Raises:
        CheckpointError: If the weights do not fit the config, or a key is not linear.
    """
    backbone = build_backbone(backbone_cfg, scope)
    names = backbone.state_dict().keys()
    lacking, surplus = sorted(names - state.keys()), sorted(state.keys() - names)
    wrong = [
        n for n, v in backbone.state_dict().items() if n in state and v.shape != state[n].shape
    ]
    if lacking or surplus or wrong:
        raise CheckpointError(
            f'the config does not fit the checkpoint: {(lacking + surplus + wrong)[0]} and '
            f'{len(lacking + surplus + wrong) - 1} more entries differ'
        )
    require_stock_blocks(backbone)
    backbone.load_state_dict(state)
    stay = fold_manifold_keys(backbone.eval())
    if stay:
        raise CheckpointError(
            'these keys are not linear, so no stock layer equals them, and the model still needs '
            f'mkbackbones: {", ".join(stay)}; fold --calibrate fits linear keys to them'
        )
    return backbone


def require_stock_blocks(backbone: nn.Module) -> None:
    """Check that a stock backbone has all that is computed beside the keys.

    Raises:
        CheckpointError: If it has not.
    """
    if any(getattr(block, 'context_broadcasting', False) for block in backbone.modules()):
        raise CheckpointError(
            'the backbone has context_broadcasting=True, which no stock backbone computes: the '
            'model still needs mkbackbones; mkbackbones.fold_manifold_keys(model) folds the keys '
            'in it, and export writes it whole'
        )


def build_backbone(backbone_cfg: dict, scope: str | None) -> nn.Module:
    """Build a backbone as the runner would, without initialisation.

    Raises:
        CheckpointError: If it cannot be built.
    """
    cfg = {name: value for name, value in backbone_cfg.items() if name != 'init_cfg'}
    try:
        with DefaultScope.overwrite_default_scope(scope):
            return MODELS.build(cfg)
    except Exception as error:  # a config names any class, which raises anything
        raise CheckpointError(f'the backbone of the config cannot be built: {error}') from error


def find_backbone(model_cfg: dict) -> dict:
    """The config of the backbone with manifold keys: the model itself, or its ``backbone``.

    Raises:
        CheckpointError: If there is none.
    """
    for cfg in (model_cfg, model_cfg.get('backbone')):
        if isinstance(cfg, dict) and ('Manifold' in str(cfg.get('type')) or 'key_cfg' in cfg):
            return cfg
    raise CheckpointError(
        'the config has no backbone with manifold keys: neither its model nor model.backbone is a '
        'ManifoldSwin, ManifoldViT or ManifoldKeyBackbone'
    )


def is_plain_linear(state: dict[str, Tensor], layer: str) -> bool:
    """Whether a layer's key is a LinearK, which its entries alone tell."""
    key = {n.removeprefix(f'{layer}.key.') for n in state if n.startswith(f'{layer}.key.')}
    return 'proj.weight' in key and key <= {'proj.weight', 'proj.bias', 'temperature'}


def fold_plain(state: dict[str, Tensor], layers: list[str]) -> dict[str, Tensor]:
    """Fold LinearK layers: put query, key and value into one projection."""
    state = dict(state)
    for layer in layers:
        temperature = state.pop(f'{layer}.key.temperature', 1)
        for kind in ('weight', 'bias'):
            qv = state.pop(f'{layer}.qv.{kind}', None)
            key = state.pop(f'{layer}.key.proj.{kind}', None)
            if qv is not None and key is not None:
                q, v = qv.chunk(2)
                state[f'{layer}.{kind}'] = torch.cat([q, temperature * key, v])
    return state


def fill_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let all fused projections have a bias if one has: folded charts bring one with them."""
    weights = [n for n in state if n.endswith(('.qkv.weight', '.in_proj_weight'))]
    biases = {name: name.removesuffix('weight') + 'bias' for name in weights}
    if not any(bias in state for bias in biases.values()):
        return state
    zeros = {
        bias: state[name].new_zeros(state[name].shape[0])
        for name, bias in biases.items()
        if bias not in state
    }
    return {**state, **zeros}


def with_backbone(settings: Mapping[str, Any], backbone_cfg: dict) -> dict[str, Any]:
    """The assignments of a config with another backbone.

    What the config called the key of the former one, as the provided ones do, goes: it would tell
    of a key that no block has.

    Args:
        settings (Mapping[str, Any]): The assignments, with a ``model.backbone``.
        backbone_cfg (dict): The other backbone.
    """
    stale = names_of_key(settings, settings['model'].get('backbone') or {})
    left = {name: value for name, value in settings.items() if name not in stale}
    return {**left, 'model': {**settings['model'], 'backbone': backbone_cfg}}


def names_of_key(settings: Mapping[str, Any], backbone_cfg: Mapping[str, Any]) -> list[str]:
    """Assignments of a config that are nothing but the key of its backbone."""
    key_cfg = backbone_cfg.get('key_cfg')
    if not key_cfg:
        return []
    return [name for name, value in settings.items() if name == 'key_cfg' or value == key_cfg]


def without_imports(settings: dict[str, Any]) -> dict[str, Any]:
    """The assignments of a config that no longer imports mkbackbones."""
    imports = settings.get('custom_imports') or {}
    if 'mkbackbones' not in imports.get('imports', ()):
        return settings
    rest = [name for name in imports['imports'] if name != 'mkbackbones']
    return {**settings, 'custom_imports': {**imports, 'imports': rest}}


def read_settings(text: str) -> dict[str, Any]:
    """The assignments of a config that a checkpoint stores as text.

    mmengine would run it as a program; a checkpoint from elsewhere is not run here: values may be
    literals and ``dict(...)``, which is all that mmengine writes. Others are left out.
    """
    settings: dict[str, Any] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return settings
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                settings[node.targets[0].id] = evaluate(node.value)
            except ValueError:
                continue
    return settings


def evaluate(node: ast.expr) -> Any:
    """The value of a literal, in which ``dict(...)`` may occur.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if node.args:
            raise ValueError('dict takes keywords')
        return {keyword.arg: evaluate(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [evaluate(key) for key in node.keys if key is not None]
        if len(keys) < len(node.keys):
            raise ValueError('a dict takes in another one')
        return dict(zip(keys, map(evaluate, node.values)))
    if isinstance(node, ast.List):
        return [evaluate(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(evaluate(item) for item in node.elts)
    return ast.literal_eval(node)
