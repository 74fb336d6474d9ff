"""Vectors: codes of images, skip-gram words; their neighbours, PCA, t-SNE, the image grid."""

from course_lib.embedding.codes import codes
from course_lib.embedding.maps import grid, pca, place, tsne
from course_lib.embedding.neighbours import nearest
from course_lib.embedding.words import WordVectors, skip_gram

__all__ = ["WordVectors", "codes", "grid", "nearest", "pca", "place", "skip_gram", "tsne"]
