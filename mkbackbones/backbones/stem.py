"""Images to patches."""

from timm.layers import PatchEmbed
from torch import Tensor

from ..kernels import fused_dtype, is_heard
from .norms import normalise
from .windows import pad_to_patches


def embed_patches(patch_embed: PatchEmbed, images: Tensor) -> Tensor:
    """Run timm's patch embedding, as a matrix product where the kernels serve.

    Args:
        patch_embed (PatchEmbed): The embedding, with output in NHWC.
        images (Tensor): Images (B, 3, H, W), any size.

    Returns:
        Tensor: Patches (B, ceil(H / p), ceil(W / p), C).
    """
    images = pad_to_patches(images, patch_embed.patch_size[0])
    dtype = fused_dtype(images)
    if dtype is None or any(is_heard(module) for module in patch_embed.modules()):
        return patch_embed(images)
    from ..kernels.patches import project_patches

    return normalise(patch_embed.norm, project_patches(images, patch_embed.proj, dtype))
