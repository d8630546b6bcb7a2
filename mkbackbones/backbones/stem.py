"""Images to patches."""

from timm.layers import PatchEmbed
from torch import Tensor, nn

from ..fused.decision import Plan, serves
from .windows import pad_to_patches


def embed_patches(patch_embed: PatchEmbed, images: Tensor, plan: Plan | None) -> Tensor:
    """Run timm's patch embedding, as a matrix product where the kernels serve.

    Args:
        patch_embed (PatchEmbed): The embedding, with output in NHWC.
        images (Tensor): Images (B, 3, H, W), any size.
        plan (Plan, optional): What the pass runs on the Triton kernels.

    Returns:
        Tensor: Patches (B, ceil(H / p), ceil(W / p), C).
    """
    images = pad_to_patches(images, patch_embed.patch_size[0])
    if not serves(plan, patch_embed):
        return patch_embed(images)
    from ..kernels.norm import layer_norm
    from ..kernels.patches import project_patches

    patches = project_patches(images, patch_embed.proj, plan.dtype)
    if isinstance(patch_embed.norm, nn.Identity):
        return patches
    return layer_norm(patches, patch_embed.norm, plan.norm_dtype)
