"""Checks of whether the clusters of the data sets come from the images or from each data set's norms.

An embedding is taken after weights that belong to one data set. These can move every data set into a separate corner
whatever the image, so clusters alone prove nothing; the numbers here separate the two causes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MAX_SLICES = 3000
"""Largest number of slices; more are sampled, since the silhouette compares every pair."""


@dataclass(frozen=True)
class EmbeddingChecks:
    """Checks of the embeddings of one method; NaN where too few slices define a number.

    Args:
        norm_cosine_same_image: mean cosine of an image under its own data set's norms and under each other data set's.
            Near 1: the norms do not label the image. Low: the norms make the cluster.
        norm_cosine_other_image: for comparison, the mean cosine of two images of one data set under its norms.
        silhouette: mean cosine silhouette of the data sets, each image under its own norms; -1..1.
        silhouette_shuffled: the same after a random permutation of the data sets over the images, which changes the
            norms and the labels. As high as `silhouette`: the norms make the clusters.
        silhouette_shuffled_true: silhouette of those embeddings by the true data set.
        probe_own_norm: balanced accuracy on validation slices of a linear classifier of the data set, trained on the
            training slices, from the last convolution before the last norm, each image under its own earlier norms.
        probe_one_norm: the same with every image under the first data set's norms, so that only the image counts.
    """

    norm_cosine_same_image: float
    norm_cosine_other_image: float
    silhouette: float
    silhouette_shuffled: float
    silhouette_shuffled_true: float
    probe_own_norm: float
    probe_one_norm: float


def check_embeddings(
    embedding_by_norm: np.ndarray,
    convolution_by_norm: np.ndarray,
    *,
    domain: np.ndarray,
    training: np.ndarray,
    seed: int = 0,
) -> EmbeddingChecks:
    """Compute the numbers of one method.

    Args:
        embedding_by_norm: pooled bottleneck of N slices under the norms of K domains, (N, K, F).
        convolution_by_norm: the same before the domain's last norm and affine weights.
        domain: index of the data set of each slice, (N,).
        training: whether a slice is from training, else validation, (N,).
        seed: seed of the permutation, and of the sample of more than `MAX_SLICES`.

    Raises:
        InputError: lengths differ, or a domain index is outside 0..K-1.

    Source:
        Controls for Fig. 4 of Boutillon et al. 2021; the paper has none.
    """
    number, num_domains = embedding_by_norm.shape[:2]
    lengths = {number, len(convolution_by_norm), len(domain), len(training)}
    if len(lengths) > 1:
        raise InputError(f"embeddings must have one row a slice everywhere, got {sorted(lengths)}; write them again")
    if number and not 0 <= domain.min() <= domain.max() < num_domains:
        raise InputError(f"domain of a slice must be 0..{num_domains - 1}, got {domain.max()}; write them again")

    chosen = choose_slices(number, seed=seed)
    domain, training = domain[chosen], training[chosen]
    by_norm, convolution = embedding_by_norm[chosen], convolution_by_norm[chosen]
    each = np.arange(len(chosen))
    dealt = np.random.default_rng(seed).permutation(domain)
    own, shuffled = by_norm[each, domain], by_norm[each, dealt]
    units = _unit(by_norm)
    cosines = np.einsum("nkf,nf->nk", units, units[each, domain])[np.arange(num_domains) != domain[:, None]]
    return EmbeddingChecks(
        norm_cosine_same_image=float(cosines.mean()) if len(cosines) else float("nan"),
        norm_cosine_other_image=_cosine_to_other_images(own, domain),
        silhouette=_silhouette(own, domain),
        silhouette_shuffled=_silhouette(shuffled, dealt),
        silhouette_shuffled_true=_silhouette(shuffled, domain),
        probe_own_norm=_probe(convolution[each, domain], domain, training),
        probe_one_norm=_probe(convolution[:, 0], domain, training),
    )


def choose_slices(number: int, *, limit: int = MAX_SLICES, seed: int = 0) -> np.ndarray:
    """Indices of at most `limit` of `number` slices in ascending order: the same for the same numbers."""
    if number <= limit:
        return np.arange(number)
    return np.sort(np.random.default_rng(seed).choice(number, limit, replace=False))


def _cosine_to_other_images(own: np.ndarray, domain: np.ndarray) -> float:
    """Mean over images of their mean cosine to the others of their data set, if there are others."""
    units = _unit(own)
    means = []
    for index in np.unique(domain):
        group = units[domain == index]
        if len(group) > 1:
            to_all = group @ group.sum(axis=0)
            means.append((to_all - (group * group).sum(axis=1)) / (len(group) - 1))
    return float(np.concatenate(means).mean()) if means else float("nan")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; a zero vector stays zero, with cosine 0 to all others."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _silhouette(vectors: np.ndarray, labels: np.ndarray) -> float:
    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(vectors.astype(np.float64), labels, metric="cosine"))


def _probe(features: np.ndarray, domain: np.ndarray, training: np.ndarray) -> float:
    """Balanced accuracy: mean recall over the data sets of the validation slices."""
    known, held_out = np.unique(domain[training]), np.unique(domain[~training])
    if len(known) < 2 or len(held_out) < 2:
        return float("nan")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(features[training].astype(np.float64), domain[training])
    found = probe.predict(features[~training].astype(np.float64))
    return float(np.mean([(found[domain[~training] == index] == index).mean() for index in held_out]))
