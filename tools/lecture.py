"""The lecture, slide group by slide group: where each stands in the book, in the package and in the tests.

`page()` is the book's page, which `make book` writes; tests/test_pages.py holds every row to what is there.
"""

from typing import NamedTuple

from project.repository import BRANCH, URL


class Row(NamedTuple):
    """slides: what they show. chapter: a page of the book. functions: of course_lib. tests: file::function."""

    slides: str
    chapter: str
    functions: tuple[str, ...]
    tests: tuple[str, ...]


ROWS = (
    Row(
        "Embeddings of words: neighbours by cosine",
        "01_embeddings",
        ("embedding.skip_gram", "embedding.nearest"),
        (
            "test_embedding::test_words_that_share_contexts_end_up_near",
            "test_embedding::test_nearest_equals_brute_force",
        ),
    ),
    Row(
        "Embeddings of images",
        "01_embeddings",
        ("embedding.codes", "embedding.nearest"),
        ("test_embedding::test_codes_are_the_flattened_answers",),
    ),
    Row(
        "First layer: filters",
        "02_filters",
        ("plotting.filters", "measure.colour_energy", "measure.orientation_energy"),
        ("test_plotting::test_the_first_convolution_of_any_network_is_found",),
    ),
    Row(
        "Raw weights of higher layers",
        "02_filters",
        ("plotting.filters",),
        ("test_plotting::test_other_filters_are_rows_of_channels_red_above_zero_and_blue_below",),
    ),
    Row(
        "Last layer: nearest neighbours",
        "03_feature_space",
        ("embedding.codes", "embedding.nearest"),
        ("test_embedding::test_nearest_equals_brute_force",),
    ),
    Row(
        "Last layer: PCA, t-SNE, the image grid",
        "03b_maps",
        ("embedding.pca", "embedding.tsne", "embedding.grid"),
        (
            "test_embedding::test_pca_equals_scikit_learn_up_to_the_sign",
            "test_embedding::test_tsne_brings_the_kinds_of_iris_together",
        ),
    ),
    Row(
        "Visualising activations",
        "04_activations",
        ("taps.Taps", "widgets.explorer"),
        ("test_taps::test_taps_equal_the_layers_run_by_hand",),
    ),
    Row(
        "Maximally activating patches",
        "04_activations",
        ("patches.top_patches", "taps.receptive_field"),
        (
            "test_patches::test_top_patches_are_those_of_storing_and_sorting_everything",
            "test_taps::test_the_fields_of_alexnet_are_the_published_ones",
        ),
    ),
    Row(
        "Does the neuron detect that? (not in the lecture)",
        "04b_what_a_neuron_detects",
        ("measure.explained", "patches.top_patches"),
        ("test_measure::test_explained_follows_from_the_f_test_of_scipy",),
    ),
    Row(
        "Occlusion: mask a patch, watch P(class)",
        "05_which_pixels_matter",
        ("attribution.occlusion", "attribution.occlusion_grid"),
        ("test_attribution::test_occlusion_equals_captum",),
    ),
    Row(
        "Saliency by backprop",
        "05_which_pixels_matter",
        ("attribution.saliency", "attribution.gradient"),
        ("test_attribution::test_saliency_is_the_absolute_gradient_maximised_over_colours",),
    ),
    Row(
        "Segmentation without supervision",
        "05_which_pixels_matter",
        ("attribution.segment",),
        ("test_attribution::test_objects_are_cut_out_better_than_by_a_centred_box",),
    ),
    Row(
        "Intermediate features: guided backprop, deconvnet",
        "05_which_pixels_matter",
        ("taps.relu_backward", "attribution.gradient"),
        ("test_taps::test_rules_give_the_published_numbers_in_every_spelling", "test_taps::test_rules_equal_captum"),
    ),
    Row(
        "Do maps tell the truth? (not in the lecture)",
        "05b_do_maps_tell_the_truth",
        ("measure.pointing_game", "measure.iou", "measure.deletion"),
        ("test_measure::test_iou_equals_scikit_learn_on_the_hottest_pixels",),
    ),
    Row(
        "Gradient ascent: regularisers, intermediate features",
        "06_gradient_ascent",
        ("recipes.maximize_activation", "images.Fourier"),
        ("test_recipes::test_a_class_is_synthesised_that_another_network_recognises",),
    ),
    Row(
        "Multifaceted features, centre bias, latent space",
        "06b_what_a_unit_knows",
        ("recipes.multifaceted", "images.Latent", "generator.load"),
        (
            "test_multifaceted::test_each_facet_rises_above_what_its_cluster_evokes",
            "test_generator::test_codes_become_images",
        ),
    ),
    Row(
        "Fooling images",
        "07_adversarial",
        ("adversarial.fgsm", "adversarial.pgd"),
        ("test_adversarial::test_fgsm_is_torchattacks", "test_adversarial::test_pgd_is_torchattacks"),
    ),
    Row(
        "Intriguing properties; easily fooled",
        "07_adversarial",
        ("adversarial.lbfgs", "adversarial.fooling_image"),
        (
            "test_adversarial::test_lbfgs_solves_a_problem_with_a_known_answer",
            "test_adversarial::test_fooling_by_ascent_is_confident",
        ),
    ),
    Row(
        "Before ConvNets: two images, one HOG",
        "07_adversarial",
        ("recipes.match", "descriptors.HOG"),
        ("test_recipes::test_two_images_share_one_hog",),
    ),
    Row(
        "The linear explanation",
        "07_adversarial",
        ("adversarial.fgsm",),
        ("test_adversarial::test_the_linear_example_of_the_lecture",),
    ),
    Row(
        "Can a network be defended? (not in the lecture)",
        "07b_defences",
        ("adversarial.pgd", "models.load"),
        ("test_models::test_the_robust_coursenet_bears_attacks_that_undo_the_plain_one",),
    ),
    Row(
        "DeepDream: gradient := activation",
        "08_deepdream",
        ("recipes.deepdream",),
        ("test_deepdream::test_setting_the_gradient_to_the_activation_is_ascending_half_the_squared_norm",),
    ),
    Row(
        "Caricature (seed 001)",
        "08b_caricature",
        ("recipes.caricature",),
        ("test_deepdream::test_a_caricature_exaggerates_what_the_layer_noticed",),
    ),
    Row(
        "Feature inversion: HOG, DSIFT, every layer",
        "09_inversion",
        ("recipes.invert", "descriptors.HOG", "descriptors.DenseSIFT"),
        (
            "test_inversion::test_descriptors_are_inverted_below_the_papers_error",
            "test_descriptors::test_hard_bins_are_vlfeats_up_to_rounding",
        ),
    ),
    Row(
        "Equivalent pre-images; parts of a code (seed 002)",
        "09b_what_a_code_leaves_open",
        ("recipes.invert", "taps.receptive_field"),
        ("test_inversion::test_restarts_of_one_image_lie_side_by_side_and_differ",),
    ),
    Row(
        "Texture by nearest neighbours",
        "10_texture",
        ("texture.efros_leung", "texture.wei_levoy"),
        ("test_texture::test_wei_levoy_does_what_plain_loops_do",),
    ),
    Row(
        "Neural texture: Gram matrices",
        "10_texture",
        ("energy.gram_distance", "recipes.synthesize_texture"),
        (
            "test_energy::test_gram_distance_is_gatys_formula",
            "test_style::test_a_texture_has_the_gram_matrices_of_its_exemplar_and_not_its_pixels",
        ),
    ),
    Row(
        "How good is a texture? (not in the lecture)",
        "10b_how_good_is_a_texture",
        ("texture.efros_leung", "recipes.synthesize_texture"),
        ("test_texture::test_windows_are_nearer_to_the_exemplars_than_those_of_scattered_pixels",),
    ),
    Row(
        "Style transfer",
        "11_style",
        ("recipes.transfer_style",),
        ("test_style::test_content_stays_and_style_comes",),
    ),
    Row(
        "What is left of the object? (not in the lecture)",
        "11b_what_style_keeps",
        ("recipes.transfer_style", "attribution.segment"),
        ("test_style::test_a_mask_says_where_the_style_may_go",),
    ),
    Row(
        "Random weights (seed 000)",
        "12_random_weights",
        ("models.load", "recipes.greedy_weights"),
        ("test_random_weights::test_the_first_convolution_is_the_best_of_its_draws_by_a_plain_loop",),
    ),
    Row(
        "Generic perceptual loss (seed 004)",
        "12b_perceptual_loss",
        ("perceptual.PerceptualLoss",),
        ("test_perceptual::test_the_loss_is_the_sum_over_plain_convolutions",),
    ),
)


def page() -> str:
    """The book's page, in MyST Markdown."""
    lines = [
        "# The lecture, slide by slide",
        "",
        "Where each group of slides stands in this book, which functions do it, and which tests hold them to it.",
        "",
        "| Slides | Chapter | Functions | Tests |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        functions = ", ".join(f"`{name}`" for name in row.functions)
        number = row.chapter[:3].strip("_").lstrip("0")
        lines.append(f"| {row.slides} | [{number}]({row.chapter}) | {functions} | {_tests(row)} |")
    return "\n".join([*lines, ""])


def _tests(row: Row) -> str:
    files = dict.fromkeys(test.split("::")[0] for test in row.tests)
    return ", ".join(f"[{file.removeprefix('test_')}]({URL}/blob/{BRANCH}/tests/{file}.py)" for file in files)
