"""Inside ConvNets: the package behind the course.

Everything that makes a picture here is one line of mathematics,

    x* = argmin_x  loss( features( transform(x) ) ) + regularizer(x),     x = image()

and its four places are modules. An import only ever points to a lower layer.

| layer | module | one idea |
|---|---|---|
| 3 | `train` | makes the shipped weights: `python -m course_lib.train NAME` |
| 3 | `reproduce` | the papers' tables, recomputed: `python -m course_lib.reproduce NAME` |
| 3 | `grading` | assignments: handed out, checked by the student, graded in a sandbox |
| 3 | `widgets` | sliders and pickers over the functions below; the only place that imports ipywidgets |
| 2 | `train_generator` | how the shipped generator learns to paint scenes from codes |
| 2 | `greedy` | random weights chosen layer by layer: of several draws, the one from which a picture comes back best |
| 2 | `recipes` | each named technique, a few lines over `minimize` |
| 2 | `adversarial` | fooling a network: FGSM, PGD, L-BFGS, fooling images, the linear story |
| 2 | `patches` | maximally activating patches of every channel, in one pass over any number of images |
| 1 | `preimage` | the loop |
| 1 | `attribution` | which pixels mattered: gradient rules, occlusion, CAM, segmentation |
| 1 | `evolution` | pictures by mutation and selection: of their pixels, or of small networks that draw them |
| 1 | `tiles` | features of pictures of any size, tile by tile, with the values of the whole |
| 1 | `generator` | from a code back to a picture: the generator that belongs to CourseNet |
| 1 | `perceptual` | the generic perceptual loss: maps compared in the features of a network that need not have learnt |
| 1 | `pixelwise` | tasks that want a map: what stands where, how far, what is sharper, at every pixel of a scene |
| 1 | `models` | networks: shipped, torchvision's, random; normalisation inside |
| 1 | `embedding` | vectors: codes of pictures, skip-gram words; their neighbours, PCA, t-SNE, the picture grid |
| 0 | `taps` | named activations, the backward rules of the ReLU, receptive fields |
| 0 | `energy` | weighted, named scalar terms |
| 0 | `images` | the unknown image, and transforms |
| 0 | `optimizers` | steps that torch.optim does not have, or has with other defaults |
| 0 | `descriptors` | HOG and dense SIFT as differentiable modules |
| 0 | `texture` | texture without a network: pixels copied from an exemplar wherever their surroundings match |
| 0 | `paintings` | pictures to take a style from, drawn: a night of brush strokes, stained glass, an engraving |
| 0 | `incremental` | many copies of one picture, each changed in a box: only what the box reaches is computed again |
| 0 | `world` | a drawn world where the truth is known: every picture comes with its label, mask and factors |
| 0 | `measure` | how true a map is, what a unit or a filter holds, how alike two pictures, how sure a number |
| 0 | `data` | photographs that come with the dependencies, folders of pictures, walks through any number |
| 0 | `plotting` | figures |
| - | `shapes` | what the drawn world is made of: signed distances of the shapes, textures, backgrounds |
| - | `errors` | one clear error for each kind of bad input: it names the culprit and the choices |
"""
