"""The layers of HPINet on the tokens of its patches: match each patch with the most similar one, then attend.

Source: Liu et al., "From Coarse to Fine: Hierarchical Pixel Integration for Lightweight Image Super-Resolution", AAAI
2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Low enough that no patch chooses itself, finite so that a single patch can.
ITSELF = -1e4


class Attention(nn.Module):
    """Single-head attention with queries from ``x`` and keys and values from ``source``, by default ``x``.

    ``x`` and ``source`` are (patches, pixels, dim); the result has the shape of ``x``.
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
        # Fused kernels save memory but need a head axis and queries as wide as values; padded zeros change nothing.
        query = F.pad(self.to_q(x), (0, self.missing)).unsqueeze(1)
        key = F.pad(self.to_k(source), (0, self.missing)).unsqueeze(1)
        value = self.to_v(source).unsqueeze(1)
        return F.scaled_dot_product_attention(query, key, value, scale=self.scale).squeeze(1)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, for each token."""

    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class NormedResidual(nn.Module):
    """``x + fn(norm(x))``; tokens of another patch are not normalised, as the published weights expect."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor, *source: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), *source)


class TransformerLayer(nn.ModuleList):
    """Attention within each patch, or to the patch in ``source``, then feed-forward; shapes as in ``Attention``."""

    def __init__(self, dim: int, qk_dim: int, mlp_dim: int) -> None:
        attention, feed_forward = Attention(dim, qk_dim), FeedForward(dim, mlp_dim)
        super().__init__((NormedResidual(dim, attention), NormedResidual(dim, feed_forward)))

    def forward(self, x: Tensor, *source: Tensor) -> Tensor:
        attention, feed_forward = self
        return feed_forward(attention(x, *source))


class PatchTransformer(nn.Module):
    """Transformer layers on each patch, the first with attention to the matched patch; shapes as in ``Attention``."""

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
    """For each patch the tokens of the most similar other patch of the same image; a single patch gets itself.

    (B, patches, pixels, dim) -> the same shape. Similarity is the scalar product of the normalised means of the
    patches. In training the choice is drawn by Gumbel-softmax (Jang et al., ICLR 2017), hard in the forward and soft in
    the backward pass, so that ``norm`` is trained; in evaluation it is the most similar one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        means = self.norm(tokens.mean(dim=2))
        similarity = means @ means.transpose(1, 2) * means.shape[-1] ** -0.5
        itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=tokens.device)
        similarity = similarity.masked_fill(itself, ITSELF)
        if self.training:
            choice = F.gumbel_softmax(similarity, hard=True)
            return torch.einsum("bnm,bmpc->bnpc", choice, tokens)
        image = torch.arange(len(tokens), device=tokens.device)[:, None]
        return tokens[image, similarity.argmax(dim=-1)]
