"""Inside ConvNets: the package behind the course.

Everything that makes an image here is one line of mathematics,

    x* = argmin_x  loss( features( transform(x) ) ) + regularizer(x),     x = image()

and its four places are modules. An import only ever points to a lower layer.

| layer | module | one idea |
|---|---|---|
| 4 | `train` | makes the shipped weights: `python -m course_lib.train NAME` |
| 4 | `reproduce` | the papers' tables, recomputed: `python -m course_lib.reproduce NAME` |
| 4 | `grading` | assignments: handed out, checked by the student, graded in a sandbox |
| 4 | `widgets` | sliders and pickers over the functions below; the only place that imports ipywidgets |
| 3 | `recipes` | each named technique, a few lines over `minimize` |
| 3 | `adversarial` | fooling a network: attacks with and without gradients, patches, fooling images; certificates |
| 3 | `patches` | maximally activating patches of every channel, in one pass over any number of images |
| 2 | `preimage` | the loop |
| 2 | `attribution` | which pixels mattered: gradient rules, occlusion, CAM, segmentation |
| 2 | `tiles` | features of images of any size, tile by tile, with the values of the whole |
| 2 | `generator` | from a code back to an image: the generator that belongs to CourseNet |
| 2 | `perceptual` | the generic perceptual loss: maps compared in the features of an untrained network; its tasks |
| 2 | `cutouts` | photographed objects cut out of their ground, and scenes composed of them |
| 2 | `models` | networks: shipped, torchvision's, random; normalisation inside |
| 2 | `embedding` | vectors: codes of images, skip-gram words; their neighbours, PCA, t-SNE, the image grid |
| 1 | `taps` | named activations, the backward rules of the ReLU, receptive fields |
| 1 | `energy` | weighted, named scalar terms |
| 1 | `images` | the unknown image, its priors, and transforms |
| 1 | `optimizers` | steps that torch.optim does not have, or has with other defaults |
| 1 | `descriptors` | HOG and dense SIFT as differentiable modules |
| 1 | `texture` | texture without a network: pixels copied from an exemplar wherever their surroundings match |
| 1 | `paintings` | images to take a style from, drawn: a night of brush strokes, stained glass, an engraving |
| 1 | `world` | a drawn world where the truth is known: every image comes with its label, mask and factors |
| 1 | `measure` | how true a map is, what a unit or a filter holds, how alike two images, how sure a number |
| 1 | `data` | photographs that come with the dependencies, folders of images, walks through any number |
| 1 | `plotting` | figures |
| 1 | `tables` | tables of results: HTML that fits a phone, and the same as text |
| 0 | `inputs` | the front door: networks, labels, images, maps, brought into one form or refused by name |
| 0 | `noise` | noise whose amplitude falls with its frequency, as that of natural images does |
| 0 | `scale` | independent pieces of work: on this machine, or on the workers of a Dask cluster |
| 0 | `progress` | one progress bar for everything that lasts |
| - | `errors` | one clear error for each kind of bad input: it names the culprit and the choices |
"""
