"""A second, independently written answer to every question goes through every cell of its assignment."""

import contextlib
import io

import matplotlib
import pytest
from test_assignments_right import SOLUTIONS
from test_grading_fairness import SOLUTIONS as OTHERS
from test_grading_right import NEIGHBOURS

from course_lib.grading import question
from project import needs, submissions

KEYS = question.keys()
SECOND = {
    "a1.pairs": "slices",
    "a1.skip_gram_step": "a loop over the noise",
    "a1.neighbours": "torch.sort",
    "a1.precision": "float mean",
    "a1.conditional": "doubling, then halving",
    "a1.tsne_slope": "einsum",
    "a1.filter_images": "the larger of both ends",
    "a1.colour_share": "a projection",
    "a1.facets": "topk of what is masked",
    "a2.relu_rule": "where",
    "a2.rule_map": "hooks, an image at a time",
    "a2.saliency": "an image at a time",
    "a2.occlusion": "a batch",
    "a2.integrated_gradients": "linspace",
    "a2.overlap": "topk",
    "a2.seeds": "sums of masks",
    "a2.receptive_field": "recursion",
    "a2.top_patches": "rows, then columns",
    "a3.step": "F.normalize",
    "a3.jittered_slope": "all shifts as one batch",
    "a3.smooth": "an image at a time",
    "a3.ascend": "a list of lengths",
    "a3.code_ascent": "a descent by SGD",
    "a3.fgsm": "the derivative of the loss by hand",
    "a3.pgd": "the change",
    "a3.fooled": "masked means",
    "a4.code_distance": "einsum",
    "a4.variation_slope": "a divergence",
    "a4.invert": "Adam by hand",
    "a4.orientation_bins": "the cosine's inverse",
    "a4.dream_step": "the course's taps",
    "a4.next_octave": "both together in one batch",
    "a4.resemblance": "a matrix product for each",
    "a5.window_distances": "known positions alone",
    "a5.gram_matrix": "bmm",
    "a5.texture_energy": "einsum",
    "a5.gram_slope": "einsum",
    "a5.content_energy": "a norm",
    "a5.total_variation": "replicated borders",
    "a5.transfer": "losses inside",
    "a5.keep_colour": "a convolution",
    "a5.unit_variance": "recursion",
    "a5.perceptual_distance": "a norm over the numbers of values",
}
MORE = {
    "a3.ascend": {
        "a list of lengths": """
def ascend(net, x, label, shifts, length, decay, power):
    m = len(shifts)
    for some, alpha in zip(shifts.unbind(0), [length * (m - k) / m for k in range(m)]):
        x = step(x, smooth(jittered_slope(net, x, label, some), power), alpha, decay)
    return x
"""
    }
}


def text(name):
    tables = (SOLUTIONS, OTHERS, {"a1.neighbours": NEIGHBOURS}, MORE)
    return next(table[name][SECOND[name]] for table in tables if SECOND[name] in table.get(name, {}))


def test_every_question_has_a_second_answer():
    assert set(SECOND) == {one.name for key in KEYS for one in question.assignment(key).questions}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("key", KEYS)
def test_second_answers_go_through_every_cell(key):
    matplotlib.use("agg")
    answers = {name: text(name) for name in SECOND if name.startswith(f"{key}.")}
    book = submissions.handed_in(key, answers, submissions.solution)
    space, said = {"__name__": "__main__"}, io.StringIO()
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"][1:]
    for cell in cells:
        if not needs.lacking(cell):
            with contextlib.redirect_stdout(said):
                exec(compile("".join(cell["source"]), key, "exec"), space)
    assert "not yet" not in said.getvalue() and "in float32" not in said.getvalue()
    assert said.getvalue().count("all right here") == len(answers)
