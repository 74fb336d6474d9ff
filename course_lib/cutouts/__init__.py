"""Photographed objects cut out of their ground, and scenes composed of them.

A photographed world where the truth is known: the class of the object, its exact mask, and every choice.
"""

from course_lib.cutouts.collection import CREDIT, PACKAGE, Collection, available, collection, read_table, recognised
from course_lib.cutouts.grounds import GROUNDS, GROUNDS_CREDIT
from course_lib.cutouts.materials import MATERIALS, MATERIALS_CREDIT, material
from course_lib.cutouts.scenes import Scenes, compose

__all__ = [
    "CREDIT",
    "GROUNDS",
    "GROUNDS_CREDIT",
    "MATERIALS",
    "MATERIALS_CREDIT",
    "PACKAGE",
    "Collection",
    "Scenes",
    "available",
    "collection",
    "compose",
    "material",
    "read_table",
    "recognised",
]
