"""What HPINet does with the tokens of its patches: match every patch with its likest one, then attend and transform.

Source: Liu et al., "From Coarse to Fine: Hierarchical Pixel Integration for Lightweight Image Super-Resolution", AAAI
2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Low enough that no patch chooses itself, finite so that a lone patch still can.
ITSELF = -1e4


class Attention(nn.Module):
    """Single-head attention with queries from ``x`` and keys and values from ``source`` (from ``x`` without one).

    ``x`` and ``source`` are (patches, pixels, dim); the result is like ``x``.
    """

    def __init__(self, dim: int, qk_dim: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(dim, qk_dim, bias=False)
        self.to_k = nn.Linear(dim, qk_dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.scale = qk_dim**-0.5
        self.missing = max(dim - qk_dim, 0)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        source = x if source is None else source
        # Fused kernels, which never hold all scores, want a head axis and queries as wide as values: zeros add nothing.
        query = F.pad(self.to_q(x), (0, self.missing)).unsqueeze(1)
        key = F.pad(self.to_k(source), (0, self.missing)).unsqueeze(1)
        value = self.to_v(source).unsqueeze(1)
        return F.scaled_dot_product_attention(query, key, value, scale=self.scale).squeeze(1)


class FeedForward(nn.Module):
    """Two linear layers around a GELU, each token by itself."""

    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class NormedResidual(nn.Module):
    """``x + fn(norm(x))``; another patch's tokens reach ``fn`` without the norm, as the published weights expect."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, *source: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), *source)


class TransformerLayer(nn.ModuleList):
    """Attention within each patch, or from it to the patch in ``source``, then feed-forward; shapes as Attention's."""

    def __init__(self, dim: int, qk_dim: int, mlp_dim: int) -> None:
        attention, feed_forward = Attention(dim, qk_dim), FeedForward(dim, mlp_dim)
        super().__init__((NormedResidual(dim, attention), NormedResidual(dim, feed_forward)))

    def forward(self, x: Tensor, *source: Tensor) -> Tensor:
        attention, feed_forward = self
        return feed_forward(attention(x, *source))


class PatchTransformer(nn.Module):
    """Transformer layers on every patch, the first of which looks at the matched patch alone; shapes as Attention's."""

    def __init__(self, dim: int, layers: int, qk_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(dim, qk_dim, mlp_dim) for _ in range(layers))

    def forward(self, tokens: Tensor, matched: Tensor) -> Tensor:
        first, *others = self.layers
        tokens = first(tokens, matched)
        for layer in others:
            tokens = layer(tokens)
        return tokens


class Match(nn.Module):
    """The tokens of every patch's likest other patch, by the normalised means of the patches; a lone patch gets itself.

    (B, patches, pixels, dim) -> the same shape, each image within itself. In training the choice is drawn by
    Gumbel-softmax (Jang et al., ICLR 2017), hard in the forward pass and soft in the backward one, so that ``norm``
    learns; in evaluation it is the best.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        means = self.norm(tokens.mean(dim=2))
        likeness = means @ means.transpose(1, 2) * means.shape[-1] ** -0.5
        itself = torch.eye(likeness.shape[-1], dtype=torch.bool, device=tokens.device)
        likeness = likeness.masked_fill(itself, ITSELF)
        if self.training:
            choice = F.gumbel_softmax(likeness, hard=True)
            return torch.einsum("bnm,bmpc->bnpc", choice, tokens)
        image = torch.arange(len(tokens), device=tokens.device)[:, None]
        return tokens[image, likeness.argmax(dim=-1)]
